"""`taskbound run`: a program inside a task of its own; the task ends when the program does, and the other way round."""

import tomllib
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from taskbound.cli import answer, task
from taskbound.core.errors import InvalidRequest

ABOUT = """\
Run a program inside a task of its own. It starts with nothing that stands: an environment of a few names, what the task
grants, and, where the kernel lets it, the state directory and credential folders hidden (~/.aws ~/.ssh ~/.kube
~/.docker ~/.config/gh ~/.config/gcloud ~/.netrc ~/.pgpass; nothing else of the home). Ends with the program's own
status; 125 when it could not start.

  taskbound run --profile nightly --set day=2027-01-31 -- python report.py
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
    parser.add_argument("--must-contain", action="store_true", help="do not start where something stays reachable")
    at = words.index("--") if "--" in words else len(words)
    asked, command = parser.parse_args(words[:at]), words[at + 1 :]
    if not command:
        raise answer.Usage(
            "there is no program to run", hint="put it behind --, as in: taskbound run -- python agent.py"
        )

    from taskbound import runner

    state = answer.state_directory()
    return runner.run(
        list(command),
        answer.socket_of(state),
        profile=asked.profile,
        set=dict(asked.set),
        intent=task.intent_of(asked),
        agent=asked.agent,
        life=asked.life,
        keep=asked.keep,
        must_contain=asked.must_contain,
        state=state,
        also=[*_named(_configured(state / "taskbound.toml"))],
    )


def _configured(file: Path) -> dict[str, Any]:
    """Return what stands in the configuration. Raises OSError, or InvalidRequest: what to hide is not known then."""
    try:
        with suppress(FileNotFoundError), file.open("rb") as opened:
            return tomllib.load(opened)
    except ValueError as error:
        raise InvalidRequest(f"{file}: {error}", code="invalid_config") from None
    return {}


def _named(value: Any) -> Iterator[Path]:
    """Yield every file and folder that a configuration refers to, however deep: `file:/path`."""
    if isinstance(value, str) and value.startswith("file:/"):
        yield Path(value.removeprefix("file:"))
    elif isinstance(value, dict | list):
        for part in value.values() if isinstance(value, dict) else value:
            yield from _named(part)
