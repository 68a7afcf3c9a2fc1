"""`taskbound fix`: a finding's literal secrets become references, and its pipelines sign in without a key."""

import argparse
import os
import shlex
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from taskbound.cli import answer
from taskbound.cli.discover import Progress
from taskbound.core.errors import Conflict, TaskboundError, hint_of
from taskbound_sdk import Refused, Unreachable

if TYPE_CHECKING:
    from taskbound.app.fix import Fix, Looked
    from taskbound.app.fixed import Undo

ABOUT = """\
Do what can be done about a finding of `taskbound discover`, named by its id, where it was looked at then.

Literal secrets in MCP client files, .env, Compose and configuration files become references (taskbound://NAME); each
value goes into a static target, from which `taskbound run --resolve FILE` gives it to one task at a time. All else of
the files stays, byte for byte. Nothing is shown of a value but its last four characters. A GitHub workflow with a
long-lived cloud key signs in by OIDC instead: that is shown, and written with --write. What only a person can do is
told, step by step.

  taskbound fix 0123456789ab --dry-run     what it would change
  taskbound fix 0123456789ab ~/src         change it
  taskbound fix 0123456789ab --undo --with-secrets
"""


def main(words: Sequence[str]) -> int:
    """Run `taskbound fix`."""
    parser = answer.Parser("taskbound fix", description=ABOUT)
    parser.add_argument("finding", metavar="FINDING", help="its id, as discover prints it")
    parser.add_argument(
        "paths", metavar="PATH", type=Path, nargs="*", default=(), help="folders and files (this folder)"
    )
    parser.add_argument("--home", action="store_true", help="this person's own places, as discover --home")
    parser.add_argument("--export", metavar="DIR", type=Path, help="a folder of exported lists")
    parser.add_argument("--dry-run", action="store_true", help="show what would change, and change nothing")
    parser.add_argument("--write", action="store_true", help="write the workflows too, which are shown otherwise")
    parser.add_argument("--kill", action="store_true", help="end the old login at its server (after the fix); it asks")
    for name, form in (("postgres", "postgresql://ADMIN@HOST/DB"), ("redis", "redis[s]://ADMIN@HOST")):
        parser.add_argument(f"--{name}", metavar="URL", help=f"with --kill: {form}; its password in the environment")
    parser.add_argument("--undo", action="store_true", help="put back what a fix has changed")
    parser.add_argument("--with-secrets", action="store_true", help="with --undo: literal secrets too; it asks")
    parser.add_argument("--yes", action="store_true", help="answer yes where it asks")
    asked = parser.parse_args(words)
    if asked.with_secrets and not asked.undo:
        raise answer.Usage("--with-secrets goes with --undo")
    if bool(asked.postgres or asked.redis) != asked.kill:
        raise answer.Usage("--kill goes with --postgres URL or --redis URL: the server to ask")
    if asked.undo or asked.kill:
        return _undo(asked) if asked.undo else _kill(asked)
    return _fix(asked)


def _fix(asked: argparse.Namespace) -> int:
    looked = _look(asked)
    from taskbound.app.fix import plan
    from taskbound.app.fixed import apply

    state = answer.state_directory()
    fix = plan(looked, state)
    answer.show(*fix.diff())
    if asked.dry_run or not (fix.files or (fix.pipelines and asked.write)):
        answer.say(*_would(fix), "nothing was changed")
        is_shown_only = bool(fix.pipelines) and not asked.dry_run
        answer.say(*_told(fix), *(["to write it: the same with --write"] if is_shown_only else []))
        return answer.DONE
    files = [file for file, _ in fix.files] + [one.file for one in fix.pipelines if asked.write]
    with recorded("fix", asked.finding, files=_shown(files), targets=list(fix.targets)):
        apply(fix, state, pipelines=asked.write)
    if fix.files:
        answer.say(*_did(fix))
    if fix.pipelines:
        said = "changed {}" if asked.write else "not written, see above: {} (--write)"
        answer.say(*(said.format(one.path) for one in fix.pipelines))
    answer.say(*_told(fix), *_back(fix, state))
    return answer.DONE


