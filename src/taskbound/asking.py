"""Asking: what servers say of logins. Outside of any transaction, since a server may take its time."""

import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterable, Mapping
from contextlib import suppress

from taskbound.ports import Standing, World

AT_ONCE = 8  # connections to one server about logins: it has not many more, and those who work there need theirs
WITHIN = 30.0  # seconds to ask about all logins of a request
Login = tuple[str, str]  # the address of its server, and its name there


async def each(logins: Iterable[Login], act: Callable[[str, str], Awaitable[None]]) -> None:
    """Act on each login once, on a few at a time at each server: one that hangs holds up no other."""
    rooms = defaultdict[str, asyncio.Semaphore](lambda: asyncio.Semaphore(AT_ONCE))

    async def one(issuer: str, login: str) -> None:
        async with rooms[issuer]:
            await act(issuer, login)

    async with asyncio.TaskGroup() as group:
        for issuer, login in dict.fromkeys(logins):
            group.create_task(one(issuer, login))


async def standings(world: World, logins: Iterable[Login]) -> Mapping[Login, Standing]:
    """Return what servers say of logins, each given by its issuer and its name, and asked about once.

    For so long: what is not in the answer is unknown.
    """
    found = dict[Login, Standing]()

    async def ask(issuer: str, login: str) -> None:
        found[issuer, login] = await world.issuers[issuer].probe(login, None)

    with suppress(TimeoutError):
        async with asyncio.timeout(WITHIN):
            await each(((issuer, login) for issuer, login in logins if login and issuer in world.issuers), ask)
    return found
