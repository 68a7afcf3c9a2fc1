"""After `fix` nothing under the tree holds the values, and what used them starts: an application of a real PostgreSQL,
and an agent with a real MCP server (official SDK) that it starts from its client file. What is done is in the log."""

# ruff: noqa: F811 - fixtures are imported by name

import asyncio
import fcntl
import hashlib
import json
import os
import re
import resource
import signal
import socket
import sqlite3
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from taskbound.app.places import login as person
from tests.app.test_fix import forms, github_token
from tests.postgres.server import running
from tests.redis.server import (
    ADMIN_PASSWORD,
    redis,  # noqa: F401
)
from tests.redis.server import Server as Redis
from tests.stories.place import ANY, COMMAND, Place, until

TOKEN, PASSWORD = github_token("story"), "q7/Vb2+xT9mZr4Lw"
ANOTHER = "z4Kq8TtR5wXc9Lm"
# What reads its .env itself, as an application does.
APPLICATION = """
import asyncio, asyncpg
values = dict(line.strip().split("=", 1) for line in open(".env") if "=" in line and line[0] != "#")
async def main():
    at = await asyncpg.connect(values["DATABASE_URL"], timeout=10)
    print("orders", await at.fetchval("SELECT count(*) FROM orders"), "as", await at.fetchval("SELECT current_user"))
asyncio.run(main())
"""
SERVER = """
import hashlib, os
from mcp.server.mcpserver import MCPServer
server = MCPServer("github")
@server.tool()
async def who() -> str:
    return hashlib.sha256(os.environ["GITHUB_TOKEN"].encode()).hexdigest()
server.run("stdio")
"""
# What starts the servers of its client file, as an agent does.
AGENT = """
import asyncio, json
from mcp import ClientSession, StdioServerParameters
from mcp.client.stdio import stdio_client
one = json.load(open(".mcp.json"))["mcpServers"]["github"]
async def main():
    asked = StdioServerParameters(command=one["command"], args=one["args"], env=one["env"])
    async with stdio_client(asked) as streams, ClientSession(*streams) as session:
        await session.initialize()
        print((await session.call_tool("who", {})).content[0].text)
asyncio.run(main())
"""
PROFILE = """\
purpose = "what stood in files"
owner = "{owner}"
review_by = 2099-01-01
life = "5m"
[[grant]]
lease = "{target}/value"
"""


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path / "state")


async def login(database, password: str) -> None:
    at = await database.superuser()
    if await at.fetchval("SELECT true FROM pg_roles WHERE rolname = 'shop_app'"):
        await at.execute("DROP OWNED BY shop_app; DROP ROLE shop_app")
    await at.execute(f"CREATE ROLE shop_app LOGIN PASSWORD '{password}'")
    await at.execute(
        "GRANT USAGE ON SCHEMA public TO shop_app; GRANT SELECT ON ALL TABLES IN SCHEMA public TO shop_app"
    )
    await at.close()


def found(tree: Path, value: str) -> list[Path]:
    files = [one for one in tree.rglob("*") if one.is_file()]
    return [one for one in files for form in forms(value) if form in one.read_bytes()]


def project(tree: Path, url: str) -> None:
    tree.mkdir()
    for name, text in (("app.py", APPLICATION), ("server.py", SERVER), ("agent.py", AGENT)):
        (tree / name).write_text(text)
    (tree / ".env").write_text(f"# the shop\nDATABASE_URL={url}\nMODE=test\n")
    command = f'"command": "{sys.executable}", "args": ["{tree}/server.py"], "env": {{"GITHUB_TOKEN": "{TOKEN}"}}'
    (tree / ".mcp.json").write_text(f'{{"mcpServers": {{"github": {{{command}}}}}}}')