def _back(fix: "Fix", state: Path) -> Iterator[str]:
    """Yield how what was done is put back: asked of what does it, so that what is said is possible."""
    from taskbound.app.fixed import plan_undo

    command = f"taskbound fix {fix.finding.id} --undo"
    try:
        planned = plan_undo(state, fix.finding.id)
    except Conflict as error:  # a workflow held a literal secret, which is kept nowhere
        yield f"to put it back: {hint_of(error)}"
    else:
        yield f"to put it back: {command}{' --with-secrets' if planned.has_secrets else ''}"
        yield from _kept_nowhere(planned)


def _kept_nowhere(planned: "Undo") -> Iterator[str]:
    from taskbound.app.fixed import by_git

    if planned.left:
        yield f"kept nowhere, since a literal secret stood there: {by_git(planned.left)}"


def _told(fix: "Fix") -> Iterator[str]:
    """Yield what only a person can do, in order."""
    every = dict.fromkeys([*(step for one in fix.pipelines for step in one.steps), *fix.steps])
    for number, step in enumerate(every, 1):
        yield f"step {number} is yours: {step}"


def _kill(asked: argparse.Namespace) -> int:
    import asyncio

    from taskbound.app.fixed import journal
    from taskbound.app.issuers import configured, sparing, to_look_at
    from taskbound.app.logins import elsewhere, end_login, logins
    from taskbound.app.places import load_config

    state = answer.state_directory()
    scheme = "postgresql" if asked.postgres else "redis"
    found = [one for one in logins(state, asked.finding) if one.scheme == scheme]
    named = to_look_at([asked.postgres] if asked.postgres else [], [asked.redis] if asked.redis else [], os.environ)
    ((called, issuer),) = sparing(named, configured(load_config(None, state), os.environ)).items()
    names = [one.name for one in found]
    answer.say(*(f"when it was fixed, the same lay in {place} too" for place in elsewhere(state, asked.finding)))
    if not names or not (asked.yes or _agreed(f"{', '.join(names)} would be ended for everybody who uses it")):
        answer.say("nothing was changed")
        return answer.REFUSED
    # Before, and not after it: what one of several left undone stops the others, and none ends unrecorded.
    journal(state, f"ending {', '.join(names)} at {issuer.name}", asked.finding, [], secrets=False)
    for login in found:
        with recorded("kill", asked.finding, issuer=called, login=login.name) as seen:
            ended = asyncio.run(end_login(issuer, called, login))
            seen |= {"before": ended.before, "after": "dead"}
        answer.say(ended.says, f"target {login.target} has the dead value: taskbound target put {login.target}")
    journal(state, f"ended {', '.join(names)} at {issuer.name}", asked.finding, [], secrets=False)
    return answer.DONE


def _would(fix: "Fix") -> Iterator[str]:
    for name in fix.targets:
        is_new = name in fix.names.new
        yield f"would keep a value as target {name}" if is_new else f"target {name} has its value already"


def _did(fix: "Fix") -> Iterator[str]:
    """Yield what was done and what a person does next, in order."""
    for file, moved in fix.files:
        yield f"changed {file}: {answer.counted(len(moved.moves), 'reference')}"
    for name in fix.targets:
        yield f"target {name}: standing, in the state directory, for one task at a time"
    files = " ".join(f"--resolve {shlex.quote(str(file))}" for file, _ in fix.files)
    yield "next, grant it in a profile (policy/profiles/NAME.toml in the state directory), at its end:"
    yield from (line for name in fix.targets for line in ("[[grant]]", f'lease = "{name}/value"'))
    for name in fix.targets:
        if (where := fix.names.environments[name]) and name in fix.names.new:
            command = f"taskbound identity register agent/NAME --owner human/YOU --environment {shlex.quote(where)}"
            yield f"{name} is for agents of {where} alone: {command}"
    yield "then start taskbound up again, which reads its targets when it starts, and: taskbound policy load"
    yield f"then start what reads the file so: taskbound run --profile PROFILE {files} -- PROGRAM"
    if any("mcp-argument" in moved.spots for _, moved in fix.files):
        yield "it is an argument of a program, which others see while it runs: hand it over in its environment"
    yield "the value was readable until now: make a new one at its issuer, put it in (taskbound target put NAME),"
    yield "and revoke the old one; what git keeps of the file still holds it"
    for place in fix.elsewhere:
        yield f"the same credential still lies in {place.path}:{place.line}"


