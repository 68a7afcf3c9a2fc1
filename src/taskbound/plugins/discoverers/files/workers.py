"""Workers: processes that look at files, within bounds of time and memory. One that dies is replaced."""

import multiprocessing
import signal
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from time import monotonic
from typing import Any

from taskbound.plugins.discoverers.files.reading import PER_MIB, Placed, look_into
from taskbound.posture.seen import Scan, Seen

STUCK = 120.0  # seconds without an answer after which a process is ended; the alarm ends what Python can end
SCANS = "taskbound.posture.scan"  # what whoever scans will import
MEMORY = 2 << 30  # bytes of address space that a process may have: a bomb fails in it, not on the machine


@dataclass(slots=True)
class Share:
    """Files of a batch that one process is given at a time."""

    meant_for: int  # the process that looked at others of their sizes
    files: Sequence[Placed]
    batch: "Batch"  # to which it belongs
    seen: list[tuple[int, Seen]] | None = None  # the answer


Batch = list[Share]


def is_alone() -> bool:
    """Whether a process may be forked: not where there are threads, for what they hold here is held for ever there."""
    return threading.active_count() == 1


class Worker:
    """One process that scans. It has one share in hand, so that neither side ever waits for the other to read."""

    def __init__(self, begin: Callable[[bytes], Scan], key: bytes) -> None:
        self._begin, self._key = begin, key
        self.share: Share | None = None
        self._start()

    def _start(self) -> None:
        alone = is_alone()
        self.answers, theirs = multiprocessing.Pipe()
        words = (theirs, self.answers if alone else None, self._begin, self._key)
        process: BaseProcess
        if alone:
            process = multiprocessing.get_context("fork").Process(target=_work, args=words, daemon=True)
        else:
            server = multiprocessing.get_context("forkserver")
            server.set_forkserver_preload([self._begin.__module__, SCANS])
            process = server.Process(target=_work, args=words, daemon=True)
        process.start()
        self._process = process
        theirs.close()  # so that its death is the end of what we read

    def give(self, share: Share) -> None:
        self.share = share
        self._until = monotonic() + STUCK + sum(one.size for _, one in share.files) / (1 << 20) * PER_MIB
        with suppress(OSError):  # it has died, which is seen when its answer is taken
            self.answers.send(share.files)

    def is_stuck(self) -> bool:
        return monotonic() > self._until

    def answer(self) -> list[tuple[int, Seen]] | None:
        """Return what it saw in its share; None where it died over it, or is stuck in it."""
        self.share = None
        try:
            return self.answers.recv() if self.answers.poll() else None
        except (OSError, EOFError):
            return None

    def restart(self) -> None:
        self.end()
        self._start()

    def end(self) -> None:
        self._process.kill()
        self._process.join()
        self.answers.close()


def _work(
    shares: "Connection[Any, Any]", copied: "Connection[Any, Any] | None", begin: Callable[[bytes], Scan], key: bytes
) -> None:
    """Answer shares until nobody asks."""
    if copied:
        copied.close()  # so that the death of who asks is the end of what we read
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # who asked ends us
    with suppress(ImportError, ValueError, OSError):
        import resource

        hard = resource.getrlimit(resource.RLIMIT_AS)[1]
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, hard))
    scan = begin(key)
    while True:
        try:
            files = shares.recv()
        except (EOFError, OSError):
            return
        shares.send(look_into(files, scan))
