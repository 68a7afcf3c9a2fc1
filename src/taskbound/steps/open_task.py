"""Open a task, or delegate part of one: from an intent to grants, budget and deadline, in one transaction.

A root task gets what its profile (or its authorization details) says, within the organisation's
policy; with an intent alone, every tool that only reads. A child gets what it asks for and its
parent holds: `narrow` refuses a wish that is wider, and every call is decided at each level anyway.
Budgets move from the parent's rows to the child's.

A request that is repeated with its idempotency key gets the task that it opened (D32). The store keeps the
hash of a handle alone, so the first answer's handle cannot be given again: another takes its place, and at
each moment one lets in.
"""

from collections.abc import Callable, Container, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from datetime import timedelta
from typing import Any

from taskbound.core.call import Decision, decide
from taskbound.core.details import grants_from_details
from taskbound.core.errors import BudgetSpent, Conflict, Denied, InvalidRequest, NotFound, Replayed, bounded
from taskbound.core.event import Kind
from taskbound.core.grant import Grant, narrow
from taskbound.core.identity import NAMES, Claim, Identity, Process, Registration, name_of
from taskbound.core.intent import DEFAULT_BUDGET, Intent, Profile, bind, grants_of_intent, grants_that_read
from taskbound.core.policy_dir import PolicyDir
from taskbound.core.refusal import nearest
from taskbound.core.secret import Secret
from taskbound.core.task import MAX_DEPTH, Heartbeat, Task
from taskbound.core.thing import advance
from taskbound.ending import LIVE
from taskbound.formats import canonical
from taskbound.formats.spiffe import MalformedSpiffeId, make
from taskbound.ports import Transaction, World
from taskbound.prove import gather, prove, refuse, registered

DEFAULT_LIFE = timedelta(minutes=10)  # of a task opened without a profile
# A child may cost nothing of any budget, and ending is one transaction for the whole tree: more than this would
# keep the store, and so every cut, waiting. Who works in parallel needs tens of tasks at once, not hundreds.
MOST_CHILDREN = 64  # of one task, live
MOST_BELOW = 256  # tasks below one root, live: a chain has four levels, so children alone would be 64³
REMEMBERED = timedelta(days=1)  # an idempotency key: longer than anybody repeats a request


class AlreadyOpened(Conflict):
    """This caller used the idempotency key within a day, for what cannot be answered once more."""

    code = "already_opened"
    hint = "open a task with another key"


@dataclass(frozen=True, slots=True)
class TaskAsk:
    """What is asked of a new task (INTERFACES 6). At most one of `profile` and `details`."""

    profile: str | None = None
    set: Mapping[str, str] = field(default_factory=dict)
    intent: str | None = None
    details: Sequence[Mapping[str, Any]] | None = None  # RFC 9396 authorization_details
    actor: str | None = None  # agent/NAME or service/NAME; None: the caller
    subject: str | None = None  # human/NAME, for whom; None: whoever the caller works for
    parent: str | None = None
    cause: str | None = None
    life: timedelta | None = None
    budget: Mapping[str, int] | None = None
    idempotency_key: str | None = None
    holder: Process | None = None  # the task ends with it; said by the door, never by who asks
    beats: bool = False  # it is held by a heartbeat, whatever its profile says; said by the door as well
    held: Container[str] = ()  # ids of the tasks that somebody holds at this moment; said by the door too

    def __post_init__(self) -> None:
        bounded("the intent", self.intent, 16_384)
        for text in (self.profile, self.actor, self.subject, self.parent, self.cause):
            bounded("a name", text, 512)
        bounded("the idempotency key", self.idempotency_key, 256)


@dataclass(frozen=True, slots=True)
class Wish:
    """What is asked, resolved against the policy directory."""

    intent: Intent
    grants: tuple[Grant, ...]
    budget: Mapping[str, int]
    life: timedelta
    held: bool = False  # its grants are the parent's own, and narrow enough
    idle: timedelta | None = None
    heartbeat: Heartbeat | None = None


