"""Fixed: a fix is done and put back, in an order in which nothing is lost.

The values are kept in their targets first, durably, then what undoes it all is written down, and only then are the
files replaced, each whole or not at all. Whatever fails before leaves every file as it was; what fails between two of
them puts the first ones back. Nothing that is written here but the targets' own files holds a value.
"""

import hashlib
import json
import os
import shlex
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

from taskbound.app import targets
from taskbound.app.discover import mark_key
from taskbound.app.fix import ID, Fix, Pipeline, require_id
from taskbound.app.places import login
from taskbound.app.replace import read_file, replace_all, write_whole
from taskbound.app.scanning import mark_of
from taskbound.core.errors import Conflict, NotFound
from taskbound.posture.moved import Move, holds_secret, undone

RECORDS = "keys/fixes"  # of the state directory: what undoes each fix; no value stands there
JOURNAL = "fixes.jsonl"  # in the state directory: what was fixed, put back and ended, by whom and when


def apply(fix: Fix, state: Path, *, pipelines: bool = False) -> None:
    """Do it, with the pipelines where that is asked for. Raises Conflict where a file has changed meanwhile, OSError;
    then every file is as it was."""
    targets.require_private(state)
    written = fix.pipelines if pipelines else ()
    for name, value in fix.names.new.items():
        targets.put_new(state, name, value)
    targets.add(state, {name: fix.names.environments[name] for name in fix.targets})
    _write_record(state, fix.finding.id, _record(fix, written, mark_key(state)))
    every = [(file, moved.before, moved.after) for file, moved in fix.files]
    every += [(one.file, one.before, one.after) for one in written]
    named = [file for file, _, _ in every]
    journal(state, "fixing", fix.finding.id, named, secrets=False)
    _replaced(state, fix.finding.id, every)
    with suppress(OSError):  # it is done, and said to be begun
        journal(state, "fixed", fix.finding.id, named, secrets=False)


def _replaced(state: Path, id: str, files: Sequence[tuple[Path, bytes, bytes]]) -> None:
    """Replace files, and write down where that failed: what was begun and has no end was killed."""
    try:
        replace_all(files)
    except BaseException:
        with suppress(OSError):
            changed = [file for file, _, after in files if file.exists() and file.read_bytes() == after]
            said = "failed: some of them are changed" if changed else "failed: nothing is changed by it"
            journal(state, said, id, changed or [file for file, _, _ in files], secrets=False)
        raise


# --- putting back ----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Undo:
    """What puts back what a fix has changed."""

    id: str
    files: tuple[tuple[Path, bytes, bytes], ...] = field(repr=False)  # now, and as it was
    has_secrets: bool
    left: tuple[Path, ...] = ()  # held a literal secret, which was kept nowhere: `git checkout` puts it back
    over: tuple[Path, ...] = ()  # the records of which nothing is left to be put back by then


def plan_undo(state: Path, id: str) -> Undo:
    """Return what puts back the last fix of a finding that changed something. Changes nothing.

    Without files where all is as it was before them. Raises NotFound, OSError, Conflict: also where nothing but what
    is `left` would be to put back.
    """
    written(state, id, hint="its id is that of the finding")
    over = list[Path]()
    for record in records(state, id):
        over.append(record)
        if planned := _undoing(state, id, tuple(over)):
            return planned
    return Undo(id, (), has_secrets=False, over=tuple(over))


def _undoing(state: Path, id: str, over: tuple[Path, ...]) -> Undo | None:
    """Return what puts back what the last of some records tells; None where it is as it was before."""
    files, left, has_secrets = list[tuple[Path, bytes, bytes]](), list[Path](), False
    for one in json.loads(over[-1].read_bytes())["files"]:
        file = Path(one["file"])
        try:
            now = read_file(file)
        except FileNotFoundError:
            hint = f"put it there as the fix left it, or: {by_git([file])}"
            raise Conflict(f"{file} is gone since it was fixed", hint=hint) from None
        if _digest(now) == one["before"]:  # the fix was cut off before it, or it was put back by hand
            continue
        if one.get("is_kept") is False:
            left.append(file)
            continue
        if _digest(now) != one["after"]:
            raise Conflict(f"{file} has changed since it was fixed", hint=_first(state, id, one["file"], _digest(now)))
        before = (
            one["text"].encode() if "text" in one else undone(now, map(_move, one["moves"]), partial(value_of, state))
        )
        if _digest(before) != one["before"]:
            raise Conflict(f"the values of {file} are no longer those that stood there", hint="taskbound target list")
        files.append((file, now, before))
        has_secrets = has_secrets or "moves" in one
    if left and not files:
        raise Conflict(f"{left[0]} held a literal secret, which was kept nowhere", hint=by_git(left))
    return Undo(id, tuple(files), has_secrets, tuple(left), over) if files else None


def records(state: Path, id: str) -> list[Path]:
    """Return where it is written down what undoes the fixes of a finding, the last one first."""
    earlier = sorted((state / RECORDS).glob(f"{id}.*.json"), reverse=True)
    return [file for file in (state / RECORDS / f"{id}.json", *earlier) if file.exists()]


