"""Static targets: their values below `keys/`, and their tables in taskbound.toml, which is only ever added to."""

import fcntl
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from taskbound.app.places import load_config, static_folder
from taskbound.app.replace import write_whole
from taskbound.core.config_file import NAME
from taskbound.core.errors import Conflict, InvalidRequest, TargetUnavailable
from taskbound.core.refusal import quoted
from taskbound.core.secret import Secret
from taskbound.plugins.providers.static import LIMIT, VALUE, put_value, read_value

FILE = "taskbound.toml"
WAIT = 10.0  # seconds for another program to put its value in


def configured(state: Path) -> dict[str, str]:
    """Return the targets of the state directory's configuration: name to provider. Raises InvalidRequest."""
    return {one.name: one.provider for one in load_config(None, state).targets}


def put(state: Path, name: str, value: Secret) -> bool:
    """Keep the value of a static target; return whether it is in the configuration.

    Raises InvalidRequest for a name or a value that none can have, Conflict for a target of another provider, OSError.
    """
    require_name(name)
    if not 0 < len(value.reveal().encode()) <= LIMIT or "\0" in value.reveal():
        raise InvalidRequest(f"a value has 1 to {LIMIT} bytes, and none is NUL")
    provider = configured(state).get(name)
    if provider not in (None, "static"):
        raise Conflict(f"{quoted(name)} is a target of {provider}, which makes its credentials itself")
    require_private(state)
    put_value(static_folder(state, name), value)
    return provider is not None


def put_new(state: Path, name: str, value: Secret) -> None:
    """As `put`, of a target that has no value or this one: another one may be the only one left of its kind.

    Raises Conflict, TargetUnavailable where what is there cannot be read.
    """
    require_name(name)
    with _alone(state):  # of two at once one finds what the other has put there
        there = value_of(state, name)
        if there is not None and there.reveal() != value.reveal():
            raise Conflict(f"the target {name} was made meanwhile: no file was changed", hint="try again")
        put(state, name, value)


@contextmanager
def _alone(state: Path) -> Iterator[None]:
    """Keep every other program out that puts in values or tables. Raises Conflict where one hangs, InvalidRequest."""
    require_private(state)
    every = static_folder(state, "any").parent
    for one in (every.parent, every):
        one.mkdir(mode=0o700, exist_ok=True)
    with open(every.with_suffix(".lock"), "ab", opener=_private) as held:
        _lock(held.fileno())
        yield


def _private(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NOFOLLOW, 0o600)


def _lock(held: int) -> None:
    """Raises Conflict where another has it for WAIT: it hangs."""
    until = time.monotonic() + WAIT
    while True:
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            if time.monotonic() > until:
                raise Conflict("another program puts values in: no file was changed", hint="try again") from None
        time.sleep(0.01)


def folders(state: Path) -> Iterator[str]:
    """Yield the names of static targets whose value is kept, or was begun to be, readable or not."""
    yield from (folder.name for folder in sorted(static_folder(state, "any").parent.glob("*")))


def require_name(name: str) -> None:
    """Raises InvalidRequest for a name that no target can have: it becomes a folder's."""
    if not NAME.fullmatch(name):
        raise InvalidRequest(f"the name {quoted(name)} is not of a-z 0-9 _ -, at most 64 characters")


def require_private(state: Path) -> None:
    """Make the state directory where there is none. Raises InvalidRequest where others can look into it, OSError."""
    state.mkdir(mode=0o700, parents=True, exist_ok=True)
    about = state.stat()
    if about.st_uid != os.geteuid() or about.st_mode & 0o077:
        raise InvalidRequest(f"{state} is open to others, or belongs to somebody else", hint=f"chmod 700 {state}")


def value_of(state: Path, name: str) -> Secret | None:
    """Return the value of a static target; None where there is none. Raises TargetUnavailable."""
    folder = static_folder(state, name)
    return read_value(folder) if (folder / VALUE).exists() else None


def kept(state: Path) -> dict[str, Secret]:
    """Return every value by the name of its target; what cannot be read is left out."""
    found = dict[str, Secret]()
    for name in folders(state):
        with suppress(TargetUnavailable):
            if (value := value_of(state, name)) is not None:
                found[name] = value
    return found


def add(state: Path, environments: Mapping[str, str]) -> None:
    """Add static targets to the configuration, each with its environment. What stands there stays, byte for byte.

    Raises InvalidRequest, and nothing is changed, where the file could not be read or would not be in order; Conflict
    where another program is at it and hangs; OSError.
    """
    if not environments:
        return
    with _alone(state):  # of two at once neither writes over what the other has added
        known = configured(state)
        if new := {name: environment for name, environment in environments.items() if name not in known}:
            _append(state, new)


def _append(state: Path, new: Mapping[str, str]) -> None:
    file = state / FILE
    before = file.read_bytes() if file.exists() else b""
    begin = b"" if not before or before.endswith(b"\n") else b"\n"
    tables = "".join(
        f'\n[[target]]\nname = "{name}"\nprovider = "static"  # one value, in keys/static/{name}: it is standing\n'
        + (f'environment = "{environment}"\n' if environment else "")
        for name, environment in new.items()
    )
    write_whole(file, before + begin + tables.encode(), 0o600)
    try:
        load_config(None, state)
    except InvalidRequest:
        write_whole(file, before, 0o600)
        raise