async def open_task(
    world: World,
    door: Identity,
    asker: Claim | Identity,
    ask: TaskAsk,
    hear: Callable[[Task], None] = lambda task: None,
) -> tuple[Task, Secret]:
    """Open a task and return it with its handle, the only time the handle is seen.

    `hear` is told the task before it is committed: should the answer be lost, it is listened to all the same.

    A caller that is in a task opens a child of it. A request repeated with its idempotency key gets the
    first one's task, and a handle that takes the place of the first. Raises InvalidRequest, Denied
    (`outside_grants`, `not_permitted`, …), BudgetSpent, NotFound for an unknown actor, TaskEnded, and
    AlreadyOpened for a key that asked for something else, or whose task ended or is held.
    """
    handle, digest = world.new_handle()
    try:
        task, decision = await _open(world, door, asker, ask, digest, hear)
    except (BudgetSpent, AlreadyOpened):  # another was first, between our look and our record
        task, decision = await _open(world, door, asker, ask, digest, hear)
    if task is None:
        raise decision.refusal()
    return task, handle


async def _open(
    world: World,
    door: Identity,
    asker: Claim | Identity,
    ask: TaskAsk,
    handle: str,
    hear: Callable[[Task], None],
) -> tuple[Task | None, Decision]:
    policies, task = world.policies.current, None
    async with world.store.transaction(door) as tx:
        caller = await prove(tx, asker)
        parent = await tx.get(Task, caller.task, lock=True) if caller.task else None
        left = await tx.left(parent.id) if parent else {}
        case = await gather(world, tx, caller, "task/delegate" if parent else "task/open", ask.profile or "none")
        decision = decide(case)
        if decision.code == "unknown_profile":
            none = "none is written yet: docs/profiles.md, of Taskbound's source, tells how"
            decision = decision.hinted(nearest(ask.profile, policies.profiles) or none)
        said: dict[str, Any] = {"decision": decision.record_of(), "policy": case.version}
        if decision.permitted:
            try:
                _require_own_subject(caller, parent, ask)
                actor = await _actor(world, tx, caller, ask)
                if (first := await _first(tx, caller, ask)) is not None:
                    first = advance(first, Kind.TASK_EXTENDED, handle=handle)
                    await tx.record(Kind.TASK_EXTENDED, first, by=caller, replaced="handle", **said)
                    hear(first)
                    return first, decision
                if parent:
                    await _require_room(tx, parent)
                if ask.cause is not None:
                    await tx.get(Task, ask.cause)
                wish = _wish(policies, ask, parent, left)
                task = _opened(world.new_id("t"), tx, caller, actor, wish, parent, ask.cause, handle)
                task = replace(task, **_held(ask, wish, world.node))
                shared = _shares(task, wish, left)
                task = await _once(tx, caller, task, ask)
            except Denied as refusal:  # a wish wider than what the caller holds is recorded like any denial
                decision, task = decision.refused(refusal), None
        if task is None:
            await refuse(tx, case, decision)
        else:
            if parent:
                busy = advance(parent, Kind.TASK_DELEGATED, due=parent.due_after(tx.now))
                await tx.record(Kind.TASK_DELEGATED, busy, by=caller, child=task.id)
            await tx.record(Kind.TASK_OPENED, task, by=caller, shared=shared, **said)
            hear(task)
    return task, decision


def _held(ask: TaskAsk, wish: Wish, node: str) -> dict[str, Any]:
    """Return what holds the task: a connection where there is one, else a heartbeat where one is asked for."""
    if ask.holder is not None:
        return {"holder": replace(ask.holder, node=node)}
    held = wish.heartbeat or (Heartbeat() if ask.beats else None)
    return {"heartbeat": held and replace(held, node=node)}


async def _first(tx: Transaction, caller: Identity, ask: TaskAsk) -> Task | None:
    """Return the task that this request opened before; None where none of it lives.

    Raises AlreadyOpened where the key asked for something else, for a task that a connection holds, which has its
    holder, and for one that nothing holds where it is asked to be held.
    """
    if ask.idempotency_key is None:
        return None
    asked = _key_of(caller, ask.idempotency_key)
    found = next((one for one in await tx.find(Task, asked=asked) if one.state in LIVE), None)
    if found is None:
        return None
    task = await tx.get(Task, found.id, lock=True)
    if task.why_not_open(tx.now) == "task_ended":
        return None
    if task.intent.request != _request_of(ask):
        raise AlreadyOpened(f"task {task.id} was opened with this idempotency key, by another request")
    if task.holder is not None or ask.holder is not None or task.id in ask.held:
        hint = f"hold it again: GET /v1/tasks/{task.id}/hold"
        raise AlreadyOpened(f"task {task.id} was opened with this idempotency key, and is held", hint=hint)
    if ask.beats and task.heartbeat is None:  # it would outlive who asks
        raise AlreadyOpened(f"task {task.id} was opened with this idempotency key, and nothing holds it")
    return task


