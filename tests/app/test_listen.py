"""Listeners: beyond this machine TLS alone, with a certificate that can be used, or no start at all (A11)."""

import asyncio
import errno
import os
import resource
import select
import socket
import ssl
import subprocess
import sys
from contextlib import ExitStack
from urllib.parse import urlsplit

import pytest
import uvloop

from taskbound.app.listen import HANDSHAKE_SECONDS, Server, bind, certificate_of, share
from taskbound.core.config import Tls
from taskbound.core.errors import InvalidRequest, Unavailable
from tests.certificates import Authority, written
from tests.cli.nobody import ground, unprivileged  # noqa: F401
from tests.stories.place import Place, until

ISSUER = Authority()
PAIR = ISSUER.certificate("api.example.org", "*.agents.example.org", "10.0.0.5", "2001:db8::1")


def tls(directory, certificate=PAIR[0], key=PAIR[1], client_ca=None):
    cert_path, key_path = written(directory, certificate, key)
    return Tls(f"file:{cert_path}", f"file:{key_path}", client_ca)


def test_the_names_are_the_certificate_s(tmp_path):
    names = certificate_of(tls(tmp_path)).names
    assert names == ("api.example.org", "*.agents.example.org", "10.0.0.5", "[2001:db8::1]")


def test_a_client_cannot_have_the_handshake_again(tmp_path):
    assert certificate_of(tls(tmp_path)).context.options & ssl.OP_NO_RENEGOTIATION


def test_references_may_be_to_the_environment(monkeypatch):
    monkeypatch.setenv("TLS_CERT", PAIR[0])
    monkeypatch.setenv("TLS_KEY", PAIR[1])
    assert certificate_of(Tls("env:TLS_CERT", "env:TLS_KEY")).context.minimum_version is ssl.TLSVersion.TLSv1_2


_OTHER = ISSUER.certificate("api.example.org")
UNUSABLE = {
    "another key": (PAIR[0], _OTHER[1], "key is of another certificate"),
    "no certificate": ("nothing\n", PAIR[1], "no certificate in PEM"),
    "a torn certificate": (PAIR[0][:200], PAIR[1], "no certificate in PEM"),
    "no key": (PAIR[0], "nothing\n", "cannot be read"),
    "a torn key": (PAIR[0], PAIR[1][:80], "cannot be read"),
    "the two exchanged": (PAIR[1], PAIR[0], "no certificate in PEM"),
    "a certificate for nobody": (*ISSUER.certificate(), "for no name"),
}


@pytest.mark.parametrize("what", UNUSABLE)
def test_what_cannot_be_used_is_refused_and_the_key_is_not_repeated(tmp_path, what):
    certificate, key, why = UNUSABLE[what]
    with pytest.raises(InvalidRequest, match=why) as refused:
        certificate_of(tls(tmp_path, certificate, key))
    assert refused.value.code == "invalid_config" and "BEGIN" not in str(refused.value)
    assert key.split("\n")[1][:20] not in str(refused.value) or not key.startswith("-")


def test_a_key_with_a_password_asks_nobody(tmp_path):
    certificate, key = ISSUER.certificate("a.example", password=b"secret")
    with pytest.raises(InvalidRequest):
        certificate_of(tls(tmp_path, certificate, key))


@unprivileged
def test_a_key_that_others_may_read_or_its_owner_may_not_is_refused(ground):  # noqa: F811
    made = tls(ground)
    (ground / "key.pem").chmod(0o644)
    with pytest.raises(InvalidRequest, match="read by others"):
        certificate_of(made)
    (ground / "key.pem").chmod(0)
    with pytest.raises(InvalidRequest, match="cannot be read"):
        certificate_of(made)
    (ground / "key.pem").unlink()
    with pytest.raises(InvalidRequest, match="cannot be read: No such file or directory"):
        certificate_of(made)


@unprivileged
def test_a_socket_is_its_owners_alone_and_one_that_a_dead_process_left_is_replaced(ground):  # noqa: F811
    for _ in range(2):
        listener = bind("unix:run/api.sock", ground)
        assert (ground / "run").stat().st_mode & 0o777 == 0o700
        assert (ground / "run/api.sock").stat().st_mode & 0o777 == 0o600
        listener.socket.close()


def test_a_broken_client_ca_is_refused(tmp_path):
    (tmp_path / "ca.pem").write_text("nothing\n")
    with pytest.raises(InvalidRequest):
        certificate_of(tls(tmp_path, client_ca=f"file:{tmp_path}/ca.pem"))


