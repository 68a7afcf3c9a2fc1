"""`taskbound discover`: who holds which credentials, and who shares them. No server, no configuration."""

import argparse
import json
import os
import shlex
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Any

from taskbound.cli import answer
from taskbound.core.errors import Conflict, InvalidRequest
from taskbound.posture.cases import SEVERITIES
from taskbound_sdk import Refused, Unreachable, plain

if TYPE_CHECKING:
    from taskbound.app.discover import Discovery
    from taskbound.posture.report import Gathered, Report

ABOUT = """\
Say who holds which credentials, and who shares them: agents, MCP servers, pipelines, workloads.

It needs no server and no configuration, changes nothing and sends nothing but its login to a server that is named,
which is read and not changed (password: PGPASSWORD or PGPASSFILE, REDISCLI_AUTH). The value of a credential is never
shown or kept, only its last four characters. Nothing is read but what is named; without a PATH that is this folder.

  taskbound discover                           this folder
  taskbound discover ~/src --format html --output report.html
  taskbound discover --home                    what lies open on your own machine
  taskbound discover . --export exports        with lists of a cloud, a code host, a directory
  taskbound discover . --postgres postgresql://looker@127.0.0.1/shop
                                               and who can log in to a server, and what each may do
  taskbound discover . --write-baseline taskbound-baseline.json
  taskbound discover . --baseline taskbound-baseline.json --fail-on high
"""
EPILOG = """\
Exit 0 when it has looked, whatever it found; with --fail-on 1 where a finding as bad as that is open.
A suppression: [[suppression]] with id, reason and until (a day), in FILE or in .taskbound/suppressions.toml.
"""
FORMATS = ("table", "json", "sarif", "html")
SHOWN_EVERY, SAID_AFTER = 0.1, 1.0  # seconds: the bar on a terminal; the one line elsewhere
MOST, ROOM = 200, 512 << 10  # findings, and bytes of them, that are told to the registry at a time
WIDTH = 24  # characters of the bar


def main(words: Sequence[str]) -> int:
    """Run `taskbound discover`."""
    parser = answer.Parser("taskbound discover", description=ABOUT, epilog=EPILOG)
    parser.add_argument("paths", metavar="PATH", type=Path, nargs="*", default=(), help="folders and files")
    parser.add_argument("--home", action="store_true", help="this person's own places: agents, shells, clouds, keys")
    parser.add_argument("--export", metavar="DIR", type=Path, help="a folder of exported lists")
    with_servers(parser)
    parser.add_argument("--history", action="store_true", help="also what git keeps of each repository below a PATH")
    parser.add_argument("--format", choices=FORMATS, default="table")
    parser.add_argument("--json", dest="format", action="store_const", const="json", help="as --format json")
    parser.add_argument("--output", metavar="FILE", type=Path, help="instead of standard output")
    parser.add_argument("--as-of", metavar="DATE", type=answer.day, help="the day from which age is counted; today")
    parser.add_argument("--fail-on", metavar="SEVERITY", choices=SEVERITIES, help=", ".join(SEVERITIES))
    parser.add_argument("--baseline", metavar="FILE", type=Path, help="findings that are known and do not count")
    parser.add_argument("--write-baseline", metavar="FILE", type=Path, help="write down the findings of now")
    parser.add_argument("--suppress", metavar="FILE", type=Path, help="findings that are set aside until a day")
    asked = parser.parse_args(words)
    paths = tuple(asked.paths) or (() if asked.home or asked.export or asked.postgres or asked.redis else (Path("."),))

    for file in filter(None, (asked.output, asked.write_baseline)):
        require_room(file)
    if asked.write_baseline:
        _require_baseline(asked.write_baseline)
    progress = Progress()
    progress.begin()
    from taskbound.app.discover import Discovery, discover
    from taskbound.posture.report import at_least

    wanted = Discovery(
        as_of=asked.as_of or datetime.now(UTC).date(),
        paths=paths,
        home=Path.home() if asked.home else None,
        export=asked.export,
        postgres=tuple(asked.postgres),
        redis=tuple(asked.redis),
        history=asked.history,
        baseline=asked.baseline,
        suppress=asked.suppress,
        but=tuple(one for one in (asked.output, asked.write_baseline) if one),
        state=answer.state_directory(),
        tell=progress.tell,
    )
    report = discover(wanted)
    progress.end()
    _give(report, asked, entered(wanted, report))
    failed = asked.fail_on is not None and at_least(report.standing.open, asked.fail_on)
    return answer.REFUSED if failed else answer.DONE


