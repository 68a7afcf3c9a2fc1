"""What `taskbound policy init` writes: a policy directory to begin with, as data."""

from importlib import resources

FILES = ("organisation/start.cedar", "tests/start.toml")


def init_files() -> dict[str, bytes]:
    """Return the files by their paths in the policy directory. They load as they are, without tools or targets."""
    return {path: resources.files(__name__).joinpath(path).read_bytes() for path in FILES}
