"""An unprivileged user, for tests that run as root."""

import os
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

UID = 65534


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
