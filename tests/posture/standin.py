"""Stand-ins for what reads formats and finds credentials: they know `KEY=value` lines and values like tok_abcd1234."""

import hashlib
import os
import re
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial

import pytest

from taskbound.posture import scan as scan_module
from taskbound.posture.cases import CASES, Case
from taskbound.posture.detection import Hit
from taskbound.posture.document import Document, Node
from taskbound.posture.findings import Finding
from taskbound.posture.readers import Reading
from taskbound.posture.scan import scan
from taskbound.posture.seen import Scanned
from taskbound.posture.sighting import Credential, Holder, Holding, Mark, Place

TOKEN = re.compile(r"tok_[a-z0-9]{8}")
TOKEN_CASE = Case(2, "high", "A <secret> lies in a file", "whoever reads the file has it", "taskbound fix ID")
SHARED_CASE = Case(9, "critical", "A credential is shared", "nobody can tell who used it", "taskbound graph holders ID")


def mark(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def hit(found: "re.Match[str]", mark: Mark, kind: str = "demo-token") -> Hit:
    value, line = found[0], found.string.count("\n", 0, found.start())
    return Hit(kind, mark(value), value[-4:], mark(value[-8:]), line, *found.span(), "plain", "", False)


class Detector:
    """What is written tok_… is certain; a value under a name with `password`, and a text `key-…`, may be one."""

    def __init__(self, mark: Mark) -> None:
        self._mark = mark

    def in_text(self, data: bytes) -> list[Hit]:
        text = data.decode("latin-1")
        vague = [hit(found, self._mark, "generic-api-key") for found in re.finditer("key-[a-z0-9]{8}", text)]
        return [*(hit(found, self._mark) for found in TOKEN.finditer(text)), *vague]

    def in_value(self, name: str, text: str) -> list[Hit]:
        sure = [hit(found, self._mark) for found in TOKEN.finditer(text)]
        if sure or "password" not in name.lower():
            return sure
        return [hit(found, self._mark, "generic-password") for found in re.finditer(r"(?s)^.*$", text)]

    def in_values(self, values: Sequence[tuple[str, str]]) -> Iterator[tuple[int, list[Hit]]]:
        for place, (name, text) in enumerate(values):
            if hits := self.in_value(name, text):
                yield place, hits


def parse(path: str, data: bytes) -> Document:
    """Lines `a.b=value` are nested mappings; everything else is text."""
    if not path.endswith(".conf"):
        return Document(path, "text", ())
    tree: dict[str, Node] = {}
    for number, line in enumerate(data.decode("latin-1").splitlines(), start=1):
        if "explode" in line:
            raise RecursionError(line)
        if "sleep" in line:
            time.sleep(60)
        keys, equals, value = line.partition("=")
        if equals and not line.startswith("#"):
            *outer, last = keys.split(".")
            inside = tree
            for key in outer:
                inside = inside.setdefault(key, Node({}, number)).items  # type: ignore[assignment]
            inside[last] = Node(value, number)
    return Document(path, "ini", (Node(tree, 1),), "the end is missing" if data.endswith(b"BROKEN") else "")


def read(document: Document, repository: str) -> Reading:
    """A file's name says who holds what is in it; below `agent` an agent does."""
    name = document.path.rpartition("/")[2]
    if document.format != "ini":
        return Reading((), ())
    return Reading(
        (
            Holding(Holder("workload", f"env:{name}", repository), "dotenv", 0, ()),
            Holding(Holder("agent", f"mcp:{name}", repository), "mcp-env", 0, ("agent",)),
        ),
        (),
    )


@contextmanager
def standing_in() -> Iterator[None]:
    """Put them in place of the real ones, and two cases with the findings that go with them."""
    with pytest.MonkeyPatch.context() as patch:
        for name, one in (("parse", parse), ("read", read), ("read_export", lambda document, mark: ())):
            patch.setattr(scan_module, name, one)
        # What stands in here stands in a forked process alone, whatever threads tests before have left.
        patch.setattr("taskbound.plugins.discoverers.files.workers.is_alone", lambda: True)
        for name in ("report.lines", "report.table", "report.json", "report.sarif", "page"):
            patch.setattr(f"taskbound.posture.{name}.CASES", {**CASES, "token": TOKEN_CASE, "shared": SHARED_CASE})
        yield


def find(sightings: object, as_of: object, checkout: str = "") -> list[Finding]:
    """One finding for each place of a credential, and one for each credential with several holders."""
    held: dict[str, list[Credential]] = {}
    for one in sightings if isinstance(sightings, list) else []:
        if isinstance(one, Credential):
            held.setdefault(one.mark, []).append(one)
    found = []
    for some in held.values():
        if len({one.holder for one in some}) > 1:
            names = tuple(sorted({one.holder.name for one in some}))
            found.append(finding("shared", "critical", tuple(one.place for one in some)[:9], subjects=names))
        found += [finding("token", "high", (one.place,)) for one in some]
    return found


def finding(case: str, severity: str, places: tuple[Place, ...], subjects: tuple[str, ...] = ("x",)) -> Finding:
    told = hashlib.sha256(repr((case, subjects, [one.path for one in places])).encode()).hexdigest()
    says, todo = f"{case} is at {places[0].path}", f"taskbound fix f-{told[:10]}"
    return Finding(case, subjects, severity, says, places, "", todo, f"f-{told[:10]}")


# --- for processes of their own: found by name ------------------------------------------------------


def begin(key: bytes):
    """Return a scan that does as the text that it is given says."""
    return partial(scan_text, key)


def scan_text(key: bytes, path: str, data: bytes, repository: str, whole: bool) -> Scanned:
    if b"END ME" in data:
        os._exit(9)
    if b"RAISE" in data:
        raise ValueError(data.decode())
    if b"SLOW" in data:
        time.sleep(0.5)
    if b"HANG" in data:
        time.sleep(60)
    found = scan(path, data, repository, Detector(mark), mark, whole=whole)  # type: ignore[arg-type]
    return found if whole else Scanned(found.sightings, found.holders)
