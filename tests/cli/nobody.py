"""An unprivileged user, for tests that run as root. Where the tests run as one already, they are that one."""

import asyncio
import functools
import inspect
import os
import shutil
import sys
import tempfile
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.runner.as_person import become

UID = 65534
RAN, NOT_POSSIBLE = "it ran", "not possible here: "


def let_through(folder: Path) -> None:
    """Let another user get to what lies in a folder of pytest's: each of those above it is 0700."""
    for above in (folder, *folder.parents):
        if Path(tempfile.gettempdir()) in above.parents:  # and nothing that is not of the tests
            above.chmod(0o711)


def as_nobody(act: Callable[[], int]) -> int:
    """Run something in a child that is no longer root; return its status. It can import nothing that is not loaded."""
    child = os.fork()
    if child == 0:
        status = 99
        try:
            os.setresuid(UID, UID, UID)
            assert os.geteuid() != 0
            status = act()
            sys.stdout.flush()
            sys.stderr.flush()
        finally:
            os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


@pytest.fixture
def ground() -> Iterator[Path]:
    """A folder that the unprivileged user reaches and owns; pytest's own lie in one of root's."""
    path = Path(tempfile.mkdtemp(prefix="tb-", dir="/tmp"))
    given(path)
    yield path
    shutil.rmtree(path)


def given(path: Path) -> None:
    """Give a file or folder to the unprivileged user, where that is another."""
    if os.getuid() == 0:
        os.chown(path, UID, UID)


def unprivileged(test: Callable[..., Any]) -> Callable[..., None]:
    """Run a test in a process of its own that is not root's. What happens to its fixtures there is not seen outside."""

    @functools.wraps(test)
    def forked(*args: Any, **kwargs: Any) -> None:
        if os.getuid() != 0:
            return _whole(test, *args, **kwargs)
        reading, writing = os.pipe()
        if (child := os.fork()) == 0:
            told = "it died"
            try:
                told = _as_nobody(test, *args, **kwargs)
            finally:
                os.write(writing, told.encode()[-60_000:])
                os._exit(0)
        os.close(writing)
        with open(reading) as pipe:
            told = pipe.read()
        os.waitpid(child, 0)
        if told.startswith(NOT_POSSIBLE):
            pytest.skip(told)
        assert told == RAN, told or "it was killed"

    return forked


def _as_nobody(test: Callable[..., Any], *args: Any, **kwargs: Any) -> str:
    """Run a test as the unprivileged user; return RAN, else what went wrong."""
    try:
        become(UID)
    except OSError as error:
        return f"{NOT_POSSIBLE}{error}"
    try:
        assert os.getuid() != 0
        os.environ["HOME"] = "/nonexistent"
        _whole(test, *args, **kwargs)
    except BaseException:
        return traceback.format_exc()
    return RAN


def _whole(test: Callable[..., Any], *args: Any, **kwargs: Any) -> None:
    result = test(*args, **kwargs)
    if inspect.iscoroutine(result):
        asyncio.run(result)
