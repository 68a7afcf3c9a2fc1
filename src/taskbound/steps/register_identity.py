"""Register an identity: a name, what it is for, how it is proven, and the living human who answers for it.

And take it back: who is suspended proves nothing until resumed, who is retired never again. In the
same transaction every task ends in which it acts; with a human also those opened for that human,
and those of all that the human owns (INTERFACES 1). What is asked and is so already is success.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass

from taskbound.core.errors import Conflict, InvalidRequest, NotFound, Unavailable, bounded
from taskbound.core.event import Kind
from taskbound.core.identity import Claim, Identity, Registration, name_of, registration_of, require_facts
from taskbound.core.policy_dir import RegistrationEntry, read_policy_dir, with_files
from taskbound.core.refusal import nearest
from taskbound.core.task import Task
from taskbound.core.thing import advance
from taskbound.ending import LIVE, end_tree
from taskbound.ports import Transaction, World
from taskbound.prove import denial, named, prove, registered

FILE = "registrations.toml"
NEAR = 1000  # registrations among which the nearest name is looked for
_BARE = re.compile(r"[A-Za-z0-9_-]+")  # a key that TOML takes without quotes


@dataclass(frozen=True, slots=True)
class RegistrationAsk:
    """What is asked to be registered. `name` and `owner` are the parts after the trust domain: agent/nightly."""

    name: str
    owner: str
    attestor: str
    when: Mapping[str, str | int]
    purpose: str = ""
    environment: str = ""
    groups: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for what in (self.name, self.owner, self.attestor, self.environment, *self.groups):
            bounded("a name", what, 256)  # a header of the log is below 1 KiB
        bounded("the purpose", self.purpose, 4096)


async def register_identity(
    world: World, door: Identity, asker: Claim | Identity, ask: RegistrationAsk
) -> Registration:
    """Register a name. Raises InvalidRequest, Denied, NotFound for an owner nobody knows, Conflict for a known name."""
    wanted = registration_of(world.new_id("i"), door.org, world.trust_domain, ask)
    async with world.store.transaction(door) as tx:
        caller = await prove(tx, asker)
        denied = await denial(world, tx, caller, "identity/register", wanted)
        if denied is None:
            if wanted.kind != "human" and not (await _owner(tx, wanted.owner)).is_live:
                raise InvalidRequest(f"owner {ask.owner} is not live", hint="name a registered human as the owner")
            if await tx.find(Registration, spiffe_id=wanted.spiffe_id):
                raise Conflict(f"{ask.name} is registered already", hint="taskbound identity list shows as what")
            wanted = advance(wanted, Kind.IDENTITY_REGISTERED)
            await tx.record(Kind.IDENTITY_REGISTERED, wanted, by=caller)
    if denied:
        raise denied
    return wanted


async def _owner(tx: Transaction, spiffe_id: str) -> Registration:
    """Return who is to answer for a name. Raises NotFound, with the nearest human that there is."""
    try:
        return await registered(tx, spiffe_id)
    except NotFound as error:
        known = [name_of(one.spiffe_id) for one in await tx.find(Registration, limit=NEAR) if one.kind == "human"]
        raise NotFound(str(error), hint=nearest(name_of(spiffe_id), known) or error.hint) from None


async def register_and_write(
    world: World, door: Identity, asker: Claim | Identity, ask: RegistrationAsk
) -> tuple[Registration, str]:
    """Register a name, and write it to registrations.toml, which is the source for services and agents (INTERFACES 1).

    What stands in the file already stays as it is, comments and all. Returns the registration, and why it is not in
    the file, "" where it is: a human never is. Raises what `register_identity` does, InvalidRequest (`invalid_policy`)
    for a file that is broken, and Conflict for a name that stands there with other facts; then nothing happened.
    """
    require_facts(ask.name, ask.attestor, ask.when)
    if ask.attestor == "operator":  # it is what our own start attests
        raise InvalidRequest("the operator is registered by taskbound up alone", hint="use attestor unix")
    kind = ask.name.partition("/")[0]
    if kind == "human" or not ask.environment:
        known = await register_identity(world, door, asker, ask)
        return known, f"a {kind} stands in no file" if kind == "human" else "what stands there has an environment"
    _with_entry(world.policies.file(FILE), ask)
    known = await register_identity(world, door, asker, ask)
    # A crash here leaves a name that is registered and stands in no file, as one that was registered at first use.
    try:
        world.policies.write({FILE: _with_entry(world.policies.file(FILE), ask)})  # read and written without a pause
        # As with pins: an edit of the directory that nobody loaded yet does not come into force by this door.
        current = world.policies.current
        world.policies.adopt(with_files(current, {FILE: _with_entry(current.files.get(FILE, b""), ask)}))
    except (Conflict, InvalidRequest, Unavailable) as error:
        return known, str(error)
    return known, ""


def _with_entry(data: bytes, ask: RegistrationAsk) -> bytes:
    """Return registrations.toml with the name in it. Raises InvalidRequest, Conflict when it is there and differs."""
    there = {entry.name: entry for entry in read_policy_dir({FILE: data}, {}).registrations}
    wanted = RegistrationEntry(
        ask.name, ask.owner, ask.purpose, ask.environment, tuple(ask.groups), ask.attestor, dict(ask.when)
    )
    if ask.name in there:
        if there[ask.name] != wanted:
            hint = f"change it in {FILE}, then: taskbound policy load"
            raise Conflict(f"{ask.name} stands in {FILE} with other facts", hint=hint)
        return data
    lines = [
        "[[registration]]",
        f"id = {_toml(ask.name)}",
        f"owner = {_toml(ask.owner)}",
        *([f"purpose = {_toml(ask.purpose)}"] if ask.purpose else []),
        f"environment = {_toml(ask.environment)}",
        *([f"groups = [{', '.join(map(_toml, ask.groups))}]"] if ask.groups else []),
        f"attestor = {_toml(ask.attestor)}",
    ]
    for text in (*ask.when, *ask.when.values()):
        bounded("a fact", str(text), 4096)
    if ask.when:
        facts = (f"{name if _BARE.fullmatch(name) else _toml(name)} = {_toml(one)}" for name, one in ask.when.items())
        lines.append(f"when = {{ {', '.join(facts)} }}")
    gap = b"" if not data else b"\n" if data.endswith(b"\n") else b"\n\n"
    added = data + gap + "".join(f"{line}\n" for line in lines).encode()
    read_policy_dir({FILE: added}, {})  # a list that is written in one line takes no more tables
    return added


def _toml(value: str | int) -> str:
    """Return a text or a number as TOML spells it: JSON's escapes are its own, but for one character."""
    if isinstance(value, int):
        return str(value)
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


