"""What steps share: a claim becomes an identity, and a case is gathered, inside the step's own transaction.

`prove` needs the store (one-time values, the task behind a handle or a token, the registration) and calls the
pure `identify`. It asks that the task exists, not that it is open: a call on an ended task is
denied as a value, by the check `task_is_open`, and recorded.
"""

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any

from taskbound.core.call import Call, Case, Decision, Deny, decide, decided
from taskbound.core.cedar import Entity, Uid
from taskbound.core.errors import Denied, InvalidRequest, NotFound, Replayed, Unauthenticated
from taskbound.core.event import Kind
from taskbound.core.identity import (
    ANOTHER,
    JOIN_TOKEN,
    NAMES,
    Claim,
    Identity,
    OneTime,
    Registration,
    Token,
    identify,
    name_of,
)
from taskbound.core.task import Task
from taskbound.formats.spiffe import MalformedSpiffeId, make
from taskbound.ports import Transaction, World

SKEW = timedelta(seconds=2)  # that the times of two nodes on one store differ by at most


async def registered(tx: Transaction, spiffe_id: str) -> Registration:
    """Return the registration of a name. Raises NotFound."""
    found = await tx.find(Registration, spiffe_id=spiffe_id)
    if not found:
        name = name_of(spiffe_id)
        how = "--when uid=N" if name.startswith("human/") else "--owner human/NAME"  # a human owns itself
        hint = f"taskbound identity register {name} {how} (POST /v1/identities)"
        raise NotFound(f"{name} is not registered", hint=hint)
    return found[0]


async def named(world: World, tx: Transaction, name: str) -> Registration:
    """Return the registration of a name as people write it: agent/nightly. Raises InvalidRequest, NotFound."""
    try:
        return await registered(tx, str(make(world.trust_domain, name)))
    except MalformedSpiffeId as error:
        raise InvalidRequest(f"{name[:64]!r} is no name of an identity: {error}", hint=NAMES) from None


async def prove(tx: Transaction, claim: Claim | Identity) -> Identity:
    """Return who asks. Raises Unauthenticated, or Replayed for a one-time value that was seen before."""
    if isinstance(claim, Identity):  # proved earlier in this request
        if claim.org != tx.org:
            raise Unauthenticated("the identity belongs to another organisation")
        if claim.task is not None:
            await tx.get(Task, claim.task)
        return claim
    if claim.org != tx.org:
        raise Unauthenticated("the claim is made in another organisation")
    for value in claim.spend:
        await _spend(tx, value)
    if claim.handle is not None:
        tasks = await tx.find(Task, handle=claim.handle)
        if len(tasks) != 1:
            raise Unauthenticated("the task handle is unknown", hint="open a task and use its handle")
        task = tasks[0]
        return identify(claim, await registered(tx, task.actor), task.id, task.act)
    if claim.token is not None:
        return await _by_token(tx, claim, claim.token)
    if claim.facts is not None:
        known = await tx.find(Registration, attestor=claim.facts.attestor)
        matching = [one for one in known if one.state != "retired" and one.matches(claim.facts)]
        if len(matching) == 1:  # two that match are a doubt, and doubt is refusal (D31)
            owner, name = await registered(tx, matching[0].owner), name_of(matching[0].spiffe_id)
            if not owner.is_live:
                who = name if owner == matching[0] else f"the owner of {name}"
                raise Unauthenticated(f"{who} is {owner.state}", hint=_way_back(owner))
            return identify(claim, matching[0], None, ())
        if claim.facts.attestor == JOIN_TOKEN:  # it was issued by nobody here, or another was since
            raise Unauthenticated("the join token proves nobody's name", hint=ANOTHER)
        raise Unauthenticated(f"{len(matching)} registrations match the facts shown, expected one")
    raise Unauthenticated("the claim shows neither a handle nor facts")


def _way_back(human: Registration) -> str:
    """Return what lets a suspended human act again: the operator is resumed by who owns the machine alone."""
    if human.state != "suspended":
        return ""
    if human.attestor == "operator":
        return "stop taskbound up, then: taskbound up --resume-operator"
    return f"taskbound identity resume {name_of(human.spiffe_id)}"


async def _spend(tx: Transaction, value: OneTime) -> None:
    if value.until < tx.now:
        raise Unauthenticated(f"the {value.purpose} expired", code=value.code, hint=value.again)
    if value.since is not None and tx.now < value.since:
        raise Unauthenticated(f"the {value.purpose} is from the future", code=value.code, hint="set the clock")
    try:
        await tx.once(value.purpose, value.value, value.until)
    except Replayed as error:
        if not value.code:
            error.hint = value.again or error.hint
            raise
        raise Unauthenticated(str(error), code=value.code, hint=value.again) from None


async def _by_token(tx: Transaction, claim: Claim, token: Token) -> Identity:
    """Return who works in the task that a token names, as the task is stored: the token only says which it is."""
    # On PostgreSQL a node's time may be behind that of the node that issued it (store/postgres).
    if not token.since - SKEW <= tx.now < token.until:
        raise Unauthenticated("the token expired", hint="POST /v1/tasks/{id}/heartbeat gives another in time")
    try:
        task = await tx.get(Task, token.task)
    except NotFound:
        raise Unauthenticated("the task of the token is unknown", hint="open a task") from None
    return identify(claim, await registered(tx, task.actor), task.id, task.act)


