"""Issue a task token: a signed view of a task for callers off the host, bound to a key that they proved (D14).

At most 300 s, and never beyond the task; another only while the task and all above it are open and its actor
may act. It is recorded before it is signed (S5), and tells who works for whom in which task: what is granted is
read from the task at each call, so ending the task ends the token (S2).
"""

from collections.abc import Sequence
from datetime import timedelta

from taskbound.core.errors import Denied, Refused
from taskbound.core.event import Kind
from taskbound.core.identity import Claim, Identity
from taskbound.core.secret import Secret
from taskbound.core.task import Task
from taskbound.formats.jose import LIFE, AccessToken, compact, signing_input
from taskbound.ports import Transaction, World
from taskbound.prove import chain_of, prove, registered


def issuer_of(world: World) -> str:
    """Return the `iss` of tokens of ours."""
    return f"https://{world.trust_domain}"


def audience_of(world: World) -> str:
    """Return the one `aud` of tokens that work here: this installation's doors."""
    return f"https://{world.trust_domain}/{world.instance}"


async def issue_token(world: World, door: Identity, asker: Claim | Identity, id: str, key: str) -> Secret | None:
    """Return a token for a task, bound to the key with this thumbprint; None while the one shown is fresh.

    Fresh is one with half its life left: whoever asks all the time makes no event each time.

    For who works in the task or above it, and outside of a task for its actor. Raises NotFound, Denied,
    TaskEnded, TaskSuspended; a refusal is recorded.
    """
    refusal: Refused | None = None
    public = (await world.keys.public())["token"]
    async with world.store.transaction(door) as tx:
        caller = await prove(tx, asker)
        chain = await chain_of(tx, id)
        task = chain[-1]
        try:
            await _require_issuable(tx, caller, chain)
        except Denied as error:
            refusal = error
            await tx.record(Kind.TOKEN_REFUSED, id=task.id, by=caller, task=task.id, code=error.code, reason=str(error))
        else:
            until = caller.facts.get("until", 0) if caller.assurance == "token" and caller.task == id else 0
            is_fresh = int(until) - tx.now.timestamp() > LIFE / 2
            if is_fresh or any(above.state == "suspended" for above in chain):
                return None
            token = _token(world, tx, task, key)
            until = (tx.now + timedelta(seconds=token.expires - token.issued)).isoformat()
            await tx.record(Kind.TOKEN_ISSUED, id=task.id, by=caller, token=token.id, key=key, until=until)
    if refusal is not None:
        raise refusal
    signed = signing_input(token, public)
    return Secret(compact(signed, await world.keys.sign("token", signed)))


async def _require_issuable(tx: Transaction, caller: Identity, chain: Sequence[Task]) -> None:
    """Raises Denied, TaskEnded or TaskSuspended unless who asks works in the last task of the chain, or above it."""
    task = chain[-1]
    task.require_open(tx.now)
    actor = await registered(tx, task.actor)
    if not actor.is_live:
        raise Denied(f"who works in task {task.id} is {actor.state}", code="not_live")
    if not (caller.task in {above.id for above in chain} if caller.task else caller.spiffe_id == task.actor):
        raise Denied(f"task {task.id} is not {caller.name}'s to work in", code="not_yours")


def _token(world: World, tx: Transaction, task: Task, key: str) -> AccessToken:
    """Return what the token says; of a task for nobody, whoever began the chain is its subject (RFC 8693 4.1)."""
    chain = (task.actor, *task.act)
    issued = int(tx.now.timestamp())
    return AccessToken(
        issuer=issuer_of(world),
        audience=audience_of(world),
        subject=task.subject or chain[-1],
        actor=task.actor,
        act=chain if task.subject else chain[:-1],
        org=task.org,
        task=task.id,
        id=world.new_id("j"),
        issued=issued,
        expires=min(issued + LIFE, int(task.deadline.timestamp())),
        jkt=key,
    )
