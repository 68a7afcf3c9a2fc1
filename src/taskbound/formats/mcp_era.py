"""The two eras of MCP: what differs between them, in one table; formats/mcp.py has what they share.

*Sessions* are the revisions until 2025-11-25: `initialize` begins a session, and what it agreed on
holds for what follows. *Stateless* is 2026-07-28: each request says in `params._meta` which revision
it is of and what the client can do, headers mirror parts of the body for who reads no bodies, and a
result says of what kind it is. A client's era is that of each message; a server's is asked by
`server/discover` (versioning 5, streamable HTTP 8).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from taskbound.formats import mcp
from taskbound.formats.mcp_headers import decode_value, encode_value

VERSION_KEY = f"{mcp.PROTOCOL}protocolVersion"
CAPABILITIES_KEY = f"{mcp.PROTOCOL}clientCapabilities"
CLIENT_KEY, SERVER_KEY = f"{mcp.PROTOCOL}clientInfo", f"{mcp.PROTOCOL}serverInfo"

VERSION_HEADER, METHOD_HEADER, NAME_HEADER = "mcp-protocol-version", "mcp-method", "mcp-name"
NAMED = {"tools/call": "name", "prompts/get": "name", "resources/read": "uri"}  # method -> what Mcp-Name mirrors


@dataclass(frozen=True, slots=True)
class Era:
    """One way of speaking."""

    name: str
    versions: tuple[str, ...]  # newest first
    methods: frozenset[str]  # that a server of tools alone answers
    has_sessions: bool  # begun by initialize; else no id is minted, looked at or echoed
    call_members: tuple[str, ...]  # of the parameters of tools/call
    statuses: Mapping[int, int]  # HTTP status of an error, by its code; others go with 200


SESSIONS = Era(
    "sessions",
    ("2025-11-25", "2025-06-18", "2025-03-26", "2024-11-05"),
    frozenset({"initialize", "ping", "tools/list", "tools/call"}),
    has_sessions=True,
    # `task` asks for a kind of answer that we do not offer; the specification has it ignored then
    call_members=("name", "arguments", "_meta", "task"),
    statuses={},
)
STATELESS = Era(
    "stateless",
    ("2026-07-28",),
    frozenset({"server/discover", "tools/list", "tools/call"}),
    has_sessions=False,
    # without inputResponses and requestState: no result of ours asks for input
    call_members=("name", "arguments", "_meta"),
    statuses={
        mcp.PARSE_ERROR: 400, mcp.INVALID_REQUEST: 400, mcp.INVALID_PARAMS: 400, mcp.METHOD_NOT_FOUND: 404,
        mcp.HEADER_MISMATCH: 400, mcp.MISSING_CAPABILITY: 400, mcp.UNSUPPORTED_VERSION: 400,
    },
)  # fmt: skip
VERSIONS = (*STATELESS.versions, *SESSIONS.versions)  # newest first


# --- of a client's message ---------------------------------------------------------------------------


def era_of(message: mcp.Request | mcp.Notification | mcp.Response, header: str | None) -> Era:
    """Return the era that a message is of, from its own words and its MCP-Protocol-Version.

    Raises MalformedMessage: UNSUPPORTED_VERSION for a version that is not spoken, and HEADER_MISMATCH
    when header and body name two.
    """
    id = None if isinstance(message, mcp.Notification) else message.id
    said = None if isinstance(message, mcp.Response) else message.params.get("_meta", {}).get(VERSION_KEY)
    if said is None:
        if header in STATELESS.versions:
            return STATELESS
        if header is None or header in SESSIONS.versions or _begins(message):
            return SESSIONS
        raise _unsupported(header, VERSIONS, id)
    if type(said) is not str:
        raise mcp.MalformedMessage(mcp.INVALID_PARAMS, f"_meta: {VERSION_KEY} is no text", id)
    if said != header:
        raise _mismatch(VERSION_HEADER, header, said, id)
    if said not in STATELESS.versions:
        raise _unsupported(said, STATELESS.versions if said in SESSIONS.versions else VERSIONS, id)
    return STATELESS


def _begins(message: mcp.Request | mcp.Notification | mcp.Response) -> bool:
    return isinstance(message, mcp.Request) and message.method == "initialize"


def _unsupported(asked: str, supported: tuple[str, ...], id: mcp.Id | None) -> mcp.MalformedMessage:
    data = {"supported": list(supported), "requested": asked[: mcp.TOKEN_LIMIT]}
    return mcp.MalformedMessage(mcp.UNSUPPORTED_VERSION, "Unsupported protocol version", id, data)


def _mismatch(name: str, header: str | None, body: str | None, id: mcp.Id | None) -> mcp.MalformedMessage:
    if header is None:
        problem = f"{name} is missing"
    elif body is None:
        problem = f"{name} mirrors nothing of the body"
    else:
        problem = f"{name} {header[:64]!r} is not what the body says, {body[:64]!r}"
    return mcp.MalformedMessage(mcp.HEADER_MISMATCH, f"Header mismatch: {problem}", id)


def check_request(request: mcp.Request, headers: Mapping[str, str]) -> None:
    """Check what each stateless request carries, and its headers against it. Raises MalformedMessage.

    What only a header says is a mismatch too: whoever trusted it saw another request than we do.
    """
    meta = request.params.get("_meta", {})
    for key, kind in ((VERSION_KEY, str), (CAPABILITIES_KEY, dict)):
        if not isinstance(meta.get(key), kind):
            raise mcp.MalformedMessage(mcp.INVALID_PARAMS, f"_meta: {key} is missing or malformed", request.id)
    if headers.get(METHOD_HEADER) != request.method:
        raise _mismatch(METHOD_HEADER, headers.get(METHOD_HEADER), request.method, request.id)
    shown = headers.get(NAME_HEADER)
    said = request.params.get(NAMED[request.method]) if request.method in NAMED else None
    if said is not None and type(said) is not str:
        raise mcp.MalformedMessage(mcp.INVALID_PARAMS, f"{NAMED[request.method]} is no text", request.id)
    if said != (None if shown is None else decode_value(shown)) or (said is None) != (shown is None):
        raise _mismatch(NAME_HEADER, shown, said, request.id)


# --- what we send ------------------------------------------------------------------------------------


def request_meta(era: Era, client: Mapping[str, str]) -> dict[str, Any]:
    """Return what a request of ours carries in its `_meta`: that we can nothing beside asking."""
    if era.has_sessions:
        return {}
    return {VERSION_KEY: era.versions[0], CAPABILITIES_KEY: {}, CLIENT_KEY: client}


def mirrored(request_method: str, params: Mapping[str, Any]) -> dict[str, str]:
    """Return the headers that mirror a stateless request of ours, but those of its arguments."""
    headers = {METHOD_HEADER: request_method}
    if request_method in NAMED:
        headers[NAME_HEADER] = encode_value(params[NAMED[request_method]])
    return headers


def completed(era: Era, value: Mapping[str, Any], server: Mapping[str, str]) -> dict[str, Any]:
    """Return a result of ours as the era has it: whole, and from whom."""
    if era.has_sessions:
        return dict(value)
    return {"resultType": "complete", **value, "_meta": {**value.get("_meta", {}), SERVER_KEY: server}}


def cacheable(era: Era, value: Mapping[str, Any], seconds: float) -> dict[str, Any]:
    """Return a result that may be kept for so long, by who may ask for it and by nobody else (caching 4)."""
    return dict(value) if era.has_sessions else {**value, "ttlMs": int(seconds * 1000), "cacheScope": "private"}


def shown_result(era: Era, result: Mapping[str, Any]) -> dict[str, Any]:
    """Return a tool's result as clients of the era can read it: until 2025-11-25 structured content is an object."""
    if not era.has_sessions or isinstance(result.get("structuredContent", {}), dict):
        return dict(result)
    return {name: one for name, one in result.items() if name != "structuredContent"}


def shown_tool(era: Era, tool: Mapping[str, Any]) -> dict[str, Any]:
    """Return a definition as clients of the era can read it: one that they cannot would cost them the whole list."""
    schema = tool.get("outputSchema")
    if not era.has_sessions or schema is None or (isinstance(schema, dict) and schema.get("type") == "object"):
        return dict(tool)
    return {name: one for name, one in tool.items() if name != "outputSchema"}