async def chain_of(tx: Transaction, task: str | None) -> tuple[Task, ...]:
    """Return the tasks from the root to this one; empty without a task."""
    chain: list[Task] = []
    while task is not None:
        chain.append(await tx.get(Task, task))
        task = chain[-1].parent
    return tuple(reversed(chain))


async def people_of(tx: Transaction, caller: Identity, chain: tuple[Task, ...]) -> tuple[Entity, ...]:
    """Return the caller's owner and the task's subject as entities with their groups."""
    names = {caller.owner} if caller.kind != "human" else set()
    if chain and chain[-1].subject:
        names.add(chain[-1].subject)
    names.discard(caller.spiffe_id)
    people = [await registered(tx, name) for name in sorted(names)]
    return tuple(
        Entity(Uid("Human", name_of(human.spiffe_id)), (), tuple(Uid("Group", group) for group in human.groups))
        for human in people
    )


async def gather(
    world: World,
    tx: Transaction,
    caller: Identity,
    action: str,
    resource: str,
    arguments: Mapping[str, Any] | None = None,
    *,
    offered_pin: str | None = None,
    about: Registration | None = None,
) -> Case:
    """Return the caller's call, and everything that the decision on it may look at, as it is in this transaction.

    What it is about is looked up by the resource; a registration is given, since it may not be stored yet.
    """
    policies = world.policies.current
    chain = await chain_of(tx, caller.task)
    root = chain[0].id if chain else None
    call = Call(world.new_id("c"), tx.org, caller.task, root, action, resource, tx.now)
    return Case(
        call=call,
        caller=caller,
        chain=chain,
        about=about or policies.about(action, resource),
        policies=policies.organisation,
        version=policies.version,
        now=tx.now,
        arguments=arguments or {},
        labels=await tx.labels(root) if root else frozenset(),
        left=await tx.left(caller.task) if caller.task else {},
        people=await people_of(tx, caller, chain) if policies.organisation.names_people else (),
        offered_pin=offered_pin,
    )


async def refuse(tx: Transaction, case: Case, decision: Decision) -> None:
    """Record a denial. It is raised, by `decision.require_permit()`, after the transaction's block."""
    await tx.record(Kind.CALL_DENIED, decided(case, decision), by=case.caller, decision=decision.record_of())


async def owned_by(tx: Transaction, caller: Identity) -> list[str]:
    """Return the names of what the caller owns; nothing inside a task."""
    if caller.task is not None:
        return []
    return [one.spiffe_id for one in await tx.find(Registration, owner=caller.spiffe_id)]


async def is_own(tx: Transaction, case: Case, task: Task, owned: Sequence[str]) -> bool:
    """Whether a task is the caller's: its own or below it, or one that it acts in, that is for it or what it owns."""
    caller = case.caller
    if caller.task is not None:
        return task.root == case.call.root and caller.task in {above.id for above in await chain_of(tx, task.id)}
    return caller.spiffe_id in (task.subject, task.actor) or task.actor in owned


async def unseen(world: World, tx: Transaction, caller: Identity, id: str, task: Task | None) -> Denied | None:
    """Return the refusal to show a task, or what happened in it, recorded; None where it is the caller's to see.

    All else is administration (`audit/read`), also what happened in no task.
    """
    if caller.is_ours:
        return None
    case = await gather(world, tx, caller, "audit/read", id)
    decision = decide(case)
    if not decision.permitted and decision.code not in ("task_ended", "check_failed") and task is not None:
        if await is_own(tx, case, task, await owned_by(tx, caller)):
            return None
        decision = Decision((Deny("not_yours", f"task {task.id} is not {caller.name}'s to see"),), decision.context)
    if decision.permitted:
        return None
    await refuse(tx, case, decision)
    return decision.refusal()


async def denial(world: World, tx: Transaction, caller: Identity, action: str, about: Registration) -> Denied | None:
    """Return the refusal to let the caller administer a registration, recorded; None when it may.

    Our own parts are exempt from policy, and nobody else. A human owns itself; what others own is for the operator.
    """
    if caller.is_ours:
        return None
    case = await gather(world, tx, caller, action, name_of(about.spiffe_id), about=about)
    decision = decide(case)
    if decision.permitted and caller.spiffe_id not in (about.owner, world.operator):
        message = f"{caller.name} administers only what it owns"
        decision = decision.refused(Denied(message, code="not_yours"))
    if decision.permitted:
        return None
    await refuse(tx, case, decision)
    return decision.refusal()


async def not_theirs(world: World, tx: Transaction, caller: Identity, task: Task, to: str) -> Deny | None:
    """Return why a task is not the caller's `to` end or to keep alive; None where it is.

    It is for who works in the task or above it, the human it is for or behind its actor, and the operator.
    """
    if caller.is_ours:
        return None
    if caller.task is not None:
        mine = caller.task in {above.id for above in await chain_of(tx, task.id)}
    else:
        mine = caller.spiffe_id in {task.subject, task.actor, (await registered(tx, task.actor)).owner, world.operator}
    return None if mine else Deny("not_yours", f"task {task.id} is not {caller.name}'s to {to}")
