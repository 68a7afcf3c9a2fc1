"""Issue one credential: intent before effect, delivery only after the fact (D1, D4).

The comments say what is true if the process dies there. Whatever happens, a name at the target
has a lease in the store, and a credential that was delivered belongs to an active lease.
"""

from dataclasses import dataclass

from taskbound.core.call import Call, Case, decide, decided
from taskbound.core.catalogue import Target
from taskbound.core.errors import Unavailable
from taskbound.core.event import Kind
from taskbound.core.identity import Claim, Identity
from taskbound.core.lease import CREATE_WINDOW, SETTLE, Lease, Recipe
from taskbound.core.secret import Secret
from taskbound.core.task import Task
from taskbound.core.thing import advance
from taskbound.ports import World
from taskbound.prove import gather, prove


@dataclass(frozen=True, slots=True)
class LeaseAsk:
    """A credential as it was asked for: `resource` is "<target>/<grant>"."""

    resource: str


async def issue_lease(world: World, door: Identity, asker: Claim | Identity, ask: LeaseAsk) -> tuple[Lease, Secret]:
    """Issue one credential for the caller's task, or leave nothing behind.

    Raises Denied, BudgetSpent, TaskEnded when the task ends meanwhile, TargetUnavailable.
    """
    async with world.store.transaction(door) as tx:
        caller = await prove(tx, asker)
        root = (await tx.get(Task, caller.task)).root if caller.task else None
        call = Call(world.new_id("c"), tx.org, caller.task, root, "lease/issue", ask.resource, tx.now)
        case = await gather(tx, world.policies.current, caller, call)
        decision = decide(case)
        if decision.permitted:
            lease = _requested(world, case)
            await tx.record(Kind.LEASE_REQUESTED, lease, by=caller, spent=decision.spent, decision=decision.record_of())
        else:
            await tx.record(Kind.CALL_DENIED, decided(case, decision), by=caller, decision=decision.record_of())
    decision.require_permit()  # outside the block: the deny is durable
    # A crash from here on leaves a pending lease; revoke_lease takes it back (D1, D3).

    credential = await world.providers[lease.target].create(lease)
    # A crash here leaves a credential nobody received, and the same pending lease.

    async with world.store.transaction(door) as tx:
        (await tx.get(Task, case.chain[-1].id, lock=True)).require_open(tx.now)
        lease = advance(await tx.get(Lease, lease.id), Kind.LEASE_ACTIVATED, activated=tx.now, due=lease.expires)
        await tx.record(Kind.LEASE_ACTIVATED, lease, by=caller)
    # Only now may the caller hold it. A task that ended meanwhile has raised TaskEnded.
    return lease, credential


def _requested(world: World, case: Case) -> Lease:
    target = case.about
    if not isinstance(target, Target) or target.name not in world.providers:
        raise Unavailable(f"no provider is configured for {case.call.resource}")
    create_by = case.now + CREATE_WINDOW
    lease = Lease(
        id=world.new_id("l"),
        org=case.call.org,
        instance=world.instance,
        task=case.call.task,
        target=target.name,
        grant=target.grant,
        recipe=Recipe(target.name, dict(target.statements), target.revocation_class),
        expires=min(case.chain[-1].deadline, case.now + target.max_life),
        create_by=create_by,
        due=create_by + SETTLE,
    )
    return advance(lease, Kind.LEASE_REQUESTED)
