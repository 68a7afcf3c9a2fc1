"""An export in a directory that holds nothing else."""

import os
from pathlib import Path

from taskbound.core.errors import InvalidRequest, Unavailable


class DirectoryArchive:
    """The directory is made (0700); one that holds something is refused, so that no two exports mix."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        try:
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            if os.listdir(directory):
                raise InvalidRequest(f"{directory} is not empty", hint="export into a new directory")
        except OSError as error:
            raise Unavailable(f"{directory} cannot be written: {error}") from error

    async def write(self, path: str, data: bytes) -> None:
        file = self._directory / path
        try:
            file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            # What an export holds comes out of a directory that nobody else may enter.
            with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600), "ab") as opened:
                opened.write(data)
        except OSError as error:
            raise Unavailable(f"{file} cannot be written: {error}") from error
