"""One thing that an agent may not do with the terminal it shares with its user: type into it.

What TIOCSTI puts into a terminal is read by the user's own shell after `run` has ended, and runs
there, outside of every namespace (bubblewrap's CVE-2017-5226). Newer kernels can refuse it
(`dev.tty.legacy_tiocsti`), older ones cannot; TIOCLINUX does the same on a console. A filter of
seccomp(2) stays over every exec and fork.
"""

import ctypes
import errno
import platform
import struct
from collections.abc import Iterator

from taskbound.runner.namespaces import prctl

PR_SET_SECCOMP, SECCOMP_MODE_FILTER = 22, 2
ALLOW, REFUSE = 0x7FFF0000, 0x00050000 | errno.EPERM
LOAD, IF_EQUAL, RETURN = 0x20, 0x15, 0x06  # BPF: the word at an offset; skip if equal, if not; answer
NUMBER, NUMBERING, REQUEST = 0, 4, 24  # where they stand in struct seccomp_data; the request is ioctl's second argument
TIOCSTI, TIOCLINUX = 0x5412, 0x541C
# The number of ioctl in each numbering (AUDIT_ARCH_*) of the kernel for a machine; that of x32 has bit 30 set.
IOCTL = {
    "x86_64": ((0xC000003E, 16), (0xC000003E, 0x40000000 | 514), (0x40000003, 54)),
    "aarch64": ((0xC00000B7, 29), (0x40000028, 54)),
}


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("code", ctypes.c_char_p))


def can_forbid_typing() -> bool:
    """Whether the system calls of this machine are listed here."""
    return platform.machine() in IOCTL


def forbid_typing() -> None:
    """Let neither this process nor what comes of it type into a terminal. Raises OSError; needs PR_SET_NO_NEW_PRIVS."""
    code = b"".join(struct.pack("HBBI", *instruction) for instruction in _filter())
    program = _Program(len(code) // 8, code)
    prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, ctypes.addressof(program))


def _filter() -> Iterator[tuple[int, int, int, int]]:
    for numbering, number in IOCTL[platform.machine()]:
        yield LOAD, 0, 0, NUMBERING
        yield IF_EQUAL, 0, 6, numbering
        yield LOAD, 0, 0, NUMBER
        yield IF_EQUAL, 0, 4, number
        yield LOAD, 0, 0, REQUEST
        yield IF_EQUAL, 1, 0, TIOCSTI
        yield IF_EQUAL, 0, 1, TIOCLINUX
        yield RETURN, 0, 0, REFUSE
    yield RETURN, 0, 0, ALLOW
