"""Require the trust domain of this installation: every identity in its store is named below it, at every start.

With another one nobody who was registered could be named any more, and the operator would be registered a second
time: two match what they show, which is a doubt, and doubt is refusal (D31), also after the first is back.
"""

from taskbound.core.errors import InvalidRequest
from taskbound.core.identity import Identity, Registration
from taskbound.formats import spiffe
from taskbound.ports import World


async def require_trust_domain(world: World, door: Identity) -> None:
    """Raises InvalidRequest (`invalid_config`) where operators are registered, all in others. Records nothing."""
    async with world.store.transaction(door) as tx:
        operators = await tx.find(Registration, attestor="operator")
    known = sorted({spiffe.parse(one.spiffe_id).trust_domain for one in operators})
    if known and world.trust_domain not in known:
        raise InvalidRequest(
            f"the trust domain is {world.trust_domain}, and who is registered here is of {known[0]}",
            code="invalid_config",
            hint=f'set trust_domain = "{known[0]}"; another one needs a state directory and a database of its own',
        )
