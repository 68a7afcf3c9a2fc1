"""The outbound client against servers that speak HTTP badly: what is odd is refused, and nothing is read as an answer
that nobody asked for.
"""

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest

from taskbound.core.errors import InvalidRequest, UpstreamUnavailable
from taskbound.plugins import net
from taskbound.plugins.net import Origin, connection
from taskbound.ports import Answer
from tests.certificates import Authority

OK = b"HTTP/1.1 200 OK\r\n"
PLAIN = OK + b"content-length: 2\r\n\r\nok"
CHUNKED = OK + b"transfer-encoding: chunked\r\n\r\n"


class Server:
    """Answers each request with the next of what it is given, whatever it is; then nothing, or it closes."""

    def __init__(self, *answers: bytes, closes: bool = False, then: bytes = b"") -> None:
        self.answers, self.closes, self.then = list(answers), closes, then
        self.requests: list[bytes] = []
        self.connections = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                length = next((int(line[15:]) for line in head.split(b"\r\n") if line.startswith(b"content-length")), 0)
                self.requests.append(head + await reader.readexactly(length))
                writer.write(self.answers.pop(0) if self.answers else b"")
                await writer.drain()
                if self.then:
                    await asyncio.sleep(0.02)
                    writer.write(self.then)
                if self.closes:
                    break
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()


@asynccontextmanager
async def before(server: Server, path: str = "/mcp") -> AsyncIterator[Origin]:
    """Give an origin that is this server."""
    listening = await asyncio.start_server(server.serve, "127.0.0.1", 0)
    origin = Origin(f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}{path}")
    try:
        yield origin
    finally:
        await origin.close()
        listening.close()


async def asked(origin: Origin, body: bytes = b"{}") -> tuple[int, dict[str, str], bytes]:
    async with origin.request("POST", {"content-type": "application/json"}, body) as answer:
        return answer.status, dict(answer.headers), await whole(answer)


async def whole(answer: Answer) -> bytes:
    parts = []
    while data := await answer.read():
        parts.append(data)
    return b"".join(parts)


READ = {
    "a length": (PLAIN, b"ok"),
    "chunks": (CHUNKED + b"1\r\no\r\n1;x=y\r\nk\r\n0\r\n\r\n", b"ok"),
    "no body": (b"HTTP/1.1 204 No\r\n\r\n", b""),
    "no change": (b"HTTP/1.1 304 No\r\netag: x\r\n\r\n", b""),
    "an interim answer that says it has a body": (b"HTTP/1.1 103 Hints\r\ncontent-length: 90\r\n\r\n" + PLAIN, b"ok"),
    "an offer of another protocol": (OK + b"connection: upgrade\r\nupgrade: h2c\r\ncontent-length: 2\r\n\r\nok", b"ok"),
    "an interim answer first": (b"HTTP/1.1 103 Hints\r\nlink: x\r\n\r\n" + PLAIN, b"ok"),
    "a trailer, which is no header": (CHUNKED + b"2\r\nok\r\n0\r\ncontent-type: evil\r\n\r\n", b"ok"),
}


@pytest.mark.parametrize(("answer", "body"), READ.values(), ids=READ)
async def test_an_answer_is_read_and_its_connection_used_again(answer, body):
    server = Server(answer, PLAIN)
    async with before(server) as origin:
        _, headers, told = await asked(origin)
        assert told == body and not headers.keys() & {"link", "content-type"}
        assert (await asked(origin))[2] == b"ok" and server.connections == 1


@pytest.mark.parametrize("version", [b"1.0", b"1.1"])
async def test_a_body_without_a_length_ends_with_the_connection(version):
    async with before(Server(b"HTTP/%b 200 OK\r\n\r\nok" % version, closes=True)) as origin:
        assert (await asked(origin))[2] == b"ok"


