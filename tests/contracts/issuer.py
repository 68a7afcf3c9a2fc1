"""The contract of `Issuer` (ports.py): a login lives until it is killed, and a real server says so. Each passes all.

A module that runs it imports `*` and gives the fixture `at`: `issuer()` with the login to ask with, or as another one
with its password; `make(login, password)`; `enter(login, password)`, a session with `is_there()`; `address(port)`,
an issuer of what answers there.
"""

import asyncio
import socket
import time
from typing import Protocol

import pytest

from taskbound.core.errors import Unavailable
from taskbound.core.secret import Secret
from taskbound.ports import Issuer

WORD = "Zq7-first-password-31"
names = (f"contract_{number}" for number in range(10_000))


class Session(Protocol):
    async def is_there(self) -> bool: ...


class At(Protocol):
    own: str  # the login that `issuer()` asks with

    def issuer(self, login: str = "", password: str = "") -> Issuer: ...
    async def make(self, login: str, password: str) -> None: ...
    async def enter(self, login: str, password: str) -> Session: ...
    async def exists(self, login: str) -> bool: ...
    def address(self, port: int) -> Issuer: ...


async def test_a_password_is_alive_and_another_one_is_dead(at: At) -> None:
    login = next(names)
    await at.make(login, WORD)
    assert await at.issuer().probe(login, Secret(WORD)) == "alive"
    assert await at.issuer().probe(login, Secret("Zq7-another-31")) == "dead"
    assert await at.issuer().probe(login, None) == "alive"


async def test_who_does_not_exist_is_dead(at: At) -> None:
    login = next(names)
    assert await at.issuer().probe(login, Secret(WORD)) == "dead"
    assert await at.issuer().probe(login, None) == "dead"


async def test_nobody_is_unknown_whoever_the_environment_names(at: At, monkeypatch: pytest.MonkeyPatch) -> None:
    login = next(names)
    await at.make(login, WORD)
    for name, value in (("PGUSER", login), ("PGPASSWORD", WORD), ("REDISCLI_AUTH", WORD)):
        monkeypatch.setenv(name, value)
    assert await at.issuer().probe("", Secret(WORD)) == "unknown"
    assert await at.issuer().probe("", None) == "unknown"
    assert await at.issuer().probe(login, Secret("")) != "alive"


async def test_a_probe_needs_no_login_of_ones_own(at: At) -> None:
    login = next(names)
    await at.make(login, WORD)
    assert await at.issuer("nobody", "wrong").probe(login, Secret(WORD)) == "alive"
    assert await at.issuer("nobody", "wrong").probe(login, None) == "unknown"


async def test_killed_it_is_dead_and_its_sessions_are_gone(at: At) -> None:
    login, other = next(names), next(names)
    for name in (login, other):
        await at.make(name, WORD)
    session, beside = await at.enter(login, WORD), await at.enter(other, WORD)
    await at.issuer().kill(login)
    assert not await session.is_there() and await beside.is_there()
    assert await at.issuer().probe(login, Secret(WORD)) == "dead"
    assert await at.issuer().probe(login, None) == "dead"
    assert await at.issuer().probe(other, Secret(WORD)) == "alive"


async def test_who_comes_meanwhile_is_gone_too(at: At) -> None:
    login = next(names)
    await at.make(login, WORD)
    came: list[Session] = []
    somebody = asyncio.Event()

    async def come() -> None:
        while True:
            came.append(await at.enter(login, WORD))
            somebody.set()

    coming = [asyncio.create_task(come()) for _ in range(3)]
    await asyncio.wait_for(somebody.wait(), 20)
    await at.issuer().kill(login)
    assert not any([await one.is_there() for one in came])
    for one in coming:
        one.cancel()
    await asyncio.gather(*coming, return_exceptions=True)


async def test_killing_may_be_repeated_and_makes_nobody(at: At) -> None:
    login, nobody = next(names), next(names)
    await at.make(login, WORD)
    for _ in range(2):
        await at.issuer().kill(login)
        await at.issuer().kill(nobody)
    assert await at.exists(login) and not await at.exists(nobody)


async def test_names_are_names(at: At) -> None:
    login = next(names)
    await at.make(login, WORD)
    for name in (f'{login}" --', f"{login}'", f"{login};x", f"{login}\r\nPING", "all", ""):
        await at.issuer().kill(name)
    assert await at.issuer().probe(login, Secret(WORD)) == "alive"


async def test_the_login_it_is_asked_with_is_not_killed(at: At) -> None:
    with pytest.raises(Unavailable, match="asked with"):
        await at.issuer().kill(at.own)
    assert await at.issuer().probe(at.own, None) == "alive"


async def test_who_may_not_kill_says_so_and_nothing_has_happened(at: At) -> None:
    login, weak = next(names), next(names)
    for name in (login, weak):
        await at.make(name, WORD)
    with pytest.raises(Unavailable) as refused:
        await at.issuer(weak, WORD).kill(login)
    assert WORD not in f"{refused.value!r}{refused.value.hint}{refused.value.__cause__!r}"
    assert await at.issuer().probe(login, Secret(WORD)) == "alive"


async def test_where_nobody_answers_nothing_is_known(at: At) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        issuer = at.address(closed.getsockname()[1])
        assert await issuer.probe("contract", Secret(WORD)) == "unknown"
        assert await issuer.probe("contract", None) == "unknown"
        with pytest.raises(Unavailable) as refused:
            await issuer.kill("contract")
    assert WORD not in f"{refused.value!r}{refused.value.__cause__!r}"


@pytest.mark.parametrize("says", [b"", b"HTTP/1.1 400 Bad Request\r\n\r\n", b"$99999999999\r\n", b"x" * 200_000])
async def test_what_answers_something_else_is_unknown(at: At, says: bytes) -> None:
    async def answer(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(says)
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        issuer = at.address(server.sockets[0].getsockname()[1])
        assert await issuer.probe("contract", Secret(WORD)) == "unknown"
        with pytest.raises(Unavailable):
            await issuer.kill("contract")


async def test_who_never_answers_is_waited_for_within_bounds(at: At, monkeypatch: pytest.MonkeyPatch) -> None:
    async def answer(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
        await reader.read()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        issuer = at.address(server.sockets[0].getsockname()[1])
        monkeypatch.setattr(f"{type(issuer).__module__}.WITHIN", 0.3)
        began = time.monotonic()
        assert await issuer.probe("contract", Secret(WORD)) == "unknown"
        with pytest.raises(Unavailable):
            await issuer.kill("contract")
        assert time.monotonic() - began < 3
