"""The connection under every HTTP door: uvicorn's HTTP/1.1, with what the doors rely on.

The head of a request has a limit and a time; only the origin-form of a target is taken
(RFC 9112 3.2.1: the others are for proxies). Over TCP, where anybody on this machine may connect,
connections are counted: beyond a limit they are closed, so that the operator's socket is always
served. On a Unix socket the kernel says which process
connected (SO_PEERCRED), and when that process started, so that its pid cannot become another's.
"""

import asyncio
import errno
import os
import select
import socket
import struct
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from taskbound.core.identity import Peer, Process
from taskbound.edge.claims import PEER, started_of

HEAD_LIMIT = 32 << 10  # bytes of request line and headers: the parser itself has no limit
HEAD_COUNT = 100
HEAD_SECONDS = 10.0  # for the whole head, and for the first byte of a connection
SO_PEERPIDFD = 77  # Linux 6.5; the socket module does not name it


class PeerProtocol(HttpToolsProtocol):
    """uvicorn's HTTP/1.1 with limits on the head, origin-form targets only, and the peer of a Unix socket.

    `limit` is how many connections over TCP its server serves at a time.
    """

    _peer: Peer | None = None
    _is_unix = False
    _unread = 0  # bytes of a head that is not complete
    _head = 0  # bytes of the names and values of the headers so far
    _timer: asyncio.TimerHandle | None = None

    def __init__(self, *, limit: int, **given: Any) -> None:
        super().__init__(**given)
        self._limit = limit

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        connection = transport.get_extra_info("socket")
        self._is_unix = connection is not None and connection.family == socket.AF_UNIX
        super().connection_made(transport)
        if not self._is_unix and self._over_tcp() > self._limit:
            transport.abort()
            return
        if self._is_unix:
            self._peer = peer_of(connection)
        self._expect_head()

    def connection_lost(self, exc: Exception | None) -> None:
        self._head_came()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self._timer is not None:  # a head has begun and is not complete
            self._unread += len(data)
            if self._unread > HEAD_LIMIT and not self.transport.is_closing():
                self.send_400_response("the head is too large")

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._head = 0
        if self._is_unix:
            self.scope["extensions"] = {PEER: self._peer}  # type: ignore[dict-item]
        self._expect_head()

    def on_header(self, name: bytes, value: bytes) -> None:
        super().on_header(name, value)
        self._head += len(name) + len(value)
        if len(self.headers) > HEAD_COUNT or len(self.url) + self._head > HEAD_LIMIT:
            raise ValueError("the head is too large")

    def on_headers_complete(self) -> None:
        self._head_came()
        if not self.url.startswith(b"/") or b"#" in self.url:
            raise ValueError("the target is not in origin-form")  # the parser stops, and 400 is answered
        codings = [value.lower() for name, value in self.headers if name == b"transfer-encoding"]
        if codings not in ([], [b"chunked"]):
            raise ValueError("a transfer coding is not known")  # RFC 9112 6.1
        super().on_headers_complete()

    def _over_tcp(self) -> int:
        return sum(isinstance(one, PeerProtocol) and not one._is_unix for one in self.connections)

    def _expect_head(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self.loop.call_later(HEAD_SECONDS, self.transport.close)

    def _head_came(self) -> None:
        self._unread = 0
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


def peer_of(connection: socket.socket) -> Peer | None:
    """Return the process that connected, while it is still that process; None when it is gone."""
    try:
        pid, uid, gid = struct.unpack("3i", connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
        started = started_of(pid)
    except OSError:
        return None
    if started is None or not _lives(connection):
        return None
    return Peer(uid, gid, Process(pid, started))


def _lives(connection: socket.socket) -> bool:
    """Whether the process that connected lives, so that its pid is no other's. Kernels before 6.5 cannot tell."""
    try:
        (pidfd,) = struct.unpack("i", connection.getsockopt(socket.SOL_SOCKET, SO_PEERPIDFD, 4))
    except OSError as error:
        return error.errno == errno.ENOPROTOOPT
    try:
        poll = select.poll()
        poll.register(pidfd, select.POLLIN)
        return not poll.poll(0)
    finally:
        os.close(pidfd)
