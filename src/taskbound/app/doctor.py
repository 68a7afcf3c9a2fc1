"""`taskbound doctor`: what of this installation is not as it should be, each with what to do about it.

A check is one line: ok, warn (it works, but promises less) or fail. A check that cannot be made
says why. Nothing is changed, here or at a target. What only the running `up` knows is handed in.
"""

import os
import stat
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from shlex import quote

from taskbound.app.disk import FULL, room
from taskbound.app.integrity import integrity
from taskbound.app.places import (
    admin_login,
    likely_second_place,
    load_config,
    public,
    secret,
    static_folder,
    told_node,
    told_second_place,
)
from taskbound.app.policy import try_policy
from taskbound.app.world import now
from taskbound.core.config import Config, TargetConfig
from taskbound.core.errors import InvalidRequest, TaskboundError, Unavailable
from taskbound.core.refusal import problems_of
from taskbound.core.secret import Secret
from taskbound.plugins.providers.postgres.lacks import PostgresCheck
from taskbound.plugins.providers.static import read_value
from taskbound.ports import Checked
from taskbound.store.reserve import RESERVE

OK, WARN, FAIL = "ok", "warn", "fail"
TOLD = 20  # problems of one kind; more are counted
AS_UP = "run doctor with the variables that taskbound up was started with"


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was looked at."""

    name: str
    verdict: str  # ok, warn, fail
    says: str
    hint: str = ""


@dataclass(frozen=True, slots=True)
class Running:
    """What an `up` that answers says: the version in force, and each upstream's pins, or why it tells none."""

    policy: str  # "": it did not tell
    offered: Mapping[str, Mapping[str, str] | str]


async def examine(
    state: Path, file: Path | None, running: Running | None, database: Secret | None = None
) -> list[Check]:
    """Return every check of the installation in a state directory, in the order in which people read them.

    `database` is where the log of a node of `serve` is.
    """
    found = [*places(state), *disk(state)]
    try:
        config = load_config(file, state)
    except InvalidRequest as error:
        return [*found, Check("configuration", FAIL, str(error), error.hint)]
    named = file or state / "taskbound.toml"
    says = f"{named} is in order" if named.exists() else f"there is no {named}: the defaults are in force"
    found.append(Check("configuration", OK, says))
    known = running is not None
    found += [*secrets(config, is_running=known), *second(config, state), *sinks(config)]
    found += policy(config, state, running)
    found += [one for target in config.targets async for one in at_target(target, state, is_running=known)]
    found += [one async for one in log(config, state, database, is_running=known)]
    return found


# --- this machine ----------------------------------------------------------------------------------


def places(state: Path) -> Iterator[Check]:
    """Look at the modes of the state directory and of what it holds."""
    if not state.is_dir():
        yield Check("state directory", WARN, f"there is no {state} yet", "taskbound up")
        return
    wrong = [*_open_to_others(state)]
    for path in wrong[:TOLD]:
        mode = stat.S_IMODE(path.lstat().st_mode)
        ours = path.lstat().st_uid == os.geteuid()
        hint = f"chmod go-rwx {quote(str(path))}" if ours else f"chown -R {os.geteuid()} {quote(str(state))}"
        yield Check("state directory", FAIL, f"{path} is open to others, or somebody else's (mode {mode:04o})", hint)
    if not wrong:
        yield Check("state directory", OK, f"{state} is its owner's alone")


def _open_to_others(state: Path) -> Iterator[Path]:
    """Yield what of the state directory others may use, or own. Behind a directory that is closed modes matter less."""
    private = [state, state / "keys", state / "run", *(state / "keys").glob("*"), *state.glob("taskbound.db*")]
    for path in private:
        if path.exists():
            about = path.lstat()
            if about.st_uid != os.geteuid() or stat.S_IMODE(about.st_mode) & 0o077:
                yield path


def disk(state: Path) -> Iterator[Check]:
    """Look at the room on the disk, and at the reserve (INTERFACES 2)."""
    if not state.is_dir():
        return
    found = room(state)
    says = f"{found.free >> 20} MiB free, {found.used:.0%} used"
    if found.free < RESERVE:
        yield Check("disk", FAIL, f"{says}: nothing new is permitted", "make room; what runs can still be ended")
    elif found.used >= FULL:
        yield Check("disk", WARN, says, "make room before it is full: then nothing is permitted")
    else:
        yield Check("disk", OK, says)
    reserve = state / "reserve"
    if (state / "taskbound.db").exists() and (not reserve.exists() or reserve.stat().st_size < RESERVE):
        hint = "make room; taskbound up takes it again"
        yield Check("reserve", WARN, f"{reserve} does not hold its {RESERVE >> 20} MiB", hint)


# --- the configuration -----------------------------------------------------------------------------


