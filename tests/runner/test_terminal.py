"""`run` at a real terminal: the child reads it, job control goes on, nobody types into it, it is given back."""

import fcntl
import os
import pty
import select
import signal
import struct
import termios
import time
from collections.abc import Callable, Iterator
from contextlib import suppress

import pytest

from tests.runner.person import Person, person
from tests.runner.test_run import CONDITIONS


@pytest.fixture
def alice() -> Iterator[Person]:
    with person() as somebody:
        assert somebody.uid != 0
        yield somebody


class Screen:
    """A session with a controlling terminal, in which a shell runs lines."""

    def __init__(self, alice: Person, script: str, words: list[str]) -> None:
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            os.chdir(alice.home)
            os.execve("/bin/bash", ["bash", "--norc", "-c", f"set -m\n{script}", "bash", *words], alice.environ())
        fcntl.ioctl(self.fd, termios.TIOCSWINSZ, struct.pack("4H", 24, 200, 0, 0))
        self.seen = ""

    def until(self, text: str, seconds: float = 10.0) -> None:
        end = time.monotonic() + seconds
        while text not in self.seen:
            assert time.monotonic() < end, f"no {text!r} in:\n{self.seen}"
            if select.select([self.fd], [], [], 0.05)[0]:
                with suppress(OSError):  # the other end is closed
                    self.seen += os.read(self.fd, 4096).decode(errors="replace")

    def type(self, text: str) -> None:
        os.write(self.fd, text.encode())

    def close(self) -> None:
        with suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)
        os.close(self.fd)


@pytest.fixture
def at_terminal(alice) -> Iterator[Callable[..., "Screen"]]:
    screens = []

    def start(script: str, *command: str, conditions=()) -> Screen:
        screens.append(Screen(alice, script, alice.words(command, conditions=conditions)))
        return screens[-1]

    yield start
    for screen in screens:
        screen.close()


ASK = "echo ready; read line; echo got $line"


@pytest.mark.parametrize("conditions", CONDITIONS)
def test_the_child_reads_the_terminal_and_gives_it_back(at_terminal, conditions):
    screen = at_terminal('"$@"; read more; echo after $more', "/bin/sh", "-c", ASK, conditions=conditions)
    screen.until("ready")
    screen.type("one\n")
    screen.until("got one")
    screen.type("two\n")
    screen.until("after two")


@pytest.mark.parametrize("conditions", CONDITIONS)
def test_in_a_pipeline_it_gets_the_terminal_when_it_asks(at_terminal, conditions):
    screen = at_terminal('"$@" | cat; read more; echo after $more', "/bin/sh", "-c", ASK, conditions=conditions)
    screen.until("ready")
    screen.type("one\n")
    screen.until("got one")
    screen.type("two\n")
    screen.until("after two")


@pytest.mark.parametrize("conditions", CONDITIONS)
def test_control_c_reaches_the_child(at_terminal, conditions):
    screen = at_terminal('"$@"; echo status $?', "/bin/sh", "-c", "echo ready; exec sleep 60", conditions=conditions)
    screen.until("ready")
    screen.type("\x03")
    screen.until("status 130")


@pytest.mark.parametrize("conditions", CONDITIONS)
def test_control_z_stops_both_and_fg_goes_on(at_terminal, conditions):
    script = '"$@"; read a; echo stopped $a; fg; read b; echo after $b'
    screen = at_terminal(script, "/bin/sh", "-c", ASK, conditions=conditions)
    screen.until("ready")
    screen.type("\x1a")
    screen.until("Stopped")
    screen.type("one\n")
    screen.until("stopped one")
    screen.type("two\n")
    screen.until("got two")
    screen.type("three\n")
    screen.until("after three")


def test_a_child_that_was_killed_leaves_the_terminal_as_it_was(at_terminal):
    screen = at_terminal('"$@"; stty -a', "/bin/sh", "-c", "stty raw -echo; kill -9 $$")
    screen.until("; lnext")
    screen.until("echok")
    assert " icanon" in screen.seen and " echo " in screen.seen


TYPE = r"""
import fcntl, termios
for request in (termios.TIOCSTI, termios.TIOCSTI | 1 << 32):
    try:
        for byte in b"echo typed by the agent\n":
            fcntl.ioctl(0, request & 0xffffffff, bytes([byte]))
        print("it typed")
    except OSError as error:
        print("refused:", error.strerror)
print("window", fcntl.ioctl(0, termios.TIOCGWINSZ, bytes(8))[:2])
"""


def test_the_child_types_nothing_into_the_terminal(at_terminal):
    screen = at_terminal('"$@"; read -t 0.3 line; echo "line: $line."', "/usr/bin/env", "python3", "-c", TYPE)
    screen.until("line: .")
    assert "refused: Operation not permitted" in screen.seen and "it typed" not in screen.seen
    assert "window b'\\x18\\x00'" in screen.seen  # any other ioctl works
