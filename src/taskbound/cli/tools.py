"""`taskbound tools`: what upstreams offer, as files of the policy directory that a person reviews."""

import argparse
import tomllib
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import quote

from taskbound.cli import answer

VERBS = {
    "derive": "ask an upstream for its tools and print the file that would pin them",
    "list": "list the tools in force",
}


def main(words: Sequence[str]) -> int:
    """Run one `taskbound tools …`."""
    parser, verbs = answer.with_verbs("tools", "What upstreams offer.", VERBS, words)
    verbs["derive"].add_argument("upstream", metavar="UPSTREAM")
    verbs["derive"].add_argument("--write", action="store_true", help="write the file, and pin what it says")
    asked = parser.parse_args(words)
    return _list(asked) if asked.verb == "list" else _derive(asked)


def _derive(asked: argparse.Namespace) -> int:
    path = f"/v1/tools/{quote(asked.upstream, safe='')}/pin"
    told = answer.client(answer.PATIENCE).request("POST", path, {"write": asked.write})
    if asked.json:
        answer.show_json(told)
    elif told["written"]:
        many = answer.counted(len(told["pins"]), "tool")
        answer.show(f"{many} of {told['upstream']} pinned in {_file(told['upstream'])}")
        left = sum("reviewed" not in entry for entry in tomllib.loads(told["toml"]).values())
        answer.say(
            f"{left} of {len(told['pins'])} not reviewed yet"
            + (": a person looks at effects and arguments, then taskbound policy load" if left else "")
        )
    else:
        answer.show(*told["toml"].splitlines())
    return answer.DONE


def _list(asked: argparse.Namespace) -> int:
    found = answer.client().request("GET", "/v1/tools")
    if asked.json:
        answer.show_json(found)
    else:
        names = ("tool", "effect", "pinned", "reviewed", "pin")
        answer.show_table({name: name for name in names}, found["tools"], "no tool is known")
    return answer.DONE


def _file(upstream: str) -> Path:
    return answer.state_directory() / "policy/tools" / f"{upstream}.toml"
