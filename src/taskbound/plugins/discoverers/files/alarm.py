"""The alarm that ends what takes longer than it may, as far as Python can end it."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager


class TooSlow(Exception):
    """The alarm: this text has had its time."""


@contextmanager
def listening() -> Iterator[bool]:
    """Make the alarm raise TooSlow. Yield whether it can: only the main thread of a process is interrupted."""

    def ring(*_: object) -> None:
        raise TooSlow

    if threading.current_thread() is not threading.main_thread():
        yield False
        return
    before = signal.signal(signal.SIGALRM, ring)
    try:
        yield True
    finally:
        signal.signal(signal.SIGALRM, before)


def ring_in(seconds: float) -> None:
    """Ring after so long, and again as long after that: what caught the first one goes on. 0: never."""
    signal.setitimer(signal.ITIMER_REAL, seconds, seconds)
