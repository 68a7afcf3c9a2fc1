"""`taskbound run`: a program inside a task, with what the task gives it and nothing else that stands (INTERFACES 10).

The order is that of leaving nothing behind: find out what can be hidden, open the task and hold
it, ask for its leases, write the files, fork. From then on the end of either side ends the other:
the task when the child ends however, the child when the task ends, both when we are killed (the
kernel kills the child, and the server sees the connection end). We know the server by its SDK only.
"""

import os
import re
import select
import shutil
import signal
import socket
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any, Protocol

from taskbound.runner import place
from taskbound.runner.child import COULD_NOT_START, Child, NotStarted, Walls, start, walls_for
from taskbound.runner.denied import denials
from taskbound.runner.environment import LeaseFile, brought, inherited, withheld
from taskbound.runner.hold import Hold
from taskbound.runner.namespaces import (
    EMPTY,
    PR_SET_CHILD_SUBREAPER,
    PR_SET_DUMPABLE,
    Hidden,
    Shown,
    keys,
    loose_on_the_way,
    prctl,
    to_hide,
)
from taskbound.runner.seccomp import can_forbid_typing
from taskbound_sdk import Client, Refused, Unreachable

RESOLVED_LIMIT = 4 << 20  # bytes of a file in which references are resolved
GRANT_HINT = 'grant the task a lease of it, as in: [[grant]] lease = "NAME/value"'
GRACE = 10.0  # seconds between TERM and KILL
STANDING = "standing"  # the class of a lease whose credential does not end with it
Values = Mapping[str, Mapping[str, str]]  # of leases: by name, by member of the credential
TWICE = 3.0  # seconds within which a second Ctrl-C means that the first one was not heeded
FORWARDED = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2)


class References(Protocol):
    """How references to leases are read. Given by who calls `run`, which knows files and their formats."""

    def is_one(self, text: str, /) -> bool:
        """Whether a text is a reference and nothing else."""

    def resolved(self, text: str, values: Values, /) -> str:
        """Return a text with what its references lead to. Raises ValueError, without a value in it."""

    def resolved_file(self, path: str, data: bytes, values: Values, /) -> bytes:
        """Return a file with what its references lead to. Raises ValueError, without a value in it."""


class HasFileno(Protocol):
    """What select waits for."""

    def fileno(self) -> int: ...


