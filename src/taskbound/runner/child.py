"""The child: its process group, its terminal, and that it never outlives its `run`.

Without a PID namespace the child is ours directly. With one there are two of us between: the
*keeper*, which entered the namespaces, and the *init*, the first process of the PID namespace,
whose end takes every process in it along, however it was forked. Each is killed by the kernel when
the one above dies (PR_SET_PDEATHSIG), so `kill -9` of `run` leaves nothing behind. Signals and the
terminal go straight to the child's group: the kernel tells its pid, as we see it, on a socket
(SCM_CREDENTIALS). What happens before the exec is said on that socket too.
"""

import os
import select
import signal
import socket
import struct
import termios
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, replace
from pathlib import Path

from taskbound.runner.namespaces import (
    EMPTY,
    PR_SET_NO_NEW_PRIVS,
    PR_SET_PDEATHSIG,
    Hidden,
    Shown,
    hide,
    mount_proc,
    new_pid_namespace,
    prctl,
)
from taskbound.runner.seccomp import can_forbid_typing, forbid_typing

COULD_NOT_START = 125
BEFORE_EXEC = 30  # seconds until the child must have come as far as its exec
REAP = 2  # seconds for what was killed to be gone


@dataclass(frozen=True, slots=True)
class Walls:
    """What stands between the child and its user."""

    apart: bool = False  # a user and mount namespace in which what is hidden cannot be reached
    pids: bool = False  # a PID namespace too
    hidden: tuple[Hidden, ...] = ()
    shown: tuple[Shown, ...] = ()


class NotStarted(Exception):
    """The child did not come as far as its exec."""

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint


class Terminal:
    """The controlling terminal, while it is ours to give."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._modes = termios.tcgetattr(fd)

    @classmethod
    def ours(cls) -> "Terminal | None":
        """Return it where our process group has it."""
        with suppress(OSError):
            fd = os.open(os.ctermid(), os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC)
            if os.tcgetpgrp(fd) == os.getpgrp():
                return cls(fd)
            os.close(fd)
        return None

    def fileno(self) -> int:
        return self._fd

    @property
    def is_ours(self) -> bool:
        return os.tcgetpgrp(self._fd) == os.getpgrp()

    def give(self, group: int) -> None:
        """Give it to a process group of this session. Also from the background: SIGTTOU is blocked in `run`."""
        with suppress(OSError):  # the group is gone, or the terminal is
            os.tcsetpgrp(self._fd, group)

    def take_back(self, group: int, *, mended: bool = False) -> None:
        """Take it back from the group, where that has it; `mended`: set as it was before it was given."""
        with suppress(OSError):
            if os.tcgetpgrp(self._fd) == group:
                self.give(os.getpgrp())
                if mended:
                    termios.tcsetattr(self._fd, termios.TCSADRAIN, self._modes)


class Child:
    """A running child."""

    def __init__(self, pid: int, leader: int, reports: socket.socket, terminal: Terminal | None) -> None:
        self._pid = pid  # ours: the child itself, or the keeper
        self._leader = leader  # the child, and the id of its group
        self._reports = reports
        self._terminal = terminal
        self.is_silent = False  # it will say nothing more: only its end is to come

    def fileno(self) -> int:
        """Return what becomes readable when the child has something to say; `status` hears it."""
        return self._reports.fileno()

    def signal(self, number: int) -> None:
        """Send a signal to the child's process group."""
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self._leader, number)

    def kill(self) -> None:
        """Kill it, whatever it does."""
        self.signal(signal.SIGKILL)
        if self._pid != self._leader:
            os.kill(self._pid, signal.SIGKILL)  # its init follows it, and all that it holds

    def status(self) -> int | None:
        """Return the child's status once it has ended: its own, or 128 + signal. Raises NotStarted.

        Reaps every stray that came to us as its subreaper, and follows the child when it stops.
        """
        self._hear()
        with suppress(ChildProcessError):
            while (ended := os.waitpid(-1, os.WNOHANG | os.WUNTRACED))[0]:
                pid, status = ended
                if pid != self._pid:
                    continue
                if os.WIFSTOPPED(status):
                    self._stopped(os.WSTOPSIG(status))
                    continue
                self._hear()
                code = _code(status)
                if self._terminal:
                    self._terminal.take_back(self._leader, mended=code > 128)  # it had no time to tidy up
                return code
        return None

    def _hear(self) -> None:
        with suppress(BlockingIOError):
            while not self.is_silent:
                word = self._reports.recv(4096)
                if not word:
                    self.is_silent = True
                elif word.startswith(b"stopped "):
                    self._stopped(int(word.split()[1]))
                else:
                    raise NotStarted(word.decode(errors="replace"))

    def _stopped(self, number: int) -> None:
        """Do for the child what a shell does: give it the terminal that it asked for, or stop with it."""
        terminal = self._terminal
        if terminal is None:
            return
        if number in (signal.SIGTTIN, signal.SIGTTOU) and terminal.is_ours:
            terminal.give(self._leader)
        else:
            terminal.take_back(self._leader)
            os.killpg(0, signal.SIGTSTP)  # as Ctrl-Z does; we go on after this line when a shell says so
            if terminal.is_ours:
                terminal.give(self._leader)
        self.signal(signal.SIGCONT)

    def close(self) -> None:
        """Take the terminal back, and kill what the child left running: its group, and all that became ours."""
        if self._terminal:
            self._terminal.take_back(self._leader)
        self._reports.close()
        self.signal(signal.SIGKILL)
        until = time.monotonic() + REAP
        with suppress(ChildProcessError, FileNotFoundError):
            while time.monotonic() < until:
                for pid in Path("/proc/thread-self/children").read_text().split():
                    os.kill(int(pid), signal.SIGKILL)  # not reaped yet, so the pid is still its own
                while os.waitpid(-1, os.WNOHANG)[0]:
                    pass
                time.sleep(0.005)


