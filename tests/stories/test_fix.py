"""After `fix` nothing under the tree holds the values, and what used them starts: an application of a real PostgreSQL,
and an agent with a real MCP server (official SDK) that it starts from its client file."""

import asyncio
import hashlib
import re
import stat
import sys
from pathlib import Path
from urllib.parse import quote

import pytest

from taskbound.app.places import login as person
from tests.app.test_fix import forms, github_token
from tests.postgres.server import running
from tests.stories.place import ANY, Place, until

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