def test_a_process_that_nobody_may_look_into_reads_its_key_all_the_same():
    """As `up` is, and as an ordinary user: /proc of such a process is root's."""
    code = (
        "import ctypes, os\n"
        "from taskbound.app.listen import certificate_of; from taskbound.core.config import Tls\n"
        "if os.getuid() == 0: os.setgroups([]); os.setgid(65534); os.setuid(65534)\n"
        "assert os.getuid() != 0 and ctypes.CDLL(None).prctl(4, 0, 0, 0, 0) == 0\n"
        "print(certificate_of(Tls('env:TLS_CERT', 'env:TLS_KEY')).names)"
    )
    environ = {**os.environ, "TLS_CERT": PAIR[0], "TLS_KEY": PAIR[1]}
    done = subprocess.run([sys.executable, "-c", code], env=environ, capture_output=True, text=True, check=False)
    assert "api.example.org" in done.stdout, done.stderr


def test_nothing_listens_beyond_this_machine_in_plain(tmp_path):
    with pytest.raises(InvalidRequest, match="no TLS"):
        bind("0.0.0.0:0", tmp_path)
    certificate = certificate_of(tls(tmp_path))
    for address, plain in (("127.0.0.1:0", True), ("[::1]:0", True), ("localhost:0", True), ("0.0.0.0:0", False)):
        listener = bind(address, tmp_path, certificate)
        assert (listener.certificate is None) is plain
        listener.socket.close()
    listener = bind("unix:api.sock", tmp_path, certificate)
    assert listener.certificate is None
    listener.socket.close()


@pytest.mark.parametrize(
    ("number", "code"), [(errno.EADDRINUSE, "address_in_use"), (errno.EACCES, "address_not_usable")]
)
def test_an_address_that_is_not_ours_to_have_is_not_called_taken(tmp_path, monkeypatch, number, code):
    def refused(self, address):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(socket.socket, "bind", refused)
    with pytest.raises(Unavailable) as error:
        bind("127.0.0.1:80", tmp_path)
    assert error.value.code == code and error.value.hint


@pytest.mark.parametrize(
    ("address", "url"), [("0.0.0.0", "https://api.example.org:"), ("[::]", "https://api.example.org:")]
)
def test_clients_are_told_a_name_that_the_certificate_is_for(tmp_path, address, url):
    listener = bind(f"{address}:0", tmp_path, certificate_of(tls(tmp_path)))
    assert listener.url.startswith(url)
    listener.socket.close()


# --- the handshake ---------------------------------------------------------------------------------


async def hello(scope, receive, send):
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
    await send({"type": "http.response.body", "body": b"hi"})


class Served:
    """A server with a certificate, on a loopback port: what it shows is the same."""

    def __init__(self, certificate, limit=100):
        self.server = Server(hello, certificate, limit=limit)
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]

    async def __aenter__(self):
        self.running = asyncio.create_task(self.server.serve(sockets=[self.listener]))
        while not self.server.started:  # noqa: ASYNC110 - uvicorn has no event for it
            await asyncio.sleep(0.002)
        return self

    async def __aexit__(self, *_):
        self.server.should_exit = True
        await self.running

    async def get(self, context):
        reader, writer = await asyncio.open_connection(
            "127.0.0.1", self.port, ssl=context, server_hostname="api.example.org"
        )
        try:
            writer.write(b"GET / HTTP/1.1\r\nhost: api.example.org\r\nconnection: close\r\n\r\n")
            return (await asyncio.wait_for(reader.read(), 5)).split(b"\r\n")[0]
        finally:
            writer.close()


def believer(**versions):
    context = ssl.create_default_context(cadata=ISSUER.pem)
    for name, version in versions.items():
        setattr(context, name, version)
    return context


@pytest.fixture
async def secure(tmp_path):
    async with Served(certificate_of(tls(tmp_path))) as served:
        yield served


async def test_1_2_and_1_3_are_spoken_and_nothing_older(secure):
    v = ssl.TLSVersion
    for version in (v.TLSv1_2, v.TLSv1_3):
        assert await secure.get(believer(minimum_version=version, maximum_version=version)) == b"HTTP/1.1 200 OK"
    old = believer()
    old.set_ciphers("ALL:@SECLEVEL=0")
    with pytest.warns(DeprecationWarning):
        old.minimum_version = old.maximum_version = v.TLSv1_1
    with pytest.raises((ssl.SSLError, ConnectionError)):
        await secure.get(old)


async def test_plain_http_is_not_answered(secure):
    reader, writer = await asyncio.open_connection("127.0.0.1", secure.port)
    writer.write(b"GET / HTTP/1.1\r\nhost: api.example.org\r\n\r\n")
    assert b"HTTP" not in await asyncio.wait_for(reader.read(), 5)
    writer.close()