def test_the_values_are_gone_and_what_used_them_starts(place, tmp_path, monkeypatch):
    database, tree = running(), tmp_path / "shop"
    asyncio.run(login(database, PASSWORD))
    project(tree, f"postgresql://shop_app:{quote(PASSWORD, safe='')}@127.0.0.1:{database.port}/shop")
    before = {one: one.read_bytes() for one in (tree / ".env", tree / ".mcp.json")}
    ids = re.findall(r"NHI2:2025  ([0-9a-f]{12})", place.done("discover", str(tree)))
    assert len(ids) == 2 and found(tree, TOKEN) and found(tree, PASSWORD)
    for id in ids:
        done = place.command("fix", id, str(tree))
        assert done.returncode == 0, done.stderr
        said = (done.stdout + done.stderr).encode()
        assert not [form for value in (TOKEN, PASSWORD) for form in forms(value) if form in said]
    assert found(tree, TOKEN) == found(tree, PASSWORD) == []
    assert re.findall(r"NHI2:2025", place.done("discover", str(tree))) == []

    configuration = place.state / "taskbound.toml"
    configuration.write_text(ANY + configuration.read_text())
    place.done("policy", "init")
    (place.state / "policy/profiles").mkdir(exist_ok=True)
    for target in ("database_url", "github_token"):
        text = PROFILE.format(owner=f"human/{person()}", target=target)
        (place.state / f"policy/profiles/{target}.toml").write_text(text)
    with place.up():
        monkeypatch.chdir(tree)
        alone = place.command("run", "--profile", "database_url", "--", sys.executable, "app.py")
        assert alone.returncode == 1 and "invalid DSN" in alone.stderr, alone.stderr
        run = ("run", "--profile", "database_url", "--resolve", ".env", "--", sys.executable, "app.py")
        started = place.command(*run)
        assert started.stdout == "orders 10000 as shop_app\n", started.stderr
        assert "standing: it lives on after the task" in started.stderr and PASSWORD not in started.stderr
        run = ("run", "--profile", "github_token", "--resolve", ".mcp.json", "--", sys.executable, "agent.py")
        agent = place.command(*run)
        assert agent.stdout == hashlib.sha256(TOKEN.encode()).hexdigest() + "\n", agent.stderr
        assert TOKEN not in agent.stderr
        task = re.search(r"task (t[a-z2-7]{20}) until", agent.stderr)
        assert task
        until(lambda: place.command("receipt", "show", task[1]).returncode == 0)
        assert "it is standing" in place.done("receipt", "show", task[1]), "it is not said to be dead"
    assert found(tree, TOKEN) == found(tree, PASSWORD) == []
    for id in reversed(ids):
        assert place.command("fix", id, "--undo").returncode == 2, "secrets come back only when they are asked for"
        assert place.command("fix", id, "--undo", "--with-secrets").returncode == 1, "and somebody says yes"
        assert found(tree, TOKEN) == [] or found(tree, PASSWORD) == []
        place.done("fix", id, "--undo", "--with-secrets", "--yes")
    assert {one: one.read_bytes() for one in before} == before
    journal = (place.state / "fixes.jsonl").read_text()
    assert journal.count('"with_secrets": true') == 2 and not found(place.state / "keys/fixes", TOKEN)
    assert stat.S_IMODE((place.state / "fixes.jsonl").stat().st_mode) == 0o600


def test_the_old_login_dies_at_its_server_when_a_person_says_so(place, tmp_path):
    database, tree = running(), tmp_path / "shop"
    asyncio.run(login(database, ANOTHER))
    tree.mkdir()
    (tree / ".env").write_text(f"DATABASE_URL=postgresql://shop_app:{ANOTHER}@127.0.0.1:{database.port}/shop\n")
    (id,) = re.findall(r"NHI2:2025  ([0-9a-f]{12})", place.done("discover", str(tree)))
    place.done("fix", id, str(tree))
    assert asyncio.run(database.lets_in("shop_app", ANOTHER))
    server = ("--kill", "--postgres", f"postgresql:///shop?host={database.folder}&port={database.port}&user=postgres")
    asked = place.command("fix", id, *server)
    assert asked.returncode == 1 and "type yes" in asked.stderr and asyncio.run(database.lets_in("shop_app", ANOTHER))
    ended = place.command("fix", id, *server, "--yes")
    assert ended.returncode == 0 and "shop_app is dead: it was let in before" in ended.stderr, ended.stderr
    assert not asyncio.run(database.lets_in("shop_app", ANOTHER)) and ANOTHER not in ended.stdout + ended.stderr
    assert "is dead already" in place.command("fix", id, *server, "--yes").stderr


# --- what is in the log ----------------------------------------------------------------------------


@pytest.fixture
def short() -> Iterator[Place]:
    """A place whose name is short enough for a socket, where `up` can run."""
    with tempfile.TemporaryDirectory(prefix="tb-", dir="/tmp") as path:
        made = Place(Path(path) / "home")
        (made.state / "taskbound.toml").write_text(ANY)
        yield made


def facts(place: Place) -> list[dict[str, Any]]:
    """Return what is recorded of fixes and logins, with what stands in the bodies, in order."""
    asked = """SELECT e.kind, e.thing, e.by, e.request, b.body FROM events e JOIN bodies b ON b.event = e.id
        WHERE e.noun IN ('fix', 'login') ORDER BY e.id"""
    with closing(sqlite3.connect(f"file:{place.state}/taskbound.db?mode=ro", uri=True)) as at:
        names = ("kind", "id", "by", "request")
        return [dict(zip(names, row[:4], strict=True)) | json.loads(row[4])["detail"] for row in at.execute(asked)]


