"""`taskbound offboard`: whatever a person or an agent still holds is ended, in order, and each removal is proven."""

import argparse
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from taskbound.cli import answer
from taskbound.cli.discover import Progress, with_servers, write

ABOUT = """\
End everything that a person or an agent still holds: their tasks and leases, the identities that they own, the logins
that were found in their hands at servers that are targets here. What only a person can do is listed with the exact
step, and what could not be seen or verified is said. The record ends in the log as identity.offboarded.

  taskbound offboard human/kaya ~/src --export exports --dry-run
  taskbound offboard agent/nightly .
"""


def main(words: Sequence[str]) -> int:
    """Run `taskbound offboard`."""
    parser = answer.Parser("taskbound offboard", description=ABOUT)
    parser.add_argument("name", metavar="PERSON|AGENT", help="human/NAME, agent/NAME, or as a list has them")
    parser.add_argument("paths", metavar="PATH", type=Path, nargs="*", help="folders and files that discover looks at")
    parser.add_argument("--export", metavar="DIR", type=Path, help="a folder of exported lists, as discover --export")
    with_servers(parser)
    parser.add_argument("--history", action="store_true", help="also what git keeps of each repository below a PATH")
    parser.add_argument("--dry-run", action="store_true", help="say what would be done, and change nothing")
    parser.add_argument("--output", metavar="FILE", type=Path, help="write the record there too, readable by you alone")
    parser.add_argument("--json", action="store_true", help="print one JSON value")
    asked = parser.parse_args(words)

    client = answer.client(answer.PATIENCE)
    plan = client.request("POST", "/v1/offboardings", {"name": asked.name, "dry_run": True})
    from taskbound.posture.offboarding import belongings, record, step

    who = (asked.name, *(one["name"] for one in plan["owned"]))
    sightings, unseen = _looked(asked)
    has = belongings(who, sightings, datetime.now(UTC).date())
    if plan["state"] is None and not has.is_known:
        raise answer.Usage(
            f"nothing tells of {asked.name}", hint="taskbound identity list; name a PATH or --export DIR"
        )
    body = {"name": asked.name, "dry_run": asked.dry_run, "logins": has.logins()}
    done = client.request("POST", "/v1/offboardings", body)
    lines = list(record(done, has, unseen, dry=asked.dry_run))
    if asked.output:
        write(asked.output, "".join(f"{line}\n" for line in lines).encode(errors="backslashreplace"))
    if asked.json:
        held = [
            {"what": one.what, "issuer": one.issuer, "login": one.login, "others": list(one.others), "step": step(one),
             "places": [{"path": at.path, "line": at.line} for at in one.places]}
            for one in has.held
        ]  # fmt: skip
        answer.show_json({**done, "held": held, "unseen": unseen, "identities": [one.id for one in has.identities]})
    else:
        answer.show(*lines)
    alive = any(one["after"] == "alive" for one in done["logins"]) and not asked.dry_run
    return answer.REFUSED if alive or any(one["state"] != "revoked" for one in _leases(done, asked)) else answer.DONE


def _leases(done: dict[str, Any], asked: argparse.Namespace) -> list[dict[str, Any]]:
    return [] if asked.dry_run else list(done["leases"])


def _looked(asked: argparse.Namespace) -> tuple[Sequence[Any], list[str]]:
    """Return what was seen, and what was not."""
    if not (asked.paths or asked.export or asked.postgres or asked.redis):
        return (), ["no file or list was looked at: name a PATH, --export DIR, --postgres or --redis"]
    progress = Progress()
    progress.begin()
    from taskbound.app.discover import Discovery, gather

    seen = gather(
        Discovery(
            as_of=datetime.now(UTC).date(),
            paths=tuple(asked.paths),
            export=asked.export,
            postgres=tuple(asked.postgres),
            redis=tuple(asked.redis),
            history=asked.history,
            but=(asked.output,) if asked.output else (),
            state=answer.state_directory(),
            tell=progress.tell,
        )
    )
    progress.end()
    unseen = [f"not read: {one.path}: {one.why}" for one in seen.unread]
    if not asked.export:
        unseen.append("no exported list was looked at: who owns what at clouds and code hosts is not known (--export)")
    return seen.sightings, unseen
