"""Open a task, or delegate part of one: from an intent to grants, budget and deadline, in one transaction.

A root task gets what its profile (or its authorization details) says, within the organisation's
policy. A child gets what it asks for and its parent holds: `narrow` refuses a wish that is wider,
and every call is decided at each level anyway. Budgets move from the parent's rows to the child's.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any

from taskbound.core.call import decide
from taskbound.core.errors import BudgetSpent, Denied, InvalidRequest, NotFound, bounded
from taskbound.core.event import Kind
from taskbound.core.grant import Grant, narrow
from taskbound.core.identity import Claim, Identity, Registration
from taskbound.core.intent import DEFAULT_BUDGET, Intent, bind, grants_from_details
from taskbound.core.policy_dir import PolicyDir
from taskbound.core.secret import Secret
from taskbound.core.task import MAX_DEPTH, Task
from taskbound.core.thing import advance
from taskbound.formats.spiffe import MalformedSpiffeId, make
from taskbound.ports import Transaction, World
from taskbound.prove import gather, prove, refuse, registered

DEFAULT_LIFE = timedelta(minutes=10)  # of a task opened without a profile


@dataclass(frozen=True, slots=True)
class TaskAsk:
    """What is asked of a new task (INTERFACES 6). At most one of `profile` and `details`."""

    profile: str | None = None
    set: Mapping[str, str] = field(default_factory=dict)
    intent: str | None = None
    details: Sequence[Mapping[str, Any]] | None = None  # RFC 9396 authorization_details
    actor: str | None = None  # agent/NAME or service/NAME; None: the caller
    parent: str | None = None
    cause: str | None = None
    life: timedelta | None = None
    budget: Mapping[str, int] | None = None

    def __post_init__(self) -> None:
        bounded("the intent", self.intent, 16_384)
        for text in (self.profile, self.actor, self.parent, self.cause):
            bounded("a name", text, 512)


@dataclass(frozen=True, slots=True)
class Wish:
    """What is asked, resolved against the policy directory."""

    intent: Intent
    grants: tuple[Grant, ...]
    budget: Mapping[str, int]
    life: timedelta


async def open_task(world: World, door: Identity, asker: Claim | Identity, ask: TaskAsk) -> tuple[Task, Secret]:
    """Open a task and return it with its handle, the only time the handle is seen.

    A caller that is in a task opens a child of it. Raises InvalidRequest, Denied (`outside_grants`,
    `not_permitted`, …), BudgetSpent, NotFound for an unknown actor, TaskEnded.
    """
    handle, digest = world.new_handle()
    async with world.store.transaction(door) as tx:
        caller = await prove(tx, asker)
        parent = await tx.get(Task, caller.task, lock=True) if caller.task else None
        wish = _wish(world.policies.current, ask)
        if ask.cause is not None:
            await tx.get(Task, ask.cause)
        case = await gather(world, tx, caller, "task/delegate" if parent else "task/open", ask.profile or "none")
        decision = decide(case)
        if decision.permitted:
            try:
                actor = await _actor(world, tx, caller, ask)
                task = _opened(world.new_id("t"), tx, caller, actor, wish, parent, ask.cause, digest)
                shared = _shares(task, wish, await tx.left(parent.id) if parent else {})
            except Denied as refusal:  # a wish wider than what the caller holds is recorded like any denial
                decision = decision.refused(refusal)
        if decision.permitted:
            if parent:
                await tx.record(Kind.TASK_DELEGATED, advance(parent, Kind.TASK_DELEGATED), by=caller, child=task.id)
            await tx.record(Kind.TASK_OPENED, task, by=caller, shared=shared, decision=decision.record_of())
        else:
            await refuse(tx, case, decision)
    decision.require_permit()
    return task, handle


def _wish(policies: PolicyDir, ask: TaskAsk) -> Wish:
    if ask.profile is not None and ask.details is not None:
        raise InvalidRequest("a task has a profile or authorization_details, not both")
    if ask.profile is not None:
        if ask.profile in ("", "none"):  # "none" is what policy sees of a task without a profile
            raise InvalidRequest(f"there is no profile {ask.profile!r}", code="unknown_profile")
        profile = policies.profiles.get(ask.profile)
        if profile is None:
            # No grants, no values: the decision says that the profile is unknown, and records it.
            return Wish(Intent(ask.profile, ask.intent, {}), (), {}, DEFAULT_LIFE)
        values = bind(profile, ask.set)
        return Wish(
            Intent(profile.name, ask.intent, values),
            profile.grants,
            _budget(profile.budget, ask.budget),
            _life(profile.life, ask.life),
        )
    if ask.set:
        raise InvalidRequest("values are set for a profile, and none is named", hint="name a profile")
    if ask.details is None:
        raise InvalidRequest("a task needs a profile or authorization_details", hint="add --profile NAME")
    grants, bound, named = grants_from_details(ask.details, policies.tools, policies.targets)
    _budget(DEFAULT_BUDGET, named)
    _budget({**DEFAULT_BUDGET, **named}, ask.budget)
    return Wish(Intent(None, ask.intent, bound), grants, {**named, **(ask.budget or {})}, _life(DEFAULT_LIFE, ask.life))


def _budget(most: Mapping[str, int], asked: Mapping[str, int] | None) -> Mapping[str, int]:
    for quantity, amount in (asked or {}).items():
        if quantity not in most:
            raise InvalidRequest(f"there is no budget of {quantity[:32]!r}", hint=f"use {', '.join(sorted(most))}")
        if not 0 <= amount <= most[quantity]:
            raise InvalidRequest(f"a budget of {amount} {quantity} is not between 0 and {most[quantity]}")
    return {**most, **(asked or {})}


def _life(most: timedelta, asked: timedelta | None) -> timedelta:
    if asked is not None and not timedelta(0) < asked <= most:
        raise InvalidRequest(f"a life of {asked.total_seconds():g} s is not between 0 and {most.total_seconds():g} s")
    return asked or most


async def _actor(world: World, tx: Transaction, caller: Identity, ask: TaskAsk) -> Registration:
    """Return who will work. Raises Denied for one whose work is not the caller's to give.

    A task is opened by its actor, or by the human who owns it. Inside a task it is handed to
    another of the same owner, and never to one that may more: same environment, no further groups.
    """
    if ask.parent is not None and ask.parent != caller.task:
        raise Denied(f"{caller.name} does not act in task {ask.parent[:32]}", code="not_yours")
    if ask.actor is None:
        return await registered(tx, caller.spiffe_id)
    try:
        actor = await registered(tx, str(make(world.trust_domain, ask.actor)))
    except MalformedSpiffeId as error:
        raise InvalidRequest(f"{ask.actor[:64]!r} is no name of an identity: {error}") from None
    except NotFound as error:
        raise Denied(str(error), code="unknown_agent", hint=error.hint) from None
    if not actor.is_live:
        raise Denied(f"{ask.actor} is {actor.state}", code="not_live")
    if actor.spiffe_id == caller.spiffe_id:
        return actor
    if actor.kind == "human" or actor.owner != (caller.owner if caller.task else caller.spiffe_id):
        raise Denied(f"{ask.actor} is not {caller.name}'s to give work to", code="not_yours")
    if caller.task and not (actor.environment == caller.environment and set(actor.groups) <= set(caller.groups)):
        more = f"{ask.actor} has another environment or further groups than {caller.name}"
        raise Denied(more, code="outside_grants")
    return actor


def _opened(
    id: str,
    tx: Transaction,
    caller: Identity,
    actor: Registration,
    wish: Wish,
    parent: Task | None,
    cause: str | None,
    handle: str,
) -> Task:
    deadline = tx.now + wish.life
    subject = caller.spiffe_id if caller.kind == "human" else None
    if parent:
        if parent.depth + 1 >= MAX_DEPTH:
            raise Denied(f"task {parent.id} is at depth {parent.depth}: nothing is delegated further", code="too_deep")
        deadline = min(deadline, parent.deadline)
        grants = narrow(parent.grants, parent.intent.values, wish.grants, wish.intent.values)
        _require_own_limits(grants)
        subject = parent.subject
    else:
        grants = tuple(replace(grant, root=position) for position, grant in enumerate(wish.grants))
    task = Task(
        id=id,
        org=tx.org,
        actor=actor.spiffe_id,
        subject=subject,
        intent=wish.intent,
        grants=grants,
        opened=tx.now,
        deadline=deadline,
        due=deadline,
        handle=handle,
        root=parent.root if parent else id,
        parent=parent.id if parent else None,
        cause=cause,
        depth=parent.depth + 1 if parent else 0,
        act=(parent.actor, *parent.act) if parent else (),
    )
    return advance(task, Kind.TASK_OPENED)


def _require_own_limits(grants: tuple[Grant, ...]) -> None:
    """Refuse two grants that descend from one and limit their calls: they would share one limit (INTERFACES 12)."""
    for grant in grants:
        if grant.calls is not None and sum(other.root == grant.root for other in grants) > 1:
            shared = f"two grants of {grant.resource} descend from one and limit their calls"
            raise Denied(shared, code="outside_grants")


def _shares(task: Task, wish: Wish, left: Mapping[str, int]) -> dict[str, int]:
    """Return the new task's budget: made for a root, moved from what its parent has left for a child."""
    makes_default = task.parent is None and task.intent.profile is None
    shares = {**(DEFAULT_BUDGET if makes_default else {}), **wish.budget}
    for grant in task.grants:
        if grant.calls is not None:
            shares[f"g{grant.root}#calls"] = shares.get(f"g{grant.root}#calls", 0) + grant.calls
    unnamed = [quantity for quantity in left if "#" not in quantity and quantity not in shares]
    if task.parent and unnamed:
        raise InvalidRequest(f"the budget of a child must name {', '.join(sorted(unnamed))}")
    for quantity, amount in shares.items():
        if task.parent and amount > left.get(quantity, 0):
            raise BudgetSpent(f"task {task.parent} has {left.get(quantity, 0)} {quantity} left, {amount} were asked")
    return shares
