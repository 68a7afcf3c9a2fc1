"""Issue one credential: intent before effect, delivery only after the fact (D1, D4).

The comments say what is true if the process dies there. Whatever happens, a name at the target
has a lease in the store, and a credential that was delivered belongs to an active lease. A race for
the last of a budget is lost by rolling back and deciding again in a fresh transaction, which
records the deny.
"""

from dataclasses import dataclass
from datetime import datetime

from taskbound.core.call import Case, Decision, decide
from taskbound.core.catalogue import Target
from taskbound.core.errors import BudgetSpent, Denied, TargetUnavailable, TaskSuspended, bounded
from taskbound.core.event import Kind
from taskbound.core.identity import Claim, Identity
from taskbound.core.lease import CREATE_WINDOW, SETTLE, STUCK, Lease, Recipe
from taskbound.core.secret import Secret
from taskbound.core.task import Task
from taskbound.core.thing import advance
from taskbound.ports import Transaction, World
from taskbound.prove import chain_of, gather, prove, refuse, registered


@dataclass(frozen=True, slots=True)
class LeaseAsk:
    """A credential as it was asked for: `resource` is "<target>/<grant>"."""

    resource: str

    def __post_init__(self) -> None:
        bounded("the name of the lease", self.resource, 256)


async def issue_lease(world: World, door: Identity, asker: Claim | Identity, ask: LeaseAsk) -> tuple[Lease, Secret]:
    """Issue one credential for the caller's task, or leave nothing behind.

    Raises Denied, BudgetSpent, TaskEnded or TaskSuspended when that happens meanwhile, TargetUnavailable.
    """
    try:
        case, lease, decision = await _request(world, door, asker, ask)
    except BudgetSpent:  # another lease took the last of it between our look and our record
        case, lease, decision = await _request(world, door, asker, ask)
    if lease is None:  # outside the block: the deny is durable
        raise decision.refusal()
    # A crash from here on leaves a pending lease; revoke_lease takes it back (D1, D3).

    credential = await world.providers[lease.target].create(lease)
    # A crash here leaves a credential nobody received, and the same pending lease.

    async with world.store.transaction(door) as tx:
        await _require_holder(tx, case)
        lease = await tx.get(Lease, lease.id)
        if lease.state != "pending":
            raise _taken_back(lease, tx.now)
        lease = advance(lease, Kind.LEASE_ACTIVATED, activated=tx.now, due=lease.expires)
        await tx.record(Kind.LEASE_ACTIVATED, lease, by=case.caller)
    # Only now may the caller hold it. A task that ended meanwhile has raised TaskEnded.
    return lease, credential


async def _request(
    world: World, door: Identity, asker: Claim | Identity, ask: LeaseAsk
) -> tuple[Case, Lease | None, Decision]:
    """Decide, and record the lease that is to be made, or the deny. Raises BudgetSpent when a race for it is lost."""
    lease = None
    async with world.store.transaction(door) as tx:
        caller = await prove(tx, asker)
        case = await gather(world, tx, caller, "lease/issue", ask.resource)
        decision = decide(case)
        if decision.permitted and (stuck := await _stuck(tx, case.about)):
            decision = decision.refused(stuck)
        if decision.permitted:
            lease = _requested(world, case)
            said, spent = decision.record_of(), decision.spent
            await tx.record(Kind.LEASE_REQUESTED, lease, by=caller, spent=spent, decision=said, policy=case.version)
        else:
            await refuse(tx, case, decision)
    return case, lease, decision


async def _stuck(tx: Transaction, target: object) -> Denied | None:
    """Return the refusal of a target at which a lease could not be taken back for too long (S3, D9)."""
    if isinstance(target, Target):
        for state in ("revoking", "cut"):
            if late := await tx.find(Lease, due=tx.now - STUCK, target=target.name, state=state):
                message = (
                    f"{len(late)} leases at {target.name} could not be taken back for {STUCK.seconds // 60} minutes"
                )
                hint = f"make {target.name} reachable again, or see what blocks it: taskbound lease list"
                return Denied(message, code="target_overdue", hint=hint)
    return None


def _taken_back(lease: Lease, now: datetime) -> Denied | TargetUnavailable:
    """Return why a lease was taken back while it was made: its time is over, or its task was suspended meanwhile."""
    if now < lease.create_by + SETTLE:
        message = f"task {lease.task} was suspended while {lease.name} was made"
        return TaskSuspended(message, hint="the task goes on now: ask for the lease again")
    return TargetUnavailable(f"the target took until after the deadline to make {lease.name}")


async def _require_holder(tx: Transaction, case: Case) -> None:
    """Raises TaskEnded, TaskSuspended or Denied unless who asked may still hold what was made for it."""
    await tx.get(Task, case.chain[-1].id, lock=True)
    for task in await chain_of(tx, case.chain[-1].id):
        task.require_open(tx.now)
    actor = await registered(tx, case.caller.spiffe_id)
    if not actor.is_live:
        raise Denied(f"{case.caller.name} is {actor.state}", code="not_live")


def _requested(world: World, case: Case) -> Lease:
    target = case.about
    if not isinstance(target, Target) or target.name not in world.providers:
        raise TargetUnavailable(f"no provider is configured for {case.call.resource}")
    create_by = case.now + CREATE_WINDOW
    lease = Lease(
        id=world.new_id("l"),
        org=case.call.org,
        instance=world.instance,
        task=case.call.task,
        target=target.name,
        grant=target.grant,
        recipe=Recipe(dict(target.statements), target.revocation_class),
        expires=min(case.chain[-1].deadline, case.now + target.max_life),
        create_by=create_by,
        due=create_by + SETTLE,
    )
    return advance(lease, Kind.LEASE_REQUESTED)
