"""`taskbound run`: a program inside a task of its own; the task ends when the program does, and the other way round."""

import argparse
import json
import shlex
from collections.abc import Sequence
from pathlib import Path

from taskbound.cli import answer, task
from taskbound.core.errors import InvalidRequest

ABOUT = """\
Run a program inside a task of its own. It starts with nothing that stands: an environment of a few names, what the task
grants, and, where the kernel lets it, the state directory and credential folders hidden (~/.aws ~/.ssh ~/.kube
~/.docker ~/.config/gh ~/.config/gcloud ~/.netrc ~/.pgpass ~/.pg_service.conf ~/.postgresql/postgresql.key; nothing
else of the home).
Without --agent NAME the agent is named after the program: agent/python for every script of python, agent/sh for sh -c.
Ends with the program's own status; 125 when it could not start.

A variable that is a reference, taskbound://NAME, comes along, and the program finds there what the lease NAME gave;
so it does in each FILE of --resolve (docs/fix.md). No value stands on a command line.

  taskbound run --profile nightly --set day=2027-01-31 -- python report.py
  taskbound run --profile mail --resolve .mcp.json -- my-agent
"""


def main(words: Sequence[str]) -> int:
    """Run the program and return its status."""
    parser = answer.Parser(
        "taskbound run", description=ABOUT, usage="taskbound run [--profile P --set k=v …] [--intent TEXT] … -- CMD…"
    )
    task.add_intent(parser)
    parser.add_argument(
        "--keep", metavar="VAR", action="append", default=[], help="hand on this variable too; said on stderr"
    )
    parser.add_argument(
        "--resolve",
        metavar="FILE",
        type=Path,
        action="append",
        default=[],
        help="let the program find in FILE what taskbound://NAME stands for",
    )
    parser.add_argument("--cause", metavar="TASK", help="the earlier task that led to this one; no authority")
    parser.add_argument("--must-contain", action="store_true", help="do not start where something stays reachable")
    at = words.index("--") if "--" in words else len(words)
    command = words[at + 1 :]
    if not command:
        raise _without_program(parser, words[:at])
    asked = parser.parse_args(words[:at])

    from taskbound import runner
    from taskbound.posture import references

    state = answer.state_directory()
    second, named = _told(state / "places.json")
    return runner.run(
        list(command),
        answer.socket_of(state),
        profile=asked.profile,
        set=dict(asked.set),
        intent=task.intent_of(asked),
        agent=asked.agent,
        life=asked.life,
        cause=asked.cause,
        keep=asked.keep,
        must_contain=asked.must_contain,
        references=references,
        resolve=asked.resolve,
        state=state,
        second=second,
        also=named,
    )


def _without_program(parser: answer.Parser, words: Sequence[str]) -> answer.Usage:
    """Return the refusal of a command line without a program, or with one that stands behind no `--`."""
    hint = "put the program behind --, as in: taskbound run -- python agent.py"
    none = answer.Usage("there is no program to run", hint=hint)
    try:
        _, rest = argparse.ArgumentParser.parse_known_args(parser, words)  # what looks like an option may be its own
    except answer.Usage as error:  # --set a=1 takes the program for its next value, too
        return none if str(error).endswith("expected one argument") else answer.Usage(str(error), hint=hint)
    if not rest:
        return none
    if rest[0].startswith("-"):
        parser.require_known(rest[:1])
    options = shlex.join(words[: len(words) - len(rest)]) if list(words[-len(rest) :]) == rest else "…"
    return answer.Usage(
        f"there is no -- before the program {rest[0]}",
        hint=" ".join(part for part in ("taskbound run", options, "--", shlex.join(rest)) if part),
    )


def _told(file: Path) -> tuple[Path | None, list[Path]]:
    """Return what `up` alone knows: its second place, None where it does not say, and the files it refers to.

    Raises OSError, or InvalidRequest: what to hide is not known then.
    """
    try:
        told = json.loads(file.read_bytes())
        return Path(told["second_place"]), [Path(one) for one in told["named"]]
    except FileNotFoundError:  # an older `up`, or none
        return None, []
    except (ValueError, KeyError, TypeError):
        hint = "start taskbound up again: it writes the file"
        raise InvalidRequest(f"{file} does not say what to hide", code="invalid_config", hint=hint) from None
