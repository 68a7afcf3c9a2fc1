"""`taskbound audit`: check an exported log without us, or export, erase and follow the one of a state directory.

`verify` reads files and nothing else. The others open the store by themselves until `up` comes,
so no other process may have it open.
"""

import argparse
import asyncio
import json
import os
import re
import sys
from collections.abc import Iterator, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

from taskbound.core.audit import LINE, Verdict, verify
from taskbound.core.errors import InvalidRequest, Refused, TaskboundError
from taskbound.core.leaf import Fact, render_leaf
from taskbound.formats.note import MalformedNote, parse_key

DONE, REFUSED, UNAVAILABLE, UNVERIFIED = 0, 1, 3, 4  # INTERFACES 6; 2 is argparse's
UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}


def main(argv: Sequence[str]) -> int:
    """Run one `taskbound audit …` and return its exit code."""
    try:
        asked = _parser().parse_args(argv)
    except SystemExit as left:  # argparse has said why
        return int(left.code or 0)
    try:
        return _verify(asked) if asked.verb == "verify" else asyncio.run(_with_state(asked))
    except TaskboundError as error:
        print(f"{error} ({error.code})", file=sys.stderr)
        if error.hint:
            print(f"hint: {error.hint}", file=sys.stderr)
        if error.code == "log_broken":
            return UNVERIFIED
        return REFUSED if isinstance(error, Refused) else UNAVAILABLE


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("taskbound audit", description="The log: every fact, sealed.", allow_abbrev=False)
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="export|verify|erase|tail")
    export = verbs.add_parser("export", help="write the log as files that anybody can verify", allow_abbrev=False)
    export.add_argument("directory", metavar="DIR", type=Path)
    check = verbs.add_parser("verify", help="verify an export, offline", allow_abbrev=False)
    check.add_argument("directory", metavar="DIR", type=Path)
    check.add_argument("--vkey", metavar="KEY", help="the log's key, from elsewhere than the export")
    check.add_argument("--from", dest="earlier", metavar="CHECKPOINT", type=Path, help="a checkpoint you kept")
    erase = verbs.add_parser(
        "erase", help="erase the bodies of old events; headers and proofs stay", allow_abbrev=False
    )
    erase.add_argument("--older-than", required=True, metavar="AGE", type=_age, help="such as 90d, 12h, 30m or 45s")
    tail = verbs.add_parser("tail", help="print sealed events, one JSON line each", allow_abbrev=False)
    tail.add_argument("--after", metavar="INDEX", type=int, default=-1, help="only those behind this index")
    tail.add_argument("--to", metavar="FILE", type=Path, help="append to this file what it does not have yet")
    for verb in (export, erase, tail):
        verb.add_argument("--state", metavar="DIR", type=Path, default=None, help="the state directory")
        verb.add_argument("--checkpoints", metavar="DIR", type=Path, default=None, help="the second place")
    for verb in (export, erase, check):
        verb.add_argument("--json", action="store_true", help="print one JSON value")
    return parser


def _age(text: str) -> timedelta:
    spelled = re.fullmatch(r"([0-9]{1,6})([smhd])", text)
    if not spelled:
        raise argparse.ArgumentTypeError(f"{text!r} is no age such as 90d, 12h, 30m or 45s")
    return timedelta(seconds=int(spelled[1]) * UNITS[spelled[2]])


# --- verify -----------------------------------------------------------------------------------------------


class _Directory:
    """The files of an export in a directory."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def read(self, path: str) -> bytes | None:
        try:
            return (self._directory / path).read_bytes()
        except (FileNotFoundError, IsADirectoryError, NotADirectoryError):
            return None

    def lines(self, path: str) -> Iterator[bytes]:
        if (self._directory / path).is_file():
            with (self._directory / path).open("rb") as file:
                while line := file.readline(LINE):
                    yield line.removesuffix(b"\n")


def _verify(asked: argparse.Namespace) -> int:
    if not asked.directory.is_dir():
        raise InvalidRequest(f"{asked.directory} is no directory", hint="taskbound audit export DIR")
    try:
        key = parse_key(asked.vkey) if asked.vkey else None
    except MalformedNote as error:
        raise InvalidRequest(
            f"the key given is none: {error}", hint="it is spelled as in the export's file vkey"
        ) from None
    try:
        earlier = asked.earlier.read_bytes() if asked.earlier else None
        verdict = verify(_Directory(asked.directory), key, earlier)
    except OSError as error:
        raise InvalidRequest(f"a file cannot be read: {error}") from None
    if asked.json:
        print(json.dumps(_told(verdict, given=key is not None)))
    else:
        _tell(verdict, given=key is not None)
    return UNVERIFIED if verdict.problems else DONE


def _told(verdict: Verdict, *, given: bool) -> dict[str, Any]:
    return {
        "verified": not verdict.problems,
        "origin": verdict.origin,
        "size": verdict.size,
        "erased": verdict.erased,
        "key": verdict.key,
        "key_from": "given" if given else "export",
        "first": verdict.first,
        "problems": [{"first": p.first, "last": p.last, "what": p.what} for p in verdict.problems],
        "more": verdict.more,
    }


def _tell(verdict: Verdict, *, given: bool) -> None:
    for problem in verdict.problems:
        print(problem)
    if verdict.more:
        print(f"and {verdict.more} more")
    erased = f", {verdict.erased} bodies erased" if verdict.erased else ""
    print(f"{verdict.origin}: {verdict.size} events{erased}: {'NOT verified' if verdict.problems else 'verified'}")
    if not given:
        print("key taken from the export: integrity, not origin")


# --- the others -------------------------------------------------------------------------------------------


class _Printed:
    """Standard output as a sink: one line for each event, its leaf."""

    def __init__(self, after: int) -> None:
        self._last = after

    async def last(self) -> int:
        return self._last

    async def send(self, facts: Sequence[Fact]) -> None:
        for fact in facts:
            if fact.index is not None:
                print(render_leaf(fact.header, fact.index).decode())
                self._last = fact.index


async def _with_state(asked: argparse.Namespace) -> int:
    from taskbound import app  # knows everything, so it costs more than `verify` should wait for

    state = asked.state or _state()
    if not (state / "taskbound.db").is_file():
        raise InvalidRequest(f"{state} holds no taskbound.db", hint="name the state directory with --state DIR")
    async with app.open_state(state, asked.checkpoints or _second_place()) as world:
        if asked.verb == "export":
            size = await app.audit_export(world, "main", asked.directory)
            said, people = {"size": size}, f"{size} events exported to {asked.directory}"
        elif asked.verb == "erase":
            erased = await app.audit_erase(world, "main", asked.older_than)
            said, people = {"erased": erased}, f"{erased} bodies erased"
        else:
            await app.audit_tail(world, "main", asked.to or _Printed(asked.after))
            return DONE
    print(json.dumps(said) if asked.json else people)
    return DONE


def _state() -> Path:
    """Return the state directory (INTERFACES 2)."""
    if home := os.environ.get("TASKBOUND_HOME"):
        return Path(home)
    if base := os.environ.get("XDG_STATE_HOME"):
        return Path(base) / "taskbound"
    return Path("/var/lib/taskbound") if os.geteuid() == 0 else Path.home() / ".local/state/taskbound"


def _second_place() -> Path:
    base = os.environ.get("XDG_DATA_HOME")
    return (Path(base) if base else Path.home() / ".local/share") / "taskbound/checkpoints"
