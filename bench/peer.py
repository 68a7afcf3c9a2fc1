"""The peer of the gateway row: a plain MCP proxy made with the official SDK, that passes every call on.

It authorizes nobody, decides nothing and records nothing: what it costs, Python and the protocol cost
whoever is between an agent and its tools. `python -m bench.peer PORT` stands before the MCP server on that
port, prints its own address as JSON, and runs until it is ended. One worker, like `up`, on the same libraries.
"""

import asyncio
import json
import socket
import sys
from typing import Any

import httpx2
import uvicorn
import uvloop
from mcp.client import Client
from mcp.client.streamable_http import streamable_http_client
from mcp.server import Server, ServerRequestContext
from mcp_types import CallToolRequestParams, CallToolResult, ListToolsResult, PaginatedRequestParams


async def _serve(behind: str) -> None:
    async with (
        httpx2.AsyncClient(timeout=30, limits=httpx2.Limits(max_connections=256)) as http,
        Client(streamable_http_client(behind, http_client=http)) as client,
    ):

        async def list_tools(_: ServerRequestContext[Any], __: PaginatedRequestParams | None) -> ListToolsResult:
            return await client.list_tools()

        async def call_tool(_: ServerRequestContext[Any], asked: CallToolRequestParams) -> CallToolResult:
            return await client.call_tool(asked.name, asked.arguments)

        proxy: Server[Any] = Server("peer", version="1", on_list_tools=list_tools, on_call_tool=call_tool)
        listener = socket.create_server(("127.0.0.1", 0), backlog=256)
        print(json.dumps({"port": listener.getsockname()[1]}), flush=True)
        app = proxy.streamable_http_app(json_response=True)
        config = uvicorn.Config(app, log_level="error", ws="none", timeout_graceful_shutdown=1)
        await uvicorn.Server(config).serve(sockets=[listener])


if __name__ == "__main__":
    loop: Any = uvloop
    with asyncio.Runner(loop_factory=loop.new_event_loop) as runner:
        runner.run(_serve(f"http://127.0.0.1:{sys.argv[1]}/mcp"))
