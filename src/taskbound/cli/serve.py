"""`taskbound serve`: one node of several, which share one PostgreSQL database."""

from collections.abc import Sequence
from pathlib import Path

from taskbound.cli import answer
from taskbound.cli.up import serve

ABOUT = """\
Run one node on a PostgreSQL database, until SIGTERM or Ctrl-C; SIGHUP loads the policy again. Each node has a
state directory of its own, with the same keys/ and policy/ as the others. Nothing is registered or pinned by
its first use, and nobody administers without a policy.

  taskbound serve --store env:TASKBOUND_STORE
"""


def main(words: Sequence[str]) -> int:
    """Run until the process is told to stop."""
    parser = answer.Parser("taskbound serve", description=ABOUT)
    parser.add_argument("--json", action="store_true", help="print one line of JSON on stdout once it listens")
    parser.add_argument("--config", metavar="FILE", type=Path, help="instead of taskbound.toml in the state directory")
    parser.add_argument(
        "--store", metavar="REFERENCE", required=True, help="env:NAME or file:/path, or a URL without a password"
    )
    parser.add_argument(
        "--resume-operator", action="store_true", help="lift the suspension of who owns the state directory"
    )
    asked = parser.parse_args(words)
    return serve(asked, database=asked.store, resume_operator=asked.resume_operator)
