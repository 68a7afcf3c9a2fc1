"""Scanners: processes that look at blobs, within bounds of time and memory."""

import multiprocessing
import resource
import signal
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool

from taskbound.plugins.discoverers.history.git import Blob
from taskbound.posture.seen import Scan
from taskbound.posture.sighting import Credential

PROCESSES = 2
SCANNING = 15.0  # seconds that one blob may take
MEMORY = 2 << 30  # bytes of address space of a process

Found = tuple[list[tuple[Blob, Credential]], list[tuple[Blob, str]]]


class Scanners:
    """Processes that scan. One that a blob has ended is replaced, and its blobs are tried one by one."""

    def __init__(self, begin: Callable[[bytes], Scan], key: bytes) -> None:
        self._begin, self._key = begin, key

    def __enter__(self) -> "Scanners":
        self._start()
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown(wait=True, cancel_futures=True)

    def _start(self) -> None:
        context = multiprocessing.get_context("forkserver")
        self._pool = ProcessPoolExecutor(PROCESSES, context, _ready, (self._begin, self._key))

    def look(self, batch: Sequence[tuple[Blob, bytes]], repository: str) -> Found:
        half = (len(batch) + 1) // 2
        parts = [list(batch[:half]), list(batch[half:])]
        try:
            results = list(self._pool.map(_scanned, parts, [repository] * 2))
        except BrokenProcessPool:
            self._start()
            if len(batch) == 1:
                return [], [(batch[0][0], "it ended the process that read it")]
            results = [self.look([one], repository) for one in batch]
        return [one for seen, _ in results for one in seen], [one for _, lost in results for one in lost]


_scan: list[Scan] = []  # of this process


def _ready(begin: Callable[[bytes], Scan], key: bytes) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # who asked ends us

    def ring(*_: object) -> None:
        raise TimeoutError

    signal.signal(signal.SIGALRM, ring)
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, resource.getrlimit(resource.RLIMIT_AS)[1]))
    _scan[:] = [begin(key)]


def _scanned(blobs: Sequence[tuple[Blob, bytes]], repository: str) -> Found:
    seen: list[tuple[Blob, Credential]] = []
    lost: list[tuple[Blob, str]] = []
    for blob, data in blobs:
        signal.setitimer(signal.ITIMER_REAL, SCANNING, SCANNING)
        try:
            found = _scan[0](blob.path, data, repository, True)
            seen += [(blob, one) for one in found.sightings if isinstance(one, Credential)]
        except Exception as error:  # what it says may quote the blob
            lost.append((blob, f"reading it failed ({type(error).__name__})"))
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
    return seen, lost
