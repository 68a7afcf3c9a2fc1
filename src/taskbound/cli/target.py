"""`taskbound target`: values that no provider makes, kept for one task at a time."""

import argparse
import sys
from collections.abc import Sequence
from getpass import getpass
from pathlib import Path

from taskbound.cli import answer
from taskbound.core.secret import Secret

VERBS = {
    "put": "keep a value for a static target; it is read from standard input, never from the command line",
    "list": "list the configured targets, and which of them have a value",
}
ABOUT = """\
Static targets: one value each, below keys/ of the state directory, handed to one task at a time. It is standing: the
end of a task ends its delivery, and nothing but its issuer ends the value itself.

  taskbound target put github_token < token.txt
"""


def main(words: Sequence[str]) -> int:
    """Run one `taskbound target …`."""
    parser, verbs = answer.with_verbs("target", ABOUT, VERBS, words)
    verbs["put"].add_argument("name", metavar="NAME", help="of the target, as [[target]] has it")
    asked = parser.parse_args(words)
    state = answer.state_directory()
    return _list(state, asked) if asked.verb == "list" else _put(state, asked)


def _put(state: Path, asked: argparse.Namespace) -> int:
    from taskbound.app import targets

    is_known = targets.put(state, asked.name, _read())
    if asked.json:
        answer.show_json({"target": asked.name, "configured": is_known})
    else:
        answer.say(f"{asked.name} has its value, in keys/static/{asked.name} of {state}")
    if not is_known:
        answer.say("not configured yet: add to taskbound.toml, at its end:")
        answer.say("[[target]]", f'name = "{asked.name}"', 'provider = "static"')
    return answer.DONE


def _read() -> Secret:
    if sys.stdin.isatty():
        return Secret(getpass("value (not shown): "))
    try:
        text = sys.stdin.buffer.read((64 << 10) + 2).decode()
    except UnicodeDecodeError:
        raise answer.Usage("the value is not UTF-8") from None
    return Secret(text.removesuffix("\n").removesuffix("\r"))


def _list(state: Path, asked: argparse.Namespace) -> int:
    from taskbound.app import targets

    kept = targets.kept(state)
    found = []
    for name, provider in targets.configured(state).items():
        has = ("yes" if name in kept else "NO") if provider == "static" else ""
        found.append({"target": name, "provider": provider, "value": has})
    known = {one["target"] for one in found}
    found += [{"target": name, "provider": "(not configured)", "value": "yes"} for name in kept if name not in known]
    if asked.json:
        answer.show_json({"targets": found})
    else:
        answer.show_table({name: name for name in ("target", "provider", "value")}, found, "there are no targets")
    return answer.DONE