def by_git(files: Sequence[Path]) -> str:
    """Return the command that puts back what was kept nowhere, from wherever it is typed."""
    folders = {file.parent: [one.name for one in files if one.parent == file.parent] for file in files}
    return " && ".join(
        f"git {shlex.join(['-C', str(one), 'checkout', '--', *names])}" for one, names in folders.items()
    )


def _first(state: Path, id: str, file: str, now: str) -> str:
    """Return what is to be done first about a file that is not as a fix left it: another fix may have come after it."""
    for other in sorted((state / RECORDS).glob("*.json")):
        if other.stem != id and ID.fullmatch(other.stem):
            known = json.loads(other.read_bytes())["files"]
            if any((one["file"], one["after"]) == (file, now) for one in known):
                return f"a later fix of it is put back first: taskbound fix {other.stem} --undo"
    return "it was changed by no fix that is known here: put it back as the fix left it, or take it from git"


def undo(planned: Undo, state: Path) -> None:
    """Put back what was fixed, and write down that it was. Raises Conflict, OSError; then every file is as it was.

    What undoes it stays written down as long as something is left.
    """
    if planned.files:  # before, and not after it: a literal secret never comes back unrecorded
        journal(state, "put back", planned.id, [file for file, _, _ in planned.files], secrets=planned.has_secrets)
    _replaced(state, planned.id, planned.files)
    if planned.left:
        return
    for record in planned.over:
        record.unlink(missing_ok=True)
    for earlier in records(state, planned.id)[:1]:  # what is put back next
        earlier.replace(state / RECORDS / f"{planned.id}.json")


def written(state: Path, id: str, hint: str) -> Mapping[str, Any]:
    """Return what is written down about the last fix of a finding. Raises NotFound, InvalidRequest, OSError."""
    require_id(id)
    try:
        record: Mapping[str, Any] = json.loads((state / RECORDS / f"{id}.json").read_bytes())
    except FileNotFoundError:
        raise NotFound(f"nothing is written down about a fix of {id}", hint=hint) from None
    return record


def value_of(state: Path, name: str) -> str:
    """Return what a target has in the place of what stood in a file. Raises Conflict, TargetUnavailable."""
    value = targets.value_of(state, name)
    if value is None:
        raise Conflict(f"the target {name} has no value any more", hint=f"taskbound target put {name}")
    return value.reveal()


def _record(fix: Fix, pipelines: Sequence[Pipeline], key: bytes) -> Mapping[str, Any]:
    """Return what undoes a fix. By its mark it is known of a target whether it still has what stood in a file."""
    told: list[dict[str, Any]] = []
    for file, moved in fix.files:
        moves = [
            {
                "at": one.at,
                "target": one.target,
                "spelling": one.spelling,
                "new": one.new,
                "mark": mark_of(key, fix.names.text_of(one.target)),
            }
            for one in moved.moves
        ]
        told.append({**_about(file, moved.before, moved.after), "moves": moves})
    for one in pipelines:
        has_secret = holds_secret(one.path, one.before, fix.detector)
        kept: dict[str, Any] = {"is_kept": False} if has_secret else {"text": one.before.decode()}
        told.append({**_about(one.file, one.before, one.after), **kept})
    places = [f"{one.path}:{one.line}" for one in fix.elsewhere]
    return {"finding": fix.finding.id, "files": told, "elsewhere": places}


def _move(told: Mapping[str, Any]) -> Move:
    return Move(**{name: value for name, value in told.items() if name != "mark"})


def _about(file: Path, before: bytes, after: bytes) -> dict[str, str]:
    return {"file": str(file.absolute()), "before": _digest(before), "after": _digest(after)}


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _set_aside(state: Path, id: str) -> None:
    """Keep what puts back an earlier fix of the same finding under another name; it stays under its own as well."""
    file = state / RECORDS / f"{id}.json"
    with suppress(FileNotFoundError):
        os.link(file, file.with_suffix(f".{datetime.now(UTC):%Y%m%dT%H%M%S.%f}.json"))


def _write_record(state: Path, id: str, record: Mapping[str, Any]) -> None:
    folder = state / RECORDS
    for one in (folder.parent, folder):
        one.mkdir(mode=0o700, exist_ok=True)
    _set_aside(state, id)
    write_whole(folder / f"{id}.json", json.dumps(record, indent=1).encode(), 0o600)


def journal(state: Path, what: str, finding: str, files: Sequence[Path], *, secrets: bool) -> None:
    """Write down, durably, what was done, by whom and when. Raises OSError."""
    at = datetime.now(UTC).isoformat(timespec="seconds")
    named = [str(file.absolute()) for file in files]
    line = {"at": at, "by": login(), "what": what, "finding": finding, "files": named, "with_secrets": secrets}
    number = os.open(state / JOURNAL, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    with open(number, "ab") as file:
        file.write(json.dumps(line).encode() + b"\n")
        file.flush()
        os.fsync(file.fileno())
