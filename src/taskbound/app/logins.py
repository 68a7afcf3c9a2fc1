"""Logins: those that a fix took out of files, and how one ends at the server that takes it."""

from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from secrets import token_urlsafe
from urllib.parse import unquote, urlsplit

from taskbound.app.fixed import value_of, written
from taskbound.core.errors import Conflict
from taskbound.core.secret import Secret
from taskbound.ports import Issuer, Standing

SCHEMES = {"postgresql": "postgresql", "postgres": "postgresql", "redis": "redis", "rediss": "redis"}


@dataclass(frozen=True, slots=True)
class Login:
    """A login of a server, as a value that was taken out of a file says it."""

    target: str
    scheme: str  # postgresql, redis
    name: str
    password: Secret


def logins(state: Path, id: str) -> tuple[Login, ...]:
    """Return the logins at PostgreSQL and Redis that a fix took out of files. Raises NotFound, Conflict."""
    record = written(state, id, hint=f"taskbound fix {id}")
    names = dict.fromkeys(move["target"] for one in record["files"] for move in one.get("moves", ()))
    found = [login for name in names if (login := _login(name, value_of(state, name)))]
    if not found:
        raise Conflict("no login of PostgreSQL or Redis was taken out by it", hint="end it at its issuer by hand")
    return tuple(found)


def _login(target: str, text: str) -> Login | None:
    with suppress(ValueError):
        parts = urlsplit(text)
        scheme = SCHEMES.get(parts.scheme.partition("+")[0], "")
        if scheme and parts.username and parts.password:
            return Login(target, scheme, unquote(parts.username), Secret(unquote(parts.password)))
    return None


@dataclass(frozen=True, slots=True)
class Ended:
    """A login that is dead: what its server said of it, and how that was seen."""

    before: Standing
    says: str


async def end_login(issuer: Issuer, login: Login) -> Ended:
    """End a login at the server that takes it; return how that was seen. Raises Conflict, Unavailable.

    It is really presented, before and after it: a server that does not know it, or gives no answer, is left alone, and
    so is one that lets in whoever comes (`trust`, `nopass`): it may have a login of that name that is another one.
    """
    before = await issuer.probe(login.name, login.password)
    if before == "unknown":
        raise Conflict(f"the server gave no answer about {login.name}: nothing was changed", hint="can it be reached?")
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
