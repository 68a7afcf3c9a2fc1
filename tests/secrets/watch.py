"""What any process of the machine shows to others: its arguments and its environment, sampled all the time."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

EVERY = 0.1  # seconds between two looks at all processes


class Shown:
    """Arguments and environments as they were seen, each once, by "<what> of <command>"."""

    def __init__(self) -> None:
        self.seen: dict[tuple[str, bytes], str] = {}
        self.looks = 0

    def look(self) -> None:
        for process in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):  # it has ended, or is not ours to look at
                name = (process / "comm").read_text().strip()
                for what in ("cmdline", "environ"):
                    self.seen.setdefault((what, (process / what).read_bytes()), f"/proc/…/{what} of {name}")
        self.looks += 1

    def places(self) -> list[tuple[str, bytes]]:
        return [(name, data) for (_, data), name in self.seen.items() if data]


@contextmanager
def watching() -> Iterator[Shown]:
    """Sample what processes show while the block runs."""
    shown, done = Shown(), threading.Event()

    def look() -> None:
        while not done.wait(EVERY):
            shown.look()

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield shown
    finally:
        done.set()
        thread.join()
        shown.look()
