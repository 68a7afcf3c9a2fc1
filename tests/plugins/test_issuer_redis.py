"""The Redis issuer: its contract, and what only Redis has. At a real server."""

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from taskbound.core.errors import Unavailable
from taskbound.core.secret import Secret
from taskbound.formats import resp
from taskbound.plugins.issuers.redis import RedisIssuer
from taskbound.posture.sighting import Principal
from tests.certificates import Authority
from tests.contracts.issuer import *  # noqa: F403
from tests.contracts.issuer import WORD
from tests.redis.server import ADMIN, ADMIN_PASSWORD, READER, READER_PASSWORD, Server, redis  # noqa: F401


@dataclass
class Entered:
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def is_there(self) -> bool:
        with suppress(OSError):
            self.writer.write(b"PING\r\n")
            await self.writer.drain()
            return await self.reader.readline() != b""
        return False


@dataclass
class Place:
    server: Server
    own: str = ADMIN
    entered: list[Entered] = field(default_factory=list)

    def issuer(self, login: str = "", password: str = "") -> RedisIssuer:
        return RedisIssuer(Secret(self.server.url(login or ADMIN, password or ADMIN_PASSWORD)))

    async def make(self, login: str, password: str) -> None:
        said = await asyncio.to_thread(
            self.server.ask, "ACL", "SETUSER", login, "on", f">{password}", "~app:*", "+@read", "+ping"
        )
        assert said == "OK"

    async def enter(self, login: str, password: str) -> Entered:
        one = Entered(*await asyncio.open_connection("127.0.0.1", self.server.port))
        self.entered.append(one)
        one.writer.write(resp.command("AUTH", login, password))
        if await one.reader.readline() != b"+OK\r\n":
            raise ConnectionRefusedError
        return one

    async def exists(self, login: str) -> bool:
        return bool(await asyncio.to_thread(self.server.ask, "ACL", "GETUSER", login))

    def address(self, port: int) -> RedisIssuer:
        return RedisIssuer(Secret(f"redis://{ADMIN}:{ADMIN_PASSWORD}@127.0.0.1:{port}"))


@pytest.fixture
async def at(redis: Server) -> AsyncIterator[Place]:  # noqa: F811
    place = Place(redis)
    yield place
    for one in place.entered:
        one.writer.close()


async def test_the_login_of_everybody_who_names_none_is_not_ended(at: Place) -> None:
    assert at.server.ask("ACL", "SETUSER", "default", "on", f">{WORD}") == "OK"
    try:
        assert await at.issuer().probe("default", Secret(WORD)) == "alive"
        with pytest.raises(Unavailable, match="that of everybody"):
            await at.issuer().kill("default")
        assert await at.issuer().probe("default", Secret(WORD)) == "alive"
    finally:
        at.server.ask("ACL", "SETUSER", "default", "off", "resetpass")


async def test_who_is_off_is_off_after_a_restart(at: Place) -> None:
    await at.make("contract_kept", WORD)
    at.server.ask("ACL", "SAVE")
    await at.issuer().kill("contract_kept")
    kept = (at.server.folder / "users.acl").read_text()
    assert "user contract_kept off" in kept and f"user {READER} on" in kept


async def test_who_cannot_be_written_down_as_off_is_said(at: Place) -> None:
    await at.make("contract_unsaved", WORD)
    await at.make("contract_keeper", WORD)
    may = ("+acl|getuser", "+acl|setuser", "+client|list", "+client|kill")
    assert at.server.ask("ACL", "SETUSER", "contract_keeper", *may) == "OK"
    with pytest.raises(Unavailable, match="after a restart"):
        await at.issuer("contract_keeper", WORD).kill("contract_unsaved")
    assert not at.server.lets_in("contract_unsaved", WORD)