REFUSED = {
    "a length and chunks": OK + b"content-length: 2\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
    "chunks and a length": OK + b"transfer-encoding: chunked\r\ncontent-length: 2\r\n\r\n2\r\nok\r\n0\r\n\r\n",
    "two lengths": OK + b"content-length: 2\r\ncontent-length: 2\r\n\r\nok",
    "a list of lengths": OK + b"content-length: 2, 2\r\n\r\nok",
    "a signed length": OK + b"content-length: +2\r\n\r\nok",
    "another coding": OK + b"transfer-encoding: gzip\r\n\r\nok",
    "two codings": OK + b"transfer-encoding: gzip, chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
    "chunked twice": OK + b"transfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
    "not quite chunked": OK + b"transfer-encoding: xchunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
    "chunks in HTTP/1.0": b"HTTP/1.0 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
    "a folded header": OK + b"x: a\r\n b\r\ncontent-length: 2\r\n\r\nok",
    "a space before the colon": OK + b"content-length : 2\r\n\r\nok",
    "bare line feeds": b"HTTP/1.1 200 OK\ncontent-length: 2\n\nok",
    "a bare carriage return": OK + b"x: a\rb\r\ncontent-length: 2\r\n\r\nok",
    "a NUL": OK + b"x: a\0b\r\ncontent-length: 2\r\n\r\nok",
    "a chunk with a bare line feed": CHUNKED + b"2\nok\n0\n\n",
    "a chunk of 0x2 bytes": CHUNKED + b"0x2\r\nok\r\n0\r\n\r\n",
    "a chunk beyond all": CHUNKED + b"fffffffffffffffff\r\nok",
    "a chunk that is longer than it says": CHUNKED + b"1\r\nok\r\n0\r\n\r\n",
    "a switch of protocols": b"HTTP/1.1 101 x\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n" + PLAIN,
    "a body before the head": b"HTTP/1.1 099 x\r\ncontent-length: 4\r\n\r\nevil" + PLAIN,
    "a status of zeros": b"HTTP/1.1 000 x\r\ncontent-length: 2\r\n\r\nok",
    "an empty length": OK + b"content-length:\r\n\r\nok",
    "an empty coding": OK + b"transfer-encoding:\r\ncontent-length: 2\r\n\r\nok",
    "a length beyond all": OK + b"content-length: 18446744073709551618\r\n\r\nok",
    "a chunk without a length": CHUNKED + b"\r\nok\r\n0\r\n\r\n",
    "a line feed in what a chunk says of itself": CHUNKED + b"2;a\nb\r\nok\r\n0\r\n\r\n",
    "a request": b"POST / HTTP/1.1\r\ncontent-length: 2\r\n\r\nok",
    "an end before the answer": b"HTTP/1.1 100 x\r\nconnection: close\r\n\r\n" + PLAIN,
    "interim answers for ever": b"HTTP/1.1 100 Continue\r\n\r\n" * 9 + PLAIN,
    "HTTP/2.0": b"HTTP/2.0 200 OK\r\ncontent-length: 2\r\n\r\nok",
    "HTTP/0.9": b"HTTP/0.9 200 OK\r\ncontent-length: 2\r\n\r\nok",
    "a status of four digits": b"HTTP/1.1 2000 OK\r\ncontent-length: 2\r\n\r\nok",
    "another protocol": b"SSH-2.0-OpenSSH_9.2\r\n",
    "too many headers": OK + b"x: y\r\n" * 101 + b"content-length: 2\r\n\r\nok",
    "a head without an end": OK + b"x: " + b"y" * (40 << 10),
    "a large head": OK + b"x: " + b"y" * (33 << 10) + b"\r\ncontent-length: 2\r\n\r\nok",
    "too many trailers": CHUNKED + b"2\r\nok\r\n0\r\n" + b"x: y\r\n" * 101 + b"\r\n",
}


@pytest.mark.parametrize("answer", REFUSED.values(), ids=REFUSED)
async def test_an_odd_answer_is_refused_and_its_connection_not_used_again(answer):
    server = Server(answer, PLAIN)
    async with before(server) as origin:
        with pytest.raises(UpstreamUnavailable):
            await asyncio.wait_for(asked(origin), 5)
        assert not origin._idle
        server.answers = [PLAIN]
        assert (await asked(origin))[2] == b"ok" and server.connections == 2


