"""Register an identity: a name, what it is for, how it is proven, and the living human who answers for it."""

from collections.abc import Mapping
from dataclasses import dataclass

from taskbound.core.call import decide
from taskbound.core.errors import Conflict, Denied, InvalidRequest, bounded
from taskbound.core.event import Kind
from taskbound.core.identity import KINDS, Claim, Identity, Registration
from taskbound.core.thing import advance
from taskbound.formats.spiffe import MalformedSpiffeId, make
from taskbound.ports import World
from taskbound.prove import gather, prove, refuse, registered


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
    async with world.store.transaction(door) as tx:
        caller = await prove(tx, asker)
        wanted = _wanted(world, door, ask)
        decision = None
        if not caller.is_ours:  # our own start registers the local operator; nobody else is exempt from policy
            case = await gather(world, tx, caller, "identity/register", ask.name)
            decision = decide(case)
            if decision.permitted and wanted.owner != caller.spiffe_id:
                refusal = Denied(f"{caller.name} registers only what it owns itself", code="not_yours")
                decision = decision.refused(refusal)
        if decision is None or decision.permitted:
            if wanted.kind != "human" and not (await registered(tx, wanted.owner)).is_live:
                raise InvalidRequest(f"owner {ask.owner} is not live", hint="name a registered human as the owner")
            if await tx.find(Registration, spiffe_id=wanted.spiffe_id):
                raise Conflict(f"{ask.name} is registered already")
            wanted = advance(wanted, Kind.IDENTITY_REGISTERED)
            await tx.record(Kind.IDENTITY_REGISTERED, wanted, by=caller)
        else:
            await refuse(tx, case, decision)
    if decision is not None:
        decision.require_permit()
    return wanted


def _wanted(world: World, door: Identity, ask: RegistrationAsk) -> Registration:
    kind, _, rest = ask.name.partition("/")
    if kind not in KINDS or not rest:
        raise InvalidRequest(f"{ask.name[:64]!r} is no name of an identity", hint="use human/…, service/… or agent/…")
    if not ask.owner.startswith("human/") or (kind == "human" and ask.owner != ask.name):
        raise InvalidRequest(f"the owner of {ask.name[:64]} must be a human", hint="use owner human/NAME")
    if not ask.when:
        raise InvalidRequest(f"{ask.name[:64]} has no facts by which it is proven", hint="add `when`")
    try:
        name, owner = make(world.trust_domain, ask.name), make(world.trust_domain, ask.owner)
    except MalformedSpiffeId as error:
        raise InvalidRequest(f"{ask.name[:64]!r} is no name of an identity: {error}") from None
    return Registration(
        id=world.new_id("i"),
        org=door.org,
        spiffe_id=str(name),
        kind=kind,
        owner=str(owner),
        purpose=ask.purpose,
        environment=ask.environment,
        groups=ask.groups,
        attestor=ask.attestor,
        when=dict(ask.when),
    )
