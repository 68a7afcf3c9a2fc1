"""`taskbound policy`: a first policy directory; check, test and explain one without a server; load it."""

import argparse
import os
import stat
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from taskbound.cli import answer
from taskbound.core.errors import Conflict, InvalidRequest

if TYPE_CHECKING:
    from taskbound.core.trial import Outcome

ABOUT = """\
What is permitted.

  init [DIR]         write a policy directory to begin with; writes over nothing
  check [DIR]        check a policy directory, without a server: every problem, with its file, line and hint
  test [DIR]         run its tests/*.toml by the evaluation that decides calls
                       taskbound policy test --only "refund above the limit"
  explain PROFILE    print a profile as a person reads it, the Cedar text of each grant, the policies that meet it
                       taskbound policy explain refund-order --set order_id=4711
  schema [TOOL]      print the Cedar schema that policies about a tool are validated against, for an editor
                       taskbound policy schema crm/refund > crm-refund.cedarschema
  load               put the policy directory in force, whole or not at all
"""
VERBS = {
    "init": "write a policy directory to begin with; writes over nothing",
    "check": "check a policy directory, without a server",
    "test": "run the tests of a policy directory, without a server",
    "explain": "print a profile as a person reads it, and the Cedar text of its grants",
    "schema": "print the Cedar schema that policies are validated against",
    "load": "put the policy directory in force, whole or not at all",
}
BEFORE_UP = {"taskbound.toml", "policy"}  # what a person puts into a state directory that `up` never used
COUNTED = {"policies": "policy", "profiles": "profile", "tools": "tool", "tests": "test"}
COMMON = """\
// What all actions share. context.args and context.origin have the arguments of the tool that is called:
// taskbound policy schema UPSTREAM/TOOL. context.grant is there for the grants of a task only."""


def main(words: Sequence[str]) -> int:
    """Run one `taskbound policy …`."""
    parser, verbs = answer.with_verbs("policy", ABOUT, VERBS, words)
    for verb in ("init", "check", "test"):
        verbs[verb].add_argument(
            "directory", metavar="DIR", type=Path, nargs="?", help="instead of policy/ in the state directory"
        )
    for verb in ("explain", "schema"):
        verbs[verb].add_argument(
            "--policy", dest="directory", metavar="DIR", type=Path, help="instead of policy/ in the state directory"
        )
    for verb in ("check", "test", "explain", "schema"):
        verbs[verb].add_argument("--config", metavar="FILE", type=Path, help="whose targets the policies may name")
    verbs["test"].add_argument("--only", metavar="NAME", help="only tests whose name contains this")
    verbs["explain"].add_argument("profile", metavar="PROFILE")
    verbs["explain"].add_argument(
        "--set", dest="values", metavar="NAME=VALUE", type=answer.pair, action="extend", nargs="+", default=[]
    )
    verbs["explain"].add_argument(
        "--levels", metavar="N", type=int, choices=range(1, 5), default=1, help="of a chain of tasks, the first N"
    )
    verbs["schema"].add_argument("tool", metavar="TOOL", nargs="?", help="such as crm/refund")
    verbs["schema"].add_argument("--profile", metavar="PROFILE", help="with the values that its grants are bound to")
    asked = parser.parse_args(words)
    does = {"init": _init, "check": _check, "test": _test, "explain": _explain, "schema": _schema, "load": _load}
    try:
        return does[asked.verb](asked)
    except InvalidRequest as error:
        from taskbound.core.refusal import problems_of

        if len(problems_of(error)) == 1:
            raise
        return _broken(problems_of(error), asked)


def _broken(problems: Sequence[InvalidRequest], asked: argparse.Namespace) -> int:
    """Tell every problem of a directory."""
    if asked.json:
        told = [{"error_description": str(one), "hint": one.hint} for one in problems]
        answer.show_json({"error": problems[0].code, **told[0], "request": "", "problems": told})
    else:
        for one in problems:
            answer.say(str(one), *([f"  hint: {one.hint}"] if one.hint else []))
        answer.say(f"{len(problems)} problems ({problems[0].code})")
    return answer.REFUSED


def _init(asked: argparse.Namespace) -> int:
    from taskbound.policy_pack import init_files

    directory = asked.directory or answer.state_directory() / "policy"
    if asked.directory is None:
        _make_private(directory.parent)
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


def _make_private(state: Path) -> None:
    """Make the state directory, 0700; close one that is open to others, which `up` would not take.

    One that holds more than what a person puts there before the first start may be a folder of another use (`/tmp`,
    a home): its mode is not ours to change, and `up` names it. Raises OSError.
    """
    state.mkdir(mode=0o700, parents=True, exist_ok=True)
    about = state.stat()
    is_open = about.st_uid == os.geteuid() and stat.S_IMODE(about.st_mode) & 0o077
    if is_open and {file.name for file in state.iterdir()} <= BEFORE_UP:
        state.chmod(0o700)
        answer.say(f"{state} was open to others: its mode is 0700 now")


