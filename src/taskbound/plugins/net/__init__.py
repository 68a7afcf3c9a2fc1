"""The outbound HTTP client: the only one there is (D23, contract "way-out").

`Origin` is for an address that the operator configured: its scheme, host, port and path are fixed,
redirects are not followed, cookies are not kept, the environment names no proxy, and only the
headers listed here go out (D16). What comes is bounded in bytes and in time, and encodings that
would grow are not accepted. Trouble of any kind is UpstreamUnavailable.
"""

import asyncio
import re
import ssl
from collections.abc import Mapping
from urllib.parse import urlsplit

from taskbound.core.errors import InvalidRequest, UpstreamUnavailable
from taskbound.plugins.net.connection import Connection
from taskbound.ports import Answer

HEADERS = frozenset(
    {"accept", "authorization", "content-type", "mcp-method", "mcp-name", "mcp-protocol-version", "mcp-session-id"}
)
ARGUMENTS = "mcp-param-"  # begins the names of headers that mirror arguments (formats/mcp_headers.py)
CONNECT_SECONDS = 5.0  # a server on the same network answers at once, or not at all
CONNECTIONS = 256  # to one origin at a time
SWEEP_SECONDS = 1.0  # between two looks at the connections, for those that are silent

_METHOD, _NAME = re.compile("[A-Z]{1,16}"), re.compile(r"[a-z0-9!#$%&'*+.^_`|~-]{1,256}")
_VALUE = re.compile("[\t\x20-\x7e\x80-\xff]*")  # RFC 9110 5.5: nothing that ends a line
_URL = re.compile("[!-~]+")  # urlsplit drops line ends
_HOST, _TARGET = re.compile(r"[A-Za-z0-9._:%-]{1,256}"), re.compile("/[!-~]*")


class Origin:
    """Requests to one configured address, and to no other; the connections to it are shared."""

    def __init__(self, base_url: str, ca: str | None = None) -> None:
        """`ca` is PEM text: the only authorities whose certificates are accepted. Raises InvalidRequest."""
        self._host, self._port, self._begin, is_tls = _read(base_url)
        try:
            tls = ssl.create_default_context(cadata=ca)
        except (ssl.SSLError, ValueError):
            raise InvalidRequest("the ca of an upstream is no certificate", code="invalid_config") from None
        tls.minimum_version = ssl.TLSVersion.TLSv1_2
        self._tls = tls if is_tls else None
        self._slots = asyncio.Semaphore(CONNECTIONS)  # one for each request under way
        self._connections: set[Connection] = set()
        self._idle: dict[Connection, None] = {}  # those that nobody uses, the newest last
        self._is_swept = self._is_over = False

    def request(self, method: str, headers: Mapping[str, str], body: bytes = b"") -> "Request":
        """Return one request, which goes out when it is entered. Raises UpstreamUnavailable; leaving early closes."""
        return Request(self, self._rendered(method, headers, body))

    async def close(self) -> None:
        """Close the connections that are not in use; the others close when they are left."""
        self._is_over = True
        for connection in list(self._idle):
            connection.abort()

    def _rendered(self, method: str, headers: Mapping[str, str], body: bytes) -> bytes:
        """Return the request as it goes out. Raises UpstreamUnavailable for a header that has no form."""
        if not _METHOD.fullmatch(method):
            raise ValueError(f"there is no method {method!r}")
        for name in headers.keys() - HEADERS:
            if not (name.startswith(ARGUMENTS) and _NAME.fullmatch(name)):
                raise ValueError(f"header {name} does not go out")
        if not _VALUE.fullmatch("".join(headers.values())):
            raise UpstreamUnavailable("the upstream cannot be reached: a header has a character that none may have")
        lines = [method + self._begin, *[f"{name}: {value}" for name, value in headers.items()]]
        if body or method == "POST":
            lines.append(f"content-length: {len(body)}")
        return "\r\n".join((*lines, "", "")).encode("latin-1") + body

    # --- connections ---------------------------------------------------------------------------------

    async def take(self) -> Connection:
        """Return a connection that nobody else has, until `give_back`. Raises UpstreamUnavailable."""
        if self._idle and not self._slots.locked():
            await self._slots.acquire()  # at once
            if (connection := self._reused()) is not None:
                return connection
            self._slots.release()
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                await self._slots.acquire()
                try:
                    return self._reused() or await self._opened()
                except BaseException:
                    self._slots.release()
                    raise
        except (OSError, TimeoutError, ValueError) as error:
            raise UpstreamUnavailable(f"the upstream cannot be reached: {type(error).__name__}") from error

    def give_back(self, connection: Connection) -> None:
        """State that a connection is not used any more: what is not read is not waited for."""
        self._slots.release()
        if connection.done():
            if self._is_over:
                connection.abort()
            else:
                self._idle[connection] = None

    def _reused(self) -> Connection | None:
        now = asyncio.get_running_loop().time()
        while self._idle:
            connection, _ = self._idle.popitem()
            if connection.looked_at(now):
                return connection
        return None

    async def _opened(self) -> Connection:
        loop, name = asyncio.get_running_loop(), self._host if self._tls else None
        _, connection = await loop.create_connection(
            lambda: Connection(self._closed), self._host, self._port, ssl=self._tls, server_hostname=name
        )
        self._connections.add(connection)
        if not self._is_swept:
            self._is_swept = True
            loop.call_later(SWEEP_SECONDS, self._sweep)
        return connection

    def _closed(self, connection: Connection) -> None:
        self._connections.discard(connection)
        self._idle.pop(connection, None)

    def _sweep(self) -> None:
        """Look at all connections, and again while there are any: a timer of each would cost each request."""
        loop = asyncio.get_running_loop()
        for connection in list(self._connections):
            connection.looked_at(loop.time())
        self._is_swept = bool(self._connections)
        if self._is_swept:
            loop.call_later(SWEEP_SECONDS, self._sweep)


class Request:
    """One request: entered, it gives the answer; left, it gives its connection back."""

    def __init__(self, origin: Origin, text: bytes) -> None:
        self._origin, self._text = origin, text

    async def __aenter__(self) -> Answer:
        self._connection = connection = await self._origin.take()
        try:
            connection.send(self._text)
            await connection.answered()
            if connection.headers.get("content-encoding", "identity").lower() != "identity":
                raise UpstreamUnavailable("the answer is in an encoding that was not accepted")
        except BaseException:
            self._origin.give_back(connection)
            raise
        return connection

    async def __aexit__(self, *_: object) -> None:
        self._origin.give_back(self._connection)


def _read(base_url: str) -> tuple[str, int, str, bool]:
    """Return host, port, what follows the method in a request, and whether it is TLS. Raises InvalidRequest."""
    refused = InvalidRequest(
        "the address of an upstream is no http or https URL in ASCII, or holds a secret", code="invalid_config"
    )
    if not _URL.fullmatch(base_url):
        raise refused
    try:
        parts = urlsplit(base_url)
        host, port = parts.hostname, parts.port
    except ValueError:
        raise refused from None
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    if parts.scheme not in ("http", "https") or parts.username is not None or parts.password is not None:
        raise refused
    if not host or not _HOST.fullmatch(host) or not _TARGET.fullmatch(target):
        raise refused
    named = f"[{host}]" if ":" in host else host
    begin = f" {target} HTTP/1.1\r\nhost: {named}{f':{port}' if port else ''}\r\naccept-encoding: identity"
    return host, port or (443 if parts.scheme == "https" else 80), begin, parts.scheme == "https"
