"""`taskbound up`: everything on this machine in one process, until it is told to stop."""

import argparse
import logging
import os
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, TextIO, cast

from taskbound.cli import answer

ABOUT = """\
Run the store, the gateway and the API on this machine, until SIGTERM or Ctrl-C. SIGHUP loads the policy again.

  taskbound policy init; taskbound up
"""


class _Unfailing:
    """A stream of which what cannot be written is lost: who reads the log may go, and what ends is cut all the same."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> None:
        with suppress(OSError, ValueError):
            self._stream.write(text)

    def flush(self) -> None:
        with suppress(OSError, ValueError):
            self._stream.flush()


def main(words: Sequence[str]) -> int:
    """Run until the process is told to stop."""
    parser = answer.Parser("taskbound up", description=ABOUT)
    parser.add_argument("--json", action="store_true", help="print one line of JSON on stdout once it listens")
    parser.add_argument("--config", metavar="FILE", type=Path, help="instead of taskbound.toml in the state directory")
    parser.add_argument("--production", action="store_true", help="nothing is registered or pinned by its first use")
    parser.add_argument(
        "--resume-operator", action="store_true", help="lift the suspension of who owns the state directory"
    )
    asked = parser.parse_args(words)
    return serve(asked, production=asked.production, resume_operator=asked.resume_operator)


def serve(
    asked: argparse.Namespace, *, database: str | None = None, production: bool = False, resume_operator: bool = False
) -> int:
    """Run `up`, or with a reference to a database one node, until the process is told to stop."""
    import structlog
    import uvloop

    if answer.within_task() and not os.environ.get("TASKBOUND_HOME"):  # the usual one is hidden here, and looks unused
        message = f"you are inside of task {os.environ['TASKBOUND_TASK']}: its server runs already, outside"
        hint = "nothing is to be started; for an installation of your own name its state directory in TASKBOUND_HOME"
        raise answer.Inside(message, hint=hint)
    from taskbound import app
    from taskbound.app.up import up

    json_lines = not sys.stderr.isatty()
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer() if json_lines else structlog.dev.ConsoleRenderer(colors=False),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        logger_factory=structlog.PrintLoggerFactory(cast(TextIO, _Unfailing(sys.stderr))),
    )
    state = app.state_directory()
    config = app.load_config(asked.config, state)
    announce = answer.show_json if asked.json else _announce
    dsn = app.database_of(database, state) if database else None
    how = {"production": production, "resume_operator": resume_operator}
    uvloop.run(up(config, state, announce=announce, file=asked.config, database=dsn, **how))
    return answer.DONE


def _announce(about: Mapping[str, Any]) -> None:
    answer.say(
        f"taskbound listens on {', '.join(about['api'])}",
        f"gateway {about['gateway']}",
        *([f"gateway beyond this machine {about['beyond']}"] if about.get("beyond") else []),
        f"policy {about['policy'][:12]}",
        f"operator {about['operator']}",
        *(f"warning: {warning}" for warning in about["warnings"]),
    )
