"""Real servers in a thread of their own: any ASGI application, and an MCP server made with the official SDK.

`Workspace` remembers every request that reached it, bytes and all, and every tool that ran.
"""

import asyncio
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import uvicorn
from mcp.server.mcpserver import Context, MCPServer


class Quick(uvicorn.Server):
    """A server that ends as soon as it can: uvicorn's own looks for that ten times a second only, at each step."""

    async def main_loop(self) -> None:
        while not await self.on_tick(0):  # noqa: ASYNC110
            await asyncio.sleep(0.01)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        for one in (*self.servers, *(sockets or ())):
            one.close()
        state = self.server_state
        for connection in list(state.connections):
            connection.shutdown()
        until = time.monotonic() + (self.config.timeout_graceful_shutdown or 0)
        while (state.connections or state.tasks) and time.monotonic() < until:  # noqa: ASYNC110
            await asyncio.sleep(0.002)
        for task in state.tasks:
            task.cancel()
        await self.lifespan.shutdown()


@contextmanager
def served(app: Any, port: int = 0) -> Iterator[str]:
    """Serve an application on a loopback port; yields its address."""
    server = Quick(uvicorn.Config(app, host="127.0.0.1", port=port, log_level="critical", timeout_graceful_shutdown=1))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    until = time.monotonic() + 10
    while not server.started:
        assert thread.is_alive() and time.monotonic() < until, "the server did not start"
        time.sleep(0.01)
    try:
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(10)
        assert not thread.is_alive()


class Workspace:
    """An MCP server with a few tools; what reached it stands in `requests` and `ran`."""

    def __init__(self) -> None:
        self.requests: list[tuple[dict[str, str], bytes]] = []  # headers and body
        self.ran: list[tuple[str, Any]] = []
        self.on_echo: Callable[[], object] = lambda: None  # called in the server's thread when `echo` runs
        self.gate = threading.Event()  # `count` goes on behind its first step when it is set
        self.cancelled = threading.Event()
        self.server = self._made("Return the text.")
        self.app = self.server.streamable_http_app()

    def _made(self, description: str) -> MCPServer:
        server = MCPServer("workspace")

        @server.tool(description=description)
        async def echo(text: str) -> str:
            self.on_echo()
            self.ran.append(("echo", text))
            return text

        @server.tool(description="Count, and tell how far it is.")
        async def count(steps: int, ctx: Context) -> str:
            self.ran.append(("count", steps))
            for step in range(steps):
                await ctx.report_progress(step + 1, steps, f"step {step + 1}")
                while not self.gate.is_set():  # noqa: ASYNC110  (of another thread)
                    await asyncio.sleep(0.005)
            return f"{steps} steps"

        @server.tool(description="Fail.")
        async def fail() -> str:
            self.ran.append(("fail", None))
            raise ValueError("it went wrong")

        @server.tool(description="Ask the person at the client, whom no server reaches.")
        async def ask(ctx: Context) -> str:
            self.ran.append(("ask", None))
            schema: Any = {"type": "object", "properties": {"password": {"type": "string"}}}
            try:
                told = await ctx.session.elicit_form("your password?", schema, ctx.request_id)
                return f"answered: {told}"
            except Exception as error:
                return f"refused: {type(error).__name__}"

        @server.tool(description="Wait for ever.")
        async def wait(ctx: Context) -> str:
            self.ran.append(("wait", None))
            await ctx.report_progress(0, 1)
            try:
                await asyncio.sleep(60)
            finally:
                self.cancelled.set()
            return "nobody waits as long"

        return server

    def change(self, description: str) -> None:
        """Offer `echo` with another description from now on."""
        tool = self.server._tool_manager._tools["echo"]
        tool.description = description

    def forget_sessions(self) -> None:
        """Lose every session, as a restart does."""
        self._sessions().clear()

    def sessions(self) -> int:
        return len(self._sessions())

    def _sessions(self) -> dict[str, Any]:
        return self.server.session_manager._server_instances

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        body = bytearray()

        async def noting() -> Any:
            message = await receive()
            if message["type"] == "http.request":
                body.extend(message.get("body", b""))
                if not message.get("more_body"):
                    headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
                    self.requests.append(({**headers, ":path": scope["path"]}, bytes(body)))
            return message

        await self.app(scope, noting, send)

    def everything(self) -> bytes:
        """Everything that ever reached it."""
        return b"".join(repr(headers).encode() + body for headers, body in self.requests)
