"""Presented: what was found in files is shown to the servers at which it may end, before anything ends there.

So it is seen whether a server is the one that a file means: `localhost` is another machine to each who reads it, and a
server that lets in whoever comes knows nobody. A value is read again where it was found, and leaves this process for
that server alone.
"""

import asyncio
import os
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from secrets import token_urlsafe

from taskbound.app.discover import Discovery, roots_of
from taskbound.app.issuers import called, configured, nearby
from taskbound.app.places import load_config
from taskbound.app.replace import read_file, real_path
from taskbound.app.scanning import mark_of, scanner_of
from taskbound.asking import WITHIN, Login, each
from taskbound.core.errors import Conflict, NotFound
from taskbound.core.secret import Secret
from taskbound.ports import Issuer, Standing
from taskbound.posture.entries import issuer_of
from taskbound.posture.sighting import Credential, Sighting

Values = Mapping[Login, list[Secret]]


def presented(
    asked: Discovery, key: bytes, sightings: Iterable[Sighting], logins: Iterable[Login], state: Path
) -> dict[Login, Standing]:
    """Return what the servers of an installation say of what was found of some logins; one value that is let in counts.

    `key`: that of the marks of what was seen. What cannot be read again, or of which a server gives no answer, is
    unknown. Raises InvalidRequest where the configuration is not in order.
    """
    wanted, names = defaultdict[str, set[Login]](set), set(logins)
    marks = dict[tuple[Login, str], None]()
    for one in sightings:
        if isinstance(one, Credential) and (login := (issuer_of(one), one.login)) in names and not one.is_identifier:
            wanted[one.place.path].add(login)
            marks[login, one.mark] = None
    values = dict[str, Secret]()
    for path in wanted:
        values |= _read_again(asked, key, path, frozenset(mark for _, mark in marks))
    shown = defaultdict[Login, list[Secret]](list)
    for login, mark in marks:
        if mark in values:
            shown[login].append(values[mark])
    config = load_config(None, state)
    near = [server for issuer in dict.fromkeys(issuer for issuer, _ in shown) for server in nearby(issuer)]
    servers = defaultdict[str, list[Issuer]](list)
    for server in (*near, *configured(config, os.environ)):  # first as a file says it; we may come in another way
        servers[called(server)].append(server)
    return asyncio.run(_asked(servers, shown))


def _read_again(asked: Discovery, key: bytes, path: str, marks: frozenset[str]) -> dict[str, Secret]:
    """Return the values of a file, by their marks. Whatever marks them sees each: so it is known which it was."""
    found = dict[str, Secret]()

    def mark(text: str) -> str:
        known = mark_of(key, text)
        if known in marks:
            found[known] = Secret(text)
        return known

    with suppress(NotFound, Conflict, OSError):
        scanner_of(mark)(path, read_file(real_path(roots_of(asked), path)), "", True)
    return found


async def _asked(servers: Mapping[str, Sequence[Issuer]], shown: Values) -> dict[Login, Standing]:
    found = dict[Login, Standing]()

    async def ask(issuer: str, login: str) -> None:
        for server in servers[issuer]:
            found[issuer, login] = await _standing(server, login, shown[issuer, login])
            if found[issuer, login] != "unknown":
                return

    with suppress(TimeoutError):
        async with asyncio.timeout(WITHIN):
            await each([one for one in shown if one[0] in servers], ask)
    return found


async def _standing(server: Issuer, login: str, values: Sequence[Secret]) -> Standing:
    said = [await server.probe(login, value) for value in values]
    if "alive" in said:  # one that lets in whoever comes knows nobody
        return "alive" if await server.probe(login, Secret(token_urlsafe())) != "alive" else "unknown"
    return "dead" if set(said) == {"dead"} else "unknown"