def with_servers(parser: argparse.ArgumentParser) -> None:
    """Add the servers that are asked, each of which may be named several times. A password is in no address."""
    for name, form in (("postgres", "postgresql://user@host:port/db"), ("redis", "redis[s]://user@host:port")):
        about = f"also the logins of a server, which is only read: {form}"
        parser.add_argument(f"--{name}", metavar="ADDRESS", action="append", default=[], help=about)


def _give(report: "Report", asked: argparse.Namespace, registry: str) -> None:
    """Print the report, or write it; then the first lines are said all the same. `registry`: what it made of it."""
    from taskbound.posture.report.lines import first_lines, totals
    from taskbound.posture.report.table import as_table
    from taskbound.posture.standing import render_baseline

    if asked.write_baseline:
        counted = (*report.standing.open, *report.standing.known)
        write(asked.write_baseline, render_baseline(counted))
        answer.say(f"{len(counted)} findings written to {asked.write_baseline}")
    if asked.output:
        write(asked.output, _rendered(report, asked.format).encode(errors="backslashreplace"))
        answer.say(*first_lines(report), totals(report), f"written to {asked.output}")
    elif asked.format == "table":
        answer.show(*as_table(report), *([registry] if registry else []))
        return
    else:
        print(_rendered(report, asked.format), end="", flush=True)
    answer.say(*([registry] if registry else []))
    answer.say(*(f"suppression of {one.id} expired on {one.until}: {one.reason}" for one in report.standing.expired))
    grown = report.standing.outgrown
    answer.say(*(f"suppression of {one.id} is for {why.holds}, and {len(one.holds)} lie there" for one, why in grown))


def entered(wanted: "Discovery", report: "Report") -> str:
    """Bring what was found into the registry of the `up` of this machine; return what it made of it, in a sentence.

    Returns "" where none runs, and inside a task: what an agent sees is not what its operator knows.
    """
    # os.path: a state directory that is another user's is as good as none.
    if answer.within_task() or not os.path.exists(answer.state_directory() / "run/api.sock"):
        return ""
    from taskbound.app.discover import looked_at
    from taskbound.core.finding import finding_id
    from taskbound.posture.entries import entries, missed

    findings = (*report.standing.open, *report.standing.known, *(one for one, _ in report.standing.suppressed))
    looked, sightings = looked_at(wanted, report.seen), report.seen.sightings
    told = entries(findings, sightings, looked)
    ids = frozenset(finding_id(one["case"], one["subjects"], [at["path"] for at in one["places"]]) for one in told)
    counts: Counter[str] = Counter()
    kept: Counter[str] = Counter()
    try:
        client = answer.client(answer.PATIENCE)
        known = answer.whole(client, "/v1/findings", "findings")
        # Seen from an earlier day, what is stale today is not.
        gone = missed(known, ids, sightings, looked) if wanted.as_of >= datetime.now(UTC).date() else []
        parts: list[dict[str, Any]] = [{"findings": part} for part in _batches(told)]
        for part in (*parts, *({"gone": part} for part in _batches(gone))):
            became = client.request("POST", "/v1/findings", part)
            counts.update({name: len(became[name]) for name in ("raised", "known", "closed", "kept")})
            kept.update(became["kept"].values())
    except Unreachable:  # its socket stands there, and nobody listens
        return ""
    except Refused as refused:
        return f"not in the registry: {refused.description}"
    why = f" ({'; '.join(kept)})" if kept else ""
    return (
        f"in the registry: {counts['raised']} raised, {counts['known']} known, {counts['closed']} closed, "
        f"{counts['kept']} gone and kept open{why}"
    )


