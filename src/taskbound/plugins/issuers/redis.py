"""Users of a Redis server (6 or newer, which has ACLs): whether they are let in, how they end, what each one may do.

One server, as it is addressed: ACLs are not replicated, each node of a cluster has its own. Nothing that the server
says in an error is passed on.
"""

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from taskbound.core.errors import Unavailable
from taskbound.core.secret import Secret
from taskbound.formats import resp
from taskbound.formats.resp import Address, Refusal, Reply
from taskbound.ports import Standing
from taskbound.posture.catalogues import redis as catalogue
from taskbound.posture.seen import Seen, Unread

WITHIN = 10.0  # seconds for each thing that is asked for, connecting included
EVERYBODY = "default"  # the user of who names none, with a password of its own or without one
LOOK = 0.02  # between two looks at what is to be gone
FOREIGN = (OSError, TimeoutError, EOFError, resp.Garbled)  # of ssl too, which are OSError


class RedisIssuer:
    """Asks one server, whose address is a URL with the login to ask with; without a password it can only probe."""

    def __init__(self, admin: Secret) -> None:
        """Raises ValueError where it is no address of a Redis; it is not quoted."""
        self._admin = resp.address(admin.reveal())

    @property
    def login(self) -> str:
        """Return the login that it asks with."""
        return self._admin.user

    async def probe(self, login: str, password: Secret | None) -> Standing:
        if not login:
            return "unknown"
        try:
            async with asyncio.timeout(WITHIN):
                if password is None:
                    return await self._listed(login)
                async with _connected(self._admin) as server:
                    said = await server.ask("AUTH", login, password.reveal())
        except (*FOREIGN, Unavailable):
            return "unknown"
        if said == "OK":
            return "alive"
        return "dead" if isinstance(said, Refusal) and said.code == "WRONGPASS" else "unknown"

    async def kill(self, login: str) -> None:
        try:
            async with asyncio.timeout(WITHIN), self._administered() as server:
                if login == self._admin.user:
                    raise Unavailable("that is the login it is asked with", hint="ask with another login")
                if login == EVERYBODY:
                    hint = "change its password by hand"
                    raise Unavailable("the login default is that of everybody who names none", hint=hint)
                if await _asked(server, "ACL", "GETUSER", login) is None:
                    return  # SETUSER would make it
                await _asked(server, "ACL", "SETUSER", login, "off")
                while any(one.get("user") == login for one in await _clients(server)):
                    await _asked(server, "CLIENT", "KILL", "USER", login)
                    await asyncio.sleep(LOOK)
                await _kept(server)
        except FOREIGN as error:
            raise Unavailable(f"the Redis at {self.name} gave no answer") from error

    async def look(self) -> Seen:
        """Return the users and what they may do. Reads alone: `ACL LIST`, `CLIENT LIST`. Never raises."""
        try:
            async with asyncio.timeout(WITHIN), self._administered() as server:
                rules = await server.ask("ACL", "LIST")
                if not isinstance(rules, list):
                    return _unseen(self.name, _why(rules, "ACL LIST"))
                clients = await server.ask("CLIENT", "LIST")
        except Unavailable as refused:
            return _unseen(self.name, str(refused))
        except FOREIGN as error:
            return _unseen(self.name, _trouble(error))
        users = [user for line in rules if (user := catalogue.user(str(line)))]
        sessions = [one.get("user", "") for one in _listed(clients)] if isinstance(clients, str) else None
        unread = () if sessions is not None else (Unread(self.name, _why(clients, "CLIENT LIST")),)
        return Seen(catalogue.sightings(self.name, users, sessions), unread=unread, servers=1)

    @property
    def name(self) -> str:
        """Return how it is called in a report: redis://host:port."""
        host = f"[{self._admin.host}]" if ":" in self._admin.host else self._admin.host
        return f"redis://{host}:{self._admin.port}"

    async def _listed(self, login: str) -> Standing:
        async with self._administered() as server:
            user = await _asked(server, "ACL", "GETUSER", login)
        if user is None:
            return "dead"
        if not isinstance(user, list) or not user:
            return "unknown"
        flags = dict(zip(user[::2], user[1::2], strict=False)).get("flags")
        return "unknown" if not isinstance(flags, list) else "alive" if "on" in flags else "dead"

    @asynccontextmanager
    async def _administered(self) -> AsyncIterator["_Server"]:
        """Connect with the login to ask with. Raises Unavailable where it is refused."""
        async with _connected(self._admin) as server:
            if self._admin.password:
                said = await server.ask("AUTH", self._admin.user, self._admin.password)
                if said != "OK":
                    code = said.code if isinstance(said, Refusal) else "no answer"
                    raise Unavailable(f"it refuses the login {self._admin.user} ({code})", hint="see its password")
            yield server


