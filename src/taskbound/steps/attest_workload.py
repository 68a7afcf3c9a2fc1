"""Attest a workload: what it shows becomes a registered identity, and what was shown is on record (S5, N2).

A workload that can show nothing yet is given a join token by who may register it. The registration
keeps the token's hash, and a new token takes the place of the one before; shown once, within ten
minutes, it proves the name (S7, A6.3).

A task token proves who works in its task, with a proof of its key that was not seen before; one of ours
that is refused is on record too.
"""

from contextlib import suppress
from datetime import datetime, timedelta

from taskbound.core.errors import Conflict, InvalidRequest, Replayed, Unauthenticated
from taskbound.core.event import Kind
from taskbound.core.identity import JOIN_TOKEN, Claim, Identity, Registration, Token, join_claim
from taskbound.core.secret import Secret
from taskbound.core.thing import advance
from taskbound.formats.canonical import digest_parts
from taskbound.ports import World
from taskbound.prove import denial, named, prove, registered

LONGEST_LIFE = timedelta(minutes=10)  # of a join token
NOTED = timedelta(days=1)  # the refusal of a token: longer than anybody tries it


async def attest_workload(world: World, door: Identity, claim: Claim) -> Identity:
    """Return who shows these facts, recorded. Raises Unauthenticated, Replayed for a join token seen before."""
    async with world.store.transaction(door) as tx:
        caller = await prove(tx, claim)
        if caller.task is not None:
            raise Unauthenticated("a task handle attests no workload", hint="ask without the handle")
        known = await registered(tx, caller.spiffe_id)
        known = await tx.get(Registration, known.id, lock=True)  # it asks from elsewhere too, at the same moment
        attested = advance(known, Kind.IDENTITY_ATTESTED)
        await tx.record(
            Kind.IDENTITY_ATTESTED, attested, by=caller, attestor=caller.assurance, facts=dict(caller.facts)
        )
    return caller


async def admit_token(world: World, door: Identity, claim: Claim) -> Identity:
    """Return who shows a task token and proves its key; the proof is used up. Raises Unauthenticated, recorded."""
    try:
        async with world.store.transaction(door) as tx:
            return await prove(tx, claim)
    except Unauthenticated as error:
        if claim.token is not None:
            await _note(world, door, claim.token, error)
        raise


async def _note(world: World, door: Identity, token: Token, error: Unauthenticated) -> None:
    """Record that a token of ours was refused: of a storm of equal refusals the first (INTERFACES 9)."""
    with suppress(Replayed):
        async with world.store.transaction(door) as tx:
            await tx.once("token refused", digest_parts(token.id.encode(), str(error).encode()), tx.now + NOTED)
            what, reason = Kind.TOKEN_REFUSED, str(error)
            await tx.record(what, id=token.id, task=token.task, actor=token.actor, code=error.code, reason=reason)


async def issue_join_token(
    world: World, door: Identity, asker: Claim | Identity, name: str, life: timedelta
) -> tuple[Registration, Secret, datetime]:
    """Return the registration, the only token that now proves it, and until when. The token is seen this once.

    Raises InvalidRequest, NotFound, Denied, Conflict for a name that joins otherwise or is not live.
    """
    if not timedelta(seconds=1) <= life <= LONGEST_LIFE:
        raise InvalidRequest(f"a life of {life.total_seconds():g} s is not between 1 and 600 s")
    random, _ = world.new_handle()
    async with world.store.transaction(door) as tx:
        caller = await prove(tx, asker)
        known = await named(world, tx, name)
        denied = await denial(world, tx, caller, "identity/register", known)
        until = (tx.now + life).replace(microsecond=0)
        token = f"tbj_{random.reveal().removeprefix('tbh_')}.{int(until.timestamp())}"
        if denied is None:
            if known.attestor != JOIN_TOKEN or not known.is_live:
                raise Conflict(f"{name} is {known.state}, and proven by {known.attestor}: no token is issued")
            (spend,) = join_claim(tx.org, token).spend
            known = advance(known, Kind.IDENTITY_REGISTERED, when={"token": spend.value})
            await tx.record(Kind.IDENTITY_REGISTERED, known, by=caller, until=until.isoformat())
    if denied:
        raise denied
    return known, Secret(token), until
