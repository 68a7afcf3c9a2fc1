"""The command `taskbound`: one module a noun, imported when it is asked for."""

import sys
from collections.abc import Mapping, Sequence
from importlib import import_module

from taskbound.cli.answer import Usage, answered, unknown

COMMANDS: Mapping[str, str] = {
    "discover": "say who holds which credentials and who shares them; no server, changes and sends nothing",
    "fix": "take literal secrets out of files, and put references in that run resolves; patch pipelines",
    "graph": "say what an agent can reach, who else holds a credential, what breaks if it is rotated; draw it",
    "risk": "list the findings of the registry: open, expired, accepted; let a person answer for one until a day",
    "offboard": "end everything that a person or an agent still holds, prove it, and list what a person must do",
    "up": "run everything on this machine: store, gateway, API",
    "serve": "run one node of several, on a PostgreSQL database",
    "run": "run a program inside a task of its own",
    "task": "open, list, show, end tasks",
    "identity": "register, list, count, suspend, resume, retire identities; join tokens",
    "policy": "write a first policy directory; check, test, explain, load it",
    "call": "list calls, and which were denied",
    "tools": "derive and pin the tools of an upstream, list them",
    "lease": "list leases",
    "target": "put a value into a static target, list targets",
    "audit": "export, verify, erase, follow the log",
    "receipt": "show what a closed task was given and when it was dead; verify a receipt offline",
    "doctor": "say what of this installation is not as it should be, and what to do",
    "why": "say why a call was permitted or denied, or a lease or task given",
}
NOT_BUILT = ("connect",)


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command line and return its exit code."""
    return answered(_command, list(sys.argv[1:] if argv is None else argv))


def _command(words: Sequence[str]) -> int:
    match words:
        case ["version" | "--version"]:
            print(f"taskbound {installed_version()}")
        case ["help", name] if name in COMMANDS:
            return _command([name, "--help"])
        case [name, *rest] if name in COMMANDS:
            status: int = import_module(f"taskbound.cli.{name}").main(rest)
            return status
        case [name, *_] if name in NOT_BUILT:
            raise Usage(f"taskbound {name} is not built yet", hint="taskbound help")
        case [] | ["help" | "--help" | "-h"]:
            print("taskbound: access that begins and ends with a task\n\nusage:")
            for name, does in {**COMMANDS, "version": "print the version", "help": "print this"}.items():
                print(f"  taskbound {name:10} {does}")
            print("\ntaskbound COMMAND --help says more. Where it is running: $TASKBOUND_HOME, or taskbound up.")
        case [name] | [name, "--json"]:
            raise unknown("taskbound", name, [*COMMANDS, "version", "help"])
        case _:
            raise unknown("taskbound", " ".join(words), COMMANDS)
    return 0


def installed_version() -> str:
    # Imported here because it costs more than the rest of the command line together.
    from importlib.metadata import version

    return version("taskbound")
