"""A TCP proxy before a PostgreSQL that can be made to fail: down, hanging, resetting, losing the server's answers."""

import asyncio
import socket
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from taskbound.core.secret import Secret
from tests.postgres.server import BROKER, PASSWORD, Server

READY = b"Z"  # ReadyForQuery: the end of each answer (PostgreSQL, "Message Formats")


class Proxy:
    """One listening port before one server."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._listener: asyncio.Server | None = None
        self._open: set[tuple[asyncio.StreamWriter, asyncio.StreamWriter]] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self.port = 0
        self._flows = asyncio.Event()
        self._flows.set()
        self.cut_off: bytes | None = None  # a statement with this in it gets as far as its middle
        self.lose = 0  # the how-manieth answer from now on is lost; 0: none
        self.lost = 0  # answers lost

    def admin(self, user: str = BROKER, password: str = PASSWORD) -> Secret:
        """The broker's login by way of the proxy, in the clear, for its messages are read here."""
        return Secret(f"postgresql://{user}:{password}@127.0.0.1:{self.port}/shop?sslmode=disable")

    async def up(self) -> None:
        self._flows.set()
        self.cut_off, self.lose = None, 0
        if self._listener is None:
            self._listener = await asyncio.start_server(self._accept, "127.0.0.1", self.port)
            self.port = self._listener.sockets[0].getsockname()[1]

    async def down(self) -> None:
        """Refuse connections, and break those that are open."""
        if self._listener is not None:
            self._listener.close()
            self._listener = None
        for pair in list(self._open):
            _reset(*pair)

    def hang(self) -> None:
        """Accept, and answer nothing any more; nor is anything handed on."""
        self._flows.clear()

    async def close(self) -> None:
        await self.down()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        await self._flows.wait()
        there, to_server = await asyncio.open_connection("127.0.0.1", self._server.port)
        pair = (writer, to_server)
        self._open.add(pair)
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._statements(reader, pair))
                group.create_task(self._answers(there, pair))
        except* (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            self._open.discard(pair)
            _reset(*pair)

    async def _statements(self, reader: asyncio.StreamReader, pair: tuple[asyncio.StreamWriter, ...]) -> None:
        while data := await reader.read(1 << 16):
            await self._flows.wait()
            if self.cut_off is not None and self.cut_off in data:
                pair[1].write(data[: data.index(self.cut_off) + 1])
                await pair[1].drain()
                raise ConnectionResetError
            pair[1].write(data)
            await pair[1].drain()
        raise ConnectionResetError

    async def _answers(self, there: asyncio.StreamReader, pair: tuple[asyncio.StreamWriter, ...]) -> None:
        while True:
            head = await there.readexactly(5)
            rest = await there.readexactly(struct.unpack("!I", head[1:])[0] - 4)
            await self._flows.wait()
            if head[:1] == READY and self.lose:
                self.lose -= 1
                if self.lose == 0:
                    self.lost += 1
                    raise ConnectionResetError
            pair[0].write(head + rest)
            await pair[0].drain()


def _reset(*writers: asyncio.StreamWriter) -> None:
    """Close without a word: RST, as after a crash of the machine's network or a firewall's."""
    for writer in writers:
        if (at := writer.get_extra_info("socket")) is not None and at.fileno() >= 0:
            at.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        writer.transport.abort()


@asynccontextmanager
async def proxy_before(server: Server) -> AsyncIterator[Proxy]:
    proxy = Proxy(server)
    await proxy.up()
    try:
        yield proxy
    finally:
        await proxy.close()