def kinds(place: Place) -> list[str]:
    return [one["kind"] for one in facts(place)]


def stored(place: Place) -> bytes:
    return b"".join(file.read_bytes() for file in place.state.glob("taskbound.db*"))


def leak(folder: Path, url: str) -> Path:
    folder.mkdir()
    file = folder / ".env"
    file.write_text(f"DATABASE_URL={url}\n")
    return file


def id_of(place: Place, folder: Path) -> str:
    found: set[str] = set(re.findall(r"NHI[0-9]+:2025  ([0-9a-f]{12})", place.done("discover", str(folder))))
    (id,) = found
    return id


def test_a_fix_and_what_puts_it_back_are_in_the_log_before_and_after(short, tmp_path):
    file = leak(tmp_path / "shop", f"postgresql://shop_app:{ANOTHER}@db.shop.example:5432/shop")
    before = file.read_bytes()
    with short.up() as about:
        id = id_of(short, file.parent)
        short.done("fix", id, str(file.parent))
        short.done("fix", id, "--undo", "--with-secrets", "--yes")
        until(lambda: kinds(short) == ["fix.begun", "fix.done"] * 2)
        begun, done, undoing, undone = facts(short)
        assert {one["id"] for one in facts(short)} == {id}
        assert {one["by"].partition("/human/")[2] for one in facts(short)} == {about["operator"].partition("/")[2]}
        text = {"files": [str(file)], "targets": ["database_url"], "with_secrets": False, "act": "fix"}
        assert text.items() <= begun.items()
        assert (done["failed"], done["begun"]) == ("", begun["request"])
        assert (undoing["act"], undoing["with_secrets"]) == ("undo", True)
        assert undone["failed"] == ""
    assert file.read_bytes() == before
    assert not [form for form in forms(ANOTHER) if form in stored(short)]
    assert ANOTHER not in (short.state / "fixes.jsonl").read_text()


def test_a_fix_that_fails_in_the_middle_is_in_the_log_as_failed_and_the_file_is_as_it_was(short, tmp_path):
    """The disk takes the value, the record and the journal, and not the file: a limit stands for a full one."""
    file = leak(tmp_path / "shop", f"postgresql://shop_app:{ANOTHER}@db.shop.example:5432/shop")
    file.write_text(file.read_text() + "# so much else\n" * 4096)
    before, words = file.read_bytes(), ("fix", "ID", str(file.parent))
    with short.up():
        words = ("fix", id_of(short, file.parent), str(file.parent))
        ran = subprocess.run(
            [*COMMAND, *words], env=short.environ, capture_output=True, text=True, timeout=60, check=False,
            preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (32 << 10, 32 << 10)),
        )  # fmt: skip
        assert ran.returncode == 1 and "File too large" in ran.stderr, ran.stderr
        assert file.read_bytes() == before and [one.name for one in file.parent.iterdir()] == [".env"]
        until(lambda: kinds(short) == ["fix.begun", "fix.failed"])
        assert facts(short)[1]["failed"] == "File too large"
        short.done(*words)
        until(lambda: kinds(short) == ["fix.begun", "fix.failed", "fix.begun", "fix.done"])
    assert ANOTHER.encode() not in file.read_bytes() + stored(short)


def test_a_fix_that_is_killed_in_the_middle_stands_in_the_log_as_begun(short, tmp_path):
    file = leak(tmp_path / "shop", f"postgresql://shop_app:{ANOTHER}@db.shop.example:5432/shop")
    before = file.read_bytes()
    with short.up():
        id = id_of(short, file.parent)
        (short.state / "keys/static").mkdir(parents=True, exist_ok=True)
        with (short.state / "keys/static.lock").open("ab") as held:
            fcntl.flock(held, fcntl.LOCK_EX)  # there it waits
            running = subprocess.Popen([*COMMAND, "fix", id, str(file.parent)], env=short.environ)
            until(lambda: kinds(short) == ["fix.begun"], within=30)
            running.send_signal(signal.SIGKILL)
            running.wait(10)
        assert file.read_bytes() == before and kinds(short) == ["fix.begun"]


@contextmanager
def stopped(pid: int) -> Iterator[None]:
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


def test_nothing_is_begun_that_the_log_does_not_take(short, tmp_path):
    """A server that runs and does not answer is no reason to go on without it; one that does not run is."""
    file = leak(tmp_path / "shop", f"postgresql://shop_app:{ANOTHER}@db.shop.example:5432/shop")
    before = file.read_bytes()
    with short.up() as about:
        id = id_of(short, file.parent)
        with stopped(about["pid"]):
            refused = short.command("fix", id, str(file.parent))
        assert refused.returncode == 3 and "no answer from" in refused.stderr, refused.stderr
        assert file.read_bytes() == before and not (short.state / "keys/static").exists()
    short.done("fix", id, str(file.parent))
    assert file.read_bytes() != before


