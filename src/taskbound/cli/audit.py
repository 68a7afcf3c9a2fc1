"""`taskbound audit`: check an exported log without us, or export, erase and follow the one of a state directory.

`verify` reads files and nothing else. The others ask the `up` that runs there, and open the store
by themselves when none does.
"""

import argparse
import errno
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from taskbound.cli import answer
from taskbound.core.audit import LINE, Verdict, verify
from taskbound.core.errors import InvalidRequest, Unavailable
from taskbound.core.leaf import Fact, MalformedLeaf, parse_leaf, render_flat, render_leaf
from taskbound.formats.note import MalformedNote, parse_key
from taskbound_sdk import Client, Unreachable

ABOUT = """\
The log: every fact, sealed.

  export DIR              write the log as files that anybody can verify
                            taskbound audit export /mnt/audit/2027-01
  verify DIR              verify an export, offline: needs nothing but its files; 4 where it does not verify
                            taskbound audit verify /mnt/audit/2027-01 --vkey "$(cat vkey-from-elsewhere)"
  erase --older-than AGE  erase the bodies of old events; headers and proofs stay, and the log says what was erased
                            taskbound audit erase --older-than 90d --class arguments
  tail                    print sealed events, one JSON line each, or append to a file what it does not have yet
                            taskbound audit tail --to /var/log/taskbound.jsonl
"""
VERBS = {
    "export": "write the log as files that anybody can verify",
    "verify": "verify an export, offline",
    "erase": "erase the bodies of old events; headers and proofs stay",
    "tail": "print sealed events, one JSON line each",
}
ORG = "main"
EXPORT = ("checkpoint", "vkey", "bodies.jsonl", "tile")  # what an export has at its top (INTERFACES 9)


def main(words: Sequence[str]) -> int:
    """Run one `taskbound audit …`."""
    parser, verbs = answer.with_verbs("audit", ABOUT, VERBS, words)
    for verb in ("export", "verify"):
        verbs[verb].add_argument("directory", metavar="DIR", type=Path)
    verbs["verify"].add_argument("--vkey", metavar="KEY", help="the log's key, from elsewhere than the export")
    verbs["verify"].add_argument(
        "--from", dest="earlier", metavar="CHECKPOINT", type=Path, help="a checkpoint you kept"
    )
    which = verbs["erase"].add_mutually_exclusive_group(required=True)
    which.add_argument("--older-than", metavar="AGE", type=answer.duration, help="such as 90d, 12h, 30m or 45s")
    which.add_argument("--event", metavar="INDEX", type=int, help="of one event alone, by its index in the log")
    verbs["erase"].add_argument(
        "--class", dest="of", choices=("arguments",), default="", help="only what calls were asked with, and why denied"
    )
    verbs["tail"].add_argument("--after", metavar="INDEX", type=int, default=-1, help="only those behind this index")
    verbs["tail"].add_argument("--to", metavar="FILE", type=Path, help="append to this file what it does not have yet")
    for verb in VERBS.keys() - {"verify"}:
        verbs[verb].add_argument("--state", metavar="DIR", type=Path, help="the state directory")
        verbs[verb].add_argument("--checkpoints", metavar="DIR", type=Path, help="the second place, while no up runs")
    asked = parser.parse_args(words)
    if asked.verb == "verify":
        return _verify(asked)
    if asked.verb == "erase" and asked.event is not None and asked.of:
        raise answer.Usage("an event has one body, and it is erased whole", hint="leave --class out")
    import asyncio  # costs what `verify` takes otherwise

    state = (asked.state or answer.state_directory()).absolute()
    client = _running(state)
    if client is None:
        return asyncio.run(_with_state(state, asked))
    if asked.checkpoints:
        raise answer.Usage("taskbound up runs, and has a second place of its own", hint="leave --checkpoints out")
    return asyncio.run(_with_server(client, asked))


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
    # Where some of it is there, the rest was taken away: that does not verify.
    if not any((asked.directory / name).exists() for name in EXPORT):
        raise InvalidRequest(
            f"{asked.directory} is no export: there is no checkpoint", hint="taskbound audit export DIR"
        )
    try:
        key = parse_key(asked.vkey) if asked.vkey else None
    except MalformedNote as error:
        raise InvalidRequest(
            f"the key given is none: {error}", hint="it is spelled as in the export's file vkey"
        ) from None
    earlier = asked.earlier.read_bytes() if asked.earlier else None
    verdict = verify(_Directory(asked.directory), key, earlier)
    if asked.json:
        answer.show_json(_told(verdict, given=key is not None, compared=earlier is not None))
    else:
        _tell(verdict, given=key is not None, compared=earlier is not None)
    return answer.UNVERIFIED if verdict.problems else answer.DONE


