"""Model Context Protocol: messages of the revisions that begin with `initialize` (2025-11-25 and older).

One grammar serves both directions: JSON-RPC 2.0 requests, notifications and responses, one at a
time (batches went with 2025-06-18). What the specification closes is closed here: an unknown member
of a message or of `tools/call` is refused. What goes on is never what came in: a result, a tool's
definition and a notification are built anew from the members that are known (D16), without those
that are ours to say (`io.taskbound/…`), so that no server can forge a decision. Server-sent events
(WHATWG HTML 9.2) carry the messages of an answer that comes in parts.
"""

import json
import re
import unicodedata
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

VERSIONS = ("2025-11-25", "2025-06-18", "2025-03-26", "2024-11-05")  # newest first
OURS = "io.taskbound/"  # prefix of our keys in `_meta`

MESSAGE_LIMIT = 4 << 20  # bytes of one message: an image or a long file; as Python values up to ten times as much
NAME_LIMIT = 128  # characters of a tool's name (2025-11-25, tool names) and of a method's
TOKEN_LIMIT = 256  # characters of an id or a progress token: a UUID and a prefix
TEXT_LIMIT = 4096  # characters of an error's or a progress notification's text, which people read

PARSE_ERROR, INVALID_REQUEST, METHOD_NOT_FOUND, INVALID_PARAMS = -32700, -32600, -32601, -32602
INTERNAL_ERROR = -32603

TOOL_MEMBERS = ("name", "title", "description", "inputSchema", "outputSchema", "annotations")

Id: TypeAlias = str | int


class MalformedMessage(ValueError):
    """A JSON value is no message of the protocol; with the JSON-RPC code, and the id where one could be read."""

    def __init__(self, code: int, message: str, id: Id | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.id = id


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
    """An answer: a result, or an error's code and text."""

    id: Id | None  # None: of an error that was found before the id
    result: Mapping[str, Any] | None = None
    code: int = 0
    message: str = ""


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
    return Response(id, None, error["code"], error["message"][:TEXT_LIMIT])


def _only(value: Mapping[str, Any], known: tuple[str, ...], code: int, id: Id | None) -> None:
    if strange := [name for name in value if name not in known]:
        raise MalformedMessage(code, f"there is no member {strange[0][:64]!r}", id)


def read_tool_call(request: Request) -> ToolCall:
    """Return what a `tools/call` request asks for. Raises MalformedMessage.

    `task` asks for a kind of answer that we do not offer; the specification has it ignored then.
    """
    params = request.params
    _only(params, ("name", "arguments", "_meta", "task"), INVALID_PARAMS, request.id)
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


def error(id: Id | None, code: int, message: str) -> dict[str, Any]:
    """Return the response with an error; without an id where none could be read (JSON-RPC 5)."""
    return {"jsonrpc": "2.0", "id": id, "error": {"code": code, "message": message}}


def text_result(text: str, meta: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Return a tool's result that says in words why there is no other."""
    said: dict[str, Any] = {"content": [{"type": "text", "text": text}], "isError": True}
    return {**said, "_meta": meta} if meta else said


def tool_result(value: Mapping[str, Any]) -> dict[str, Any]:
    """Return a server's result of `tools/call`, built anew. Raises MalformedMessage."""
    content, structured, is_error = (value.get(name) for name in ("content", "structuredContent", "isError"))
    if not isinstance(content, list) or not all(isinstance(c, dict) and type(c.get("type")) is str for c in content):
        raise MalformedMessage(INVALID_REQUEST, "content is no list of content blocks")
    if not isinstance(structured, dict | None) or not isinstance(is_error, bool | None):
        raise MalformedMessage(INVALID_REQUEST, "structuredContent is no object, or isError neither true nor false")
    if value.get("resultType", "complete") != "complete":  # a later revision's: the answer would be no answer
        raise MalformedMessage(INVALID_REQUEST, "the result is not complete")
    made: dict[str, Any] = {"content": [_without_ours(block) for block in content], "isError": bool(is_error)}
    if structured is not None:
        made["structuredContent"] = structured
    if "_meta" in value:
        made["_meta"] = value["_meta"]
    return _without_ours(made)


def _without_ours(value: Mapping[str, Any]) -> dict[str, Any]:
    """Return the object, its `_meta` without keys that are ours, or without one that is no object."""
    if "_meta" not in value:
        return dict(value)
    meta = value["_meta"]
    kept = {key: one for key, one in meta.items() if not key.lower().startswith(OURS)} if isinstance(meta, dict) else {}
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
    """Return a message as JSON text on one line."""
    return json.dumps(message, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode()


def encode_event(message: Mapping[str, Any]) -> bytes:
    """Return a message as one server-sent event."""
    return b"event: message\ndata: " + encode(message) + b"\n\n"


class TooLarge(ValueError):
    """An event has more bytes than are read."""


_LINE_END = re.compile(rb"\r\n|\n|\r")


LINE_COST = 40  # bytes that a line takes in memory beside its own, so that many short ones are not cheap


class EventReader:
    """Server-sent events out of bytes as they come, split anywhere; each event costs at most the limit."""

    def __init__(self, limit: int = MESSAGE_LIMIT) -> None:
        self._limit = limit
        self._rest = bytearray()  # of the line that is not complete yet
        self._data: list[bytes] = []
        self._size = 0  # of the data
        self._begun = False  # a byte order mark may stand before the first byte only
        self._after_return = False  # a line ended with CR: a LF right behind it belongs to it

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Yield the data of each `message` event that these bytes complete. Raises TooLarge."""
        if self._after_return and data:
            data = data.removeprefix(b"\n")
            self._after_return = False
        start = 0
        for end in _LINE_END.finditer(data):
            self._rest += data[start : end.start()]
            start = end.end()
            line, self._rest = bytes(self._rest), bytearray()
            if (event := self._line(line)) is not None:
                yield event
        self._after_return = data.endswith(b"\r")
        self._rest += data[start:]
        self._bound(len(self._rest))

    def _bound(self, more: int) -> None:
        if self._size + more > self._limit:
            raise TooLarge(f"an event has more than {self._limit} bytes")

    def _line(self, line: bytes) -> bytes | None:
        if not self._begun:
            self._begun = True
            line = line.removeprefix(b"\xef\xbb\xbf")
        if not line:
            data, self._data, self._size = self._data, [], 0
            return b"\n".join(data) if any(data) else None
        name, _, value = line.partition(b":")
        if name == b"data":
            value = value.removeprefix(b" ")
            self._size += len(value) + LINE_COST
            self._bound(0)
            self._data.append(value)
        return None  # a comment, `event`, `id` and `retry`: messages have one kind, and we resume nothing
