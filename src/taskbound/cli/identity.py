"""`taskbound identity`: who may work here, who owns it, and how it is proven."""

import argparse
import os
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote

from taskbound.cli import answer
from taskbound_sdk import Client, Unreachable

VERBS = {
    "register": "register an agent or a service with the human who owns it, in registrations.toml too",
    "list": "list identities, by name",
    "suspend": "stop an identity and end its tasks; a human's also those of all it owns",
    "resume": "let a suspended identity work again",
    "retire": "stop an identity for good",
    "stats": "count identities that are no humans: for each person, new and retired, owned, bound to tasks",
    "join": "print a join token, which proves an identity once",
}
WRITTEN = "it stands in registrations.toml of the policy directory now, and is in force"
JOIN_TOKEN = "join_token"


def main(words: Sequence[str]) -> int:
    """Run one `taskbound identity …`."""
    parser, verbs = answer.with_verbs("identity", "Who may work here.", VERBS, words)
    for verb in VERBS.keys() - {"list", "stats"}:
        verbs[verb].add_argument("name", metavar="NAME", help="such as agent/nightly or human/alice")
    register = verbs["register"]
    register.add_argument("--owner", metavar="human/NAME", help="who answers for it; a human owns itself")
    register.add_argument("--purpose", metavar="TEXT", default="")
    register.add_argument("--environment", metavar="NAME", default="dev", help="where it works (dev)")
    register.add_argument("--group", dest="groups", metavar="NAME", action="append", default=[])
    register.add_argument("--attestor", choices=("unix", JOIN_TOKEN), default="unix", help="how it is proven (unix)")
    register.add_argument(
        "--when", metavar="k=v", type=answer.pair, action="append", default=[], help="a fact it must show (your uid)"
    )
    verbs["join"].add_argument("--life", metavar="TIME", type=answer.duration, help="at most 10m, which it is without")
    stats = verbs["stats"]
    stats.add_argument(
        "paths", metavar="PATH", type=Path, nargs="*", default=(), help="folders and files that discover looks at"
    )
    stats.add_argument("--export", metavar="DIR", type=Path, help="a folder of exported lists, as discover --export")
    stats.add_argument("--format", choices=("table", "json"), default="table")
    asked = parser.parse_args(words)
    if asked.verb == "stats":
        return _stats(asked)
    act = {"register": _register, "list": _list, "join": _join}.get(asked.verb, _move)
    return act(answer.client(), asked)


def _register(client: Client, asked: argparse.Namespace) -> int:
    facts = {name: int(value) if value.isascii() and value.isdecimal() else value for name, value in asked.when}
    human = asked.name.startswith("human/")
    if human and asked.owner not in (None, asked.name):
        raise answer.Usage(f"a human owns itself, so {asked.name} has no owner {asked.owner}", hint="leave --owner out")
    owner = asked.name if human else asked.owner
    if owner is None:
        raise answer.Usage(f"nobody answers for {asked.name}: --owner is missing", hint="--owner human/NAME")
    if human and not facts and asked.attestor != JOIN_TOKEN:
        raise answer.Usage(f"by what is {asked.name} known here?", hint="--when uid=N: the uid that is theirs")
    if asked.attestor == JOIN_TOKEN and facts:
        raise answer.Usage("a join token shows no facts of its own", hint="leave --when out")
    if asked.attestor != JOIN_TOKEN and not facts:
        facts = {"uid": os.getuid()}
    known = client.request(
        "POST",
        "/v1/identities",
        {
            "name": asked.name,
            "owner": owner,
            "attestor": asked.attestor,
            "when": facts,
            "purpose": asked.purpose,
            "environment": asked.environment,
            "groups": asked.groups,
        },
    )
    if asked.json:
        answer.show_json(known)
    else:
        shown = " and ".join(f"{name} {value}" for name, value in facts.items())
        answer.show(f"registered {known['name']}, owner {known['owner']}, proven by {asked.attestor} {shown}".rstrip())
        if not human:
            answer.say(f"it is not in registrations.toml: {known['why_not']}" if known.get("why_not") else WRITTEN)
    return answer.DONE


def _list(client: Client, asked: argparse.Namespace) -> int:
    found = sorted(answer.whole(client, "/v1/identities", "identities"), key=lambda one: str(one["name"]))
    if asked.json:
        answer.show_json({"identities": found, "next": None})
        return answer.DONE
    names = ("name", "owner", "state", "attestor", "environment", "groups", "purpose")
    answer.show_table({name: name for name in names}, found, "nobody is registered")
    return answer.DONE


def _move(client: Client, asked: argparse.Namespace) -> int:
    told = client.request("POST", f"{_path(asked.name)}/{asked.verb}", {})
    if asked.json:
        answer.show_json(told)
    else:
        answer.show(f"{told['name']} is {told['state']}", *(f"ended {task}" for task in told["ended"]))
    return answer.DONE


def _stats(asked: argparse.Namespace) -> int:
    """Count what the registry has, where `up` runs, and what is seen in files, where some are named."""
    try:
        lives = answer.whole(answer.client(), "/v1/identities/lives", "lives")
    except Unreachable:
        if not asked.paths and not asked.export:
            raise
        lives = None
    from taskbound.posture.stats import as_json, as_table, stats

    sightings: Sequence[Any] = ()
    now = datetime.now(UTC)
    if asked.paths or asked.export:
        from taskbound.app.discover import Discovery, gather

        wanted = Discovery(
            as_of=now.date(), paths=tuple(asked.paths), export=asked.export, state=answer.state_directory()
        )
        sightings = gather(wanted).sightings
    counted = stats(lives, sightings, now)
    if asked.json or asked.format == "json":
        answer.show_json(as_json(counted))
    else:
        answer.show(*as_table(counted))
    return answer.DONE


def _join(client: Client, asked: argparse.Namespace) -> int:
    life = {"life_s": int(asked.life.total_seconds())} if asked.life else {}
    told = client.request("POST", f"{_path(asked.name)}/join", life)
    if asked.json:
        answer.show_json(told)
    else:
        answer.show(told["token"])
        answer.say(f"good once, until {told['expires']}")
    return answer.DONE


def _path(name: str) -> str:
    kind, slash, rest = name.partition("/")
    if not slash or not kind or not rest:
        raise answer.Usage(f"{name!r} is no name of an identity", hint="such as agent/nightly or human/alice")
    return f"/v1/identities/{quote(kind, safe='')}/{quote(rest, safe='')}"
