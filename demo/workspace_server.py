"""The demo's MCP server: AgentDojo's workspace tools, answered from the published recorded calls.

    python -m demo.workspace_server user_task_6 injection_task_2 [--port 0]

Made with the official SDK; it knows nothing of Taskbound. Beside /mcp it tells on /received, in
order, which calls reached it and whose answer held the planted text: this list is what the demo is
judged by.
"""

import argparse
import asyncio
import json
import socket
from collections.abc import Mapping
from typing import Any

import uvicorn
from mcp.server import Server, ServerRequestContext
from mcp_types import (
    CallToolRequestParams,
    CallToolResult,
    ListToolsResult,
    PaginatedRequestParams,
    TextContent,
    Tool,
)
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from demo.published import Scenario, Suite, read_suite


def workspace(suite: Suite, scenario: Scenario, received: list[Mapping[str, Any]]) -> Server[Any]:
    """Return the server; every call that reaches it is appended to `received`, whatever it is answered."""
    tools = [
        Tool(name=one["name"], description=one["description"], input_schema=one["parameters"]) for one in suite.tools
    ]

    async def list_tools(_: ServerRequestContext[Any], __: PaginatedRequestParams | None) -> ListToolsResult:
        return ListToolsResult(tools=tools)

    async def call_tool(_: ServerRequestContext[Any], asked: CallToolRequestParams) -> CallToolResult:
        arguments = asked.arguments or {}
        answer = scenario.answer(asked.name, arguments)
        planted = answer is not None and scenario.goal in answer[0]
        received.append({"tool": asked.name, "arguments": arguments, "planted": planted})
        if answer is None:
            nothing = TextContent(type="text", text="nobody recorded an answer to this call")
            return CallToolResult(content=[nothing], is_error=True)
        text, found = answer
        structured = found if isinstance(found, dict) else {"result": found}
        return CallToolResult(content=[TextContent(type="text", text=text)], structured_content=structured)

    return Server("workspace", version="1.2.2", on_list_tools=list_tools, on_call_tool=call_tool)


async def serve(user_task: str, injection_task: str, port: int) -> None:
    """Serve one scenario until told to stop; the first line on stdout is the address, as JSON."""
    suite, received = read_suite(), list[Mapping[str, Any]]()
    server = workspace(suite, Scenario(suite, user_task, injection_task), received)

    async def tell(_: Request) -> JSONResponse:
        return JSONResponse(received)

    app = server.streamable_http_app(custom_starlette_routes=[Route("/received", tell)])
    listener = socket.create_server(("127.0.0.1", port))
    address = f"http://127.0.0.1:{listener.getsockname()[1]}"
    print(json.dumps({"mcp": f"{address}/mcp", "received": f"{address}/received"}), flush=True)
    config = uvicorn.Config(app, log_level="error", ws="none", timeout_graceful_shutdown=1)
    await uvicorn.Server(config).serve(sockets=[listener])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("user_task")
    parser.add_argument("injection_task")
    parser.add_argument("--port", type=int, default=0)
    asked = parser.parse_args()
    asyncio.run(serve(asked.user_task, asked.injection_task, asked.port))


if __name__ == "__main__":
    main()