def run(
    command: Sequence[str],
    client_address: str,
    *,
    profile: str | None,
    set: Mapping[str, str],
    intent: str | None,
    agent: str | None,
    life: timedelta | None,
    cause: str | None = None,
    keep: Sequence[str],
    must_contain: bool,
    references: References,
    resolve: Sequence[Path] = (),
    state: Path,
    second: Path | None = None,
    also: Sequence[Path] = (),
) -> int:
    """Run the command inside a task of its own; return its status, 128 + signal, or 125 when it could not start.

    `resolve`: files in which the program finds what references lead to, in their places; those of its environment
    are resolved too.

    `second` and `also`: where the server keeps checkpoints (None: it does not say) and what its configuration
    names, to be hidden like its state.

    The process that calls this becomes the runner: it is made unreadable for others of its user,
    takes over their orphans, and kills what children it has left at the end.
    """
    outside = dict(os.environ)
    environment = inherited(outside, keep, references.is_one)
    body = {
        "profile": profile,
        "set": dict(set),
        "intent": intent,
        "actor": _actor(agent, command[0]),
        **({"life_s": int(life.total_seconds())} if life else {}),
        **({"cause": cause} if cause else {}),
    }
    prctl(PR_SET_DUMPABLE, 0)  # what is in our memory opens the task
    prctl(PR_SET_CHILD_SUBREAPER, 1)
    with ExitStack() as stack:
        bell = stack.enter_context(_signals())
        try:
            program = shutil.which(command[0], path=environment.get("PATH", os.defpath))
            if program is None:
                raise NotStarted(f"there is no program {command[0]!r}", hint="give its path, or look at PATH")
            own = stack.enter_context(place.own_folder(outside))
            place.write(own / EMPTY, "")
            hidden = to_hide(state, outside, second, also)
            if any(Path.cwd().is_relative_to(one.path) for one in hidden):
                raise NotStarted(
                    "the current folder is one that is hidden from programs", hint="start it from elsewhere"
                )
            walls, reason = walls_for(own)
            walls = replace(walls, hidden=hidden)
            files = _to_resolve(resolve, walls, reason)
            reachable = [
                *_reachable(walls, hidden, reason),
                *_uncovered(second, also, hidden),
                *_replaceable([state, *([second] if second else []), *also, *keys(outside).values()], hidden),
            ]
            if must_contain and reachable:
                _say(*reachable)
                raise NotStarted(
                    "what is named above would stay reachable", hint="without --must-contain it starts all the same"
                )
            for name in keep:
                _say(f"kept from outside: {name}" if name in environment else f"nothing to keep: {name} is not set")
            for name in withheld(outside, keep):
                _say(f"not handed on, a password may stand in it: {name}")
            held = Client(client_address).hold_task(**body)
            task = held.task
            _say(*_hidden(walls), *reachable)  # only now: of what is not started nothing is hidden
            _say(*_granted(task, body["actor"], is_named=agent is not None))
            client = Client(client_address, task["handle"])
            hold = Hold(held, lambda: client.reopen(task["task"]))
            reason = "the program could not be started"
            try:
                leases = _leased(client, task)
                environment = _resolved(environment, references, _values(leases))
                environment |= _delivered(task, leases, own)
                shown = _shown(files, references, _values(leases), own)
                walls = replace(walls, shown=shown)
                with closing(start(program, command, environment, walls, own)) as child:
                    status = _watch(child, hold, bell)
                reason = "the program ended"
                return status
            finally:
                _end(client, task["task"], reason)
                _say(*denials(client_address, task["task"]))
        except (NotStarted, Refused, Unreachable, OSError) as error:
            hint = getattr(error, "hint", "")
            if (within := outside.get("TASKBOUND_TASK")) and not isinstance(
                error, NotStarted
            ):  # what it needs is hidden
                hint = (
                    f"you are inside of task {within}: type it outside, or open a task below it (taskbound task open)"
                )
            _say(f"could not start: {error}", *([f"hint: {hint}"] if hint else []))
            return COULD_NOT_START


def _actor(agent: str | None, program: str) -> str:
    name = agent or re.sub(r"[^A-Za-z0-9._-]", "-", os.path.basename(program))
    return name if name.startswith("agent/") else f"agent/{name}"


def _granted(task: Mapping[str, Any], actor: object, *, is_named: bool) -> Iterator[str]:
    if task.get("registered"):
        yield f"{actor} was not known: it is registered now, and you are its owner"
        if not is_named:  # each script of one interpreter would be this one
            yield "  it is named after its program: --agent NAME tells it from others of that program"
    yield f"task {task['task']} until {task['deadline']}, as {actor}"
    for grant in task["grants"]:
        yield f"  {grant['said']}"
    if not task["grants"]:
        yield "  nothing is granted"


def _hidden(walls: Walls) -> Iterator[str]:
    if walls.apart:
        how = "user, mount and PID namespace" if walls.pids else "user and mount namespace"
        yield f"hidden from the program ({how}): {'; '.join(one.name for one in walls.hidden)}"


def _reachable(walls: Walls, hidden: Sequence[Hidden], reason: str) -> list[str]:
    """Return what an agent could reach although it should not, by name."""
    found = []
    if not walls.apart:
        found.append(f"nothing can be hidden from the program here ({reason}), so it can reach:")
        found += [f"  {one.name}: same user" for one in hidden]
    elif os.getuid() == 0:
        found.append("you are root: the disks below /dev and the kernel's settings can be reached")
    if not walls.pids:
        found.append("your other processes can be signalled")
    if not can_forbid_typing():
        found.append("your terminal can be typed into: what it types runs as you")
    return found


