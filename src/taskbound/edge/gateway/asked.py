"""Asked: one request of a client that showed a task's handle, and in which words it is answered."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from importlib.metadata import version
from typing import Any

from starlette.types import Scope

from taskbound.core.call import Call, Decision
from taskbound.core.errors import TaskboundError, TaskEnded
from taskbound.core.identity import Identity
from taskbound.core.task import Task
from taskbound.edge.claims import only
from taskbound.edge.gateway.sessions import ClientSession, Line
from taskbound.formats import mcp, mcp_era
from taskbound.formats.mcp_era import Era


@dataclass(slots=True)
class Asked:
    """Who asks, for which task, along which path; and once the message is read, how it speaks."""

    door: Identity  # ours, for this request
    claim: Identity  # proved when the request came; every step reads its task again
    chain: tuple[Task, ...]
    at: datetime  # when both were read
    upstream: str | None = None  # that the path names; None: all
    era: Era = mcp_era.SESSIONS
    session: ClientSession | None = None  # of an era that has them
    headers: Mapping[str, str] | None = None  # that mirror the body, of an era that has them
    is_out: bool = False  # a call, permitted and on its way: before that its own decision says that its task ended

    @property
    def task(self) -> str:
        return self.chain[-1].id

    @property
    def line(self) -> Line:
        """The ids of the chain: for each is counted what is below it, which no number of children makes more."""
        return tuple(task.id for task in self.chain)

    def require_live(self) -> None:
        """Raises TaskEnded: the handle of a task that ended is refused; only a call is decided, and denied."""
        for task in self.chain:
            if task.why_not_open(self.at) == TaskEnded.code:
                task.require_open(self.at)

    def result(self, id: mcp.Id, value: Mapping[str, Any]) -> dict[str, Any]:
        """Return the response with a result of ours."""
        return mcp.result(id, mcp_era.completed(self.era, value, server()))


@cache
def server() -> Mapping[str, str]:
    """Return what we say we are. Nobody decides by it."""
    return {"name": "taskbound", "version": version("taskbound")}


def denied(call: Call, decision: Decision) -> dict[str, Any]:
    """Return the result that a refusal is to a client (INTERFACES 6)."""
    first = decision.objections[0]
    id = f"d{call.id[1:]}"
    said = {"code": decision.code, "call": id, "task": call.task, "hint": decision.hint}
    # People read what the model passes on, and no _meta: the command tells them what would unblock it.
    text = f"denied: {decision.code}: {first.reason} (for a person: taskbound why {id})"
    return mcp.text_result(text, {f"{mcp.OURS}decision": said})


def failed(asked: Asked, error: TaskboundError, text: str) -> dict[str, Any]:
    """Return the result that a permitted call has which could not be made."""
    return mcp.text_result(text, {f"{mcp.OURS}failure": {"code": error.code, "task": asked.task, "hint": error.hint}})


_HINTS = {  # what to do about an error of ours, by its code
    mcp.PARSE_ERROR: "send one JSON value in UTF-8, no member twice, no number that JSON has not",
    mcp.INVALID_REQUEST: "send one message of JSON-RPC 2.0: jsonrpc, id, method, params, and nothing else",
    mcp.METHOD_NOT_FOUND: "initialize, server/discover, ping, tools/list and tools/call are served",
    mcp.INVALID_PARAMS: "send what the method takes: tools/list tells the tools, and their arguments",
    mcp.INTERNAL_ERROR: "ask again in a moment",
    mcp.HEADER_MISMATCH: "send headers that say what the body says, each once",
    mcp.UNSUPPORTED_VERSION: "speak one of the versions that are named",
}


def problem(id: mcp.Id | None, code: int, message: str, data: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Return the response with an error of ours: with what to do about it, or with what the protocol has it say."""
    return mcp.error(id, code, message, data or {"hint": _HINTS[code]})


def stopped(request: mcp.Request, asked: Asked, why: str) -> dict[str, Any]:
    """Return the answer to a request that is not worked on, or no longer."""
    if request.method == "tools/call":
        return asked.result(request.id, mcp.text_result(why))
    return problem(request.id, mcp.INTERNAL_ERROR, why)


def header(scope: Scope, name: str) -> str | None:
    """Return the value of a header that may stand once. Raises InvalidRequest."""
    value = only(scope, name.encode())
    return None if value is None else _value(value)


def _value(raw: bytes) -> str:
    return raw.strip(b" \t").decode("latin-1")  # RFC 9110 5.5: space around a value is none of it


def mcp_headers_of(scope: Scope, id: mcp.Id | None) -> dict[str, str]:
    """Return the headers of MCP, those that mirror the message of that id among them.

    Raises MalformedMessage for one that stands twice: two readers see two.
    """
    found: dict[str, str] = {}
    for key, value in scope["headers"]:
        if key.startswith(b"mcp-"):
            name = key.decode("latin-1")
            if name in found:
                raise mcp.MalformedMessage(mcp.HEADER_MISMATCH, f"Header mismatch: {name[:64]} stands twice", id)
            found[name] = _value(value)
    return found
