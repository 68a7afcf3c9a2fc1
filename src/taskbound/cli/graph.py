"""`taskbound graph`: what an agent can reach, who else holds a credential, what breaks if it is rotated; drawn."""

import argparse
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from taskbound.cli import answer
from taskbound.cli.discover import Progress, require_room, with_servers, write
from taskbound.core.errors import Conflict

if TYPE_CHECKING:
    from taskbound.posture.graph import Graph

VERBS = {
    "reach": "say what an agent, pipeline, identity or person can reach, and by which steps",
    "holders": "say who else holds a credential, or those of an agent",
    "rotate": "say what breaks if a credential is made invalid",
    "picture": "draw the graph as one HTML file that loads nothing; writes over a picture alone",
}
ABOUT = """\
What leads to what, in the files that are named: owners, holders, credentials, identities, targets.
It needs no server, changes nothing and sends nothing. No value is shown, only last four characters.
"""
FORMATS = ("table", "json")


def main(words: Sequence[str]) -> int:
    """Run one `taskbound graph …`."""
    parser, verbs = answer.with_verbs("graph", ABOUT, VERBS, words)
    for name, verb in verbs.items():
        if name == "picture":
            verb.add_argument("--of", metavar="NAME", help="only what this reaches, and what leads to it")
            verb.add_argument("--out", metavar="FILE", type=Path, required=True, help="the HTML file to write")
        else:
            verb.add_argument("subject", metavar="AGENT|CREDENTIAL", help="as discover prints it: name, last four, id")
            verb.add_argument("--format", choices=FORMATS, default="table")
        verb.add_argument(
            "paths", metavar="PATH", type=Path, nargs="*", default=(), help="folders and files (this folder)"
        )
        verb.add_argument("--home", action="store_true", help="this person's own places, as discover --home")
        verb.add_argument("--export", metavar="DIR", type=Path, help="a folder of exported lists")
        with_servers(verb)
        verb.add_argument("--history", action="store_true", help="also what git keeps of each repository below a PATH")
        verb.add_argument("--as-of", metavar="DATE", type=answer.day, help="the day on which it is looked at; today")
    asked = parser.parse_args(words)
    return _draw(asked) if asked.verb == "picture" else _answer(asked)


def _answer(asked: argparse.Namespace) -> int:
    graph = _graph(asked)
    from taskbound.posture.answers import QUESTIONS, one_named

    lines, as_json = QUESTIONS[asked.verb]
    number = one_named(graph, asked.subject)
    if asked.json or asked.format == "json":
        answer.show_json(as_json(graph, number))
    else:
        answer.show(*lines(graph, number))
    return answer.DONE


def _draw(asked: argparse.Namespace) -> int:
    require_room(asked.out)
    _require_ours(asked.out)
    graph = _graph(asked)
    from taskbound.app.graph import picture
    from taskbound.posture.answers import one_named

    around = one_named(graph, asked.of) if asked.of else None
    title = "Who holds what, and what it opens" if around is None else f"Around {graph.things[around].label}"
    write(asked.out, picture(graph, title, around).encode(errors="backslashreplace"))
    if asked.json:
        answer.show_json({"written": str(asked.out)})
    else:
        answer.say(f"written to {asked.out}")
    return answer.DONE


def _require_ours(file: Path) -> None:
    """Raises Conflict where a file is there that holds something else than a picture: that is not written over."""
    from taskbound.posture.picture import OURS

    if file.is_file():
        with file.open("rb") as there:
            begins = there.read(1024)
        if begins and OURS.encode() not in begins:
            raise Conflict(
                f"{file} exists, and is no picture of this command", hint="choose another file, or remove it"
            )


def _graph(asked: argparse.Namespace) -> "Graph":
    progress = Progress()
    progress.begin()
    from taskbound.app.discover import Discovery
    from taskbound.app.graph import graph_of

    graph = graph_of(
        Discovery(
            as_of=asked.as_of or datetime.now(UTC).date(),
            paths=tuple(asked.paths)
            or (() if asked.home or asked.export or asked.postgres or asked.redis else (Path("."),)),
            home=Path.home() if asked.home else None,
            export=asked.export,
            postgres=tuple(asked.postgres),
            redis=tuple(asked.redis),
            history=asked.history,
            but=(asked.out,) if asked.verb == "picture" else (),
            state=answer.state_directory(),
            tell=progress.tell,
        )
    )
    progress.end()
    return graph
