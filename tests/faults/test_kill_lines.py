"""T1.2: SIGKILL at the k-th executed line of issuing, ending and taking back, for every k; nothing is left.

A process tells the story on a database file, with a target that is a folder and outlives it, and kills itself at
a line. Another one opens the database: before it does anything each name at the target has a lease; after its lanes
ran the target is empty, with no orphan to adopt. The control gives out first and records then.
"""

import asyncio
import os
import random
import shutil
import signal
import sys
from collections.abc import Iterator, MutableMapping
from pathlib import Path

from taskbound import ending
from taskbound.app import world as made
from taskbound.core.lease import Lease
from taskbound.steps import end_task, issue_lease, revoke_lease
from tests.faults.test_crash import target_first
from tests.notes import note
from tests.profile import FULL
from tests.store.stored import SqliteRig
from tests.stories import story

FILES: set[str] = {str(module.__file__) for module in (issue_lease, end_task, ending, revoke_lease)}
SHORT = 60  # lines of the short profile, drawn anew in each run


class Folder(MutableMapping[str, str | None]):
    """A target's logins, each a file: they outlive the process that made them."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __getitem__(self, name: str) -> str | None:
        try:
            return (self.path / name).read_text() or None
        except FileNotFoundError:
            raise KeyError(name) from None

    def __setitem__(self, name: str, digest: str | None) -> None:
        (self.path / name).write_text(digest or "")

    def __delitem__(self, name: str) -> None:
        self[name]
        (self.path / name).unlink()

    def __iter__(self) -> Iterator[str]:
        return iter(sorted(one.name for one in self.path.iterdir()))

    def __len__(self) -> int:
        return len(list(self.path.iterdir()))


def rig_in(place: Path) -> SqliteRig:
    rig = SqliteRig(place / "taskbound.db")
    (place / "shopdb").mkdir(exist_ok=True)
    rig.targets["shopdb"].logins = Folder(place / "shopdb")  # type: ignore[assignment]
    return rig


async def prepared(place: Path) -> None:
    rig = rig_in(place)
    await rig.people()
    await rig.store.close()


async def told(place: Path, kill_at: int) -> int:
    """Tell the story, and die at a line. Return how many lines it executed, where that many there are not."""
    lines = 0

    def enter(frame, event, arg):
        return line if frame.f_code.co_filename in FILES else None

    def line(frame, event, arg):
        nonlocal lines
        if event == "line":
            lines += 1
            if lines == kill_at:
                os.kill(os.getpid(), signal.SIGKILL)
        return line

    rig = rig_in(place)
    sys.settrace(enter)
    await story.one_task_from_open_to_end(rig)
    sys.settrace(None)
    await rig.store.close()
    return lines


async def judged(place: Path) -> str:
    """Return what is wrong before and after recovery, "" where nothing is."""
    rig = rig_in(place)
    async with rig.store.transaction(rig.lane) as tx:
        explained = {lease.name for lease in await tx.find(Lease)}
    unexplained = rig.names_at_targets() - explained
    orphans = await rig.restart_later()
    left = rig.names_at_targets()
    await rig.store.close()
    return f"unexplained {len(unexplained)}, orphans {len(orphans)}, left {len(left)}" * bool(
        unexplained or orphans or left
    )


def forked(deed, *args) -> tuple[int, str]:
    """Run it in a process of its own. Return how that ended, and what it told."""
    reading, writing = os.pipe()
    if (pid := os.fork()) == 0:
        try:
            os.write(writing, str(asyncio.run(deed(*args))).encode())
            os._exit(0)
        except BaseException as error:
            os.write(writing, repr(error).encode())
            os._exit(1)
    os.close(writing)
    with open(reading, "rb") as pipe:
        text = pipe.read().decode()
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), text


def verdict(base: Path, place: Path, kill_at: int) -> str:
    shutil.copytree(base, place)
    ended, said = forked(told, place, kill_at)
    assert ended == -signal.SIGKILL, f"line {kill_at} was not reached again: {said}"
    ended, said = forked(judged, place)
    assert ended == 0, said
    shutil.rmtree(place)
    return said


def base_of(tmp_path: Path, monkeypatch) -> tuple[Path, int]:
    """Return a folder with who takes part, and how many lines the story executes."""
    letters = made._letters
    monkeypatch.setattr(made, "_letters", lambda count: "killed" if count == 6 else letters(count))  # one instance
    base = tmp_path / "base"
    base.mkdir(mode=0o700)
    assert forked(prepared, base) == (0, "None")
    shutil.copytree(base, tmp_path / "whole")
    ended, lines = forked(told, tmp_path / "whole", 0)
    assert ended == 0, lines
    return base, int(lines)


def test_killed_at_any_line_nothing_is_left(tmp_path, monkeypatch):
    base, lines = base_of(tmp_path, monkeypatch)
    seed = random.randrange(2**32)
    at = range(1, lines + 1) if FULL else sorted(random.Random(seed).sample(range(1, lines + 1), SHORT))
    wrong = {k: said for k in at if (said := verdict(base, tmp_path / "trial", k))}
    note(f"seed {seed}; killed at {len(at)} of {lines} lines; wrong: {wrong}")
    assert wrong == {}


def test_control_a_credential_that_is_made_before_its_record_is_left(tmp_path, monkeypatch):
    monkeypatch.setattr(story, "issue_lease", target_first)
    monkeypatch.setitem(globals(), "FILES", {str(sys.modules[target_first.__module__].__file__)})
    base, lines = base_of(tmp_path, monkeypatch)
    assert any(verdict(base, tmp_path / "trial", k) for k in range(1, lines + 1))
