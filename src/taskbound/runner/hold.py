"""Holding a task: one open answer whose end, seen from the server, ends the task.

A thread follows it, because a line may come at any time and the main thread waits for signals and
for the child. When the server goes away the task is taken up again (`GET /v1/tasks/{id}/hold`)
within the time that INTERFACES 10 gives; a refusal then means that it ended meanwhile.
"""

import os
import queue
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from taskbound_sdk import Held, Refused, Unreachable

AGAIN = 0.25  # seconds between two attempts
LOST = 30.0  # seconds without a server, after which the child ends


@dataclass(frozen=True, slots=True)
class News:
    """Something that happened to the task; `over`: the child has nothing to work under any more."""

    text: str
    over: bool = False


class Hold:
    """A task that is held. What happens to it is `news`; `fileno` is readable when there is some."""

    def __init__(self, held: Held, reopen: Callable[[], Held]) -> None:
        self._reopen = reopen
        self._news: queue.SimpleQueue[News] = queue.SimpleQueue()
        self._ready, self._bell = os.pipe()
        threading.Thread(target=self._follow, args=(held,), daemon=True).start()

    def fileno(self) -> int:
        return self._ready

    def news(self) -> Iterator[News]:
        """Yield what happened since the last time."""
        os.read(self._ready, 4096)
        while not self._news.empty():
            yield self._news.get()

    def _tell(self, *lines: str, over: bool = False) -> None:
        for line in lines[:-1]:
            self._news.put(News(line))
        self._news.put(News(lines[-1], over))
        os.write(self._bell, b".")

    def _follow(self, held: Held) -> None:
        while True:
            try:
                for line in held:
                    if line.get("state") in ("ended", "closed"):
                        self._tell(f"the task ended: {line.get('reason') or 'no reason was given'}", over=True)
                        return
                    self._tell(f"the task is {line.get('state')}")
            except (Unreachable, OSError, ValueError):
                pass  # broken off like an answer that came to its end
            self._tell(
                f"the server is gone; trying again for {LOST:g} s: until it is back nothing is permitted",
                "if it was stopped on purpose, start it again: taskbound up",
            )
            try:
                held = self._again()
            except Refused as refused:
                self._tell(f"the task cannot be taken up again, so the program is ended: {refused}", over=True)
                return
            except Unreachable:
                self._tell(
                    f"the server did not come back within {LOST:g} s, so the program is ended",
                    "the next taskbound up ends the task and takes back what it leased; each lease also ends by itself",
                    over=True,
                )
                return
            self._tell("the server is back")

    def _again(self) -> Held:
        until = time.monotonic() + LOST
        while True:
            try:
                return self._reopen()
            except Refused as refused:
                if refused.status < 500 or time.monotonic() > until:
                    raise
            except Unreachable:
                if time.monotonic() > until:
                    raise
            time.sleep(AGAIN)
