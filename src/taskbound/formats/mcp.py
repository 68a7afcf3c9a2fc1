"""Model Context Protocol: the messages, as both eras have them; formats/mcp_era.py has what differs.

One grammar serves both directions: JSON-RPC 2.0 requests, notifications and responses, one at a
time (batches went with 2025-06-18). What the specification closes is closed here: an unknown member
of a message or of `tools/call` is refused. What goes on is never what came in: a result, a tool's
definition and a notification are built anew from the members that are known (D16), without those
that are ours to say (`io.taskbound/…`), so that no server can forge a decision, and without those
that the protocol says of one hop (`io.modelcontextprotocol/…`).
"""

import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import msgspec

OURS = "io.taskbound/"  # prefix of our keys in `_meta`
PROTOCOL = "io.modelcontextprotocol/"  # and of the protocol's own

MESSAGE_LIMIT = 4 << 20  # bytes of one message: an image or a long file; as Python values up to ten times as much
NAME_LIMIT = 128  # characters of a tool's name (2025-11-25, tool names) and of a method's
TOKEN_LIMIT = 256  # characters of an id or a progress token: a UUID and a prefix
TEXT_LIMIT = 4096  # characters of an error's or a progress notification's text, which people read

PARSE_ERROR, INVALID_REQUEST, METHOD_NOT_FOUND, INVALID_PARAMS = -32700, -32600, -32601, -32602
INTERNAL_ERROR = -32603
HEADER_MISMATCH, MISSING_CAPABILITY, UNSUPPORTED_VERSION = -32020, -32021, -32022  # 2026-07-28, basic 1.4

_encode = msgspec.json.Encoder().encode

TOOL_MEMBERS = ("name", "title", "description", "inputSchema", "outputSchema", "annotations")

Id: TypeAlias = str | int