async def suspend_identity(
    world: World, door: Identity, asker: Claim | Identity, name: str
) -> tuple[Registration, list[Task]]:
    """Take from a name what it can do; return it and the tasks that ended. Raises NotFound, Denied, Conflict."""
    return await _move(world, door, asker, name, Kind.IDENTITY_SUSPENDED)


async def resume_identity(world: World, door: Identity, asker: Claim | Identity, name: str) -> Registration:
    """Give it back; tasks that ended stay ended. Raises NotFound, Denied, Conflict for who is retired."""
    known, _ = await _move(world, door, asker, name, Kind.IDENTITY_RESUMED)
    return known


async def retire_identity(
    world: World, door: Identity, asker: Claim | Identity, name: str
) -> tuple[Registration, list[Task]]:
    """Take it for ever; return the name, which stays its own, and the tasks that ended. Raises NotFound, Denied."""
    return await _move(world, door, asker, name, Kind.IDENTITY_RETIRED)


_LEADS_TO = {
    Kind.IDENTITY_SUSPENDED: "suspended",
    Kind.IDENTITY_RESUMED: "registered",
    Kind.IDENTITY_RETIRED: "retired",
}


async def _move(
    world: World, door: Identity, asker: Claim | Identity, name: str, kind: Kind
) -> tuple[Registration, list[Task]]:
    ended: list[Task] = []
    async with world.store.transaction(door) as tx:
        caller = await prove(tx, asker)
        known = await named(world, tx, name)
        denied = await denial(world, tx, caller, "identity/suspend", known)
        if denied is None:
            if known.state != _LEADS_TO[kind]:
                known = advance(known, kind)
                await tx.record(kind, known, by=caller)
            if not known.is_live:
                ended = await _end_tasks_of(tx, caller, known)
    if denied:
        raise denied
    return known, ended


async def _end_tasks_of(tx: Transaction, caller: Identity, gone: Registration) -> list[Task]:
    """End what it acts in; for a human also what is for them, and what the identities act in that they own."""
    owned = await tx.find(Registration, owner=gone.spiffe_id)
    live: dict[str, Task] = {}
    for state in LIVE:
        found = await tx.find(Task, subject=gone.spiffe_id, state=state)
        for actor in {gone.spiffe_id, *(one.spiffe_id for one in owned)}:
            found += await tx.find(Task, actor=actor, state=state)
        live |= {task.id: task for task in found}
    ended: list[Task] = []
    for task in sorted(live.values(), key=lambda task: (task.depth, task.id)):  # locked as in end_task: root first
        ended += await end_tree(tx, caller, task.id, f"{name_of(gone.spiffe_id)} is {gone.state}")
    return ended
