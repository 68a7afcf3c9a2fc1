"""Logins: those that a fix took out of files, and how one ends at the server that takes it."""

import hmac
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from secrets import token_urlsafe
from urllib.parse import unquote, urlsplit

from taskbound.app.discover import mark_key
from taskbound.app.fixed import value_of, written
from taskbound.app.issuers import called
from taskbound.app.scanning import mark_of
from taskbound.core.errors import Conflict
from taskbound.core.secret import Secret
from taskbound.plugins.issuers.postgres import PostgresIssuer
from taskbound.plugins.issuers.redis import RedisIssuer
from taskbound.ports import Issuer, Standing

SCHEMES = {"postgresql": "postgresql", "postgres": "postgresql", "redis": "redis", "rediss": "redis"}


@dataclass(frozen=True, slots=True)
class Login:
    """A login of a server, as a value that was taken out of a file says it."""

    target: str
    scheme: str  # postgresql, redis
    name: str
    password: Secret
    issuer: str  # the server that the file named, as ours are called


def logins(state: Path, id: str) -> tuple[Login, ...]:
    """Return the logins at PostgreSQL and Redis that a fix took out of files.

    Raises NotFound, Conflict: also where a target has another value by now. Who is in it lives by it, and ends never.
    """
    record, key = written(state, id, hint=f"taskbound fix {id}"), mark_key(state)
    marks = {move["target"]: move.get("mark", "") for one in record["files"] for move in one.get("moves", ())}
    found, newer = list[Login](), list[str]()
    for name, mark in marks.items():
        value = value_of(state, name)
        if not _is_what_stood(key, mark, value):
            newer.append(name)
        elif login := _login(name, value):
            found.append(login)
    if newer and (not found or any(_login(name, value_of(state, name)) for name in newer)):
        hint = "end what stood there by hand at its server, where it still lives"
        raise Conflict(f"the target {newer[0]} has another value by now than stood in the file", hint=hint)
    if not found:
        raise Conflict("no login of PostgreSQL or Redis was taken out by it", hint="end it at its issuer by hand")
    return tuple(found)


def _is_what_stood(key: bytes, mark: str, value: str) -> bool:
    return hmac.compare_digest(mark_of(key, value), mark)


def elsewhere(state: Path, id: str) -> tuple[str, ...]:
    """Return where else the credentials of a finding lay when it was fixed. Raises NotFound."""
    return tuple(written(state, id, hint=f"taskbound fix {id}").get("elsewhere", ()))


def _login(target: str, text: str) -> Login | None:
    with suppress(ValueError):
        parts = urlsplit(text)
        scheme = SCHEMES.get(parts.scheme.partition("+")[0], "")
        if scheme and parts.username and parts.password:
            name, password = unquote(parts.username), Secret(unquote(parts.password))
            return Login(target, scheme, name, password, _issuer(parts._replace(scheme=scheme).geturl()))
    return None


def _issuer(address: str) -> str:
    """Return what the server of an address is called; "" where nothing of ours could ask it."""
    with suppress(ValueError):
        made = RedisIssuer if address.startswith("redis:") else PostgresIssuer
        return called(made(Secret(address)))
    return ""


@dataclass(frozen=True, slots=True)
class Ended:
    """A login that is dead: what its server said of it, and how that was seen."""

    before: Standing
    says: str


async def end_login(issuer: Issuer, at: str, login: Login) -> Ended:
    """End a login at the server that takes it; return how that was seen. Raises Conflict, Unavailable.

    `at`: what the server is called. It is really presented, before and after it: a server that does not know it, or
    gives no answer, is left alone, and so is one that lets in whoever comes (`trust`, `nopass`): it may have a login of
    that name that is another one. That it is refused says it to be dead only of the server that the file named.
    """
    before = await issuer.probe(login.name, login.password)
    if before == "unknown":
        raise Conflict(f"the server gave no answer about {login.name}: nothing was changed", hint="can it be reached?")
    if before == "dead" and at != login.issuer:
        raise Conflict(
            f"{at} refuses {login.name}, and the file named {login.issuer or 'another'}: "
            "it may live there, and nothing was changed",
            hint=f"name the server that the file means: --{login.scheme.removesuffix('ql')} {login.issuer}",
        )
    if before == "dead":
        says = f"{login.name} is dead already: the server that was named refuses it with what stood in the file"
        return Ended(before, says)
    if await issuer.probe(login.name, Secret(token_urlsafe())) == "alive":
        raise Conflict(
            f"the server lets {login.name} in with whatever password, so it may be another one: nothing was changed",
            hint="ask the server that the file names, or end it there by hand",
        )
    await issuer.kill(login.name)
    after = await issuer.probe(login.name, login.password)
    if after != "dead":
        raise Conflict(f"{login.name} was ended, and the server still lets it in, or gives no answer: {after}")
    says = f"{login.name} is dead: it was let in before, and is refused now, with the password that stood in the file"
    return Ended(before, says)