async def test_a_handshake_has_a_time(tmp_path, monkeypatch):
    assert HANDSHAKE_SECONDS <= 10
    monkeypatch.setattr("taskbound.app.listen.HANDSHAKE_SECONDS", 0.2)
    async with Served(certificate_of(tls(tmp_path))) as served:
        reader, writer = await asyncio.open_connection("127.0.0.1", served.port)
        assert await asyncio.wait_for(reader.read(), 5) == b""  # closed by the server
        writer.close()


LOOPS = {"asyncio": asyncio.run, "uvloop": uvloop.run}


@pytest.mark.parametrize("loop", LOOPS)
def test_who_begins_many_handshakes_takes_no_more_than_its_share_and_keeps_nobody_out(tmp_path, loop):
    """What is not counted until its handshake is over takes every descriptor, the operator's too."""

    async def held():
        async with Served(certificate_of(tls(tmp_path)), limit=4) as served:
            silent = [await asyncio.open_connection("127.0.0.1", served.port) for _ in range(12)]
            async with asyncio.timeout(5):
                for reader, _ in silent[:8]:
                    assert await reader.read() == b""
            assert not any(reader.at_eof() for reader, _ in silent[8:])
            assert await asyncio.wait_for(served.get(believer()), 5) == b"HTTP/1.1 200 OK"
            for _, writer in silent:
                writer.close()

    LOOPS[loop](held())


async def test_connections_that_are_served_count_too(tmp_path):
    async with Served(certificate_of(tls(tmp_path)), limit=2) as served:
        where = {"ssl": believer(), "server_hostname": "api.example.org"}
        kept = [await asyncio.open_connection("127.0.0.1", served.port, **where) for _ in range(2)]
        await asyncio.sleep(0.05)
        with pytest.raises((ssl.SSLError, ConnectionError)):
            await asyncio.wait_for(served.get(believer()), 5)
        for _, writer in kept:
            writer.close()


@pytest.mark.parametrize(
    ("descriptors", "servers", "each"),
    [(1 << 20, 1, 768), (1 << 20, 2, 384), (1 << 20, 4, 192), (1024, 1, 512), (1024, 4, 128), (256, 3, 42)],
)
def test_all_listeners_together_leave_half_of_the_descriptors(monkeypatch, descriptors, servers, each):
    monkeypatch.setattr("resource.getrlimit", lambda _: (descriptors, descriptors))
    assert share(servers) == each and servers * each <= min(768, descriptors // 2)


@unprivileged
def test_connections_to_every_listener_leave_descriptors_for_the_operator(ground):  # noqa: F811
    """Each may be filled by anybody on this machine; a process that has no descriptor left serves nobody."""
    place = Place(ground / "state")
    listen = '[listen]\napi = ["unix:run/api.sock", "127.0.0.1:0"]\ngateway = "127.0.0.1:0"\n'
    (place.state / "taskbound.toml").write_text(listen)

    def few():
        resource.setrlimit(resource.RLIMIT_NOFILE, (128, 128))

    with place.up(preexec_fn=few) as said, ExitStack() as stack:
        ports = [int(urlsplit(said["gateway"]).port), int(said["api"][1].rpartition(":")[2])]
        idle = [
            stack.enter_context(socket.create_connection(("127.0.0.1", port))) for port in ports for _ in range(100)
        ]
        until(lambda: _open(idle) <= 2 * 32, 8)  # sooner than those that say nothing are closed for that
        for _ in range(16):  # at once; how many descriptors it has left, nobody but root can see
            operator = stack.enter_context(socket.socket(socket.AF_UNIX))
            operator.settimeout(10)
            operator.connect(str(place.state / "run/api.sock"))
            operator.sendall(b"GET /v1/tasks HTTP/1.1\r\nHost: localhost\r\n\r\n")
            assert operator.recv(64).startswith(b"HTTP/1.1 200 ")


def _open(connections):
    """Return how many of them the server left open."""
    readable, _, _ = select.select(connections, [], [], 0)
    return len(connections) - len(readable)


async def test_where_a_client_ca_is_set_only_its_clients_connect(tmp_path):
    (tmp_path / "ca.pem").write_text(ISSUER.pem)
    async with Served(certificate_of(tls(tmp_path, client_ca=f"file:{tmp_path}/ca.pem"))) as served:
        with pytest.raises((ssl.SSLError, ConnectionError)):
            await served.get(believer(maximum_version=ssl.TLSVersion.TLSv1_2))
        stranger, known = believer(), believer()
        for context, issuer in ((stranger, Authority()), (known, ISSUER)):
            certificate, key = issuer.certificate("client.example")
            (tmp_path / "client.pem").write_text(certificate + key)
            context.load_cert_chain(tmp_path / "client.pem")
        stranger.maximum_version = ssl.TLSVersion.TLSv1_2
        with pytest.raises((ssl.SSLError, ConnectionError)):
            await served.get(stranger)
        assert await served.get(known) == b"HTTP/1.1 200 OK"