class MalformedMessage(ValueError):
    """A JSON value is no message of the protocol; with the JSON-RPC code, and the id where one could be read."""

    def __init__(self, code: int, message: str, id: Id | None = None, data: Mapping[str, Any] | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.id = id
        self.data = data  # what the error says beside its text


class InputRequired(MalformedMessage):
    """A result that is none yet: the server asks for input of the client (2026-07-28, multi round-trip requests)."""


@dataclass(frozen=True, slots=True)
class Request:
    id: Id
    method: str
    params: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Notification:
    method: str
    params: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Response:
    """An answer: a result, or an error's code, text and data."""

    id: Id | None  # None: of an error that was found before the id
    result: Mapping[str, Any] | None = None
    code: int = 0
    message: str = ""
    data: Any = None


@dataclass(frozen=True, slots=True)
class ToolCall:
    """The parameters of `tools/call`."""

    name: str
    arguments: Mapping[str, Any]
    progress_token: Id | None


# --- reading -----------------------------------------------------------------------------------------


def _is_id(value: Any) -> bool:
    if type(value) is int:
        return -(2**63) <= value < 2**63
    return type(value) is str and len(value) <= TOKEN_LIMIT


def read_message(value: Any) -> Request | Notification | Response:
    """Return the message that a parsed JSON value is. Raises MalformedMessage."""
    if isinstance(value, list):
        raise MalformedMessage(INVALID_REQUEST, "a batch is no longer a message: send one at a time")
    if not isinstance(value, dict):
        raise MalformedMessage(INVALID_REQUEST, "a message is an object")
    id = value.get("id")
    known = id if _is_id(id) else None
    if value.get("jsonrpc") != "2.0":
        raise MalformedMessage(INVALID_REQUEST, 'jsonrpc is not "2.0"', known)
    if "id" in value and known is None and not (id is None and "error" in value):
        raise MalformedMessage(INVALID_REQUEST, f"the id is no integer and no text of {TOKEN_LIMIT} characters")
    if "method" in value:
        return _asked(value, known)
    return _answered(value, known)


def _asked(value: Mapping[str, Any], id: Id | None) -> Request | Notification:
    _only(value, ("jsonrpc", "id", "method", "params"), INVALID_REQUEST, id)
    method, params = value["method"], value.get("params", {})
    if type(method) is not str or not 0 < len(method) <= NAME_LIMIT:
        raise MalformedMessage(INVALID_REQUEST, f"the method is no text of {NAME_LIMIT} characters", id)
    if not isinstance(params, dict):
        raise MalformedMessage(INVALID_PARAMS, "params is no object", id)
    if not isinstance(params.get("_meta", {}), dict):
        raise MalformedMessage(INVALID_PARAMS, "_meta is no object", id)
    return Notification(method, params) if id is None else Request(id, method, params)


def _answered(value: Mapping[str, Any], id: Id | None) -> Response:
    _only(value, ("jsonrpc", "id", "result", "error"), INVALID_REQUEST, id)
    if ("result" in value) == ("error" in value):
        raise MalformedMessage(INVALID_REQUEST, "a message has a method, a result or an error", id)
    if "result" in value:
        if not isinstance(value["result"], dict) or id is None:
            raise MalformedMessage(INVALID_REQUEST, "a result is an object, and has an id", id)
        return Response(id, value["result"])
    error = value["error"]
    if not isinstance(error, dict) or type(error.get("code")) is not int or type(error.get("message")) is not str:
        raise MalformedMessage(INVALID_REQUEST, "an error has a code and a message", id)
    return Response(id, None, error["code"], error["message"][:TEXT_LIMIT], error.get("data"))


def _only(value: Mapping[str, Any], known: tuple[str, ...], code: int, id: Id | None) -> None:
    if strange := [name for name in value if name not in known]:
        raise MalformedMessage(code, f"there is no member {strange[0][:64]!r}", id)


def without_id(text: bytes, id: int) -> bytes | None:
    """Return the text of a response without its id; None where that stands neither first nor last, as it is written.

    Two texts that are equal then, each without its own id, say the same, and each is a response if one is:
    in a text that is JSON nothing but the id of the message can stand between these marks.
    """
    first, last = b'{"jsonrpc":"2.0","id":%d,' % id, b',"id":%d}' % id
    if text.startswith(first):
        return b'{"jsonrpc":"2.0","id":,' + text[len(first) :]
    return text[: -len(last)] + b',"id":}' if text.endswith(last) else None


def read_tool_call(request: Request, members: tuple[str, ...]) -> ToolCall:
    """Return what a `tools/call` request of these members asks for. Raises MalformedMessage."""
    params = request.params
    _only(params, members, INVALID_PARAMS, request.id)
    name, arguments = params.get("name"), params.get("arguments", {})
    if type(name) is not str or not 0 < len(name) <= 2 * NAME_LIMIT:  # an upstream's name may stand before it
        raise MalformedMessage(INVALID_PARAMS, "name is missing, or no name of a tool", request.id)
    if not isinstance(arguments, dict):
        raise MalformedMessage(INVALID_PARAMS, "arguments is no object", request.id)
    token = params.get("_meta", {}).get("progressToken")
    if token is not None and not _is_id(token):
        raise MalformedMessage(INVALID_PARAMS, "progressToken is no integer and no short text", request.id)
    return ToolCall(name, arguments, token)


# --- building anew -----------------------------------------------------------------------------------


def request(id: Id, method: str, params: Mapping[str, Any]) -> dict[str, Any]:
    """Return a request."""
    return {"jsonrpc": "2.0", "id": id, "method": method, "params": params}


def notification(method: str, params: Mapping[str, Any]) -> dict[str, Any]:
    """Return a notification."""
    return {"jsonrpc": "2.0", "method": method, "params": params}


def result(id: Id, value: Mapping[str, Any]) -> dict[str, Any]:
    """Return the response with a result."""
    return {"jsonrpc": "2.0", "id": id, "result": value}


def error(id: Id | None, code: int, message: str, data: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Return the response with an error; without an id where none could be read (JSON-RPC 5)."""
    said = {"code": code, "message": message, **({"data": data} if data is not None else {})}
    return {"jsonrpc": "2.0", "id": id, "error": said}


def passed_on(code: int) -> int:
    """Return the code that an error of a server has for the client.

    A code that the protocol reserves speaks of the message that we sent, and may make a client speak
    another revision, ask a person or send headers anew: from us it would be about a message of its own.
    """
    return code if code == INVALID_PARAMS or not -32768 <= code <= -32000 else INTERNAL_ERROR


def text_result(text: str, meta: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Return a tool's result that says in words why there is no other."""
    said: dict[str, Any] = {"content": [{"type": "text", "text": text}], "isError": True}
    return {**said, "_meta": meta} if meta else said


def tool_result(value: Mapping[str, Any]) -> dict[str, Any]:
    """Return a server's result of `tools/call`, built anew. Raises MalformedMessage: InputRequired too.

    `structuredContent` is whatever it is; which values it may be is the era's (formats/mcp_era.py).
    """
    if (kind := value.get("resultType", "complete")) == "input_required":
        raise InputRequired(INVALID_REQUEST, "the tool asks for input, and what asks is passed on to nobody")
    if kind != "complete":  # an extension's, which nobody declared
        raise MalformedMessage(INVALID_REQUEST, "the result is of a kind that is not known")
    content, is_error = value.get("content"), value.get("isError")
    if not isinstance(content, list) or not all(isinstance(c, dict) and type(c.get("type")) is str for c in content):
        raise MalformedMessage(INVALID_REQUEST, "content is no list of content blocks")
    if not isinstance(is_error, bool | None):
        raise MalformedMessage(INVALID_REQUEST, "isError is neither true nor false")
    made: dict[str, Any] = {
        "content": [_with_meta(block, (OURS,)) for block in content],
        "isError": bool(is_error),
    }
    for name in ("structuredContent", "_meta"):
        if name in value:
            made[name] = value[name]
    return _with_meta(made, (OURS, PROTOCOL))


def _with_meta(value: Mapping[str, Any], without: tuple[str, ...]) -> dict[str, Any]:
    """Return the object, its `_meta` without keys of these prefixes, or without one that is no object."""
    if "_meta" not in value:
        return dict(value)
    meta = value["_meta"]
    kept = {key: one for key, one in meta.items() if not key.lower().startswith(without)} if type(meta) is dict else {}
    return {**{key: one for key, one in value.items() if key != "_meta"}, **({"_meta": kept} if kept else {})}


def progress(params: Mapping[str, Any], token: Id) -> dict[str, Any] | None:
    """Return a server's progress notification built anew for the client's token; None when it is none."""
    made: dict[str, Any] = {"progressToken": token}
    for name in ("progress", "total"):
        if type(params.get(name)) in (int, float):
            made[name] = params[name]
    if type(text := params.get("message")) is str:
        made["message"] = text[:TEXT_LIMIT]
    return notification("notifications/progress", made) if "progress" in made else None


def read_tools(page: Mapping[str, Any]) -> tuple[list[dict[str, Any]], str | None]:
    """Return the definitions in a result of `tools/list`, of known members only, and the cursor. Raises Malformed…"""
    tools, cursor = page.get("tools"), page.get("nextCursor")
    if not isinstance(tools, list) or not (cursor is None or (type(cursor) is str and len(cursor) <= TEXT_LIMIT)):
        raise MalformedMessage(INVALID_REQUEST, "tools is no list, or nextCursor no text")
    for tool in tools:
        if not isinstance(tool, dict) or type(tool.get("name")) is not str or not 0 < len(tool["name"]) <= NAME_LIMIT:
            raise MalformedMessage(INVALID_REQUEST, "a tool has no name")
    return [{name: tool[name] for name in TOOL_MEMBERS if name in tool} for tool in tools], cursor or None


# --- what people and models read ---------------------------------------------------------------------

# Characters that are not seen: all of category Cf (zero-width, bidi, tags) and Cc but tab and newline,
# line separators, the variation selectors that carry hidden bytes, and letters that are blank.
_BLANK = frozenset("\u2028\u2029\u115f\u1160\u3164\uffa0\u2800")


def _is_hidden(one: str) -> bool:
    category = unicodedata.category(one)
    return (category in ("Cf", "Cc") and one not in "\t\n") or one in _BLANK or 0xE0100 <= ord(one) <= 0xE01EF


def visible(value: Any) -> Any:
    """Return a JSON value whose texts show each invisible character as ‹U+202E› (D29)."""
    if isinstance(value, str):
        if value.isascii() and value.isprintable():
            return value
        return "".join(f"‹U+{ord(one):04X}›" if _is_hidden(one) else one for one in value)
    if isinstance(value, dict):
        return {visible(name): visible(one) for name, one in value.items()}
    return [visible(one) for one in value] if isinstance(value, list) else value


# --- bytes -------------------------------------------------------------------------------------------


def encode(message: Mapping[str, Any]) -> bytes:
    """Return a message as JSON text on one line. NaN and infinities have no form, and are never read either."""
    return _encode(message)
