"""A request as it may be sent to a door, and read in one way: host and origin, path, query and body, each bounded.

The path is the raw one, never of a URL rebuilt from `Host` (CVE-2026-48710). A request that names another
host or origin than this machine is refused before anything is read, and on a listener with TLS one for
another host than it is named for (T4.7).
"""

import asyncio
import re
from functools import lru_cache
from typing import Any, ClassVar
from urllib.parse import parse_qsl, unquote_to_bytes

from starlette.types import Receive, Scope

from taskbound.core.errors import Denied, InvalidRequest
from taskbound.edge.claims import is_local, is_unix, names_of, only
from taskbound.formats.canonical import Malformed, parse
from taskbound.formats.dpop import covers

BODY_LIMIT = 1 << 20
BODY_SECONDS = 10.0  # a body of 1 MiB, from this machine


class RequestTimeout(InvalidRequest):
    status: ClassVar[int] = 408
    code = "request_timeout"
    hint = "send the whole body at once"


class ContentTooLarge(InvalidRequest):
    status: ClassVar[int] = 413
    code = "content_too_large"
    hint = "send less, or in several requests"


class UnsupportedMediaType(InvalidRequest):
    status: ClassVar[int] = 415
    code = "unsupported_media_type"
    hint = "send content-type: application/json"


_HOST = re.compile(rb"[^\x00-\x20\x7f-\xff/?#@\\,]{1,256}")
_LOCAL = re.compile(rb"(localhost|127\.0\.0\.1|\[::1\])(:[0-9]{1,5})?", re.IGNORECASE)
_ORIGIN = re.compile(rb"https?://(.*)", re.IGNORECASE)
_LENGTH = re.compile(rb"[0-9]{1,20}")  # RFC 9110 8.6; the server takes no longer one
_NAMED = re.compile(rb"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(:[0-9]{1,5})?")


def require_local(scope: Scope) -> None:
    """Refuse what a web page could have sent through a browser (DNS rebinding, T4.7).

    Raises InvalidRequest for a Host that is none, Denied for one that the listener is not named by, and for
    another Origin. On this machine that is one of its names to itself; beyond it, one in the certificate.
    """
    host = only(scope, b"host")
    if host is None or not _HOST.fullmatch(host):
        raise InvalidRequest("the request names no host" if host is None else "the host is malformed")
    if not is_unix(scope) and not _is_ours(host, scope):
        hint = "use localhost or 127.0.0.1" if is_local(scope) else "use a name that is in the certificate"
        raise Denied("the request is for another host", hint=hint)
    origin = only(scope, b"origin")
    if origin is None:
        return
    page = _ORIGIN.fullmatch(origin)
    if page is None or not (_LOCAL.fullmatch(page[1]) if is_local(scope) else _is_ours(page[1], scope)):
        raise Denied("the request comes from a page of another origin", hint="ask without a browser")


def _is_ours(host: bytes, scope: Scope) -> bool:
    named = _NAMED.fullmatch(host)
    return named is not None and covers(names_of(scope), named[1].decode())


def segments_of(scope: Scope) -> tuple[str, ...]:
    """Return the segments of the raw path, each decoded after the split. Raises InvalidRequest.

    Empty and dotted segments, a NUL and what is not UTF-8 are refused: no reader further in may see another path.
    """
    return _segments(scope["raw_path"].partition(b"?")[0])


@lru_cache(64)  # most requests are to a few addresses
def _segments(path: bytes) -> tuple[str, ...]:
    first, *raw = path.split(b"/")
    segments: list[str] = []
    for part in raw:
        if re.search(rb"%(?![0-9A-Fa-f]{2})", part):
            raise InvalidRequest("the path has a malformed escape")
        try:
            segments.append(unquote_to_bytes(part).decode())
        except UnicodeDecodeError:
            raise InvalidRequest("the path is not UTF-8") from None
    if first or any(one in ("", ".", "..") or "\0" in one for one in segments):
        raise InvalidRequest("the path has an empty or dotted segment")
    return tuple(segments)


def query_of(scope: Scope) -> dict[str, str]:
    """Return the parameters of the query, each of which stands once. Raises InvalidRequest."""
    try:
        text = scope["query_string"].decode("ascii")
        pairs = parse_qsl(text, keep_blank_values=True, strict_parsing=bool(text), errors="strict", max_num_fields=16)
    except (ValueError, UnicodeError):
        raise InvalidRequest("the query is malformed") from None
    query = dict(pairs)
    if len(query) != len(pairs):
        raise InvalidRequest("a parameter of the query stands twice")
    return query


async def read_body(scope: Scope, receive: Receive) -> Any:
    """Return the JSON value of the body, None without one; read whole, in bounded size and time.

    Raises InvalidRequest: RequestTimeout, ContentTooLarge, UnsupportedMediaType, or malformed.
    """
    body = b""
    length = only(scope, b"content-length") or b"0"
    if not _LENGTH.fullmatch(length):
        raise InvalidRequest("content-length is no number")
    if int(length) > BODY_LIMIT:
        raise ContentTooLarge(f"a body has at most {BODY_LIMIT} bytes")
    try:
        async with asyncio.timeout(BODY_SECONDS):
            more = True
            while more:
                message = await receive()
                if message["type"] == "http.disconnect":
                    raise InvalidRequest("the body ended early")
                body += message.get("body", b"")
                more = message.get("more_body", False)
                if len(body) > BODY_LIMIT:
                    raise ContentTooLarge(f"a body has at most {BODY_LIMIT} bytes")
    except TimeoutError:
        raise RequestTimeout(f"the body did not come within {BODY_SECONDS:g} s") from None
    if not body:
        return None
    if (only(scope, b"content-type") or b"").partition(b";")[0].strip().lower() != b"application/json":
        raise UnsupportedMediaType("the body is not declared to be JSON")
    try:
        return parse(body, limit=BODY_LIMIT)
    except Malformed as error:
        raise InvalidRequest(f"the body is malformed: {error}", hint="send one JSON object, in UTF-8") from None