async def _once(tx: Transaction, caller: Identity, task: Task, ask: TaskAsk) -> Task:
    """Return the task marked with the idempotency key. Raises AlreadyOpened when the caller used it before."""
    if ask.idempotency_key is None:
        return task
    asked = _key_of(caller, ask.idempotency_key)
    try:
        await tx.once("open_task", asked, tx.now + REMEMBERED)
    except Replayed:
        opened = [one.id for one in await tx.find(Task, asked=asked)]
        what = f"task {opened[-1]} was opened" if opened else "another task was opened"
        raise AlreadyOpened(f"{what} with this idempotency key, and is not to be opened again") from None
    return replace(task, intent=replace(task.intent, asked=asked, request=_request_of(ask)))


def _key_of(caller: Identity, key: str) -> str:
    return canonical.digest([caller.spiffe_id, caller.task, key])


def _request_of(ask: TaskAsk) -> str:
    """Return the SHA-256 of what is asked, but for its key and what the door says. Raises InvalidRequest."""
    others = ("idempotency_key", "holder", "beats", "held")
    asked = {one.name: getattr(ask, one.name) for one in fields(ask) if one.name not in others}
    try:
        return canonical.digest({**asked, "life": ask.life and ask.life.total_seconds()})
    except canonical.Malformed as error:
        raise InvalidRequest(f"what is asked has {error}") from None


def _wish(policies: PolicyDir, ask: TaskAsk, parent: Task | None, left: Mapping[str, int]) -> Wish:
    if ask.profile is not None and ask.details is not None:
        raise InvalidRequest("a task has a profile or authorization_details, not both", hint="leave one of them out")
    if ask.profile is not None:
        if ask.profile in ("", "none"):  # "none" is what policy sees of a task without a profile
            message = f"there is no profile {ask.profile!r}"
            raise InvalidRequest(message, code="unknown_profile", hint="name another, or leave the profile out")
        profile = policies.profiles[ask.profile]  # else it was denied
        values = bind(profile, ask.set)
        return Wish(
            Intent(profile.name, ask.intent, values),
            profile.grants,
            _budget(profile.budget, ask.budget),
            _life(profile.life, ask.life),
            idle=profile.idle,
            heartbeat=_heartbeat(profile),
        )
    if ask.set:
        raise InvalidRequest("values are set for a profile, and none is named", hint="name a profile")
    if ask.details is None:
        return _wish_of_intent(policies, ask, parent, left)
    grants, bound, named = grants_from_details(ask.details, policies.tools, policies.targets)
    _budget(DEFAULT_BUDGET, named)
    _budget({**DEFAULT_BUDGET, **named}, ask.budget)
    return Wish(Intent(None, ask.intent, bound), grants, {**named, **(ask.budget or {})}, _life(DEFAULT_LIFE, ask.life))


def _heartbeat(profile: Profile) -> Heartbeat | None:
    if profile.heartbeat_grace is None:
        return None
    return Heartbeat(int(profile.heartbeat_grace.total_seconds()), profile.on_lost or "end")


