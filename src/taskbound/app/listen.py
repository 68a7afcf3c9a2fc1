"""Listeners: what `up` is reached at: Unix sockets, loopback in plain HTTP, and beyond this machine TLS alone.

A certificate that cannot be used is refused before anything is bound or opened. The names in it are the
hosts that such a listener answers to, and what a proof of a key is compared with (T4.7, RFC 9449 4.3).
"""

import asyncio
import errno
import os
import resource
import socket
import ssl
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import uvicorn
from cryptography.x509 import DNSName, ExtensionNotFound, IPAddress, SubjectAlternativeName, load_pem_x509_certificate
from starlette.types import ASGIApp

from taskbound.app.places import Unresolved, public, secret
from taskbound.core.config import Config, Tls, is_loopback
from taskbound.core.errors import InvalidRequest, Unavailable
from taskbound.edge.claims import named
from taskbound.edge.connection import PeerProtocol
from taskbound.formats.dpop import covers, normal_host

SUN_PATH = 107  # bytes that the kernel takes for the path of a Unix socket
TCP_LIMIT = 768  # connections of the process over TCP, where that many descriptors are not half of its own
GRACE = 1  # seconds for what runs when the process is told to stop
HANDSHAKE_SECONDS = 10.0
ACCEPT_AGAIN = 0.1  # seconds, where a connection could not be accepted


@dataclass(frozen=True, slots=True)
class Certificate:
    """What listeners beyond this machine show: the TLS context, and the names that it is for."""

    context: ssl.SSLContext
    names: tuple[str, ...]  # the subject's alternative names, DNS names first


@dataclass(frozen=True, slots=True)
class Listener:
    """One bound socket."""

    socket: socket.socket
    address: str  # as people write it: unix:/…, or host:port
    certificate: Certificate | None = None  # None: plain

    @property
    def url(self) -> str:
        """The address for clients: of one with TLS by a name that its certificate is for."""
        if self.certificate is None:
            return self.address if self.address.startswith("unix:") else f"http://{self.address}"
        host, _, port = self.address.rpartition(":")
        if not covers(self.certificate.names, host):  # bound to every address, or to one that is not in it
            host = next((name for name in self.certificate.names if "*" not in name), host)
        return f"https://{host}:{port}"


