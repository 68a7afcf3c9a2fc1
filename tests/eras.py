"""MCP servers of one era alone: the official SDK's server, which speaks both, with one of its doors shut."""

import json
from typing import Any

from tests.served import Workspace


class OneEra(Workspace):
    """Answers the other era as servers that know nothing of it do: with 400."""

    def is_foreign(self, version: str | None) -> bool:
        raise NotImplementedError

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            headers = {name.decode(): value.decode("latin-1") for name, value in scope["headers"]}
            if self.is_foreign(headers.get("mcp-protocol-version")):
                await send({"type": "http.response.start", "status": 400, "headers": []})
                await send({"type": "http.response.body", "body": b"Bad Request: unsupported protocol version"})
                return
        await super().__call__(scope, receive, send)


class OldWorkspace(OneEra):
    """Sessions only (2025-11-25 and older)."""

    has_sessions = True

    def is_foreign(self, version: str | None) -> bool:
        return version == "2026-07-28"


class NewWorkspace(OneEra):
    """Stateless only (2026-07-28)."""

    has_sessions = False

    def is_foreign(self, version: str | None) -> bool:
        return version != "2026-07-28"


ERAS = {"2025-11-25": OldWorkspace, "2026-07-28": NewWorkspace}


class Scripted:
    """A stateless server that answers each method as it is told, or as a function of the headers says; `seen` is what
    reached it.
    """

    def __init__(self, tools: list[dict[str, Any]], **told: Any) -> None:
        hints = {"resultType": "complete", "ttlMs": 3_600_000, "cacheScope": "public"}
        self.told: dict[str, Any] = {
            "server/discover": {"supportedVersions": ["2026-07-28"], "capabilities": {"tools": {}}, **hints},
            "tools/list": {"tools": tools, **hints},
            "tools/call": {"resultType": "complete", "content": [{"type": "text", "text": "done"}]},
            **told,
        }
        self.seen: list[tuple[dict[str, str], dict[str, Any]]] = []
        self.version = "2026-07-28"

    def asked(self, method: str) -> list[tuple[dict[str, str], dict[str, Any]]]:
        """Return the headers and bodies of the requests of a method."""
        return [one for one in self.seen if one[1].get("method") == method]

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            return
        body, more = b"", True
        while more:
            part = await receive()
            body, more = body + part.get("body", b""), part.get("more_body", False)
        headers = {name.decode(): value.decode("latin-1") for name, value in scope["headers"]}
        message = json.loads(body)
        self.seen.append((headers, message))
        said, status = self.told[message["method"]], 200
        if callable(said):
            said = said(headers)
        if headers.get("mcp-protocol-version") != self.version:
            said = {"code": -32022, "message": "Unsupported protocol version", "data": {"supported": [self.version]}}
        if "code" in said:
            answer, status = {"jsonrpc": "2.0", "id": message["id"], "error": said}, 400
        else:
            answer = {"jsonrpc": "2.0", "id": message["id"], "result": said}
        kind = [(b"content-type", b"application/json")]
        await send({"type": "http.response.start", "status": status, "headers": kind})
        await send({"type": "http.response.body", "body": json.dumps(answer).encode()})