def _undo(asked: argparse.Namespace) -> int:
    from taskbound.app.fixed import plan_undo, undo

    state = answer.state_directory()
    planned = plan_undo(state, asked.finding)
    names = [str(file) for file, _, _ in planned.files]
    if not names:
        answer.say("every file is as it was before that fix")
        if not asked.dry_run:
            undo(planned, state)  # what undoes it is needed no longer
        return answer.DONE
    if asked.dry_run:
        answer.say(*(f"would put back {name}" for name in names), *_kept_nowhere(planned), "nothing was changed")
        return answer.DONE
    if planned.has_secrets and not asked.with_secrets:
        raise answer.Usage(
            "that would write literal secrets into files again: nothing was changed",
            hint=f"taskbound fix {asked.finding} --undo --with-secrets",
        )
    if planned.has_secrets and not (asked.yes or _agreed(f"literal secrets would stand in {', '.join(names)} again")):
        answer.say("nothing was changed")
        return answer.REFUSED
    files = _shown([file for file, _, _ in planned.files])
    with recorded("undo", asked.finding, files=files, with_secrets=planned.has_secrets):
        undo(planned, state)
    with_what = ", with the secrets that stood there" if planned.has_secrets else ""
    answer.say(*(f"put back {name}{with_what}" for name in names), *_kept_nowhere(planned))
    if planned.has_secrets:
        answer.say("their targets keep the values; this is written down in fixes.jsonl, and in the log where up runs")
    return answer.REFUSED if planned.left else answer.DONE


@contextmanager
def recorded(act: str, finding: str, **about: Any) -> Iterator[dict[str, Any]]:
    """Record an act in the log of the `up` of this machine: that it begins, and how it ended.

    Where none runs, and inside a task, it stands in fixes.jsonl alone. Yields where it is put what was seen meanwhile.
    Raises Refused, Unreachable, and nothing is begun, where an `up` runs and does not record it.
    """
    begun, seen = _begun({"act": act, "finding": finding, **about}), dict[str, Any]()
    try:
        yield seen
    except BaseException as error:  # an interrupt too
        _ended(begun, {"finding": finding, "failed": _why(error), **seen})
        raise
    _ended(begun, {"finding": finding, **seen})


def _begun(asked: dict[str, Any]) -> str:
    """Return the request in which it was recorded; "" where nobody records."""
    # os.path: a state directory that is another user's is as good as none.
    if answer.within_task() or not os.path.exists(answer.state_directory() / "run/api.sock"):
        return ""
    try:
        return str(answer.client().request("POST", "/v1/fixes", asked)["begun"])
    except Unreachable as error:
        if isinstance(error.__cause__, ConnectionRefusedError | FileNotFoundError):  # nobody listens
            return ""
        raise


def _ended(begun: str, said: dict[str, Any]) -> None:
    if not begun:
        return
    try:
        answer.client().request("POST", f"/v1/fixes/{quote(begun, safe='')}/end", said)
    except (Refused, Unreachable) as lost:
        answer.say(f"in the log it stands as begun, and not how it ended: {lost}")


def _why(error: BaseException) -> str:
    """Return what is recorded of a failure: our own sentence, or what the system calls it; foreign text is left out."""
    if isinstance(error, TaskboundError):
        return str(error)[:1000]
    return error.strerror if isinstance(error, OSError) and error.strerror else type(error).__name__


def _shown(files: Sequence[Path]) -> list[str]:
    """Return paths as they can be kept: a file's name may be no Unicode."""
    return [os.fsencode(file.absolute()).decode(errors="backslashreplace") for file in files]


def _agreed(question: str) -> bool:
    answer.say(question)
    print("go on? type yes: ", end="", file=sys.stderr, flush=True)
    return sys.stdin.readline().strip() == "yes"


def _look(asked: argparse.Namespace) -> "Looked":
    progress = Progress()
    progress.begin()
    from taskbound.app.discover import Discovery
    from taskbound.app.fix import look

    looked = look(
        Discovery(
            as_of=datetime.now(UTC).date(),
            paths=tuple(asked.paths) or (() if asked.home or asked.export else (Path("."),)),
            home=Path.home() if asked.home else None,
            export=asked.export,
            state=answer.state_directory(),
            tell=progress.tell,
        ),
        asked.finding,
    )
    progress.end()
    return looked