def walls_for(own: Path) -> tuple[Walls, str]:
    """Return the highest walls that the kernel lets us build, found by building them, and why there are none.

    What is hidden for it is of our own making: nothing that lies about can make it look like a refusal.
    """
    folder, file = Hidden(own / "folder", ""), Hidden(own / EMPTY, "")
    folder.path.mkdir()
    reason = ""
    for walls in (Walls(True, True, (folder, file)), Walls(True, False, (folder, file))):
        try:
            child = _fork(walls, own, _tried, None)
        except NotStarted as refused:
            reason = str(refused)
            continue
        with closing(child):
            while child.status() is None:
                time.sleep(0.001)
        break
    else:
        walls = Walls()
    folder.path.rmdir()
    return replace(walls, hidden=()), reason


def _tried(reports: socket.socket) -> int:
    reports.send(b"started")
    return 0


def start(program: str, command: Sequence[str], environment: Mapping[str, str], walls: Walls, own: Path) -> Child:
    """Start the program behind the walls, with the terminal where we have one. Raises NotStarted."""
    terminal = Terminal.ours()
    eager = terminal if os.isatty(0) and os.isatty(1) else None  # in a pipeline it is given when it is asked for
    return _fork(walls, own, lambda reports: _exec(program, command, environment, reports, eager), terminal)


def _fork(walls: Walls, own: Path, act: Callable[[socket.socket], int], terminal: Terminal | None) -> Child:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    for end in (ours, theirs):
        end.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
    above = os.getpid()
    pid = os.fork()
    if pid == 0:
        code = COULD_NOT_START
        try:
            signal.set_wakeup_fd(-1)
            signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())  # none of ours is handled here
            # Above all the connection that holds the task: it must end with `run` and with nobody else.
            _close_all_but(theirs.fileno(), *([terminal.fileno()] if terminal else []))
            code = _inside(above, theirs, walls, own, act)
        except BaseException as error:
            theirs.send((getattr(error, "strerror", None) or str(error) or type(error).__name__).encode()[:4096])
        finally:
            os._exit(code)
    theirs.close()
    ours.settimeout(BEFORE_EXEC)
    try:
        word, about, _, _ = ours.recvmsg(4096, socket.CMSG_SPACE(12))
    except TimeoutError:
        os.kill(pid, signal.SIGKILL)
        word = b"it was not ready in time"
    if word != b"started":
        os.waitpid(pid, 0)
        raise NotStarted(word.decode(errors="replace") or "it was killed before it started")
    ours.setblocking(False)
    ((_, _, credentials),) = about
    leader, _, _ = struct.unpack("3i", credentials)
    return Child(pid, leader, ours, terminal)


def _inside(above: int, reports: socket.socket, walls: Walls, own: Path, act: Callable[[socket.socket], int]) -> int:
    """Build the walls around this process and act behind them; what stays between only waits."""
    os.setpgid(0, 0)
    if walls.apart:
        hide(walls.hidden, own, walls.shown)
    prctl(PR_SET_NO_NEW_PRIVS, 1)
    if can_forbid_typing():
        forbid_typing()
    prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != above:
        return COULD_NOT_START
    if not walls.pids:
        return act(reports)
    new_pid_namespace()
    alive, held = os.pipe()
    init = os.fork()
    if init:
        return _code(os.waitpid(init, 0)[1])
    os.close(held)
    prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if select.select([alive], [], [], 0)[0]:  # the keeper died before we asked to be told
        return COULD_NOT_START
    os.close(alive)
    mount_proc()
    leader = os.fork()
    if not leader:
        os.setpgid(0, 0)
        return act(reports)
    while True:
        pid, status = os.waitpid(-1, os.WUNTRACED)
        if pid == leader and os.WIFSTOPPED(status):
            reports.send(b"stopped %d" % os.WSTOPSIG(status))
        elif pid == leader:
            return _code(status)


def _exec(
    program: str,
    command: Sequence[str],
    environment: Mapping[str, str],
    reports: socket.socket,
    terminal: Terminal | None,
) -> int:
    if terminal:
        terminal.give(os.getpgrp())
    for number in signal.valid_signals():
        # What our user ignores (nohup) stays ignored; what Python ignores for itself does not.
        if signal.getsignal(number) is not signal.SIG_IGN or number in (signal.SIGPIPE, signal.SIGXFSZ):
            with suppress(OSError, ValueError):
                signal.signal(number, signal.SIG_DFL)
    reports.send(b"started")
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    try:
        os.execve(program, [*command], environment)
    except OSError as error:
        raise NotStarted(f"{program}: {error.strerror}") from None


def _close_all_but(*kept: int) -> None:
    below = 2
    for fd in sorted(kept):
        os.closerange(below + 1, fd)
        below = fd
    os.closerange(below + 1, 1 << 30)


def _code(status: int) -> int:
    code = os.waitstatus_to_exitcode(status)
    return code if code >= 0 else 128 - code