def _wish_of_intent(policies: PolicyDir, ask: TaskAsk, parent: Task | None, left: Mapping[str, int]) -> Wish:
    """Return what an intent alone asks for: all that only reads; inside a task, of what that task holds."""
    if not (ask.intent or "").strip():
        message = "a task needs a profile, an intent or authorization_details"
        raise InvalidRequest(message, hint="name a `profile` or an `intent` (--profile NAME, --intent TEXT)")
    if parent:
        grants, values = grants_that_read(parent.grants, policies.tools, left), parent.intent.values
    else:
        grants, values = grants_of_intent(policies.tools), {}
    if not grants:
        what = f"task {parent.id} holds no tool that only reads" if parent else "no pinned tool only reads"
        pin = "taskbound tools derive UPSTREAM --write (POST /v1/tools/…/pin with `write`)"
        message = f"{what}, and an intent alone grants nothing else"
        raise InvalidRequest(message, hint=f"name a profile, or pin the tools first: {pin}")
    _budget(DEFAULT_BUDGET, ask.budget)
    budget, life = dict(ask.budget or {}), _life(DEFAULT_LIFE, ask.life)
    return Wish(Intent(None, ask.intent, values), grants, budget, life, held=parent is not None)


def _budget(most: Mapping[str, int], asked: Mapping[str, int] | None) -> Mapping[str, int]:
    for quantity, amount in (asked or {}).items():
        if quantity not in most:
            raise InvalidRequest(f"there is no budget of {quantity[:32]!r}", hint=f"use {', '.join(sorted(most))}")
        if not 0 <= amount <= most[quantity]:
            message = f"a budget of {amount} {quantity} is not between 0 and {most[quantity]}"
            raise InvalidRequest(message, hint=f"ask for {quantity}={most[quantity]} at most")
    return {**most, **(asked or {})}


def _life(most: timedelta, asked: timedelta | None) -> timedelta:
    if asked is not None and not timedelta(0) < asked <= most:
        message = f"a life of {asked.total_seconds():g} s is not between 0 and {most.total_seconds():g} s"
        raise InvalidRequest(message, hint=f"ask for {most.total_seconds():g} s at most, or for none")
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
        message = f"{ask.actor[:64]!r} is no name of an identity: {error}"
        raise InvalidRequest(message, hint=NAMES) from None
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


def _require_own_subject(caller: Identity, parent: Task | None, ask: TaskAsk) -> None:
    """Refuse work in another's name: nobody is let act for a person by naming them. Raises Denied (`not_yours`)."""
    own = {caller.name, name_of(parent.subject) if parent and parent.subject else caller.name}
    if ask.subject is not None and ask.subject not in own:
        message = f"{caller.name} does not act for {ask.subject[:64]}"
        raise Denied(message, code="not_yours", hint="leave `subject` out: it is the caller, or whom its task is for")


async def _require_room(tx: Transaction, parent: Task) -> None:
    """Refuse a child where too many tasks live already. Raises Denied (`too_many_tasks`)."""
    children = [child for state in LIVE for child in await tx.find(Task, parent=parent.id, state=state)]
    tree = [one for state in LIVE for one in await tx.find(Task, root=parent.root, state=state)]
    hint = "end one of them, or wait until one ends"
    if len(children) >= MOST_CHILDREN:
        what = f"{len(children)} children of task {parent.id} live already"
        raise Denied(what, code="too_many_tasks", hint=hint)
    if len(tree) > MOST_BELOW:  # the root is one of them
        what = f"{len(tree) - 1} tasks below task {parent.root} live already"
        raise Denied(what, code="too_many_tasks", hint=hint)


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
        # What the parent holds descends from its own root: `narrow` would take the first that covers it.
        held, values = wish.grants, wish.intent.values
        grants = held if wish.held else narrow(parent.grants, parent.intent.values, held, values)
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
        due=None,
        handle=handle,
        root=parent.root if parent else id,
        parent=parent.id if parent else None,
        cause=cause,
        depth=parent.depth + 1 if parent else 0,
        act=(parent.actor, *parent.act) if parent else (),
        idle=None if wish.idle is None else int(wish.idle.total_seconds()),
    )
    return advance(task, Kind.TASK_OPENED, due=task.due_after(tx.now))


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
        named = " ".join(f"{quantity}=N" for quantity in sorted(unnamed))
        hint = f"name them in `budget` (--budget {named})"
        raise InvalidRequest(f"the budget of a child must name {', '.join(sorted(unnamed))}", hint=hint)
    for quantity, amount in shares.items():
        if task.parent and amount > left.get(quantity, 0):
            raise BudgetSpent(f"task {task.parent} has {left.get(quantity, 0)} {quantity} left, {amount} were asked")
    return shares