def _uncovered(second: Path | None, also: Sequence[Path], hidden: Sequence[Hidden]) -> Iterator[str]:
    """Yield what should be out of reach and cannot be hidden."""
    if second is None:
        yield "taskbound up does not say where it keeps its checkpoints: they can be reached; start it again"
    elif not _covers(hidden, second):
        yield f"taskbound's checkpoints can be reached when there are some: there is no {second} to hide"
    for path in also:
        if not _covers(hidden, path):
            yield f"{path} can be reached when it is there: taskbound up names it, and there is none to hide"


def _replaceable(places: Sequence[Path], hidden: Sequence[Hidden]) -> Iterator[str]:
    """Yield what leads to a hidden place, by the name that others know it by, and can be replaced."""
    for one in places:
        if not _covers(hidden, one):
            continue
        for step in dict.fromkeys(loose_on_the_way(one, hidden)):
            real = os.path.realpath(one)
            yield f"{step} leads to {real} and can be replaced: no symbolic link may stand on that way"


def _covers(hidden: Sequence[Hidden], path: Path) -> bool:
    return any(Path(os.path.realpath(path)).is_relative_to(one.path) for one in hidden)


def _to_resolve(paths: Sequence[Path], walls: Walls, reason: str) -> dict[Path, bytes]:
    """Return the files in which references are resolved, by where they really are. Raises NotStarted, OSError."""
    if paths and not walls.apart:
        raise NotStarted(
            f"no file can be shown to the program in the place of another here ({reason})",
            hint="leave --resolve out, and put the references into its environment",
        )
    found = {}
    for path in paths:
        real = path.resolve(strict=True)
        if any(real.is_relative_to(one.path) for one in walls.hidden):
            raise NotStarted(f"{path} is hidden from programs", hint="it cannot be resolved there")
        with real.open("rb") as file:
            found[real] = file.read(RESOLVED_LIMIT + 1)
        if len(found[real]) > RESOLVED_LIMIT:
            raise NotStarted(f"{path} has more than {RESOLVED_LIMIT >> 20} MiB", hint="it is none to hold references")
    return found


def _resolved(environment: Mapping[str, str], references: References, values: Values) -> dict[str, str]:
    """Return the environment with what its references lead to. Raises NotStarted."""
    inside = {}
    for name, value in environment.items():
        try:
            inside[name] = references.resolved(value, values)
        except ValueError as error:
            raise NotStarted(f"${name}: {error}", hint=GRANT_HINT) from None
        if inside[name] != value:
            _say(f"resolved for the program: ${name}")
    return inside


def _shown(files: Mapping[Path, bytes], references: References, values: Values, own: Path) -> tuple[Shown, ...]:
    """Write each file, resolved, into the child's folder; return what stands in which place. Raises NotStarted."""
    shown = []
    for number, (path, data) in enumerate(files.items()):
        try:
            inside = references.resolved_file(str(path), data, values)
        except ValueError as error:
            raise NotStarted(str(error), hint=GRANT_HINT) from None
        shown.append(Shown(path, Path(place.write_bytes(own / f"resolved-{number}", inside))))
        _say(f"resolved for the program: {path}" if inside != data else f"nothing to resolve in {path}")
    return tuple(shown)


def _values(leases: Mapping[str, Mapping[str, Any]]) -> Values:
    """Return what references may lead to."""
    found = {}
    for name, lease in leases.items():
        found[name] = {member: str(value) for member, value in lease["credential"].items()}
        if "database" in found[name]:
            found[name]["url"] = place.database_url(found[name])
    return found


