"""Pin tools: what an upstream offers meets the catalogue: pinned by who may, seen for the first time, or changed (D29).

The record comes first, then the files, then what is in force. Into force come only the tools: the
rest stays as it was loaded, so that an edit that nobody loaded yet does not come in by this door.
"""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

from taskbound.core.call import Case, Decision, decide
from taskbound.core.catalogue import Tool, pin_of
from taskbound.core.derive import derive_entry, derive_tools, differ, pinnable
from taskbound.core.errors import InvalidRequest, Replayed
from taskbound.core.event import Kind
from taskbound.core.identity import Claim, Identity
from taskbound.core.policy_dir import PolicyDir, with_files
from taskbound.ports import FOR_EVER, Transaction, World
from taskbound.prove import gather, prove, refuse

Offered = Sequence[Mapping[str, Any]]


async def pin_tools(
    world: World, door: Identity, asker: Claim | Identity, upstream: str, offered: Offered
) -> dict[str, str]:
    """Pin every definition that the upstream offers, write its files, and return the pins by name.

    Raises Denied, InvalidRequest when the upstream's files are broken or, once they are written,
    when the directory in force cannot go on with them, Unavailable.
    """
    wanted = pinnable(upstream, offered)
    if not wanted:
        return {}
    known = world.policies.tools(upstream)  # as the files are, not as they were loaded: a review may be new
    refused: tuple[Case, Decision] | None = None
    async with world.store.transaction(door) as tx:
        caller = await prove(tx, asker)
        for name in () if caller.is_ours else wanted:
            case = await gather(world, tx, caller, "tool/pin", f"{upstream}/{name}")
            decision = decide(case)
            if not decision.permitted:
                refused = case, decision
                await refuse(tx, case, decision)
                break
        if refused is None:
            for name, definition in wanted.items():
                if name not in known or known[name].pin != pin_of(definition):
                    await _pinned(tx, caller, upstream, definition, known.get(name))
    if refused is not None:
        refused[1].require_permit()
    # A crash here leaves the old files: the tools stay as they were pinned, or unknown, and are denied.
    _write(world, upstream, offered)
    try:
        world.policies.adopt(_with_tools(world.policies.current, upstream, offered))
    except InvalidRequest as error:
        message = f"the files of {upstream} are written, and are not in force: {error}"
        hint = "put that right, then: taskbound policy load"
        raise InvalidRequest(message, code=error.code, hint=hint) from None
    return {name: pin_of(definition) for name, definition in sorted(wanted.items())}


async def see_tools(world: World, door: Identity, upstream: str, offered: Offered, *, may_add: bool) -> None:
    """Take note of what an upstream offers now: tools never seen before, and definitions that changed.

    What is new is read at its strictest and can then be used, where `may_add` says so; else it
    stays unknown, and is denied. What changed keeps its old pin, and is denied by it.
    """
    wanted = pinnable(upstream, offered)
    current = _tools_of(world.policies.current, upstream)
    new = [name for name in wanted if name not in current] if may_add else []
    changed = [name for name in wanted if name in current and current[name].pin != pin_of(wanted[name])]
    if not new and not changed:
        return
    async with world.store.transaction(door) as tx:
        for name in changed:
            await _noticed(
                tx, Kind.TOOL_QUARANTINED, upstream, wanted[name], differ(current[name].definition, wanted[name])
            )
        for name in new:
            await _noticed(tx, Kind.TOOL_SEEN, upstream, wanted[name], "")
    if not new:
        return
    # A crash here is harmless: what is in no file is seen for the first time again.
    added = [wanted[name] for name in new]
    try:
        seen = _with_tools(world.policies.current, upstream, added)
        _write(world, upstream, added)
    except InvalidRequest:
        return  # a policy in force, or the files as they are, cannot go on with them: they stay unknown
    world.policies.adopt(seen)


def _tools_of(policies: PolicyDir, upstream: str) -> dict[str, Tool]:
    return {tool.name: tool for tool in policies.tools.values() if tool.upstream == upstream}


def _files(upstream: str, offered: Offered, known: Mapping[str, Tool]) -> dict[str, bytes]:
    text, definitions = derive_tools(upstream, offered, known)
    return {f"tools/{upstream}.toml": text.encode(), f"tools/{upstream}.json": definitions}


def _with_tools(policies: PolicyDir, upstream: str, offered: Offered) -> PolicyDir:
    """Return the directory in force with these tools added, or pinned anew. Raises InvalidRequest."""
    return with_files(policies, _files(upstream, offered, _tools_of(policies, upstream)))


def _write(world: World, upstream: str, offered: Offered) -> None:
    """Write the upstream's files: read and written without a pause, so that no two of us lose each other's tools."""
    world.policies.write(_files(upstream, offered, world.policies.tools(upstream)))


async def _pinned(
    tx: Transaction, caller: Identity, upstream: str, definition: Mapping[str, Any], before: Tool | None
) -> None:
    entry, resource = derive_entry(upstream, definition, before), f"{upstream}/{definition['name']}"
    with suppress(Replayed):  # pinned once before, and another since: a fact all the same
        await tx.once("tool_pin", f"{resource} {entry['pin']}", tx.now + FOR_EVER)
    change = differ(before.definition, definition) if before else ""
    await tx.record(
        Kind.TOOL_PINNED,
        by=caller,
        id=resource,
        pin=entry["pin"],
        effect=entry["effect"],
        reviewed=False,
        change=change,
    )


async def _noticed(tx: Transaction, kind: Kind, upstream: str, definition: Mapping[str, Any], change: str) -> None:
    """Record what is offered, once for each definition, however often it is offered."""
    resource, pin = f"{upstream}/{definition['name']}", pin_of(definition)
    try:
        await tx.once(str(kind), f"{resource} {pin}", tx.now + FOR_EVER)
    except Replayed:
        return
    detail = {"change": change} if change else {"derived": True}
    await tx.record(kind, id=resource, pin=pin, **detail)
