"""`taskbound discover` and `graph reach` with `--postgres` and `--redis`, at a real PostgreSQL and a real Redis."""

import asyncio
import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from taskbound.cli import main
from tests.postgres.server import Server as Postgres
from tests.postgres.server import server  # noqa: F401
from tests.redis.server import (
    READER,
    READER_PASSWORD,
    redis,  # noqa: F401
)
from tests.redis.server import Server as Redis

WORD, OTHER = "ghq8Fk2Lw91xZtR4", "Vb6Kp0Qx8MndW3ys"
LOOKS, LOOKS_WITH = "servers_looker", "kq9Zt4Lw82xFhR7g"
Say = Callable[..., tuple[int, str, str]]


def arrange(server: Postgres, *statements: str) -> None:  # noqa: F811
    async def run() -> None:
        root = await server.superuser()
        for statement in statements:
            await root.execute(statement)
        await root.close()

    asyncio.run(run())


@pytest.fixture
def say(
    server: Postgres,  # noqa: F811
    redis: Redis,  # noqa: F811
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> Iterator[Say]:
    away = [f"DROP ROLE IF EXISTS {name}" for name in ("servers_app", "servers_boss", LOOKS)]
    arrange(
        server,
        *away,
        f"CREATE ROLE {LOOKS} SUPERUSER LOGIN PASSWORD '{LOOKS_WITH}' VALID UNTIL '2040-01-01'",
        f"CREATE ROLE servers_app LOGIN PASSWORD '{WORD}' IN ROLE shop_writer",
        f"CREATE ROLE servers_boss LOGIN PASSWORD '{OTHER}' IN ROLE pg_write_server_files",
    )
    assert redis.ask("ACL", "SETUSER", "servers_open", "on", "nopass", "~*", "+@all") == "OK"
    assert redis.ask("ACL", "SETUSER", "servers_old", "on", f">{OTHER}", ">Vb6-older", "~app:*", "+@read") == "OK"
    monkeypatch.setenv("TASKBOUND_HOME", str(tmp_path / "state"))
    monkeypatch.setenv("PGPASSWORD", LOOKS_WITH)
    monkeypatch.setenv("REDISCLI_AUTH", READER_PASSWORD)
    (tmp_path / "work" / ".git").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "work")
    agent = {"command": "npx", "args": ["s"], "env": {"DB": server.url("servers_app", WORD)}}
    Path(".mcp.json").write_text(json.dumps({"mcpServers": {"shop": agent}}, indent=1))
    lines = [f"ADMIN_DATABASE_URL={server.url('servers_boss', OTHER, 'postgres').replace('127.0.0.1', 'localhost')}"]
    Path(".env").write_text("\n".join([*lines, f"CACHE_URL={redis.url('servers_old', OTHER)}/0", ""]))

    def say(command: str, *words: str) -> tuple[int, str, str]:
        capsys.readouterr()
        with pytest.MonkeyPatch.context() as patch:
            patch.chdir(tmp_path / "work")
            servers = ("--postgres", f"postgresql://{LOOKS}@127.0.0.1:{server.port}/shop", "--redis", redis.url(READER))
            status = main([command, *words, *servers])
        told = capsys.readouterr()
        for value in (WORD, OTHER, LOOKS_WITH, READER_PASSWORD):
            assert value not in told.out + told.err
        return status, told.out, told.err

    yield say
    redis.ask("ACL", "DELUSER", "servers_open", "servers_old")
    arrange(server, *away)


