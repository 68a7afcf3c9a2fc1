"""A second place for checkpoints: a directory, at best on another disk (INTERFACES 2).

`<instance>/<org>/<size>` holds the checkpoint of that size. A file appears whole or not at all,
under a name that nothing had before, so a checkpoint that was seen here is never replaced.
"""

import os
from pathlib import Path

from taskbound.core.errors import Unavailable


class CheckpointFiles:
    """The checkpoints below one directory."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    async def put(self, origin: str, size: int, checkpoint: bytes) -> None:
        path = self._directory / origin / str(size)
        fresh = path.with_name(f".{size}.{os.getpid()}.new")
        try:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            if not path.exists():
                with fresh.open("wb") as file:
                    file.write(checkpoint)
                    file.flush()
                    os.fsync(file.fileno())
                try:
                    os.link(fresh, path)
                except FileExistsError:
                    pass
                finally:
                    fresh.unlink()
                _sync(path.parent)
            kept = path.read_bytes()
        except OSError as error:
            raise Unavailable(f"the second place {self._directory} cannot be written: {error}") from error
        if kept != checkpoint:
            raise Unavailable(f"{path} is another checkpoint of size {size}", code="log_broken")

    async def newest(self, origin: str) -> bytes | None:
        try:
            folder = self._directory / origin
            sizes = [int(name) for name in os.listdir(folder) if name.isdecimal()]
            return (folder / str(max(sizes))).read_bytes() if sizes else None
        except FileNotFoundError:
            return None
        except OSError as error:
            raise Unavailable(f"the second place {self._directory} cannot be read: {error}") from error


def _sync(directory: Path) -> None:
    """Make the names in a directory durable."""
    opened = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)