async def test_a_server_without_an_acl_is_unknown_and_says_so(at: Place) -> None:
    """Redis before 6: AUTH has one argument. The error of some quotes what it was sent."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while count := await reader.readline():
            words = []
            for _ in range(int(count[1:])):
                await reader.readline()
                words.append((await reader.readline()).strip().decode())
            writer.write(f"-ERR unknown command `{words[0]}`, with args beginning with: {words[1:]}\r\n".encode())

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        issuer = at.address(server.sockets[0].getsockname()[1])
        assert await issuer.probe("contract", Secret(WORD)) == "unknown"
        with pytest.raises(Unavailable) as refused:
            await issuer.kill("contract")
        (unread,) = (await issuer.look()).unread
    assert unread.why == f"it refuses the login {ADMIN} (ERR)"
    assert ADMIN_PASSWORD not in f"{refused.value!r}{refused.value.hint}{unread}"


async def test_looking_changes_nothing_and_leaves_no_word_in_the_log_of_refusals(at: Place) -> None:
    await at.make("contract_seen", WORD)
    at.server.ask("ACL", "LOG", "RESET")
    before = (at.server.ask("ACL", "LIST"), at.server.ask("CONFIG", "GET", "*"), at.server.ask("DBSIZE"))
    seen = await at.issuer(READER, READER_PASSWORD).look()
    assert {f"redis-user:{name}@127.0.0.1:{at.server.port}" for name in (ADMIN, READER, "contract_seen")} <= {
        one.id for one in seen.sightings if isinstance(one, Principal)
    }
    assert seen.unread == () and seen.servers == 1
    assert at.server.ask("ACL", "LOG") == ""
    assert before == (at.server.ask("ACL", "LIST"), at.server.ask("CONFIG", "GET", "*"), at.server.ask("DBSIZE"))
    commands = at.server.ask("INFO", "commandstats")
    assert "cmdstat_set" not in commands.replace("cmdstat_setuser", "")
    assert "#" not in repr(seen.sightings)  # digests of passwords go no further


@pytest.mark.parametrize(
    ("login", "password", "says"),
    [
        ("contract_blind", WORD, "the login may not ACL LIST"),
        ("contract_blind", "wrong", "it refuses the login contract_blind (WRONGPASS)"),
        ("default", "", "it asks for a login: its password is taken from REDISCLI_AUTH"),
    ],
)
async def test_what_cannot_be_seen_is_said(at: Place, login: str, password: str, says: str) -> None:
    await at.make("contract_blind", WORD)
    seen = await RedisIssuer(Secret(at.server.url(login, password))).look()
    assert [(one.path, one.why) for one in seen.unread] == [(f"redis://127.0.0.1:{at.server.port}", says)]
    assert not seen.sightings and not seen.servers


@pytest.mark.parametrize(("names", "believed"), [(("127.0.0.1",), True), (("other.example",), False), ((), False)])
async def test_over_tls_a_server_proves_its_name_before_it_is_told_a_password(
    at: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, names: tuple[str, ...], believed: bool
) -> None:
    authority, stranger = Authority(), Authority()
    certificate, key = (authority if names else stranger).certificate(*(names or ("127.0.0.1",)))
    for name, text in (("authority", authority.pem), ("certificate", certificate), ("key", key)):
        (tmp_path / name).write_text(text)
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "authority"))
    shown = bytearray()

    async def pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        server, to_server = await asyncio.open_connection("127.0.0.1", at.server.port)

        async def back() -> None:
            while data := await server.read(65536):
                writer.write(data)

        backing = asyncio.create_task(back())
        while data := await reader.read(65536):
            shown.extend(data)
            to_server.write(data)
        backing.cancel()
        to_server.close()
        writer.close()

    secure = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    secure.load_cert_chain(tmp_path / "certificate", tmp_path / "key")
    async with await asyncio.start_server(pass_on, "127.0.0.1", 0, ssl=secure) as server:
        port = server.sockets[0].getsockname()[1]
        seen = await RedisIssuer(Secret(f"rediss://{READER}:{READER_PASSWORD}@127.0.0.1:{port}")).look()
    assert [one.why for one in seen.unread] == ([] if believed else ["who it is could not be verified"])
    assert bool(seen.sightings) == (READER_PASSWORD.encode() in shown) == believed