def _told(verdict: Verdict, *, given: bool, compared: bool) -> dict[str, Any]:
    return {
        "verified": not verdict.problems,
        "origin": verdict.origin,
        "size": verdict.size,
        "erased": verdict.erased,
        "key": verdict.key,
        "key_from": "given" if given else "export",
        "history": "compared" if compared else "not provable",
        "first": verdict.first,
        "problems": [{"first": p.first, "last": p.last, "what": p.what} for p in verdict.problems],
        "more": verdict.more,
    }


def _tell(verdict: Verdict, *, given: bool, compared: bool) -> None:
    answer.show(*map(str, verdict.problems))
    if verdict.more:
        answer.show(f"and {verdict.more} more")
    if not compared:  # with the key, its owner can write another history, which verifies as well
        answer.show("no earlier checkpoint given (--from): that nothing was rewritten before is not provable")
    erased = f", {verdict.erased} bodies erased" if verdict.erased else ""
    verified = "NOT verified" if verdict.problems else "verified"
    answer.show(f"{verdict.origin}: {verdict.size} events{erased}: {verified}")
    if not given:
        answer.show("key taken from the export: integrity, not origin")


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


def _running(state: Path) -> Client | None:
    """Return the client of the `up` that runs on a state directory; None when none does."""
    try:
        Client(answer.socket_of(state)).request("GET", "/healthz")
    except Unreachable:
        return None
    return Client(answer.socket_of(state), timeout=answer.PATIENCE)


async def _with_server(client: Client, asked: argparse.Namespace) -> int:
    if asked.verb == "export":
        size = client.request("POST", "/v1/audit/export", {"directory": str(asked.directory.absolute())})["size"]
        return _exported(size, asked)
    if asked.verb == "erase" and asked.event is not None:
        return _erased(client.request("POST", f"/v1/bodies/{asked.event}/erase", {})["erased"], asked)
    if asked.verb == "erase":
        body = {"older_than_s": int(asked.older_than.total_seconds()), **({"class": asked.of} if asked.of else {})}
        return _erased(client.request("POST", "/v1/bodies/erase", body)["erased"], asked)
    sink: Any = _Printed(asked.after)
    if asked.to:
        from taskbound import app

        sink = app.file_sink(asked.to)
    after = await sink.last()
    while leaves := client.request("GET", f"/v1/events?after={after}")["events"]:
        await sink.send([_fact(leaf) for leaf in leaves])
        after = leaves[-1]["index"]
    return answer.DONE


def _fact(leaf: dict[str, Any]) -> Fact:
    """Return the fact that a leaf says; who follows the log needs no row and no body."""
    try:
        index, header = parse_leaf(render_flat(leaf))
    except MalformedLeaf as error:
        raise Unavailable(f"the server sent what is no leaf: {error}") from None
    return Fact(index, index, header, None, None)


async def _with_state(state: Path, asked: argparse.Namespace) -> int:
    store = state / "taskbound.db"
    if not store.is_file():
        raise InvalidRequest(f"{state} holds no taskbound.db", hint="name the state directory with --state DIR")
    if not os.access(store, os.R_OK | os.W_OK):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(store))

    from taskbound import app  # knows everything, so it costs more than `verify` should wait for

    usual = app.likely_second_place(app.load_config(None, state), state)
    second = asked.checkpoints or usual
    async with app.open_state(state, second) as world:
        # Begun here and now, it would be as old as the log is: a log that was put back would go unnoticed.
        missing = asked.checkpoints is not None and not second.is_dir()
        if missing or not await app.audit_has_second_place(world, ORG):
            hint = (
                f"without --checkpoints it is {usual}" if second != usual else "name the one it has with --checkpoints"
            )
            raise InvalidRequest(f"{second} holds no checkpoint of this log", hint=hint)
        if asked.verb == "export":
            return _exported(await app.audit_export(world, ORG, asked.directory), asked)
        if asked.verb == "erase":
            which = asked.older_than if asked.event is None else asked.event
            return _erased(await app.audit_erase(world, ORG, which, asked.of), asked)
        await app.audit_tail(world, ORG, asked.to or _Printed(asked.after))
    return answer.DONE


def _exported(size: int, asked: argparse.Namespace) -> int:
    return _counted({"size": size}, f"{size} events exported to {asked.directory}", asked)


def _erased(count: int, asked: argparse.Namespace) -> int:
    return _counted({"erased": count}, f"{count} bodies erased", asked)


def _counted(value: dict[str, int], people: str, asked: argparse.Namespace) -> int:
    if asked.json:
        answer.show_json(value)
    else:
        answer.show(people)
    return answer.DONE