def test_the_end_of_an_old_login_is_in_the_log_with_what_its_server_said(short, tmp_path):
    database = running()
    asyncio.run(login(database, ANOTHER))
    file = leak(tmp_path / "shop", f"postgresql://shop_app:{ANOTHER}@127.0.0.1:{database.port}/shop")
    server = ("--kill", "--postgres", f"postgresql:///shop?host={database.folder}&port={database.port}&user=postgres")
    with short.up():
        id = id_of(short, file.parent)
        short.done("fix", id, str(file.parent))
        short.done("fix", id, *server, "--yes")
        assert not asyncio.run(database.lets_in("shop_app", ANOTHER))
        until(lambda: kinds(short) == ["fix.begun", "fix.done", "login.fell_due", "login.ended"])
        due, ended = facts(short)[2:]
        assert (due["issuer"], due["login"]) == (f"postgresql://localhost:{database.port}", "shop_app")
        assert (ended["login"], ended["before"], ended["after"]) == ("shop_app", "alive", "dead")
    assert not [form for form in forms(ANOTHER) if form in stored(short)]


def test_an_old_login_of_a_redis_dies_there_and_nobody_stays_connected(short, redis: Redis, tmp_path):
    assert redis.ask("ACL", "SETUSER", "cart", "on", "resetpass", f">{ANOTHER}", "~*", "+@all") == "OK"
    file = leak(tmp_path / "shop", redis.url("cart", ANOTHER))
    server = ("--kill", "--redis", f"redis://keeper@127.0.0.1:{redis.port}", "--yes")
    with short.up(), socket.create_connection(("127.0.0.1", redis.port), 10) as session:
        session.sendall(f"AUTH cart {ANOTHER}\r\n".encode())
        assert session.recv(64) == b"+OK\r\n"
        id = id_of(short, file.parent)
        short.done("fix", id, str(file.parent))
        assert redis.lets_in("cart", ANOTHER), "it lives until a person says so"
        unasked = short.command("fix", id, *server, REDISCLI_AUTH="wrong")
        assert unasked.returncode == 3 and redis.lets_in("cart", ANOTHER), unasked.stderr
        ended = short.command("fix", id, *server, REDISCLI_AUTH=ADMIN_PASSWORD)
        assert ended.returncode == 0 and "cart is dead: it was let in before" in ended.stderr, ended.stderr
        assert not redis.lets_in("cart", ANOTHER)
        assert session.recv(64) == b"", "who was connected is not any more"
        expected = ["fix.begun", "fix.done", "login.fell_due", "login.overdue", "login.fell_due", "login.ended"]
        assert kinds(short) == expected
        assert facts(short)[-1]["issuer"] == f"redis://localhost:{redis.port}"
        assert "is dead already" in short.command("fix", id, *server, REDISCLI_AUTH=ADMIN_PASSWORD).stderr
    assert not [form for form in forms(ANOTHER) if form in stored(short)]
    redis.ask("ACL", "DELUSER", "cart")


def test_a_login_of_the_same_name_at_another_server_lives(short, redis: Redis, tmp_path):
    """localhost in a file may be another machine: a server that refuses what was found is not the one."""
    database = running()
    asyncio.run(login(database, "of-the-server-that-was-named"))
    assert redis.ask("ACL", "SETUSER", "cart", "on", "resetpass", ">another-word-of-it", "~*", "+@all") == "OK"
    named = {
        f"postgresql://shop_app:{ANOTHER}@localhost:{database.port}/shop": (
            "--postgres",
            f"postgresql:///shop?host={database.folder}&port={database.port}&user=postgres",
        ),
        redis.url("cart", ANOTHER): ("--redis", f"redis://keeper@localhost:{redis.port}"),
    }
    for number, (url, server) in enumerate(named.items()):
        file = leak(tmp_path / str(number), url)
        id = id_of(short, file.parent)
        short.done("fix", id, str(file.parent))
        said = short.command("fix", id, "--kill", *server, "--yes", REDISCLI_AUTH=ADMIN_PASSWORD)
        assert said.returncode == 0 and "is dead already" in said.stderr, said.stderr
    assert asyncio.run(database.lets_in("shop_app", "of-the-server-that-was-named"))
    assert redis.lets_in("cart", "another-word-of-it")
    redis.ask("ACL", "DELUSER", "cart")
