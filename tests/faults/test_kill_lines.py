"""T1.2: SIGKILL at the k-th executed line of issuing, ending and taking back, for every k; nothing is left.

A process tells the story on a database file, with a target that is a folder and outlives it, and kills itself at
a line. Another one opens the database: before it does anything each name at the target has a lease; after its lanes
ran the target is empty, with no orphan to adopt. Before and after, the state is what its events say and no lease
outlives its task; at last the log is sealed and verifies. The control gives out first and records then; others
change a row, let a lease outlive its task, and seal another body.
"""

import asyncio
import os
import shutil
import signal
import sqlite3
import sys
from collections.abc import Iterator, MutableMapping
from contextlib import closing
from pathlib import Path

import pytest

from taskbound import ending
from taskbound.app import world as made
from taskbound.core.audit import verify
from taskbound.core.event import Kind
from taskbound.core.task import Task
from taskbound.core.thing import advance
from taskbound.steps import end_task, issue_lease, revoke_lease
from taskbound.store.sqlite_log import SqliteLog
from tests.faults.test_crash import target_first
from tests.logs import Files, LogRig
from tests.notes import note
from tests.store.stored import SqliteRig, reading
from tests.stories import story

FILES: set[str] = {str(module.__file__) for module in (issue_lease, end_task, ending, revoke_lease)}


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
    before = unsound(rig)  # its first: each name at the target has a lease
    orphans = await rig.restart_later()
    left = rig.names_at_targets()
    said = [before, unsound(rig), f"orphans {len(orphans)}" * bool(orphans), f"left {len(left)}" * bool(left)]
    said.append(await unverified(rig))
    await rig.store.close()
    return "; ".join(filter(None, said))


def unsound(rig: SqliteRig) -> str:
    """Return what does not hold of names, leases, tasks, and the state that the events lead to; "" where all does."""
    try:
        rig.check()
    except AssertionError as error:
        return f"unsound: {error or 'what is stored is not what its events say'}"
    return ""


async def unverified(rig: SqliteRig) -> str:
    """Seal the log and export it. Return what does not verify, "" where all does."""
    logs = LogRig(rig.store, SqliteLog(rig.store), rig.clock)
    sealed = await logs.seal()
    found = verify(Files(await logs.export()), logs.key)
    if found.problems:
        return f"unverified: {found.problems[0]}"
    with reading(rig.path) as db:  # other organisations have logs of their own
        (events,) = db.execute("SELECT count(*) FROM events WHERE org = 'main'").fetchone()
    return "" if sealed.size == found.size == events else f"unverified: {sealed.size} of {events} events are sealed"


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
    wrong = {k: said for k in range(1, lines + 1) if (said := verdict(base, tmp_path / "trial", k))}
    note(f"killed at each of {lines} lines; wrong: {wrong}")
    assert wrong == {}


def test_control_a_credential_that_is_made_before_its_record_is_left(tmp_path, monkeypatch):
    monkeypatch.setattr(story, "issue_lease", target_first)
    monkeypatch.setitem(globals(), "FILES", {str(sys.modules[target_first.__module__].__file__)})
    base, lines = base_of(tmp_path, monkeypatch)
    assert any(verdict(base, tmp_path / "trial", k) for k in range(1, lines + 1))


@pytest.mark.parametrize("change", ["UPDATE tasks SET state = 'suspended'", 'UPDATE budgets SET "left" = "left" + 1'])
def test_control_a_state_that_the_events_do_not_say_is_found(tmp_path, monkeypatch, change):
    base_of(tmp_path, monkeypatch)
    shutil.copytree(tmp_path / "whole", tmp_path / "as it was")
    assert forked(judged, tmp_path / "as it was") == (0, "")
    with closing(sqlite3.connect(tmp_path / "whole/taskbound.db")) as db, db:
        assert db.execute(change).rowcount
    assert "unsound: " in forked(judged, tmp_path / "whole")[1]


async def ends_alone(world, door, asker, id, reason):
    """The end that must not be: the task ends, what hangs on it stays, and the process dies."""
    async with world.store.transaction(door) as tx:
        over = advance(await tx.get(Task, id), Kind.TASK_ENDED, ended=tx.now, reason=reason, due=None)
        await tx.record(Kind.TASK_ENDED, over)
    os.kill(os.getpid(), signal.SIGKILL)


def test_control_a_lease_that_outlives_its_task_is_found(tmp_path, monkeypatch):
    base, _ = base_of(tmp_path, monkeypatch)
    monkeypatch.setattr(story, "end_task", ends_alone)
    assert forked(told, base, 0)[0] == -signal.SIGKILL
    assert "outlived its task" in forked(judged, base)[1]


def test_control_a_log_that_says_something_else_is_found(tmp_path, monkeypatch):
    base_of(tmp_path, monkeypatch)
    exported = LogRig.export

    async def altered(logs):
        return {path: data.replace(b"task.ended", b"task.opened") for path, data in (await exported(logs)).items()}

    monkeypatch.setattr(LogRig, "export", altered)
    assert forked(judged, tmp_path / "whole")[1].startswith("unverified: ")
