"""The outbound HTTP client: the only one there is (D23, contract "way-out").

`Origin` is for an address that the operator configured: its scheme, host, port and path are fixed,
redirects are not followed, cookies are not kept, the environment names no proxy, and only the
headers listed here go out (D16). What comes is bounded in bytes and in time, and encodings that
would grow are not accepted. Trouble of any kind is UpstreamUnavailable.
"""

import ssl
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import asynccontextmanager

import aiohttp
import yarl

from taskbound.core.errors import InvalidRequest, UpstreamUnavailable

HEADERS = frozenset(
    {"accept", "authorization", "content-type", "mcp-method", "mcp-name", "mcp-protocol-version", "mcp-session-id"}
)
ARGUMENTS = "mcp-param-"  # begins the names of headers that mirror arguments (formats/mcp_headers.py)
CONNECT_SECONDS = 5.0  # a server on the same network answers at once, or not at all
SILENCE_SECONDS = 60.0  # without a byte; who asks has shorter limits of its own
BODY_LIMIT = 16 << 20  # bytes of one answer (T4.8)
CONNECTIONS = 256  # to one origin at a time
KEEP_ALIVE = 4.0  # shorter than the 5 s after which uvicorn closes: a request that met a closed one may have run
READ_AHEAD = 1 << 16  # bytes that are taken before somebody asks for them


class Answered:
    """What an origin answered: its head, and its body as it comes."""

    def __init__(self, response: aiohttp.ClientResponse) -> None:
        self._response = response
        self.status = response.status
        self.headers: Mapping[str, str] = {name.lower(): value for name, value in response.headers.items()}

    async def body(self) -> AsyncGenerator[bytes, None]:
        """Yield the bytes as they come. Raises UpstreamUnavailable, also for more than BODY_LIMIT."""
        size = 0
        try:
            async for data in self._response.content.iter_any():
                size += len(data)
                if size > BODY_LIMIT:
                    raise UpstreamUnavailable(f"the answer has more than {BODY_LIMIT} bytes")
                yield data
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise UpstreamUnavailable(f"the answer broke off: {type(error).__name__}") from error


class Origin:
    """Requests to one configured address, and to no other; the connections to it are shared."""

    def __init__(self, base_url: str, ca: str | None = None) -> None:
        """`ca` is PEM text: the only authorities whose certificates are accepted. Raises InvalidRequest."""
        try:
            self._url = yarl.URL(base_url)
        except ValueError:
            raise InvalidRequest("the address of an upstream is no URL", code="invalid_config") from None
        if self._url.scheme not in ("http", "https") or not self._url.host or self._url.user or self._url.password:
            expected = "the address of an upstream is no http or https URL, or holds a secret"
            raise InvalidRequest(expected, code="invalid_config")
        try:
            self._tls = ssl.create_default_context(cadata=ca)
        except (ssl.SSLError, ValueError):
            raise InvalidRequest("the ca of an upstream is no certificate", code="invalid_config") from None
        self._tls.minimum_version = ssl.TLSVersion.TLSv1_2
        self._client: aiohttp.ClientSession | None = None

    def _opened(self) -> aiohttp.ClientSession:
        if self._client is None or self._client.closed:
            self._client = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(ssl=self._tls, limit=CONNECTIONS, keepalive_timeout=KEEP_ALIVE),
                cookie_jar=aiohttp.DummyCookieJar(),
                trust_env=False,
                auto_decompress=False,
                skip_auto_headers=("User-Agent", "Content-Type", "Accept"),
                headers={"Accept-Encoding": "identity"},
                timeout=aiohttp.ClientTimeout(total=None, connect=CONNECT_SECONDS, sock_read=SILENCE_SECONDS),
                read_bufsize=READ_AHEAD,
            )
        return self._client

    @asynccontextmanager
    async def request(self, method: str, headers: Mapping[str, str], body: bytes = b"") -> AsyncIterator[Answered]:
        """Give the answer to one request. Raises UpstreamUnavailable; leaving early closes the connection."""
        if strange := {name for name in headers if name not in HEADERS and not name.startswith(ARGUMENTS)}:
            raise ValueError(f"header {min(strange)} does not go out")
        try:
            response = await self._opened().request(
                method, self._url, headers=headers, data=body or None, allow_redirects=False
            )
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise UpstreamUnavailable(f"the upstream cannot be reached: {type(error).__name__}") from error
        try:
            if response.headers.get("content-encoding", "identity").lower() != "identity":
                raise UpstreamUnavailable("the answer is in an encoding that was not accepted")
            yield Answered(response)
        finally:
            response.close()  # what is not read is not waited for; after the last byte it does nothing

    async def close(self) -> None:
        """Close the connections."""
        if self._client is not None:
            await self._client.close()