async def test_an_encoding_that_was_not_accepted_is_refused():
    async with before(Server(OK + b"content-encoding: gzip\r\ncontent-length: 2\r\n\r\nok")) as origin:
        with pytest.raises(UpstreamUnavailable, match="encoding"):
            await asked(origin)


@pytest.mark.parametrize("short", [PLAIN[:-1], PLAIN[:20], b"", CHUNKED + b"2\r\nok\r\n", CHUNKED + b"5\r\nok"])
async def test_an_answer_that_breaks_off_is_none(short):
    async with before(Server(short, closes=True)) as origin:
        with pytest.raises(UpstreamUnavailable, match="broke off"):
            await asked(origin)


SPLIT = OK + b"content-length: 4\r\n\r\nevil"


@pytest.mark.parametrize("more", [SPLIT, b"junk", b"\r\n", b"HTTP/1.1 100 Continue\r\n\r\n"])
@pytest.mark.parametrize("late", [False, True])
async def test_what_nobody_asked_for_is_never_the_next_answer(more, late):
    server = Server(PLAIN, then=more) if late else Server(PLAIN + more)
    async with before(server) as origin:
        assert (await asked(origin))[2] == b"ok"
        await asyncio.sleep(0.05)
        assert not origin._idle or more == b"\r\n"  # a parser may skip empty lines, and nothing else
        server.answers, server.then = [PLAIN], b""
        assert (await asked(origin))[2] == b"ok"


@pytest.mark.parametrize("head", [b"204 No", b"304 No"])
@pytest.mark.parametrize("said", [b"content-length: 4\r\n\r\nevil", b"transfer-encoding: chunked\r\n\r\n0\r\n\r\n"])
async def test_a_body_where_none_can_be_is_nobodys(head, said):
    server = Server(b"HTTP/1.1 " + head + b"\r\n" + said)
    async with before(server) as origin:
        assert (await asked(origin))[2] == b""
        server.answers = [PLAIN]
        assert (await asked(origin))[2] == b"ok" and server.connections == 2


@pytest.mark.parametrize("endless", [b"0\r\nx: ", b"2;x="], ids=["a trailer", "what a chunk says of itself"])
async def test_what_is_no_body_has_an_end(endless):
    server = Server(CHUNKED + b"2\r\nok\r\n" + endless, then=b"y" * (40 << 10))
    async with before(server) as origin:
        with pytest.raises(
            UpstreamUnavailable, match="bytes"
        ):  # the parser keeps it all, and copies it with each piece
            await asyncio.wait_for(asked(origin), 5)


