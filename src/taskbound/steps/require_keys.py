"""Require the keys of this installation: what signs is what signed before, at every start and on every node.

The digest of each public key is recorded at the first start. With another one nobody could verify
what was signed before: a log that goes on, a receipt, a token that another node issued.
"""

import hashlib

from taskbound.core.errors import Conflict, Replayed
from taskbound.core.event import Kind
from taskbound.core.identity import Identity
from taskbound.ports import FOR_EVER, World


async def require_keys(world: World, door: Identity) -> None:
    """Record the keys at the first start. Raises Conflict (`other_keys`) where one is not what was recorded."""
    public = await world.keys.public()
    async with world.store.transaction(door) as tx:
        for purpose, key in sorted(public.items()):
            digest, until = hashlib.sha256(key).hexdigest(), tx.now + FOR_EVER
            try:
                await tx.once("key", purpose, until)
            except Replayed:
                try:
                    await tx.once("key", f"{purpose} {digest}", until)
                except Replayed:
                    continue
                # Undone with the transaction: a key that was refused is no more known afterwards.
                raise Conflict(
                    f"the key for {purpose} is not the one that signed here before",
                    code="other_keys",
                    hint="put the keys back from a copy, or from another node",
                ) from None
            await tx.once("key", f"{purpose} {digest}", until)
            await tx.record(Kind.KEY_ADDED, id=purpose, sha256=digest)
