"""`taskbound discover` beside scanners of others, in one run, on the sets of data/posture.

    python -m bench.scanners PEERS POSTURE

PEERS is a folder of the bench's own, never of the product: `bin/` of a virtual environment with kingfisher-bin,
detect-secrets and zizmor, and beside it `node_modules/` with secretlint and its recommended preset; what is not there
is left out. POSTURE is data/posture. Nothing is validated and nobody is asked. A place is a line of a file; it is true
where the key of the set names it (a credential, or the evidence of a finding), give or take one line, false where the
key says that nothing may be found there. Their outputs hold values: only places are read, and the files are deleted.
"""

import json
import os
import resource
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from csv import DictReader
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

from bench.discover import COMMAND
from bench.figures import machine

STRONG = 3  # votes of four scanners, three of which are asked here too
COLUMNS = (
    "planted places found", "on lines that must not fire", "other places", "credentials with several holders linked",
    "strong lines of fake-leaks", "its other lines", "places in configs", "wall / CPU",
)  # fmt: skip
Places = set[tuple[str, int]]


@dataclass(frozen=True)
class Scanner:
    """A program, and how the places are read out of what it says. `{}` is the folder that it looks at."""

    command: Sequence[str]
    places: Callable[[Any, Path], Iterator[tuple[str, int]]]


def _own(told: Any, folder: Path) -> Iterator[tuple[str, int]]:
    for one in (*told["credentials"], *told["findings"]):
        yield from ((at["path"], at["line"]) for at in one["places"])


def _kingfisher(told: Any, folder: Path) -> Iterator[tuple[str, int]]:
    for one in told.get("findings", ()):
        yield _below(one["finding"]["path"], folder), one["finding"]["line"]


def _detect_secrets(told: Any, folder: Path) -> Iterator[tuple[str, int]]:
    for path, found in told["results"].items():
        yield from ((path, one["line_number"]) for one in found)


def _secretlint(told: Any, folder: Path) -> Iterator[tuple[str, int]]:
    for file in told:
        yield from ((_below(file["filePath"], folder), one["loc"]["start"]["line"]) for one in file["messages"])


def _zizmor(told: Any, folder: Path) -> Iterator[tuple[str, int]]:
    for one in told:
        for at in one["locations"]:
            if at["symbolic"]["kind"] == "Primary":
                path = at["symbolic"]["key"]["Local"]["verbatim_path"]
                yield _below(path, folder), at["concrete"]["location"]["start_point"]["row"] + 1


def _below(path: str, folder: Path) -> str:
    return os.path.relpath(os.path.join(folder, path), folder)


def scanners(peers: Path) -> Mapping[str, Scanner]:
    """Return those that are there."""
    program, node = peers / "bin", peers / "node_modules"
    lint = (str(node / ".bin" / "secretlint"), "--secretlintrc", str(peers / "secretlint.json"))
    asked = ("--no-validate", "--no-update-check", "--no-dedup", "--format", "json")
    found = {
        "taskbound discover": Scanner((*COMMAND, "{}", "--format", "json", "--as-of", "2026-11-01"), _own),
        "kingfisher": Scanner((str(program / "kingfisher"), "scan", "{}", *asked), _kingfisher),
        "detect-secrets": Scanner((str(program / "detect-secrets"), "scan", "--all-files", "."), _detect_secrets),
        "secretlint": Scanner((*lint, "--format", "json", "--maskSecrets", "**/*", "**/.*", "**/.*/**/*"), _secretlint),
        "zizmor": Scanner((str(program / "zizmor"), "--offline", "--format", "json", "{}"), _zizmor),
    }
    rules = {"rules": [{"id": "@secretlint/secretlint-rule-preset-recommend"}]}
    (peers / "secretlint.json").write_text(json.dumps(rules))
    return {name: one for name, one in found.items() if os.access(one.command[0], os.X_OK)}


def look(scanner: Scanner, folder: Path) -> tuple[Places, Any, float, float]:
    """Return the places that a scanner names in a folder, what it said, seconds, and seconds of CPU."""
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), perf_counter()
    with tempfile.TemporaryFile() as said:
        command = [str(folder) if word == "{}" else word for word in scanner.command]
        subprocess.run(command, stdout=said, stderr=subprocess.DEVNULL, cwd=folder, check=False)
        took, after = perf_counter() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
        said.seek(0)
        text = said.read().decode(errors="replace").lstrip()
        told = json.JSONDecoder().raw_decode(text)[0] if text else []  # zizmor says nothing where there is no workflow
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return set(scanner.places(told, folder)), told, took, cpu


def main(words: Sequence[str]) -> int:
    peers, posture = (Path(one).resolve() for one in words)
    print(machine(), "", sep="\n")
    print(f"| Scanner | {' | '.join(COLUMNS)} |", f"|---|{'---|' * len(COLUMNS)}", sep="\n")
    for name, scanner in scanners(peers).items():
        print(f"| {name} | {' | '.join(_row(scanner, posture))} |", flush=True)
    return 0


def _row(scanner: Scanner, posture: Path) -> Iterator[str]:
    wall = cpu = 0.0
    found = planted = false = other = linked = shared = 0
    for organisation in ("org-northlake", "org-ostrava"):
        key = json.loads((posture / organisation / "expected.json").read_text())
        seen, told, *took = look(scanner, posture / organisation / "files")
        wall, cpu = wall + took[0], cpu + took[1]
        true = _named(key)
        whole = {at["path"] for one in key["findings"] for at in one["evidence"] if not at.get("line")}
        silent = {(one["path"], one["line"]) for one in key["must_not_fire"]}
        found, planted = found + sum(_is_near(one, seen) for one in true), planted + len(true)
        false += sum(one in silent and one not in true for one in seen)
        other += sum(not _is_near(one, true) and one not in silent and one[0] not in whole for one in seen)
        several = [one for one in key["credentials"] if len(one["holders"]) > 1]
        shared, linked = shared + len(several), linked + sum(_is_linked(one, told) for one in several)
    yield f"{found} of {planted}"
    yield str(false)
    yield str(other)
    yield f"{linked} of {shared}"
    votes = list(DictReader((posture / "fake-leaks" / "votes.csv").open()))
    strong = {(one["path"], int(one["line"])) for one in votes if int(one["votes"]) >= STRONG}
    seen, _, *took = look(scanner, posture / "fake-leaks" / "files")
    yield f"{sum(_is_near(one, seen) for one in strong)} of {len(strong)}"
    yield str(sum(not _is_near(one, strong) for one in seen))
    seen, _, *more = look(scanner, posture / "configs")
    yield str(len(seen))
    yield f"{wall + took[0] + more[0]:.1f} / {cpu + took[1] + more[1]:.1f} s"


def _named(key: Any) -> Places:
    """Return the lines of credentials and of evidence; evidence that is a whole file has none."""
    places = [at for one in key["credentials"] for at in one["places"]]
    places += [at for one in key["findings"] for at in one["evidence"]]
    return {(at["path"], at["line"]) for at in places if at.get("line")}


def _is_near(one: tuple[str, int], others: Places) -> bool:
    return any((one[0], one[1] + step) in others for step in (0, -1, 1))


def _is_linked(one: Any, told: Any) -> bool:
    """Tell whether a scanner says of one credential all its places and as many holders; those of others know none."""
    planted = {(at["path"], at["line"]) for at in one["places"] if at.get("line")}
    for found in told.get("credentials", ()) if isinstance(told, dict) else ():
        places = {(at["path"], at["line"]) for at in found["places"]}
        if len(found["holders"]) >= len(one["holders"]) and all(_is_near(at, places) for at in planted):
            return True
    return False


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