async def test_an_answer_before_the_end_of_the_request_is_one_and_its_connection_not_used_again():
    """The server may take the rest of the request for the next one."""
    connections: list[asyncio.StreamWriter] = []

    async def hasty(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connections.append(writer)
        await reader.readuntil(b"\r\n\r\n")
        writer.write(PLAIN)  # and reads no more

    listening = await asyncio.start_server(hasty, "127.0.0.1", 0, limit=1024)
    origin = Origin(f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}/")
    assert (await asked(origin, b"x" * (16 << 20)))[2] == b"ok"
    assert (await asyncio.wait_for(asked(origin), 5))[2] == b"ok" and len(connections) == 2
    await origin.close()
    for one in connections:
        one.close()
    listening.close()


async def test_a_request_is_never_sent_twice():
    """A server that closes an idle connection as the request comes may have run it."""
    server = Server(PLAIN)
    async with before(server) as origin:
        await asked(origin)
        server.closes = True
        with pytest.raises(UpstreamUnavailable, match="broke off"):
            await asked(origin, b"second")
        assert [request.endswith(b"second") for request in server.requests] == [False, True]
        assert server.connections == 1


async def test_who_gives_up_takes_the_connection_along():
    for answer in (b"", OK, CHUNKED + b"2\r\nok\r\n"):
        server = Server(answer)
        async with before(server) as origin:
            asking = asyncio.create_task(asked(origin))
            await asyncio.sleep(0.05)
            assert server.requests
            asking.cancel()
            with pytest.raises(asyncio.CancelledError):
                await asking
            server.answers = [PLAIN]
            assert (await asked(origin))[2] == b"ok" and server.connections == 2


async def test_who_gives_up_while_connecting_leaves_nothing(monkeypatch):
    monkeypatch.setattr(net, "CONNECTIONS", 1)
    monkeypatch.setattr(net, "CONNECT_SECONDS", 0.1)
    ends: list[bytes] = []

    async def mute(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await reader.read(1 << 16):
            pass  # of the greeting of TLS, which is not answered
        ends.append(b"")
        writer.close()

    listening = await asyncio.start_server(mute, "127.0.0.1", 0)
    origin = Origin(f"https://127.0.0.1:{listening.sockets[0].getsockname()[1]}/")
    for _ in range(3):  # each has the one slot
        with pytest.raises(UpstreamUnavailable, match="TimeoutError"):
            await asked(origin)
    asking = asyncio.create_task(asked(origin))
    await asyncio.sleep(0.05)
    asking.cancel()
    await asyncio.wait([asking])
    await until(lambda: len(ends) == 4)
    assert not origin._slots.locked()
    listening.close()


async def test_what_is_closed_keeps_nothing_open(monkeypatch):
    monkeypatch.setattr(connection, "KEEP_ALIVE", 60.0)
    server = Server(PLAIN, PLAIN)
    async with before(server) as origin:
        async with origin.request("POST", {}) as answer:
            assert await whole(answer) == b"ok"
            await origin.close()
        await until(lambda: not origin._connections)


async def test_a_connection_that_says_it_closes_or_is_left_early_is_not_used_again():
    server = Server(OK + b"connection: close\r\ncontent-length: 2\r\n\r\nok", CHUNKED + b"2\r\nok\r\n", PLAIN)
    async with before(server) as origin:
        await asked(origin)
        server.answers.pop(0)
        assert server.connections == 1 and not origin._idle
        server.answers = [CHUNKED + b"2\r\nok\r\n"]
        async with origin.request("POST", {}) as answer:
            assert await answer.read() == b"ok"
        server.answers = [PLAIN]
        assert (await asked(origin))[2] == b"ok" and server.connections == 3


async def test_an_idle_connection_is_closed_in_time_and_when_the_server_goes(monkeypatch):
    monkeypatch.setattr(net, "SWEEP_SECONDS", 0.01)
    monkeypatch.setattr(connection, "KEEP_ALIVE", 0.05)
    server = Server(PLAIN, PLAIN)
    async with before(server) as origin:
        await asked(origin)
        await until(lambda: not origin._idle)
        await asked(origin)
        assert server.connections == 2
    monkeypatch.setattr(connection, "KEEP_ALIVE", 60.0)
    async with before(Server(PLAIN, closes=True)) as origin:
        await asked(origin)
        await until(lambda: not origin._idle)


async def test_silence_and_too_much_are_given_up(monkeypatch):
    monkeypatch.setattr(net, "SWEEP_SECONDS", 0.01)
    monkeypatch.setattr(connection, "SILENCE_SECONDS", 0.1)
    for answer in (b"", OK + b"content-length: 9\r\n\r\nok"):
        async with before(Server(answer)) as origin:
            with pytest.raises(UpstreamUnavailable, match="nothing came"):
                await asyncio.wait_for(asked(origin), 5)
    monkeypatch.setattr(connection, "ANSWER_LIMIT", 1 << 20)
    async with before(Server(OK + b"content-length: 2000000\r\n\r\n" + b"x" * 2_000_000)) as origin:
        with pytest.raises(UpstreamUnavailable, match="bytes"):
            await asked(origin)


async def test_a_connection_that_was_silent_for_too_long_is_not_used_again_before_it_is_looked_at(monkeypatch):
    server = Server(PLAIN, PLAIN)
    async with before(server) as origin:
        await asked(origin)
        monkeypatch.setattr(connection, "KEEP_ALIVE", 0.01)
        await asyncio.sleep(0.02)
        assert (await asked(origin))[2] == b"ok" and server.connections == 2


async def test_a_reader_that_takes_its_time_is_no_silence_of_the_server(monkeypatch):
    monkeypatch.setattr(net, "SWEEP_SECONDS", 0.01)
    monkeypatch.setattr(connection, "SILENCE_SECONDS", 0.1)
    server = Server(OK + b"content-length: 1000000\r\n\r\n" + b"x" * 1_000_000)
    async with before(server) as origin, origin.request("POST", {}) as answer:
        await asyncio.sleep(0.3)
        assert len(await whole(answer)) == 1_000_000


async def test_a_slow_reader_holds_the_server_back():
    size = 8 << 20
    server = Server(OK + b"content-length: %d\r\n\r\n" % size + b"x" * size)
    async with before(server) as origin, origin.request("POST", {}) as answer:
        await asyncio.sleep(0.2)
        assert answer._kept < 1 << 20  # type: ignore[attr-defined]
        assert len(await whole(answer)) == size


async def test_only_so_many_requests_are_under_way_at_a_time(monkeypatch):
    monkeypatch.setattr(net, "CONNECTIONS", 2)
    monkeypatch.setattr(net, "CONNECT_SECONDS", 0.2)
    server = Server()
    async with before(server) as origin:
        waiting = [asyncio.create_task(asked(origin)) for _ in range(2)]
        await until(lambda: len(server.requests) == 2)
        with pytest.raises(UpstreamUnavailable, match="TimeoutError"):
            await asked(origin)
        for one in waiting:
            one.cancel()
        await asyncio.wait(waiting)
        server.answers = [PLAIN] * 5
        assert [told for _, _, told in await asyncio.gather(*(asked(origin) for _ in range(5)))] == [b"ok"] * 5


async def test_what_goes_out_is_what_was_given_and_nothing_ends_a_line():
    server = Server(PLAIN, PLAIN)
    async with before(server, "/mcp?a=b") as origin:
        await asked(origin, b"{}")
        head, _, body = server.requests[0].partition(b"\r\n\r\n")
        port = origin._port
        assert body == b"{}" and head.split(b"\r\n") == [
            b"POST /mcp?a=b HTTP/1.1", b"host: 127.0.0.1:%d" % port, b"accept-encoding: identity",
            b"content-type: application/json", b"content-length: 2",
        ]  # fmt: skip
        for value in ("a\r\nx: y", "a\ny", "a\0", "\u2028", "a\x7f"):
            with pytest.raises(UpstreamUnavailable):
                async with origin.request("POST", {"authorization": value}):
                    pass
        for name in ("host", "cookie", "mcp-param-a b", "mcp-param-a: b\r\nx", "MCP-Method"):
            with pytest.raises((ValueError, UpstreamUnavailable)):
                async with origin.request("POST", {name: "x"}):
                    pass
        assert len(server.requests) == 1


@pytest.mark.parametrize(
    "url", ["http://a b/", "http://a/\r\nx", "http://a/ b", "http://ä/", "http://a/ä", "http://u@a/"]
)
def test_an_address_that_would_be_read_in_two_ways_is_refused(url):
    with pytest.raises(InvalidRequest):
        Origin(url)


async def test_a_certificate_of_nobody_or_of_another_name_is_refused(tmp_path):
    authority = Authority()
    chain, key = authority.certificate("localhost")
    for name, text in (("chain", chain), ("key", key)):
        (tmp_path / name).write_text(text)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "chain", tmp_path / "key")
    server = Server(PLAIN, PLAIN)
    listening = await asyncio.start_server(server.serve, "127.0.0.1", 0, ssl=context)
    port = listening.sockets[0].getsockname()[1]
    trusting = Origin(f"https://localhost:{port}/", authority.pem)
    assert [(await asked(trusting))[2] for _ in range(2)] == [b"ok"] * 2 and server.connections == 1
    for origin in (Origin(f"https://127.0.0.1:{port}/", authority.pem), Origin(f"https://localhost:{port}/")):
        with pytest.raises(UpstreamUnavailable):
            await asked(origin)
    assert len(server.requests) == 2
    await trusting.close()
    listening.close()


async def until(true: Callable[[], object]) -> None:
    async with asyncio.timeout(5):
        while not true():  # noqa: ASYNC110
            await asyncio.sleep(0.01)