def _check(asked: argparse.Namespace) -> int:
    from taskbound import app

    directory, config = _place(asked)
    checked = app.check_policy(directory, config)
    about = {
        "directory": str(directory),
        "version": checked.version,  # as `up` says it, where this user runs it
        "policies": len(checked.organisation.policies),
        "profiles": len(checked.profiles),
        "tools": len(checked.tools),
        "tests": len(checked.tests),
    }
    return _told(about, f"{directory}: policy {checked.version}", "in order", asked)


def _place(asked: argparse.Namespace) -> tuple[Path, Any]:
    """Return the policy directory and the configuration."""
    from taskbound import app

    state = answer.state_directory()
    return asked.directory or state / "policy", app.load_config(asked.config, state)


def _load(asked: argparse.Namespace) -> int:
    about = answer.client(answer.PATIENCE).request("POST", "/v1/policy/load", {})
    if not asked.json:
        answer.say(*(f"warning: {warning}" for warning in about.get("warnings", [])))
    return _told(about, f"policy {about['version']}", "in force", asked)


def _told(about: Mapping[str, Any], what: str, verdict: str, asked: argparse.Namespace) -> int:
    if asked.json:
        answer.show_json(about)
    else:
        counts = ", ".join(answer.counted(about[name], one) for name, one in COUNTED.items() if name in about)
        answer.show(f"{what}: {counts}: {verdict}")
    return answer.DONE


# --- tests -----------------------------------------------------------------------------------------


def _test(asked: argparse.Namespace) -> int:
    from taskbound import app

    policies, outcomes = app.try_policy(*_place(asked))
    outcomes = tuple(one for one in outcomes if asked.only is None or asked.only in one.test.name)
    failed = [one for one in outcomes if not one.passed]
    if asked.json:
        answer.show_json({"version": policies.version, "tests": [_outcome(one) for one in outcomes]})
    else:
        columns = {"FILE": "file", "TEST": "name", "WRONG": "wrong", "REASON": "reason"}
        if failed:
            answer.show_table(columns, [_outcome(one) for one in failed], "")
        if not outcomes:
            answer.say("there are no tests")
        answer.show(f"{len(outcomes) - len(failed)} of {len(outcomes)} tests pass")
    return answer.REFUSED if failed else answer.DONE


def _outcome(one: "Outcome") -> dict[str, Any]:
    test = one.test
    return {
        "file": test.path,
        "name": test.name,
        "passed": one.passed,
        "expected": {"verdict": test.verdict, "code": test.code, "policy": test.policy},
        "got": {"verdict": one.verdict, "code": one.code, "policies": list(one.policies)},
        "wrong": one.wrong,
        "reason": one.reason,
    }


# --- what it says ----------------------------------------------------------------------------------


def _explain(asked: argparse.Namespace) -> int:
    from taskbound import app

    about = app.explain_profile(*_place(asked), asked.profile, dict(asked.values), asked.levels)
    if asked.json:
        answer.show_json(about)
    else:
        answer.show(*_explained(about))
    return answer.DONE


def _explained(about: Mapping[str, Any]) -> Iterable[str]:
    yield f"profile {about['profile']}: {about['purpose']}"
    yield f"  owner {about['owner']}, to be reviewed by {about['review_by']}"
    spans = {"life": "life_s", "ends when idle for": "idle_s", "heartbeat grace": "heartbeat_grace_s"}
    yield f"  {', '.join(f'{name} {about[key]} s' for name, key in spans.items() if about[key] is not None)}"
    if about["on_lost"]:
        yield f"  when its holder is lost: {about['on_lost']}"
    yield f"  budget {', '.join(f'{name} {amount}' for name, amount in about['budget'].items())}"
    for one in about["parameters"]:
        limits = "".join(f", {name} {_plain(bound)}" for name, bound in one["limits"].items())
        value = "" if one["value"] is None else f" = {_plain(one['value'])}"
        yield f"  parameter {one['name']}{value}: {one['kind']}, {one['type']}{limits}"
    if not about["grants"]:
        yield "it grants nothing"
    for grant in about["grants"]:
        yield ""
        yield f"{grant['id']}: {grant['said']}"
        for level, text in grant["text"].items():
            yield f"  at level {level} of a chain of tasks:"
            yield from (f"    {line}" for line in text.splitlines())
        for effect in ("permit", "forbid"):
            names = [one["id"] for one in grant["policies"] if one["effect"] == effect]
            yield f"  policies that may {effect} it: {', '.join(names) or 'none'}"


def _plain(value: Any) -> str:
    """Return a Cedar JSON value as a person writes it."""
    if isinstance(value, list):
        return f"[{', '.join(map(_plain, value))}]"
    if isinstance(value, dict):
        return str(value["__extn"]["arg"])
    return str(value).lower() if isinstance(value, bool) else str(value)


def _schema(asked: argparse.Namespace) -> int:
    from taskbound import app

    if asked.profile and not asked.tool:
        raise answer.Usage("--profile goes with a tool", hint="taskbound policy schema UPSTREAM/TOOL --profile PROFILE")
    text = app.policy_schema(*_place(asked), asked.tool, asked.profile)
    if asked.json:
        answer.show_json({"tool": asked.tool, "profile": asked.profile, "schema": text})
    else:
        answer.show(*([] if asked.tool else COMMON.splitlines()), *text.splitlines())
    return answer.DONE