def secrets(config: Config, *, is_running: bool) -> Iterator[Check]:
    """Resolve every reference; no value is shown. What the `up` that runs has of its environment is not seen here."""
    references: dict[str, tuple[Callable[[str], object], str]] = {}
    references |= {f"target {one.name}": (secret, one.admin) for one in config.targets if one.admin}
    references |= {f"server {number}": (secret, one) for number, one in enumerate(config.servers, 1)}
    references |= {f"upstream {one.name} ca": (secret, one.ca) for one in config.upstreams if one.ca}
    if tls := config.tls:  # certificates may be read by all, as `up` reads them
        references["listen.tls key"] = (secret, tls.key)
        references["listen.tls certificate"] = (public, tls.certificate)
        if tls.client_ca:
            references["listen.tls client_ca"] = (public, tls.client_ca)
    broken = 0
    for where, (read, reference) in references.items():
        if is_running and _is_absent(reference):
            broken += 1
            yield Check("secrets", WARN, f"{where}: not looked at, {reference} is not set here", AS_UP)
            continue
        try:
            read(reference)
        except InvalidRequest as error:
            broken += 1
            yield Check("secrets", FAIL, f"{where}: {error}", error.hint)
    if not broken:
        yield Check("secrets", OK, f"{len(references)} reference{'s resolve' if len(references) != 1 else ' resolves'}")


def _is_absent(reference: str) -> bool:
    return reference.startswith("env:") and not os.environ.get(reference.removeprefix("env:"))


def second(config: Config, state: Path) -> Iterator[Check]:
    """Look whether checkpoints are kept on another disk than the log."""
    place = likely_second_place(config, state)
    if (told := told_second_place(state)) not in (None, place):
        says = f"taskbound up keeps checkpoints in {told}, configured is {place}"
        yield Check("second place", WARN, says, "start taskbound up again, with this configuration")
    there, here = _nearest(place), _nearest(state)
    if not (os.path.isdir(there) and os.access(there, os.W_OK | os.X_OK)):
        yield Check("second place", FAIL, f"{there} cannot be written: nothing is sealed", _let_in())
    elif there.stat().st_dev == here.stat().st_dev:
        hint = 'set checkpoints = "file:/mnt/other/taskbound" in taskbound.toml'
        says = f"{place} is on the disk of the log: whoever writes one writes both"
        yield Check("second place", WARN, says, hint)
    else:
        yield Check("second place", OK, f"{place} is on another disk")


def sinks(config: Config) -> Iterator[Check]:
    """Look whether each sink can be written: one that cannot holds up nothing, so nothing else says so."""
    for sink in map(Path, config.sinks):
        writable = os.access(sink, os.W_OK) if os.path.exists(sink) else os.access(sink.parent, os.W_OK | os.X_OK)
        if writable and not os.path.isdir(sink):
            yield Check("sinks", OK, f"{sink} can be written")
        else:
            yield Check("sinks", FAIL, f"{sink} cannot be written: it receives no event", _let_in())


def _nearest(path: Path) -> Path:
    """Return a path, or the first above it, that is there for us: what lies in a folder closed to us is not."""
    return next(one for one in (path, *path.parents) if os.path.exists(one))  # Path.exists raises PermissionError


def _let_in() -> str:
    return f"let uid {os.geteuid()} write there"


# --- policy and tools ------------------------------------------------------------------------------


def policy(config: Config, state: Path, running: Running | None) -> Iterator[Check]:
    """Read the policy directory, run its tests, and compare it with what is in force and offered."""
    directory = state / "policy"
    if not directory.is_dir():
        yield Check("policy", WARN, f"there is no {directory}: nothing is permitted", "taskbound policy init")
        return
    try:
        policies, outcomes = try_policy(directory, config, node := told_node(state))
    except InvalidRequest as error:
        yield from (Check("policy", FAIL, str(one), one.hint) for one in problems_of(error))
        return
    if len(policies.organisation.policies) <= (0 if node else 1):  # in `up` the operator's own is built in
        yield Check("policy", WARN, "there is no policy: nothing is permitted", "taskbound policy init")
    elif running and running.policy not in ("", policies.version):
        says = f"in force is {running.policy[:12]}, on disk stands {policies.version[:12]}"
        yield Check("policy", WARN, says, "taskbound policy load")
    else:
        yield Check("policy", OK, f"version {policies.version[:12]} is in order{' and in force' if running else ''}")
    for one in outcomes:
        if not one.passed:
            yield Check("policy tests", FAIL, f"{one.test.name}: {one.wrong}", "taskbound policy test")
    for name, profile in policies.profiles.items():
        if profile.review_by < now().date():
            says = f"profile {name} was to be reviewed by {profile.review_by}"
            yield Check("policy", WARN, says, f"{profile.owner} reviews it and sets another review_by")
    known = {resource: tool.pin for resource, tool in policies.tools.items()}
    for upstream in config.upstreams:
        if running is None:
            yield Check(f"tools {upstream.name}", WARN, "not compared: taskbound up does not run", "taskbound up")
        else:
            yield from _pins(upstream.name, known, running.offered.get(upstream.name, "it was not asked"))


