"""Files on a disk: walked, read and handed to what scans them, in processes of their own.

Nothing is followed out of what was named, nothing but regular files is opened, and no file is held in memory whole
that is larger than WHOLE: it is read in windows that overlap. gz, zip and tar are looked into, within bounds. What
cannot be read is named in the summary and stops nothing: also a file that ends the process that reads it, or
that takes longer than it may. What is seen comes in the order of the walk, whichever process was faster.
"""

import os
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import islice
from multiprocessing.connection import wait
from pathlib import Path

from taskbound.plugins.discoverers.files.walk import Repositories, Root, files_below
from taskbound.plugins.discoverers.files.workers import Batch, Worker, is_alone
from taskbound.posture.seen import Scan, Seen, Unread

__all__ = ["Files", "Root"]

PROCESSES = 2
BATCH_FILES, BATCH_BYTES = 64, 4 << 20  # what a process is given at a time: a millisecond of handing over, no more
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
        early = deque(islice(batches, 2))
        if early:
            if is_alone():
                self._begin(self._key)  # what it compiles is there in each process that is forked
            workers = [Worker(self._begin, self._key) for _ in range(PROCESSES if len(early) > 1 else 1)]
            yield from self._in_processes(workers, early, batches)
        yield Seen(
            unread=tuple(self._repositories.unread), repositories=tuple(self._repositories.names), known=self._known
        )

    def _in_processes(self, workers: Sequence[Worker], todo: deque[Batch], batches: Iterator[Batch]) -> Iterator[Seen]:
        order: deque[Batch] = deque()  # what was handed out and not yet yielded, as the walk had it
        more = True
        try:
            while more or todo or order:
                for worker in workers:
                    if worker.batch is None and todo and (todo[0].is_out or len(order) < AHEAD):
                        batch = todo.popleft()
                        if not batch.is_out:
                            batch.is_out = True
                            order.append(batch)
                        worker.give(batch)
                while order and order[0].seen is not None:
                    yield replace(order.popleft().seen or Seen(), known=self._known)
                busy = [worker for worker in workers if worker.batch]
                walking = more and len(todo) < AHEAD
                if walking:
                    batch_or_end = next(batches, None)
                    more = batch_or_end is not None
                    todo += [batch_or_end] if batch_or_end else []
                ready = wait([one.answers for one in busy], timeout=0 if walking else 1.0) if busy else []
                for worker in busy:
                    if worker.answers in ready or worker.is_stuck():
                        self._take(worker, todo, order)
        finally:
            for worker in workers:
                worker.end()

    def _take(self, worker: Worker, todo: deque[Batch], order: deque[Batch]) -> None:
        """Take an answer. A process that died over several files leaves each of them to be tried by itself."""
        batch = worker.batch
        assert batch is not None
        seen = worker.answer()
        if seen is None:
            worker.restart()
            if len(batch.files) == 1:
                seen = Seen(unread=(Unread(batch.files[0].path, "it ended the process that read it"),), files=1)
            else:
                alone = [Batch([one], is_out=True) for one in batch.files]
                place = next(n for n, one in enumerate(order) if one is batch)
                order.rotate(-place)
                order.popleft()
                order.extendleft(reversed(alone))
                order.rotate(place)
                todo.extendleft(reversed(alone))
        batch.seen = seen

    # --- the walk ------------------------------------------------------------------------------------

    def _batches(self) -> Iterator[Batch]:
        batch, size = Batch(), 0
        for top, root in reversed(self._roots.items()):
            for file in files_below(top, root, self._roots.keys() - {top}, self._repositories):
                if self._but and os.path.realpath(file.real) in self._but:
                    continue
                batch.files.append(file)
                size += file.size
                self._known += 1
                if len(batch.files) >= BATCH_FILES or size >= BATCH_BYTES:
                    yield batch
                    batch, size = Batch(), 0
        if batch.files:
            yield batch
