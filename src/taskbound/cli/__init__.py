"""The command `taskbound`."""

import sys
from collections.abc import Sequence

HELP = """\
taskbound: access that begins and ends with a task

usage:
  taskbound version     print the version (also: taskbound --version)
  taskbound help        print this (also: taskbound --help)
  taskbound audit       export, verify, erase, follow the log (taskbound audit --help)
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command line and return its exit code."""
    words = list(sys.argv[1:] if argv is None else argv)
    match words:
        case ["version" | "--version"]:
            print(f"taskbound {installed_version()}")
        case ["audit", *rest]:
            from taskbound.cli import audit

            return audit.main(rest)
        case [] | ["help" | "--help" | "-h"]:
            print(HELP, end="")
        case _:
            print(f"taskbound does not know the command {' '.join(words)!r}", file=sys.stderr)
            print("hint: taskbound help", file=sys.stderr)
            return 2
    return 0


def installed_version() -> str:
    # Imported here because it costs more than the rest of the command line together.
    from importlib.metadata import version

    return version("taskbound")
