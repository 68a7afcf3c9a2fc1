"""Load the policy directory: read whole, decided by the one in force, recorded, and only then in force.

What registrations.toml says of services and agents is registered with it, in the same transaction
(INTERFACES 1). A name that retired stays retired, and one that is suspended stays suspended. What
the file no longer names stays as it is: taking a name out of a file ends nobody.
"""

from collections import Counter
from dataclasses import replace

from taskbound.core.call import decide
from taskbound.core.catalogue import Tool
from taskbound.core.errors import Conflict, InvalidRequest, Replayed
from taskbound.core.event import Kind
from taskbound.core.identity import JOIN_TOKEN, Claim, Identity, Registration, registration_of
from taskbound.core.policy_dir import PolicyDir, RegistrationEntry
from taskbound.core.thing import advance
from taskbound.ports import FOR_EVER, Transaction, World
from taskbound.prove import gather, prove, refuse

ATTEMPTS = 3


async def load_policy(world: World, door: Identity, asker: Claim | Identity) -> PolicyDir:
    """Put the directory in force as its files say now, and return it. A broken one changes nothing.

    Raises InvalidRequest (`invalid_policy`), Denied, Conflict.
    """
    for _ in range(ATTEMPTS):
        before, loaded = world.policies.current, world.policies.read()
        asker = await _record(world, door, asker, loaded)  # what a claim shows once is spent with the first attempt
        # Who loaded or pinned while this was recorded may have read newer files: theirs is not put out of force.
        if world.policies.current is before:
            # A crash here is harmless: what is in force dies with the process, and the next one begins by
            # loading the files again, before anybody is answered.
            world.policies.adopt(loaded)
            return loaded
    raise Conflict("others put policies in force all the time", hint="load it again")


async def _record(world: World, door: Identity, asker: Claim | Identity, loaded: PolicyDir) -> Identity:
    """Decide by what is in force, and record what is loaded; return who asked. Raises InvalidRequest, Denied."""
    async with world.store.transaction(door) as tx:
        caller = await prove(tx, asker)
        decision = None
        if not caller.is_ours:  # our own start loads what there is; nobody else is exempt from policy
            case = await gather(world, tx, caller, "policy/load", "taskbound")
            decision = decide(case)
        if decision is None or decision.permitted:
            for entry in loaded.registrations:
                await _register(world, tx, caller, entry)
            await tx.record(
                Kind.POLICY_LOADED,
                by=caller,
                id=loaded.version,
                policies=len(loaded.organisation.policies),
                profiles=len(loaded.profiles),
                tools=len(loaded.tools),
                registrations=len(loaded.registrations),
            )
            for tool in loaded.tools.values():
                await _pinned(tx, caller, tool)
        else:
            await refuse(tx, case, decision)
    if decision is not None:
        decision.require_permit()
    return caller


def warnings_of(loaded: PolicyDir, before: PolicyDir) -> list[str]:
    """Return what people should know of a directory that came into force in place of another.

    Tools that nobody reviewed, and names that stand in registrations.toml no more.
    """
    told = []
    derived = Counter(tool.upstream for tool in loaded.tools.values() if not tool.reviewed)
    for upstream, count in sorted(derived.items()):
        hint = 'write reviewed = { by = "human/NAME", on = DAY } where it is right'
        many = f"{count} tools of {upstream} are" if count > 1 else f"1 tool of {upstream} is"
        told.append(f"{many} as derived: read tools/{upstream}.toml, and {hint}")
    named = {entry.name for entry in loaded.registrations}
    for entry in before.registrations:
        if entry.name not in named:
            retire = f"taskbound identity retire {entry.name}"
            told.append(f"{entry.name} stands in registrations.toml no more, and may go on as before: {retire}")
    return told


async def _register(world: World, tx: Transaction, caller: Identity, entry: RegistrationEntry) -> None:
    """Register what an entry states, or state it anew where it changed. Raises InvalidRequest."""
    try:
        wanted = registration_of(world.new_id("i"), tx.org, world.trust_domain, entry)
    except InvalidRequest as error:
        raise _refused(str(error), error.hint) from None
    found = await tx.find(Registration, spiffe_id=wanted.spiffe_id)
    if found and found[0].state == "retired":
        return
    if found and found[0].attestor == wanted.attestor == JOIN_TOKEN:
        wanted = replace(wanted, when=found[0].when)  # the facts of the token that was issued
    if found and replace(wanted, id=found[0].id, state=found[0].state) == found[0]:
        return  # also under an owner who is suspended by now: that must not stand in the way of a new policy
    owner = await tx.find(Registration, spiffe_id=wanted.owner)
    if not owner or not owner[0].is_live:
        state = owner[0].state if owner else "not registered"
        raise _refused(f"the owner of {entry.name}, {entry.owner}, is {state}", "name a registered human as the owner")
    if not found:
        await tx.record(Kind.IDENTITY_REGISTERED, advance(wanted, Kind.IDENTITY_REGISTERED), by=caller)
        return
    anew = replace(wanted, id=found[0].id, state=found[0].state)
    await tx.record(Kind.IDENTITY_REGISTERED, advance(anew, Kind.IDENTITY_REGISTERED), by=caller)


async def _pinned(tx: Transaction, caller: Identity, tool: Tool) -> None:
    """Record that a tool's pin is new; one that was recorded before, here or by pin_tools, is not."""
    try:
        await tx.once("tool_pin", f"{tool.resource} {tool.pin}", tx.now + FOR_EVER)
    except Replayed:
        return
    await tx.record(
        Kind.TOOL_PINNED, by=caller, id=tool.resource, pin=tool.pin, effect=tool.effect, reviewed=tool.reviewed
    )


def _refused(message: str, hint: str) -> InvalidRequest:
    return InvalidRequest(f"registrations.toml: {message}", code="invalid_policy", hint=hint)
