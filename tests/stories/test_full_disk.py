"""On a full 32 MiB tmpfs nothing is permitted and each open task still ends and is cut.

The disk is mounted in a mount namespace of its own. Root makes one; anybody else makes it together with a user
namespace, in which they keep their uid.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

FILE = Path(__file__).with_name("full_disk.py")
AS_ROOT = ("unshare", "--mount")
AS_ANYBODY = ("unshare", "--user", "--map-current-user", "--keep-caps", "--mount")


def own_mounts() -> tuple[str, ...]:
    """Return what begins a command that may mount a small disk for itself; skip where nobody may."""
    begin = AS_ROOT if os.geteuid() == 0 else AS_ANYBODY
    mount = ("mount", "-t", "tmpfs", "-o", "size=32m", "tmpfs", "/mnt")
    tried = shutil.which("unshare") and subprocess.run([*begin, *mount], check=False, capture_output=True)
    if not tried or tried.returncode:
        pytest.skip("a small disk cannot be mounted here: neither root nor a user namespace may")
    return begin


def test_at_a_real_server_on_a_small_disk() -> None:
    itself = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(FILE)]
    environ = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    ran = subprocess.run([*own_mounts(), *itself], env=environ, capture_output=True, text=True, check=False)
    assert ran.returncode == 0 and "2 passed" in ran.stdout, ran.stdout + ran.stderr