def share(servers: int) -> int:
    """Return how many connections over TCP each of so many servers takes.

    Together they leave half of the process's descriptors: for the Unix socket, the store, upstreams and targets.
    """
    return min(TCP_LIMIT, resource.getrlimit(resource.RLIMIT_NOFILE)[0] // 2) // max(servers, 1)


class Server(uvicorn.Server):
    """A server whose process's signals belong to somebody else, with TLS where it has a certificate.

    `limit` is how many connections over TCP it serves at a time.
    """

    def __init__(self, app: ASGIApp, certificate: Certificate | None = None, *, limit: int) -> None:
        config = uvicorn.Config(
            app if certificate is None else named(app, frozenset(certificate.names)),
            http=partial(PeerProtocol, limit=limit),  # type: ignore[arg-type] # it is called, no more
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            timeout_graceful_shutdown=GRACE,
        )
        super().__init__(config)
        self._certificate, self._limit = certificate, limit

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        if self._certificate is None or sockets is None:
            return await super().startup(sockets=sockets)

        def protocol() -> asyncio.Protocol:
            return PeerProtocol(limit=self._limit, config=self.config, server_state=self.server_state, app_state={})

        for one in sockets:
            one.setblocking(False)
            one.listen(self.config.backlog)
        # By uvicorn itself a handshake would have a minute, and its connection would not be counted until it is over.
        context, connections = self._certificate.context, self.server_state.connections
        self.servers = [Handshakes(protocol, sockets, context, connections, self._limit)]  # type: ignore[list-item]
        self.started = True


class Handshakes:
    """Accepts for a server with TLS: a connection counts from the first on, so that descriptors are left for others.

    Where there are as many as may be, the handshake that takes longest gives way: an honest one takes milliseconds.
    """

    def __init__(
        self,
        protocol: Callable[[], asyncio.Protocol],
        sockets: Sequence[socket.socket],
        context: ssl.SSLContext,
        connections: Collection[object],
        limit: int,
    ) -> None:
        self._protocol, self._context, self._connections, self._limit = protocol, context, connections, limit
        self._under_way: dict[asyncio.Task[None], None] = {}  # the oldest first
        self._accepting = [asyncio.create_task(self._accept(one)) for one in sockets]

    def close(self) -> None:
        for task in (*self._accepting, *self._under_way):
            task.cancel()

    async def wait_closed(self) -> None:
        await asyncio.gather(*self._accepting, *self._under_way, return_exceptions=True)

    async def _accept(self, listener: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                connection, _ = await loop.sock_accept(listener)
            except OSError:  # no descriptor is left, or the peer is gone already
                await asyncio.sleep(ACCEPT_AGAIN)
                continue
            if len(self._connections) + len(self._under_way) >= self._limit:
                if not self._under_way:
                    connection.close()
                    continue
                oldest = next(iter(self._under_way))
                del self._under_way[oldest]
                oldest.cancel()
            task = asyncio.create_task(self._shake_hands(connection))
            self._under_way[task] = None
            task.add_done_callback(lambda done: self._under_way.pop(done, None))
            await asyncio.sleep(0)  # it begins, and of many who come at once nobody else waits for all

    async def _shake_hands(self, connection: socket.socket) -> None:
        with suppress(OSError):  # it failed, or took too long
            await asyncio.get_running_loop().connect_accepted_socket(
                self._protocol,
                connection,
                ssl=self._context,
                ssl_handshake_timeout=HANDSHAKE_SECONDS,
                ssl_shutdown_timeout=GRACE,
            )


def certificate_of(tls: Tls) -> Certificate:
    """Return what a configuration refers to, read. Raises InvalidRequest (`invalid_config`)."""
    chain, key = public(tls.certificate), secret(tls.key)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2  # A11
    context.options |= ssl.OP_NO_RENEGOTIATION  # of 1.2; as OpenSSL 3 has it by itself, and 1.1.1 has not
    context.set_alpn_protocols(["http/1.1"])
    try:
        leaf = load_pem_x509_certificate(chain.encode())
        names = _names(leaf.extensions.get_extension_for_class(SubjectAlternativeName).value)
        with _file(chain) as chain_file, _file(key.reveal()) as key_file:
            context.load_cert_chain(chain_file, key_file, password=_no_password)
    except (ExtensionNotFound, ssl.SSLError, ValueError, OSError) as error:
        raise _unusable(tls.certificate, error) from None
    if not names:
        raise _unusable(tls.certificate, ValueError("it is for no name"))
    if tls.client_ca is not None:
        try:
            context.load_verify_locations(cadata=public(tls.client_ca))
        except (ssl.SSLError, ValueError) as error:
            raise _unusable(tls.client_ca, error) from None
        context.verify_mode = ssl.CERT_REQUIRED
    return Certificate(context, names)


def _unusable(reference: str, error: Exception) -> Unresolved:
    """Return the refusal; what OpenSSL says of a key is a word, never a part of it."""
    match error:
        case ssl.SSLError(reason="KEY_VALUES_MISMATCH"):
            why = "the key is of another certificate"
        case ExtensionNotFound():
            why = "it is for no name"
        case ssl.SSLError():
            why = "the certificate or its key cannot be read"
        case _:
            why = "it is no certificate in PEM" if isinstance(error, ValueError) else "it cannot be read"
    hint = "certificate: a chain in PEM with subjectAltName; key: its private key in PEM, without a password"
    return Unresolved(f"[listen.tls] {reference}: {why}", reference=reference, hint=hint)


def _no_password() -> str:
    raise ValueError("the key has a password")  # else OpenSSL asks on the terminal


@contextmanager
def _file(text: str) -> Iterator[str]:
    """Give a file with the text, for OpenSSL, which reads keys from files alone; it is on no disk."""
    held = os.memfd_create("tls", os.MFD_CLOEXEC)
    try:
        with open(held, "wb", closefd=False) as file:
            file.write(text.encode() + b"\n")
        yield f"/proc/self/fd/{held}"
    finally:
        os.close(held)


def _names(alternative: SubjectAlternativeName) -> tuple[str, ...]:
    addresses = [str(one) for one in alternative.get_values_for_type(IPAddress)]
    brackets = [f"[{one}]" if ":" in one else one for one in addresses]
    return tuple(normal_host(one) for one in (*alternative.get_values_for_type(DNSName), *brackets))


def bound(config: Config, state: Path) -> Iterator[tuple[str, Listener]]:
    """Bind all that is configured, one after another, as "api" or "gateway". Raises Unavailable, InvalidRequest."""
    certificate = certificate_of(config.tls) if config.tls else None
    for which, addresses in (("api", config.api), ("gateway", config.gateway)):
        for address in addresses:
            yield which, bind(address, state, certificate)


def bind(address: str, state: Path, certificate: Certificate | None = None) -> Listener:
    """Bind an address; the certificate is for one beyond this machine. Raises Unavailable, InvalidRequest."""
    if address.startswith("unix:"):
        path = state / address.removeprefix("unix:")
        if len(os.fsencode(path)) > SUN_PATH:
            hint = "choose a shorter TASKBOUND_HOME"
            raise InvalidRequest(f"{path} is too long for a socket", code="invalid_config", hint=hint)
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        path.unlink(missing_ok=True)  # of a process that died: `only_one` says that there is no other
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        listener.bind(str(path))  # nobody else passes the directory, 0700, until the mode is set
        path.chmod(0o600)
        return Listener(listener, f"unix:{path}")
    host, _, port = address.rpartition(":")
    host = host.strip("[]")
    if not is_loopback(host) and certificate is None:
        raise InvalidRequest(f"{address} can be reached from elsewhere, and there is no TLS", code="invalid_config")
    listener = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, int(port)))
    except OSError as error:
        listener.close()
        if error.errno == errno.EADDRINUSE:
            code, hint = "address_in_use", "stop what listens there, or choose another under [listen] (port 0: any)"
        else:  # of another machine, or a port that is for root
            code, hint = "address_not_usable", "choose an address of this machine, and a port from 1024 on"
        raise Unavailable(f"{address}: {error.strerror}", code=code, hint=hint) from None
    where = f"{f'[{host}]' if ':' in host else host}:{listener.getsockname()[1]}"
    return Listener(listener, where, None if is_loopback(host) else certificate)
