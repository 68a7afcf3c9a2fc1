"""`taskbound offboard`: whatever a person or an agent still holds is ended, in order, and each removal is proven."""

import argparse
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from taskbound.cli import answer
from taskbound.cli.discover import Progress, require_room, with_servers, write

if TYPE_CHECKING:
    from taskbound.app.discover import Discovery

ABOUT = """\
End everything that a person or an agent still holds: their tasks and leases, the identities that they own, the logins
that were found in their hands at servers that are targets here. What was found is shown to its server first: one that
does not let it in may be another one (localhost is), and nothing ends there. What only a person can do is listed with
the exact step, and what could not be seen or verified is said. Each end is in the log, at last identity.offboarded.

  taskbound offboard human/kaya ~/src --export exports --dry-run
  taskbound offboard agent/nightly .
"""


def main(words: Sequence[str]) -> int:
    """Run `taskbound offboard`."""
    parser = answer.Parser("taskbound offboard", description=ABOUT)
    parser.add_argument("name", metavar="PERSON|AGENT", help="human/NAME, agent/NAME, or as a list has them")
    parser.add_argument(
        "paths", metavar="PATH", type=Path, nargs="*", default=(), help="folders and files that discover looks at"
    )
    parser.add_argument("--export", metavar="DIR", type=Path, help="a folder of exported lists, as discover --export")
    with_servers(parser)
    parser.add_argument("--history", action="store_true", help="also what git keeps of each repository below a PATH")
    parser.add_argument("--dry-run", action="store_true", help="say what would be done, and change nothing")
    parser.add_argument("--output", metavar="FILE", type=Path, help="write the record there too, readable by you alone")
    parser.add_argument("--json", action="store_true", help="print one JSON value")
    asked = parser.parse_args(words)
    if asked.output:
        require_room(asked.output)

    client = answer.client(answer.PATIENCE)
    plan = client.request("POST", "/v1/offboardings", {"name": asked.name, "dry_run": True})
    from taskbound.posture.offboarding import belongings, record, step

    who = (asked.name, *(one["name"] for one in plan["owned"]))
    wanted = _wanted(asked)
    sightings, unseen, key = _looked(wanted)
    has = belongings(who, sightings, datetime.now(UTC).date())
    if plan["state"] is None and not has.is_known:
        raise answer.Usage(
            f"nothing tells of {asked.name}", hint="taskbound identity list; name a PATH or --export DIR"
        )
    logins = _proven(has.logins(), plan["servers"], wanted, key, sightings)
    body = {"name": asked.name, "dry_run": asked.dry_run, "logins": logins}
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
    return answer.DONE if asked.dry_run or _is_proven(done) else answer.REFUSED


def _is_proven(done: dict[str, Any]) -> bool:
    """Whether each login that was found is shown to be dead, and each lease to be back."""
    dead = all(one["after"] == "dead" for one in done["logins"])
    return dead and all(one["state"] == "revoked" for one in done["leases"])


def _wanted(asked: argparse.Namespace) -> "Discovery | None":
    """Return what is to be looked at, if anything."""
    if not (asked.paths or asked.export or asked.postgres or asked.redis):
        return None
    from taskbound.app.discover import Discovery

    return Discovery(
        as_of=datetime.now(UTC).date(),
        paths=tuple(asked.paths),
        export=asked.export,
        postgres=tuple(asked.postgres),
        redis=tuple(asked.redis),
        history=asked.history,
        but=(asked.output,) if asked.output else (),
        state=answer.state_directory(),
    )


def _looked(wanted: "Discovery | None") -> tuple[Sequence[Any], list[str], bytes]:
    """Return what was seen, what was not, and the key of its marks."""
    if wanted is None:
        return (), ["no file or list was looked at: name a PATH, --export DIR, --postgres or --redis"], b""
    progress = Progress()
    progress.begin()
    from taskbound.app.discover import gather, mark_key

    key = mark_key(wanted.state)
    seen = gather(replace(wanted, tell=progress.tell), key)
    progress.end()
    unseen = [f"not read: {one.path}: {one.why}" for one in seen.unread]
    if not wanted.export:
        unseen.append("no exported list was looked at: who owns what at clouds and code hosts is not known (--export)")
    return seen.sightings, unseen, key


def _proven(
    logins: list[dict[str, str]], servers: Sequence[str], wanted: "Discovery | None", key: bytes, sightings: Any
) -> list[dict[str, str]]:
    """Return logins with what shows that each is at its server, where that is one at which `up` ends logins."""
    mine = [(one["issuer"], one["login"]) for one in logins if one["issuer"] in servers]
    if wanted is None or not mine:
        return logins
    from taskbound.app.presented import presented

    said = presented(wanted, key, sightings, mine, answer.state_directory())
    return [{**one, "proof": _proof(said.get((one["issuer"], one["login"])), one["proof"])} for one in logins]


def _proof(standing: str | None, known: str) -> str:
    """Return what shows a login to be at its server: that it was let in says more than that it is listed there."""
    return "let_in" if standing == "alive" else known or ("refused" if standing == "dead" else "")
