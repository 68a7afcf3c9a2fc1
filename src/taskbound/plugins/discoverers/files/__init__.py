"""Files on a disk: walked, read and handed to what scans them, in processes of their own.

Nothing is followed out of what was named, nothing but regular files is opened, and no file is held in memory whole
that is larger than WHOLE: it is read in windows that overlap. gz, zip and tar are looked into, within bounds. What
cannot be read is named in the summary and stops nothing: also a file that ends the process that reads it, or
that takes longer than it may. What is seen comes in the order of the walk, whichever process was faster. Which process
looks at a file is told by its size, so that the copies of a text come to the one that knows what it says.
"""

import os
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import chain, islice
from multiprocessing.connection import wait
from pathlib import Path

from taskbound.plugins.discoverers.files.walk import File, Repositories, Root, files_below
from taskbound.plugins.discoverers.files.workers import Batch, Share, Worker, is_alone
from taskbound.posture.seen import Scan, Seen, Unread, joined

__all__ = ["Files", "Root"]

PROCESSES = 2
BATCH_FILES, BATCH_BYTES = 128, 8 << 20  # what they are given at a time: a millisecond of handing over, no more
AHEAD = 2000  # batches: how far the walk runs before what is read


class Files:
    """The port Discoverer, given by folders and files."""

    def __init__(
        self, roots: Sequence[Root], begin: Callable[[bytes], Scan], key: bytes, *, but: Sequence[Path] = ()
    ) -> None:
        """`begin`: makes, in each process, what scans; a function of a module that remembers what it made last.

        `but`: files that are left out.
        """
        # Each place is looked at once: as the root that names it most closely, the first of two that are the same.
        self._roots = {os.path.realpath(root.place): root for root in reversed(roots)}
        self._begin, self._key = begin, key
        self._but = frozenset(os.path.realpath(one) for one in but)
        self._repositories = Repositories()
        self._known = 0

    def discover(self) -> Iterator[Seen]:
        batches = self._batches()
        early = list(islice(batches, 2))
        if early:
            if is_alone():
                self._begin(self._key)  # what it compiles is there in each process that is forked
            needed = PROCESSES if len(early) > 1 else len(early[0])
            workers = [Worker(self._begin, self._key) for _ in range(needed)]
            yield from self._in_processes(workers, chain(early, batches))
        yield Seen(
            unread=tuple(self._repositories.unread), repositories=tuple(self._repositories.names), known=self._known
        )

    def _in_processes(self, workers: Sequence[Worker], batches: Iterator[Batch]) -> Iterator[Seen]:
        todo = [deque[Share]() for _ in range(PROCESSES)]  # by whom it is meant for
        order: deque[Batch] = deque()  # what is not yet yielded, as the walk had it
        more = True
        try:
            while more or order:
                for number, worker in enumerate(workers):
                    # Who has nothing to do helps where most is left.
                    waiting = todo[number] or max(todo, key=len)
                    if worker.share is None and waiting:
                        worker.give(waiting.popleft())
                while order and all(share.seen is not None for share in order[0]):
                    yield replace(_in_order(order.popleft()), known=self._known)
                busy = [worker for worker in workers if worker.share]
                walking = more and len(order) < AHEAD
                if walking:
                    batch = next(batches, None)
                    more = batch is not None
                    order += [batch] if batch else []
                    for share in batch or ():
                        todo[share.meant_for].append(share)
                ready = wait([one.answers for one in busy], timeout=0 if walking else 1.0) if busy else []
                for worker in busy:
                    if worker.answers in ready or worker.is_stuck():
                        _take(worker, todo)
        finally:
            for worker in workers:
                worker.end()

    # --- the walk ------------------------------------------------------------------------------------

    def _batches(self) -> Iterator[Batch]:
        filling, size = list[File](), 0
        for top, root in reversed(self._roots.items()):
            for file in files_below(top, root, self._roots.keys() - {top}, self._repositories):
                if self._but and os.path.realpath(file.real) in self._but:
                    continue
                filling.append(file)
                size += file.size
                self._known += 1
                if len(filling) >= BATCH_FILES or size >= BATCH_BYTES:
                    yield _shared_out(filling)
                    filling, size = [], 0
        if filling:
            yield _shared_out(filling)


def _shared_out(files: Sequence[File]) -> Batch:
    """Return files as what each process is given of them."""
    batch: Batch = []
    for number in range(PROCESSES):
        own = [(place, file) for place, file in enumerate(files) if file.size % PROCESSES == number]
        if own:
            batch.append(Share(number, own, batch))
    return batch


def _in_order(batch: Batch) -> Seen:
    """Return what was seen in all files of a batch, in the order of their places."""
    parts = sorted((one for share in batch for one in share.seen or ()), key=lambda one: one[0])
    return joined(seen for _, seen in parts)


def _take(worker: Worker, todo: Sequence[deque[Share]]) -> None:
    """Take an answer. A process that died over several files leaves each of them to be tried by itself."""
    share = worker.share
    assert share is not None
    share.seen = worker.answer()
    if share.seen is None:
        worker.restart()
        if len(share.files) == 1:
            [(place, file)] = share.files
            share.seen = [(place, Seen(unread=(Unread(file.path, "it ended the process that read it"),), files=1))]
        else:
            alone = [Share(share.meant_for, [one], share.batch) for one in share.files]
            share.seen = []
            share.batch += alone
            todo[share.meant_for].extendleft(reversed(alone))
