"""One connection to an HTTP/1.1 server (RFC 9112): one request at a time, and its answer as it comes.

llhttp parses, in its strict mode: a length that stands twice or beside a transfer coding, folded
headers, control characters, bare line feeds and malformed chunks are refused. Refused here beside
that: any coding but `chunked` alone, a switch of protocols, a head or an answer beyond its limit. Each
request has a parser of its own, and a connection is used again only when its answer came whole and
behind the whole request, says that it may be, and nothing came after it: what nobody asked for is never
read as the next answer. It keeps no clock: who holds it looks at it now and then.
"""

import asyncio
from collections.abc import Callable
from typing import cast

import httptools

from taskbound.core.errors import UpstreamUnavailable

SILENCE_SECONDS = 60.0  # without a byte; who asks has shorter limits of its own
KEEP_ALIVE = 4.0  # shorter than the 5 s after which uvicorn closes: a request that met a closed one may have run
HEAD_LIMIT = 32 << 10  # bytes of one head, trailers with it; and of what else is no body, in a row
HEAD_COUNT = 100
INTERIM = 8  # answers 1xx before the one that counts (RFC 9110 15.2)
ANSWER_LIMIT = 16 << 20  # bytes of one answer, as they come (T4.8)
READ_AHEAD = 1 << 16  # bytes that are taken before somebody asks for them


class Connection(asyncio.Protocol):
    """One connection, and the answer to its newest request (port `Answer`)."""

    def __init__(self, closed: Callable[["Connection"], None]) -> None:
        """`closed` is told once when it is."""
        self._loop = asyncio.get_running_loop()
        self._closed = closed
        self._transport: asyncio.Transport | None = None
        self._parser: httptools.HttpResponseParser | None = None  # None: nothing is asked, so nothing may come
        self._news: asyncio.Future[None] | None = None  # for who waits
        self._heard = self._loop.time()  # from the server, or that it was asked
        self._trouble = "it was closed"
        self.status = 0  # 0: no head yet
        self.headers: dict[str, str] = {}  # names in lower case; of one that stands twice, both values
        self.is_closed = True
        self._is_whole = self._may_stay = self._until_close = self._is_paused = False

    # --- asking --------------------------------------------------------------------------------------

    def send(self, request: bytes) -> None:
        """Send one request, whole."""
        self._parser = httptools.HttpResponseParser(self)
        self.status, self.headers = 0, {}
        self._interim = self._count = self._head = self._size = self._bare = self._kept = 0
        self._parts: list[bytes] = []
        self._is_whole = self._may_stay = self._until_close = False
        self._heard = self._loop.time()
        if self._transport is not None:
            self._transport.write(request)

    async def answered(self) -> None:
        """Return when `status` and `headers` are there. Raises UpstreamUnavailable."""
        while not self.status:
            await self._more()

    async def read(self) -> bytes:
        """Return what came of the body; b"" at its end. Raises UpstreamUnavailable where it breaks off."""
        while not self._parts:
            if self._is_whole:
                return b""
            await self._more()
        data = self._parts[0] if len(self._parts) == 1 else b"".join(self._parts)
        self._parts, self._kept = [], 0
        if self._is_paused and self._transport is not None and not self.is_closed:
            self._is_paused = False
            self._transport.resume_reading()
        return data

    def done(self) -> bool:
        """State that nobody waits for the rest; return whether the connection can take another request, else close."""
        self._parser = None
        unsent = self._transport.get_write_buffer_size() if self._transport is not None else 0
        if not (self._is_whole and self._may_stay) or self.is_closed or unsent:
            self.abort()
            return False
        if self._is_paused and self._transport is not None:
            self._is_paused = False
            self._transport.resume_reading()
        return True

    def looked_at(self, now: float) -> bool:
        """Close what was silent for too long by the loop's clock; return whether it is open."""
        if self._is_paused:
            self._heard = now  # the silence is ours
        silence = now - self._heard
        if self._parser is None and silence >= KEEP_ALIVE:
            self.abort()
        elif silence >= SILENCE_SECONDS:
            self._fail(f"nothing came for {SILENCE_SECONDS:g} s")
        return not self.is_closed

    def abort(self) -> None:
        """Close at once."""
        self.is_closed = True
        if self._transport is not None:
            self._transport.abort()

    async def _more(self) -> None:
        """Return when something came. Raises UpstreamUnavailable when nothing will."""
        if self.is_closed:
            raise UpstreamUnavailable(f"the answer broke off: {self._trouble}")
        self._news = self._loop.create_future()
        try:
            await self._news
        finally:
            self._news = None

    # --- what comes ----------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport, self.is_closed = cast(asyncio.Transport, transport), False

    def data_received(self, data: bytes) -> None:
        if self._parser is None or self._is_whole:
            return self._fail("it says what nobody asked for")
        self._heard = self._loop.time()
        self._size += len(data)
        self._bare += len(data)
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            if not self._is_whole:  # else the answer stands, and the connection is not used again
                return self._fail(f"the answer is malformed: {error.__context__ or error}")
            self._may_stay = False
        if not self._is_whole and (self._size > ANSWER_LIMIT or self._bare > HEAD_LIMIT):
            return self._fail(f"the answer, or its head, has more than {ANSWER_LIMIT} or {HEAD_LIMIT} bytes")
        self._tell()

    def connection_lost(self, error: Exception | None) -> None:
        if self._until_close and self.status and error is None and not self.is_closed:
            self._is_whole = True  # RFC 9112 6.3: what has no length ends with the connection
        self.is_closed = True
        self._closed(self)
        self._tell()

    def _fail(self, why: str) -> None:
        self._trouble = why
        self.abort()
        self._tell()

    def _tell(self) -> None:
        if self._news is not None and not self._news.done():
            self._news.set_result(None)

    # --- what the parser finds -----------------------------------------------------------------------

    def on_message_begin(self) -> None:
        if self._is_whole:
            raise ValueError("there is more than one")

    def on_header(self, name: bytes, value: bytes) -> None:
        self._count += 1
        self._head += len(name) + len(value)
        if self._count > HEAD_COUNT or self._head > HEAD_LIMIT:
            raise ValueError("its head is too large")
        if not self.status:  # else it is a trailer, and trailers are no headers (RFC 9110 6.5.1)
            key, text = name.decode("latin-1").lower(), value.decode("latin-1")
            self.headers[key] = f"{self.headers[key]}, {text}" if key in self.headers else text

    def on_headers_complete(self) -> None:
        assert self._parser is not None
        status = self._parser.get_status_code()
        if status < 200:
            self._interim += 1
            self.headers = {}
            if self._interim > INTERIM or status == 101 or status < 100:
                raise ValueError(f"status {status}")
            return
        version, coding = self._parser.get_http_version(), self.headers.get("transfer-encoding")
        if version not in ("1.0", "1.1") or (coding is not None and (version, coding.lower()) != ("1.1", "chunked")):
            raise ValueError(f"HTTP/{version} with transfer coding {str(coding)[:64]!r}")
        self._may_stay = self._parser.should_keep_alive()
        self._until_close = coding is None and "content-length" not in self.headers and status not in (204, 304)
        self.status = status

    def on_body(self, data: bytes) -> None:
        self._bare = 0
        self._parts.append(data)
        self._kept += len(data)
        if self._kept > READ_AHEAD and not self._is_paused and self._transport is not None:
            self._is_paused = True
            self._transport.pause_reading()

    def on_message_complete(self) -> None:
        self._is_whole = bool(self.status)  # what is complete before that was an interim answer
