"""The static provider: one value in a file, handed to one task at a time. It is standing: no lease makes or ends it.

For what cannot be leased yet: a token that was taken out of a file (`taskbound fix`), or put in by hand (`taskbound
target put`). `cut` ends its delivery and nothing more: who was given the value has it, and its issuer takes it
as before. That is said wherever the lease is shown (its class is "standing"). Nothing is renewed or encrypted here.

A target is a folder 0700 below `keys/`, which `run` hides: the value, 0600, and for each lease that has it a note named
after the lease, which holds the task's id. So what is given out is known after a crash, and a second task is refused.
"""

import asyncio
import fcntl
import os
import stat
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path

from taskbound.core.errors import TargetUnavailable
from taskbound.core.lease import Lease
from taskbound.core.secret import Secret

VALUE = "value"  # the file in a target's folder
WAIT, LOOK = 2.0, 0.05  # seconds until a value that another task has is refused, and between two looks
LIMIT = 64 << 10  # bytes of a value


class Taken(TargetUnavailable):
    """Another task has the value."""


class StaticProvider:
    """Hands out what stands in one folder. `instance`: whose leases they are."""

    def __init__(self, folder: Path, instance: str, clock: Callable[[], datetime]) -> None:
        self._folder, self._prefix, self._clock = folder, f"tb_{instance}_", clock

    async def create(self, lease: Lease) -> Secret:
        until = time.monotonic() + WAIT
        while True:
            try:
                return await asyncio.to_thread(self._create, lease)
            except Taken:  # by a task that has ended just now, perhaps
                if time.monotonic() > until:
                    raise
            await asyncio.sleep(LOOK)

    async def cut(self, lease: Lease) -> None:
        """End the delivery: from here on nobody is given the value for this lease."""

    async def clean(self, lease: Lease) -> None:
        await asyncio.to_thread(self._clean, lease)

    async def names(self) -> set[str]:
        return set(await asyncio.to_thread(self._notes))

    def _create(self, lease: Lease) -> Secret:
        if not lease.name.startswith(self._prefix):
            raise TargetUnavailable(f"lease {lease.id} is of another instance: its name is not ours to make")
        if self._clock() > lease.create_by:
            raise TargetUnavailable(f"it is too late to give out {lease.target} as {lease.name}")
        try:
            value = read_value(self._folder)
            with self._locked():
                for name, task in self._notes().items():
                    if task != (lease.task or ""):
                        raise Taken(
                            f"{lease.target} is standing, and task {task} has it as {name}: one task at a time",
                            hint="wait until that task has ended, or end it: taskbound task end ID",
                        )
                _write(self._folder, lease.name, (lease.task or "").encode())
        except OSError as error:
            raise TargetUnavailable(f"the value of {lease.target} cannot be given out: {error.strerror}") from error
        return value

    def _clean(self, lease: Lease) -> None:
        try:
            with suppress(FileNotFoundError), self._locked():
                (self._folder / lease.name).unlink(missing_ok=True)
                _sync(self._folder)
        except OSError as error:
            raise TargetUnavailable(f"the note of {lease.name} cannot be removed: {error.strerror}") from error

    def _notes(self) -> dict[str, str]:
        """Return the task of each lease of ours that has the value. Raises TargetUnavailable."""
        notes = {}
        try:
            for note in self._folder.glob(f"{self._prefix}*"):
                with suppress(FileNotFoundError):
                    notes[note.name] = note.read_text()
        except OSError as error:
            raise TargetUnavailable(f"the folder of a standing value cannot be read: {error.strerror}") from error
        return notes

    @contextmanager
    def _locked(self) -> Iterator[None]:
        held = os.open(self._folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            fcntl.flock(held, fcntl.LOCK_EX)
            yield
        finally:
            os.close(held)


def read_value(folder: Path) -> Secret:
    """Return the value of a folder. Raises TargetUnavailable."""
    file = folder / VALUE
    try:
        with open(os.open(file, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW), "rb") as opened:
            mode = os.fstat(opened.fileno()).st_mode
            if not stat.S_ISREG(mode) or mode & 0o077:
                raise TargetUnavailable(f"{file} may be read by others", hint=f"chmod 600 {file}")
            return Secret(opened.read(LIMIT).decode())
    except FileNotFoundError:
        hint = f"taskbound target put {folder.name}"
        raise TargetUnavailable(f"no value was put into {folder.name}", hint=hint) from None
    except (OSError, UnicodeDecodeError):
        raise TargetUnavailable(f"the value of {folder.name} cannot be read") from None


def put_value(folder: Path, value: Secret) -> None:
    """Keep a value durably, whole or not at all, in place of the one before. Raises OSError."""
    for one in (folder.parent.parent, folder.parent, folder):
        one.mkdir(mode=0o700, exist_ok=True)
    _write(folder, VALUE, value.reveal().encode())


def _write(folder: Path, name: str, data: bytes) -> None:
    fresh = folder / f".{name}.{os.getpid()}.new"
    fresh.unlink(missing_ok=True)
    try:
        with open(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(folder / name)
    finally:
        fresh.unlink(missing_ok=True)
    _sync(folder)


def _sync(folder: Path) -> None:
    directory = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
