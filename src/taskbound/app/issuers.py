"""Servers that are asked about their own logins: from addresses to plug-ins, and what all of them say."""

import asyncio
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from urllib.parse import quote, urlsplit

from taskbound.app.places import admin_login, secret
from taskbound.core.config import Config
from taskbound.core.errors import InvalidRequest, Unavailable
from taskbound.core.secret import Secret
from taskbound.formats import resp
from taskbound.formats.libpq import is_verified
from taskbound.plugins.issuers.postgres import PostgresIssuer
from taskbound.plugins.issuers.redis import RedisIssuer
from taskbound.ports import Standing
from taskbound.posture.catalogues.server import server
from taskbound.posture.seen import Seen

REDIS_PASSWORD = "REDISCLI_AUTH"  # as redis-cli has it; that of PostgreSQL asyncpg reads as libpq does


@dataclass(frozen=True, slots=True)
class Sparing:
    """A server at which logins end, but none by which we work ourselves: without it nothing could be taken back."""

    asks: PostgresIssuer | RedisIssuer
    ours: frozenset[str]

    @property
    def name(self) -> str:
        return self.asks.name

    async def probe(self, login: str, password: Secret | None) -> Standing:
        return await self.asks.probe(login, password)

    async def kill(self, login: str) -> None:
        if login in self.ours:
            hint = "give taskbound another login first, and start it again"
            raise Unavailable(f"taskbound itself works at {self.name} as {login}", hint=hint)
        await self.asks.kill(login)


def sparing(
    asks: Iterable[PostgresIssuer | RedisIssuer], others: Iterable[PostgresIssuer | RedisIssuer] = ()
) -> dict[str, Sparing]:
    """Return servers by what each is called, the last one of several; no login of these or of the others ends."""
    asks = list(asks)
    ours: dict[str, set[str]] = {}
    for one in (*asks, *others):
        ours.setdefault(called(one), set()).add(one.login)
    return {called(one): Sparing(one, frozenset(ours[called(one)])) for one in asks}


def configured(config: Config, environment: Mapping[str, str]) -> list[PostgresIssuer | RedisIssuer]:
    """Return the servers at which an installation works, as far as their addresses can be read from here."""
    found = list[PostgresIssuer | RedisIssuer]()
    for target in config.targets:
        if target.provider != "static":
            with suppress(InvalidRequest, ValueError):
                found.append(PostgresIssuer(admin_login(target)))
    for reference in config.servers:
        with suppress(InvalidRequest):
            found.append(issuer(secret(reference), environment))
    return found


def nearby(address: str) -> Iterator[PostgresIssuer | RedisIssuer]:
    """Yield what shows logins to a server of this machine, by what it is called; nothing for one beyond it."""
    scheme, _, place = address.partition("://")
    if place.startswith("localhost:"):
        yield RedisIssuer(Secret(address)) if scheme == "redis" else PostgresIssuer(Secret(f"{address}/postgres"))


def called(asks: PostgresIssuer | RedisIssuer) -> str:
    """Return what the server is called, by each of the names that this machine has for itself the same."""
    scheme, _, place = asks.name.partition("://")
    return f"{scheme}://{server(place, scheme)}"


def issuer(url: Secret, environment: Mapping[str, str]) -> PostgresIssuer | RedisIssuer:
    """Return what asks the server of an address, by its scheme. Raises InvalidRequest, which repeats nothing of it.

    A server beyond this machine has to prove who it is: it is shown passwords, and what it says is believed.
    """
    try:
        if url.reveal().startswith(("redis:", "rediss:")):
            verified, hint = resp.address(url.reveal()).is_verified, "write rediss://"
        else:
            verified = is_verified(url.reveal(), environment)
            hint = "add to the address: ?sslmode=verify-full&sslrootcert=FILE"
        made = RedisIssuer(url) if url.reveal().startswith(("redis:", "rediss:")) else PostgresIssuer(url)
    except ValueError:  # it would quote the address
        hint = "postgresql://user@host:port/db or redis[s]://user@host:port"
        raise InvalidRequest("that is no address of a server", hint=hint) from None
    _require_verified(made.name, verified, hint)
    return made


def to_look_at(
    postgres: Sequence[str], redis: Sequence[str], environment: Mapping[str, str]
) -> list[PostgresIssuer | RedisIssuer]:
    """Return what asks the servers named on a command line. Raises InvalidRequest."""
    for address, schemes in ((one, ("postgresql:", "postgres:")) for one in postgres):
        _require_public(address, schemes, "PGPASSWORD or PGPASSFILE")
    for address in redis:
        _require_public(address, ("redis:", "rediss:"), REDIS_PASSWORD)
    password = environment.get(REDIS_PASSWORD, "")
    return [issuer(Secret(one), environment) for one in postgres] + [
        issuer(_with_password(one, password), environment) for one in redis
    ]


def look(issuers: Sequence[PostgresIssuer | RedisIssuer]) -> list[Seen]:
    """Ask all of them at once. Who does not answer is told, and stops nothing."""

    async def ask() -> list[Seen]:
        return list(await asyncio.gather(*(one.look() for one in issuers)))

    return asyncio.run(ask())


def _require_verified(name: str, verified: bool, hint: str) -> None:
    if not verified:
        raise InvalidRequest(f"{name} is not on this machine, and who it is would not be verified", hint=hint)


def _require_public(address: str, schemes: tuple[str, ...], where: str) -> None:
    """Raises InvalidRequest where an address is of another kind, or holds a password: all on the machine see it."""
    try:
        parts = urlsplit(address)
        held = parts.password is not None or "password=" in parts.query
    except ValueError:
        held = False  # whoever connects says that it is none
    if held:
        raise InvalidRequest("an address on the command line holds a password", hint=f"set it in {where}")
    if not address.startswith(schemes):
        raise InvalidRequest("that is no address of such a server", hint=f"it begins with {schemes[0]}//")


def _with_password(address: str, password: str) -> Secret:
    scheme, _, rest = address.partition("://")
    user, _, place = rest.rpartition("@")
    return Secret(f"{scheme}://{user}:{quote(password, safe='')}@{place}" if password else address)