def _pins(upstream: str, known: Mapping[str, str], offered: Mapping[str, str] | str) -> Iterator[Check]:
    """Compare what an upstream offers now with what was pinned."""
    name, derive = f"tools {upstream}", f"review the change, then: taskbound tools derive {upstream} --write"
    if isinstance(offered, str):
        yield Check(name, FAIL, offered, "is it running there? its address is url in taskbound.toml")
        return
    pinned = {one.partition("/")[2]: pin for one, pin in known.items() if one.partition("/")[0] == upstream}
    changed = sorted(tool for tool in pinned.keys() & offered.keys() if pinned[tool] != offered[tool])
    for tool in changed[:TOLD]:
        yield Check(name, FAIL, f"{tool} is offered with another definition than the one that was pinned", derive)
    if fresh := sorted(offered.keys() - pinned.keys()):
        yield Check(name, WARN, f"not pinned: {', '.join(fresh[:TOLD])}", f"taskbound tools derive {upstream} --write")
    if gone := sorted(pinned.keys() - offered.keys()):
        yield Check(name, WARN, f"pinned, and not offered: {', '.join(gone[:TOLD])}", f"look at tools/{upstream}.toml")
    if not (changed or fresh or gone):
        yield Check(name, OK, f"{len(pinned)} {'tool is' if len(pinned) == 1 else 'tools are'} offered as pinned")


# --- targets ---------------------------------------------------------------------------------------


def _postgres(target: TargetConfig) -> Checked:
    roles = [role for member_of in target.grants.values() for role in member_of]
    return PostgresCheck(admin_login(target), owner=target.owner, quarantine=target.quarantine, member_of=roles)


CHECKED: Mapping[str, Callable[[TargetConfig], Checked]] = {"postgres": _postgres}


def _static(name: str, folder: Path) -> Check:
    try:
        read_value(folder)
    except TaskboundError as error:
        return Check(name, FAIL, str(error), error.hint)
    return Check(name, OK, "it has a value, which is standing: no lease ends it")


async def at_target(target: TargetConfig, state: Path, *, is_running: bool) -> AsyncIterator[Check]:
    """Ask what a target lacks. The hint is the statement that its administrator runs."""
    name = f"target {target.name}"
    if target.provider == "static":
        yield _static(name, static_folder(state, target.name))
        return
    if is_running and _is_absent(target.admin):
        yield Check(name, WARN, f"not asked: {target.admin} is not set here", AS_UP)
        return
    if (make := CHECKED.get(target.provider)) is None:
        yield Check(name, WARN, f"nothing is known of what {target.provider} needs")
        return
    try:
        lacks = await make(target).lacks()
    except TaskboundError as error:
        yield Check(name, FAIL, str(error), error.hint or f"look at {target.admin} and at the server")
        return
    for lack in lacks:
        # Behind the statement, which is pasted whole, and quoted: who may make databases may name one in two lines.
        where = f"  -- in database {lack.database!r}" if lack.database and lack.statement else ""
        yield Check(name, FAIL, lack.what, f"{lack.statement}{where}")
    if not lacks:
        yield Check(name, OK, "it is reachable and lacks nothing")


# --- the log ---------------------------------------------------------------------------------------


async def log(config: Config, state: Path, database: Secret | None, *, is_running: bool) -> AsyncIterator[Check]:
    """Verify the log, and compare every row with the newest fact about it."""
    if database is None and (node := told_node(state)):
        says = f"not looked at: the log of node {node} is in the database that it shares"
        yield Check("log", WARN, says, "taskbound doctor --store REFERENCE, as taskbound serve has it")
        return
    if database is None and not (state / "taskbound.db").is_file():
        yield Check("log", OK, "there is none yet")
        return
    if database is None and is_running:
        yield Check("log", WARN, "not looked at: taskbound up works on it", "stop taskbound up, then taskbound doctor")
        return
    if not (state / "keys/log.pem").is_file():
        yield Check("log", FAIL, f"{state / 'keys/log.pem'} is gone: nobody can say whose log it is", "restore it")
        return
    try:
        verdict, compared = await integrity(state, likely_second_place(config, state), database)
    except Unavailable as error:
        yield Check("log", WARN if error.code == "already_running" else FAIL, f"not looked at: {error}", error.hint)
        return
    hint = "taskbound audit export DIR, keep it, and restore what was edited"
    if verdict is None:
        yield Check("log", WARN, "nothing is sealed yet", "taskbound up")
    else:
        for problem in verdict.problems[:TOLD]:
            yield Check("log", FAIL, str(problem), hint)
        if not verdict.problems:
            yield Check("log", OK, f"{verdict.size} events verify")
    for mismatch in compared.mismatches[:TOLD]:
        yield Check("rows", FAIL, mismatch, hint)
    if (more := len(compared.mismatches) - TOLD) > 0:
        yield Check("rows", FAIL, f"{more} more rows are not what the log says", hint)
    if not compared.mismatches:
        left = "rows, budgets and labels were not compared: bodies that they follow from, or may, are erased"
        erased = f"; {compared.erased} {left}" if compared.erased else ""
        yield Check("rows", OK, f"{compared.compared} rows are what the log says{erased}")
