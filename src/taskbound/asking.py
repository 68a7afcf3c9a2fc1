"""Asking: what servers say of logins. Outside of any transaction, since a server may take its time."""

import asyncio
from collections.abc import Iterable, Mapping
from contextlib import suppress

from taskbound.ports import Standing, World

AT_ONCE = 8  # connections to ask about logins: a server has not many more, and those who work there need theirs
WITHIN = 30.0  # seconds to ask about all logins of a request


async def standings(world: World, logins: Iterable[tuple[str, str]]) -> Mapping[tuple[str, str], Standing]:
    """Return what servers say of logins, each given by its issuer and its name, and asked about once.

    Few at a time, and for so long: what is not in the answer is unknown.
    """
    room, found = asyncio.Semaphore(AT_ONCE), dict[tuple[str, str], Standing]()

    async def ask(issuer: str, login: str) -> None:
        async with room:
            found[issuer, login] = await world.issuers[issuer].probe(login, None)

    known = dict.fromkeys((issuer, login) for issuer, login in logins if login and issuer in world.issuers)
    with suppress(TimeoutError):
        async with asyncio.timeout(WITHIN):
            await asyncio.gather(*(ask(issuer, login) for issuer, login in known))
    return found
