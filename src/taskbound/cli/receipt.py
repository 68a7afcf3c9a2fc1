"""`taskbound receipt`: what a closed task was given and when each of it was dead; `verify` asks nobody.

`show` says what it says on stderr, and prints the document, `{"task", "receipt": a signed note, "vkey"}`,
on stdout where that is no terminal, so that `show ID > FILE` keeps it. With `--out` the note is written as
it is, and the key beside it, `FILE.vkey`. Whoever has the key from elsewhere (`--vkey`) also knows whose
receipt it is.
"""

import argparse
import json
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

from taskbound.cli import answer
from taskbound.core.errors import Conflict, InvalidRequest
from taskbound.core.receipt import MalformedReceipt, Verdict, parse_receipt, verify_receipt
from taskbound.formats.note import MAX_NOTE, MalformedNote, VerifierKey, parse_key, parse_note

VERBS = {
    "show": "show the receipt of a closed task, or write it to a file",
    "verify": "verify the file of a receipt, offline",
}


def main(words: Sequence[str]) -> int:
    """Run one `taskbound receipt …`."""
    parser, verbs = answer.with_verbs("receipt", "What a task was given, and that it is dead.", VERBS, words)
    verbs["show"].add_argument("task", metavar="ID")
    out = "write the note, and FILE.vkey beside it; neither may be there yet"
    verbs["show"].add_argument("--out", metavar="FILE", type=Path, help=out)
    verbs["verify"].add_argument("file", metavar="FILE", type=Path)
    verbs["verify"].add_argument("--vkey", metavar="KEY", help="the key, from elsewhere than the receipt")
    asked = parser.parse_args(words)
    return _verify(asked) if asked.verb == "verify" else _show(asked)


def _show(asked: argparse.Namespace) -> int:
    for file in () if asked.out is None else (asked.out, _beside(asked.out)):
        if os.path.lexists(file):
            raise Conflict(f"{file} exists already", hint="choose another file: a receipt is kept, not written over")
    told = answer.client().request("GET", f"/v1/tasks/{quote(asked.task, safe='')}/receipt")
    if asked.out is not None:
        for file, text in ((asked.out, told["receipt"]), (_beside(asked.out), f"{told['vkey']}\n")):
            with file.open("x", newline="") as made:  # again: another may have been first
                made.write(text)
        answer.say(f"the receipt is in {asked.out}, its key in {_beside(asked.out)}")
    if asked.json or (asked.out is None and not sys.stdout.isatty()):  # a document is for a file, not for a reader
        answer.show_json(told)
    if not asked.json and asked.out is None:
        try:
            answer.say(*_lines(parse_receipt(parse_note(told["receipt"].encode())[0])))
            if sys.stdout.isatty():
                answer.say("the signed receipt itself: --out FILE keeps it, --json prints it")
        except (MalformedNote, MalformedReceipt) as error:
            raise InvalidRequest(f"what the server gave is no receipt: {error}", code="invalid_receipt") from None
    return answer.DONE


def _lines(receipt: Mapping[str, Any]) -> Iterator[str]:
    """Return a receipt as people read it."""
    leases, missing = receipt["leases"], receipt["not_presented"]
    yield f"task {receipt['task']} of {receipt['org']} ended {receipt['ended_at']}"
    for lease in leases:
        yield f"{lease['target']}: {lease['name']} ({lease['class']}), lease {lease['id']}"
        yield f"  cut {lease['cut_at'] or 'unknown'}, clean {lease['clean_at'] or 'unknown'}"
        probe = lease["probe"]
        if probe["at"]:
            yield f"  presented dead by the {probe['by']} {probe['at']}: {probe['answer']}"
        else:
            yield f"  {probe['answer']}"
    for door in receipt["doors"]:
        refused = f"first refused {door['first_refusal_at']}"
        quiet = "closed by the task's state, nobody knocked before this was made"
        yield f"{door['name']}: last permitted {door['last_permit_at'] or 'never'}, " + (
            refused if door["refused_by"] == "presented" else quiet
        )
    for token in receipt["tokens"]:
        yield f"token {token['jti']}, until {token['exp']}: dead with its task, which every door reads; not presented"
    all_of = len(leases) + len(receipt["tokens"])
    shown = all_of - missing
    yield f"{answer.counted(all_of, 'credential')}: {shown} presented dead and refused, {missing} not presented"


def _verify(asked: argparse.Namespace) -> int:
    with asked.file.open("rb") as file:
        note = file.read(2 * MAX_NOTE)
    note, beside = _document(note)
    key = _key(asked, beside)
    verdict = verify_receipt(note, key)
    if asked.json:
        answer.show_json(_told(verdict, given=asked.vkey is not None))
    else:
        answer.show(*verdict.problems)
        name = f"the receipt of {verdict.receipt['task']}" if verdict.receipt else str(asked.file)
        answer.show(f"{name}: {'NOT verified' if verdict.problems else 'verified'}")
        if asked.vkey is None:
            answer.show("key taken from the receipt: integrity, not origin")
    return answer.UNVERIFIED if verdict.problems else answer.DONE


def _document(data: bytes) -> tuple[bytes, str | None]:
    """Return the note of a file, and the key that stands in it: that of `show`, or a note alone."""
    try:
        told = json.loads(data)
        return told["receipt"].encode(), str(told["vkey"])
    except (ValueError, LookupError, TypeError, AttributeError):
        return data[: MAX_NOTE + 1], None


def _key(asked: argparse.Namespace, beside: str | None) -> VerifierKey:
    """Return the key given, else the one in or beside the file. Raises InvalidRequest."""
    text = asked.vkey or beside
    if text is None:
        try:
            text = _beside(asked.file).read_text().removesuffix("\n")
        except FileNotFoundError:
            hint = "give the key with --vkey KEY, or put it beside"
            raise InvalidRequest(f"there is no {_beside(asked.file)}", code="no_key", hint=hint) from None
        except UnicodeDecodeError:
            text = ""
    try:
        return parse_key(text)
    except MalformedNote as error:
        hint = "a key is one line, NAME+HASH+KEY, as `taskbound receipt show` gave it as `vkey`"
        raise InvalidRequest(f"this is no key: {error}", code="no_key", hint=hint) from None


def _told(verdict: Verdict, *, given: bool) -> dict[str, Any]:
    return {
        "verified": not verdict.problems,
        "task": verdict.receipt["task"] if verdict.receipt else None,
        "key": verdict.key,
        "key_from": "given" if given else "receipt",
        "problems": list(verdict.problems),
    }


def _beside(file: Path) -> Path:
    return file.with_name(f"{file.name}.vkey")