def test_what_servers_say_is_joined_with_what_lies_in_files(say: Say, server: Postgres, redis: Redis) -> None:  # noqa: F811
    status, out, _ = say("discover", ".", "--format", "json")
    report = json.loads(out)
    assert status == 0 and report["counts"]["servers"] == 2
    found = {(one["case"], *sorted(one["subjects"])): one for one in report["findings"]}
    where, cache = f"127.0.0.1:{server.port}", f"127.0.0.1:{redis.port}"
    boss = f"postgres-role:servers_boss@{where}"
    (lies,) = [one for key, one in found.items() if key[0] == "credential-of-administrator-in-file"]
    assert boss in lies["subjects"] and lies["nhi"] == "NHI5:2025" and lies["places"][0]["path"] == ".env"
    assert lies["places"][1]["path"] == f"postgresql://{where}/pg_roles"
    assert found["login-may-do-everything", boss]["says"].endswith(
        "is a member of pg_write_server_files: it may do everything at its server."
    )
    assert ("login-may-do-everything", f"postgres-role:postgres@{where}") not in found
    assert found["login-without-password", f"redis-user:servers_open@{cache}"]["severity"] == "critical"
    assert found["login-with-old-password", f"redis-user:servers_old@{cache}"]["nhi"] == "NHI7:2025"
    assert found["database-trusts-its-machine", f"postgresql://{where}"]["places"] == [
        {"path": f"postgresql://{where}/pg_hba.conf", "line": 2}
    ]
    (endless,) = [one for key, one in found.items() if key[0] == "login-without-end"]
    assert f"postgres-role:servers_app@{where}" in endless["subjects"]
    assert f"postgres-role:{LOOKS}@{where}" not in endless["subjects"]


def test_reach_says_what_a_role_may_do_with_what_an_agent_holds(say: Say, server: Postgres) -> None:  # noqa: F811
    status, out, _ = say("graph", "reach", "mcp:shop@work", ".")
    where = f"127.0.0.1:{server.port}"
    may = f"DELETE, INSERT, SELECT, UPDATE on shop.public.orders at postgresql://{where}"
    assert status == 0 and f"  {may}\n" in out
    assert f"    postgres-password …ZtR4 proves postgres-role:servers_app@{where}  .mcp.json:" in out
    assert f"    postgres-role:servers_app@{where} is a member of postgres-role:shop_writer@{where}" in out
    assert f"    postgres-role:shop_writer@{where} may do {may}" in out


def test_a_report_in_sarif_and_as_a_table_tells_of_servers(say: Say, server: Postgres) -> None:  # noqa: F811
    _, out, _ = say("discover", ".")
    assert " and 2 servers (" in out.splitlines()[0] and "NOT READ, OR NOT TO THE END  1 server" in out
    log = json.loads(say("discover", ".", "--format", "sarif")[1])
    places = [one["locations"][0]["physicalLocation"] for one in log["runs"][0]["results"]]
    assert all(one["region"]["startLine"] > 0 for one in places)
    assert f"postgresql%3A//127.0.0.1%3A{server.port}/pg_hba.conf" in [one["artifactLocation"]["uri"] for one in places]
    assert all(len(one["properties"]["tags"]) == 1 for one in log["runs"][0]["results"])


def test_servers_alone_are_looked_at_without_a_folder(say: Say, redis: Redis) -> None:  # noqa: F811
    _, out, _ = say("discover", "--format", "json")
    report = json.loads(out)
    assert report["counts"]["files"] == 0 and report["credentials"] == []
    told = {one["id"].partition("@")[0]: one for one in report["identities"]}
    looks = told[f"postgres-role:{LOOKS}"]
    assert (looks["expires"][:4], looks["limit"], looks["sessions"], looks["enters"]) == ("2040", -1, 1, True)
    assert told["postgres-role:servers_app"]["member_of"] == [told["postgres-role:shop_writer"]["id"]]
    assert told["redis-user:servers_old"]["may"] == [f"-@all +@read on ~app:* at redis://127.0.0.1:{redis.port}"]


def test_an_address_with_a_password_is_refused_and_not_repeated(capsys: pytest.CaptureFixture[str]) -> None:
    for command in (["discover"], ["graph", "reach", "mcp:shop@work"]):
        assert main([*command, "--postgres", f"postgresql://app:{WORD}@127.0.0.1/shop"]) == 1
        told = capsys.readouterr()
        assert "PGPASSWORD" in told.err and WORD not in told.out + told.err


def test_who_cannot_be_reached_is_told_and_stops_nothing(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TASKBOUND_HOME", str(tmp_path / "state"))
    (tmp_path / "a.env").write_text(f"DATABASE_URL=postgres://app:{WORD}@db.corp.example:5432/pay\n")
    words = ["--postgres", "postgresql://app@127.0.0.1:9/shop", "--redis", "redis://127.0.0.1:9"]
    assert main(["discover", str(tmp_path), *words, "--format", "json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert len(report["credentials"]) == 1 and report["counts"]["servers"] == 0
    assert [one["path"] for one in report["unread"]] == ["postgresql://127.0.0.1:9", "redis://127.0.0.1:9"]