def _leased(client: Client, task: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """Ask for the leases that the task grants; return them by the names under which the child finds them."""
    leases: dict[str, Mapping[str, Any]] = {}
    for resource, grant in _resources(task):
        first, _, rest = resource.partition("/")
        if "lease/issue" not in grant["actions"]:
            continue
        if grant["ask"]:
            _say(f"no lease of {resource} yet: it needs a person's consent")
            continue
        name = f"{first}_{rest}" if first in leases else first
        lease = leases[name] = client.lease(task["task"], resource)
        lives = ": it lives on after the task, which ends its delivery alone" if lease["class"] == STANDING else ""
        _say(f"lease {lease['lease']} of {lease['target']}/{lease['grant']}, {lease['class']}{lives}")
    return leases


def _resources(task: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    yield from ((resource, grant) for grant in task["grants"] for resource in grant["resources"])


def _delivered(task: Mapping[str, Any], leases: Mapping[str, Mapping[str, Any]], own: Path) -> dict[str, str]:
    """Write the child's files, and return the variables that lead to them."""
    upstreams = {
        resource.partition("/")[0]: None
        for resource, grant in _resources(task)
        if "lease/issue" not in grant["actions"]
    }
    files = []
    for name, lease in leases.items():
        files.append(LeaseFile(name, place.write(own / f"{name}.json", place.lease_json(lease))))
    databases = {name: lease["credential"] for name, lease in leases.items() if "database" in lease["credential"]}
    services = place.write(own / "pg_service.conf", place.pg_services(databases)) if databases else None
    config = place.write(own / "mcp.json", place.mcp_config(task["gateway"], task["handle"], list(upstreams)))
    return brought(task["task"], task["gateway"], config, files, services, next(iter(databases), None))


def _watch(child: Child, hold: Hold, bell: socket.socket) -> int:
    """Wait until the child has ended, and return its status; end it when the task has."""
    kill_at: float | None = None
    interrupted = 0.0
    while (status := child.status()) is None:
        left = None if kill_at is None else max(0.0, kill_at - time.monotonic())
        heard: list[HasFileno] = [bell, hold] if child.is_silent else [bell, hold, child]
        ready, _, _ = select.select(heard, [], [], left)
        if bell in ready:
            for number in bell.recv(4096):
                if number in FORWARDED:
                    child.signal(number)
                if number == signal.SIGINT:
                    if interrupted and time.monotonic() < interrupted + TWICE:
                        _say("interrupted twice: the program is killed, and its task ends")
                        child.kill()
                    interrupted = time.monotonic()
        if hold in ready:
            for news in hold.news():
                _say(news.text)
                if news.over and kill_at is None:
                    child.signal(signal.SIGTERM)
                    kill_at = time.monotonic() + GRACE
        if kill_at is not None and time.monotonic() >= kill_at:
            child.kill()
            kill_at = time.monotonic() + GRACE
    return status


@contextmanager
def _signals() -> Iterator[socket.socket]:
    """Hear signals on a socket instead of dying of them; the child gets them (`_watch`)."""
    ears, mouth = socket.socketpair()
    mouth.setblocking(False)
    before = {number: signal.getsignal(number) for number in (*FORWARDED, signal.SIGCHLD)}
    for number, handler in before.items():
        if handler is not signal.SIG_IGN:  # nohup
            signal.signal(number, lambda number, frame: None)
    signal.set_wakeup_fd(mouth.fileno(), warn_on_full_buffer=False)
    # In the background we neither stop for a line on stderr nor for taking the terminal back.
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTTOU})
    try:
        yield ears
    finally:
        signal.set_wakeup_fd(-1)
        for number, handler in before.items():
            signal.signal(number, handler)
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        ears.close()
        mouth.close()


def _end(client: Client, task: str, reason: str) -> None:
    # Without an answer it ends all the same: our end of the connection that holds it closes with us.
    with suppress(Refused, Unreachable):
        client.end_task(task, reason)


def _say(*lines: str) -> None:
    with suppress(OSError):  # nobody reads it any more
        for line in lines:
            print(f"taskbound: {line}", file=sys.stderr, flush=True)