class _Server:
    """A connection. One command at a time."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer

    async def ask(self, *words: str) -> Reply:
        """Send a command and return the reply. Raises what FOREIGN names."""
        self._writer.write(resp.command(*words))
        await self._writer.drain()
        reading = resp.reply()
        wanted = next(reading)
        while True:
            try:
                wanted = reading.send(await self._read(wanted))
            except StopIteration as done:
                answer: Reply = done.value
                return answer

    async def _read(self, wanted: int) -> bytes:
        if wanted != resp.LINE:
            return await self._reader.readexactly(wanted)
        try:
            return await self._reader.readuntil(b"\r\n")
        except asyncio.LimitOverrunError:
            raise resp.Garbled("a line is too long") from None


@asynccontextmanager
async def _connected(at: Address) -> AsyncIterator[_Server]:
    """Connect, without a login. Over TLS the server has to prove its name to the certificates of this machine."""
    secure = ssl.create_default_context() if at.is_encrypted else None
    reader, writer = await asyncio.open_connection(at.host, at.port, ssl=secure, limit=resp.LONGEST)
    try:
        yield _Server(reader, writer)
    finally:
        writer.close()
        with suppress(*FOREIGN):
            await asyncio.wait_for(writer.wait_closed(), 1.0)


async def _asked(server: _Server, *words: str) -> Reply:
    """Ask what is to succeed. Raises Unavailable, which names the command by its first two words."""
    said = await server.ask(*words)
    if isinstance(said, Refusal):
        raise Unavailable(_why(said, " ".join(words[:2])), hint="see what the login it is asked with may do")
    return said


async def _clients(server: _Server) -> list[dict[str, str]]:
    said = await _asked(server, "CLIENT", "LIST")
    return _listed(said if isinstance(said, str) else "")


def _listed(clients: str) -> list[dict[str, str]]:
    """Return what CLIENT LIST says: for each connection its members."""
    lines = clients.splitlines()
    return [dict(word.partition("=")[::2] for word in line.split(" ")) for line in lines]


async def _kept(server: _Server) -> None:
    """Write down who is off: after a restart the server would read its users again from where they stand.

    In the file of users where there is one, else in its configuration; a server with neither forgets its users anyway.
    """
    said = await server.ask("ACL", "SAVE")
    if isinstance(said, Refusal) and "not configured to use an ACL file" in said.says:
        said = await server.ask("CONFIG", "REWRITE")
        if isinstance(said, Refusal) and "without a config file" in said.says:
            return
    if isinstance(said, Refusal):
        raise Unavailable(
            "it is off now, and would be on again after a restart of the server",
            hint="let the login ACL SAVE and CONFIG REWRITE",
        )


def _why(said: Reply, command: str) -> str:
    code = said.code if isinstance(said, Refusal) else "no list"
    reasons = {
        "NOAUTH": "it asks for a login: its password is taken from REDISCLI_AUTH",
        "NOPERM": f"the login may not {command}",
        "DENIED": "it is in protected mode, and answers its own machine alone",
    }
    return reasons.get(code, f"it does not answer {command} ({code}); Redis is older than 6, or that is none")


def _trouble(error: BaseException) -> str:
    if isinstance(error, TimeoutError):
        return f"it gave no answer within {WITHIN:.0f} s"
    if isinstance(error, ssl.SSLError):
        return "who it is could not be verified"
    return "it cannot be reached" if isinstance(error, OSError) else "what answers there is no Redis"


def _unseen(name: str, why: str) -> Seen:
    return Seen(unread=(Unread(name, why),))
