"""`taskbound policy`: a first policy directory, a check of one without a server, and loading it."""

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from taskbound.cli import answer
from taskbound.core.errors import Conflict

VERBS = {
    "init": "write a policy directory to begin with; writes over nothing",
    "check": "check a policy directory, without a server",
    "load": "put the policy directory in force, whole or not at all",
}


def main(words: Sequence[str]) -> int:
    """Run one `taskbound policy …`."""
    parser, verbs = answer.with_verbs("policy", "What is permitted.", VERBS, words)
    for verb in ("init", "check"):
        verbs[verb].add_argument(
            "directory", metavar="DIR", type=Path, nargs="?", help="instead of policy/ in the state directory"
        )
    verbs["check"].add_argument("--config", metavar="FILE", type=Path, help="whose targets the policies may name")
    asked = parser.parse_args(words)
    return {"init": _init, "check": _check, "load": _load}[asked.verb](asked)


def _init(asked: argparse.Namespace) -> int:
    from taskbound.policy_pack import init_files

    directory = asked.directory or answer.state_directory() / "policy"
    if asked.directory is None:
        directory.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    files = {directory / path: data for path, data in init_files().items()}
    # What it writes permits: beside policies of one's own it would widen them.
    for file in (*files, *(directory / "organisation").glob("*.cedar")):
        if file.exists():
            raise Conflict(f"{file} exists already", hint="taskbound policy load, or name another directory")
    for file, data in files.items():
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with file.open("xb") as new:
            new.write(data)
    if asked.json:
        answer.show_json({"directory": str(directory), "files": [str(file) for file in files]})
    else:
        answer.show(*(f"written {file}" for file in files))
    return answer.DONE


def _check(asked: argparse.Namespace) -> int:
    from taskbound import app

    state = answer.state_directory()
    directory = asked.directory or state / "policy"
    checked = app.check_policy(directory, app.load_config(asked.config, state))
    about = {
        "directory": str(directory),
        "version": checked.version,  # as `up` says it, where this user runs it
        "policies": len(checked.organisation.policies),
        "profiles": len(checked.profiles),
        "tools": len(checked.tools),
    }
    return _told(about, f"{directory}: policy {checked.version}: {{}}: in order", asked)


def _load(asked: argparse.Namespace) -> int:
    about = answer.client(answer.PATIENCE).request("POST", "/v1/policy/load", {})
    return _told(about, f"policy {about['version']}: {{}}: in force", asked)


def _told(about: Mapping[str, Any], people: str, asked: argparse.Namespace) -> int:
    if asked.json:
        answer.show_json(about)
    else:
        answer.show(people.format(", ".join(f"{about[name]} {name}" for name in ("policies", "profiles", "tools"))))
    return answer.DONE