def _batches(of: Sequence[Any]) -> Iterator[list[Any]]:
    """Yield as many at a time as a request has room for."""
    batch: list[Any] = []
    size = 0
    for one in of:
        length = len(json.dumps(one))
        if batch and (size + length > ROOM or len(batch) == MOST):
            yield batch
            batch, size = [], 0
        batch.append(one)
        size += length
    if batch:
        yield batch


def _rendered(report: "Report", form: str) -> str:
    import msgspec

    from taskbound.cli import installed_version
    from taskbound.posture.page import as_html
    from taskbound.posture.report.json import as_json
    from taskbound.posture.report.sarif import as_sarif
    from taskbound.posture.report.table import as_table

    if form == "html":
        return as_html(report)
    if form == "table":
        return "".join(f"{plain(line)}\n" for line in as_table(report))
    made = (as_json if form == "json" else as_sarif)(report, installed_version())
    try:  # with an indent the encoder of the standard library is written in Python
        return msgspec.json.format(json.dumps(made), indent=1) + "\n"
    except msgspec.DecodeError:  # a name of half a pair of surrogates
        return json.dumps(made, indent=1) + "\n"


def require_room(file: Path) -> None:
    """Refuse a file in a folder that there is not, before anything is looked at. Raises InvalidRequest."""
    if not file.parent.is_dir():
        raise InvalidRequest(f"there is no folder {file.parent}", hint=f"mkdir -p {shlex.quote(str(file.parent))}")


def _require_baseline(file: Path) -> None:
    """Raises Conflict where a file is there that holds something else than a baseline: that is not written over."""
    if not file.is_file():
        return
    with file.open("rb") as there:
        begins = there.read(1024)
    if begins and b'"taskbound_baseline"' not in begins:
        raise Conflict(f"{file} exists, and is no baseline", hint="choose another file, or remove it")


def write(file: Path, data: bytes) -> None:
    """Write a file, whole or not at all, for its owner alone: it says where credentials lie."""
    if file.exists() and not file.is_file():  # /dev/stdout
        with file.open("wb") as there:
            there.write(data)
        return
    number, fresh = tempfile.mkstemp(dir=file.parent, prefix=f".{file.name}.")
    try:
        with open(number, "wb") as new:
            new.write(data)
        os.replace(fresh, file)
    except BaseException:
        with suppress(OSError):
            os.unlink(fresh)
        raise


class Progress:
    """How far it is, on stderr: a bar on a terminal, elsewhere one line once it takes longer than a second."""

    def __init__(self) -> None:
        self._is_terminal = sys.stderr.isatty()
        self._began = self._last = monotonic()
        self._said = False

    def begin(self) -> None:
        if self._is_terminal:
            self._show("looking …")

    def tell(self, seen: "Gathered") -> None:
        now = monotonic()
        if now - self._last < SHOWN_EVERY or (self._said and not self._is_terminal):
            return
        self._last = now
        done = seen.files + seen.skipped
        what = f"{done:,} of {seen.known:,} files, {seen.size / 1e6:,.0f} MB, {len(seen.holders):,} holders, "
        what += f"{seen.places:,} places with a credential"
        if self._is_terminal:
            filled = WIDTH * done // max(seen.known, 1)
            self._show(f"[{'#' * filled}{'.' * (WIDTH - filled)}] {what}")
        elif now - self._began > SAID_AFTER:
            self._said = True
            answer.say(f"{what} so far")

    def end(self) -> None:
        if self._is_terminal:
            self._show("")

    def _show(self, text: str) -> None:
        with suppress(OSError):
            width = os.get_terminal_size(sys.stderr.fileno()).columns or 80  # a terminal may not know its own
            sys.stderr.write(f"\r\x1b[K{plain(text)[: width - 1]}")
            sys.stderr.flush()
