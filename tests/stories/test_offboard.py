"""Offboarding at a real `up` and a real PostgreSQL: an agent, and a person, leave nothing that lets them in."""

# ruff: noqa: F811 - fixtures are imported by name

import asyncio
import json
import os
import signal
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from taskbound.app.places import login as login_name
from taskbound_sdk import Client
from tests.app.test_fix import forms
from tests.postgres.server import Server, server  # noqa: F401
from tests.redis.server import redis  # noqa: F401
from tests.stories.place import ANY, COMMAND, Place, until
from tests.stories.test_findings import WORD, ground, login, place  # noqa: F401

PROFILE = """
purpose = "look at the shop"
owner = "human/{operator}"
review_by = 2099-05-01
life = "10m"

[[grant]]
lease = "shopdb/reader"
"""
POLICY = """
@id("work") permit(principal, action in [Action::"task/open", Action::"lease/issue"], resource);
"""


def started_with(ground: Path, url: str) -> Path:
    """Write what an agent is started with: an MCP server that holds a login of the application."""
    folder = ground / "nightly"
    folder.mkdir()
    env = {"DATABASE_URL": url}
    (folder / ".mcp.json").write_text(json.dumps({"mcpServers": {"shop": {"command": "shop", "env": env}}}))
    return folder


@pytest.fixture
def work(ground: Path, server: Server) -> Path:
    return started_with(ground, server.url("shop_app", WORD))


def begun(place: Place, operator: str) -> tuple[str, dict[str, Any]]:
    """Register an agent, let it work, and give it a lease; return the task and the login."""
    place.done("identity", "register", "agent/nightly", "--owner", operator, "--environment", "dev")
    opened = json.loads(place.done("task", "open", "--profile", "look", "--agent", "nightly", "--json"))
    agent = Client(f"unix:{place.state}/run/api.sock", opened["token"])
    return opened["task"], agent.lease(opened["task"], "shopdb/reader")


def with_policy(place: Place) -> None:
    place.done("policy", "init")
    for folder in ("profiles", "organisation"):
        (place.state / "policy" / folder).mkdir(exist_ok=True)
    (place.state / "policy/profiles/look.toml").write_text(PROFILE.format(operator=login_name()))
    (place.state / "policy/organisation/work.cedar").write_text(POLICY)


async def test_an_agent_is_offboarded_and_nothing_of_it_is_let_in(place, server, login, work, ground):
    assert await server.lets_in("shop_app", WORD)
    with_policy(place)
    with place.up() as about:
        task, lease = begun(place, about["operator"])
        leased = lease["credential"]
        assert await server.lets_in(leased["user"], leased["password"])
        words = ("offboard", "agent/nightly", str(work))
        dry = place.done(*words, "--dry-run")
        assert "WOULD OFFBOARD  agent/nightly  is registered" in dry and f"{task}  open" in dry
        assert await server.lets_in("shop_app", WORD), "nothing is changed"
        record = ground / "record"
        told = place.done(*words, "--output", str(record))
        assert f"{task}  ended" in told and "agent/nightly  retired, in the log as identity.offboarded" in told
        assert f"shop_app at postgresql://localhost:{server.port}  alive -> dead" in told
        assert record.read_text() == told and record.stat().st_mode & 0o777 == 0o600
        assert WORD not in told and "no exported list was looked at" in told
        assert not await server.lets_in("shop_app", WORD)
        assert not await server.lets_in(leased["user"], leased["password"])
        (work / ".mcp.json").unlink()
        until(lambda: kinds(place).count("identity.offboarded") == 1)
    assert WORD.encode() not in b"".join(file.read_bytes() for file in place.state.glob("taskbound.db*"))


async def test_a_finding_about_a_login_that_was_offboarded_closes_when_its_place_is_empty_too(
    place, server, login, work
):
    with_policy(place)
    with place.up() as about:
        begun(place, about["operator"])
        place.done("discover", str(work))
        place.done("offboard", "agent/nightly", str(work))
        assert "0 closed, 0 gone" in place.done("discover", str(work)), "it is dead, and lies there still"
        (work / ".mcp.json").unlink()
        assert " closed, 0 gone and kept open" in place.done("discover", str(work))
        assert {one["state"] for one in place.client.request("GET", "/v1/findings")["findings"]} == {"closed"}


async def test_a_person_is_offboarded_with_what_they_own_and_what_a_person_must_do_is_said(
    place, server, login, work, ground
):
    exports = ground / "exports"
    exports.mkdir()
    (exports / "people.csv").write_text("email,login,left on\nkaya@shop.example,kaya,\n")
    with_policy(place)
    with place.up() as about:
        place.done("identity", "register", "human/kaya", "--when", "uid=4711")
        place.done("identity", "register", "agent/nightly", "--owner", "human/kaya", "--when", "path=/x")
        told = place.done("offboard", "human/kaya", str(work), "--export", str(exports))
        assert "human/kaya  retired" in told and "agent/nightly  suspended" in told
        assert f"shop_app at postgresql://localhost:{server.port}  alive -> dead" in told
        assert "kaya@shop.example: deactivate the account in the directory" in told
        assert "agent/nightly: give it a living owner in registrations.toml" in told
        refused = place.command("offboard", about["operator"])
        assert (refused.returncode, "operates this installation" in refused.stderr) == (1, True)
        unknown = place.command("offboard", "human/nobody", str(work))
        assert (unknown.returncode, "nothing tells of human/nobody" in unknown.stderr) == (2, True)


async def test_a_login_that_others_hold_too_lives_and_is_left_to_a_person(place, server, login, work):
    (work / ".github/workflows").mkdir(parents=True)
    flow = f"on: push\njobs:\n  a:\n    runs-on: x\n    env:\n      DATABASE_URL: {server.url('shop_app', WORD)}\n"
    (work / ".github/workflows/deploy.yml").write_text(f"{flow}    steps: []\n")
    with_policy(place)
    with place.up() as about:
        begun(place, about["operator"])
        told = place.done("offboard", "agent/nightly", str(work))
    assert "it breaks ci:deploy.yml@nightly, which holds it too" in told
    assert await server.lets_in("shop_app", WORD)


def test_a_login_of_a_redis_that_the_configuration_names_is_ended_too(place, redis, ground):
    assert redis.ask("ACL", "SETUSER", "cart", "on", f">{WORD}", "~*", "+@all") == "OK"
    folder, admin = ground / "nightly", place.state / "redis"
    folder.mkdir()
    env = {"REDIS_URL": redis.url("cart", WORD)}
    (folder / ".mcp.json").write_text(json.dumps({"mcpServers": {"cart": {"command": "cart", "env": env}}}))
    admin.write_text(redis.admin.reveal())
    admin.chmod(0o600)
    (place.state / "taskbound.toml").write_text(f'servers = ["file:{admin}"]\n{ANY}')
    with place.up() as about:
        place.done("identity", "register", "agent/nightly", "--owner", about["operator"], "--environment", "dev")
        assert redis.lets_in("cart", WORD)
        told = place.done("offboard", "agent/nightly", str(folder))
    assert f"cart at redis://localhost:{redis.port}  alive -> dead" in told
    assert not redis.lets_in("cart", WORD)


def test_a_login_of_an_agent_that_was_offboarded_before_its_owner_is_found_with_them(place, redis, ground):
    assert redis.ask("ACL", "SETUSER", "cart", "on", "resetpass", f">{WORD}", "~*", "+@all") == "OK"
    folder, admin = ground / "nightly", place.state / "redis"
    folder.mkdir()
    admin.write_text(redis.admin.reveal())
    admin.chmod(0o600)
    (place.state / "taskbound.toml").write_text(f'servers = ["file:{admin}"]\n{ANY}')
    with place.up():
        place.done("identity", "register", "human/kaya", "--when", "uid=4711")
        place.done("identity", "register", "agent/nightly", "--owner", "human/kaya", "--when", "path=/x")
        place.done("offboard", "agent/nightly")
        env = {"REDIS_URL": redis.url("cart", WORD)}
        (folder / ".mcp.json").write_text(json.dumps({"mcpServers": {"cart": {"command": "cart", "env": env}}}))
        told = place.done("offboard", "human/kaya", str(folder))
    assert "agent/nightly  retired" in told and "give it a living owner" not in told
    assert f"cart at redis://localhost:{redis.port}  alive -> dead" in told
    assert not redis.lets_in("cart", WORD)


@pytest.mark.parametrize("word", ["q7%Vb2+xT9m:Zr@4Lw", WORD], ids=["percent-encoded", "plain"])
async def test_a_login_ends_where_what_was_found_of_it_is_let_in(place, server, login, ground, word):
    await login.execute(f"ALTER ROLE shop_app PASSWORD '{word}'")
    started_with(ground, server.url("shop_app", word))
    with_policy(place)
    with place.up() as about:
        place.done("identity", "register", "agent/nightly", "--owner", about["operator"], "--environment", "dev")
        told = place.done("offboard", "agent/nightly", str(ground / "nightly"))
        assert f"shop_app at postgresql://localhost:{server.port}  alive -> dead" in told
        assert not await server.lets_in("shop_app", word)
        assert logged(place) == ["login.fell_due", "login.ended"]
        again = place.done("offboard", "agent/nightly", str(ground / "nightly"))
        assert f"shop_app at postgresql://localhost:{server.port}  dead -> dead" in again
    stored = b"".join(file.read_bytes() for file in place.state.glob("taskbound.db*"))
    assert not [one for one in forms(word) if one in stored]


async def test_a_login_of_that_name_lives_where_the_file_means_another_machine(place, server, login, redis, ground):
    """Each who reads localhost in a checkout stands before a machine of their own."""
    assert redis.ask("ACL", "SETUSER", "cart", "on", "resetpass", f">{WORD}", "~*", "+@all") == "OK"
    env = {"DATABASE_URL": server.url("shop_app", "x9Kq2ZtR5wXc9Lm7")}
    env |= {"REDIS_URL": redis.url("cart", "u8Kq2ZtR5wXc9Lm3")}
    folder, admin = ground / "nightly", place.state / "redis"
    folder.mkdir()
    (folder / ".mcp.json").write_text(json.dumps({"mcpServers": {"shop": {"command": "shop", "env": env}}}))
    admin.write_text(redis.admin.reveal())
    admin.chmod(0o600)
    text = (place.state / "taskbound.toml").read_text()
    (place.state / "taskbound.toml").write_text(f'servers = ["file:{admin}"]\n{text}')
    with_policy(place)
    with place.up() as about:
        place.done("identity", "register", "agent/nightly", "--owner", about["operator"], "--environment", "dev")
        for more, status in ((("--dry-run",), 0), ((), 1)):
            said = place.command("offboard", "agent/nightly", str(folder), *more)
            told = said.stdout
            assert said.returncode == status, "it ends with 1 where something is not proven"
            for one in (f"postgresql://localhost:{server.port}", f"redis://localhost:{redis.port}"):
                assert (
                    f"cannot be verified: {one} (what was found is refused there: it may be of another machine)" in told
                )
        assert logged(place) == []
    assert await server.lets_in("shop_app", WORD) and redis.lets_in("cart", WORD)


async def test_what_was_cut_off_in_the_middle_is_in_the_log_and_the_next_run_ends_it(place, server, login, work):
    """The process dies while the server does not let it end the login; the file is gone when it is done again."""
    with_policy(place)
    with place.up(stop=signal.SIGKILL) as about:
        begun(place, about["operator"])
        async with login.transaction():
            await login.execute("ALTER ROLE shop_app CONNECTION LIMIT 7")  # holds the role: nobody else alters it
            running = await asyncio.create_subprocess_exec(
                *COMMAND, "offboard", "agent/nightly", work, env=place.environ
            )
            until(lambda: logged(place) == ["login.fell_due"], within=30)
            os.kill(about["pid"], signal.SIGKILL)
            await asyncio.wait_for(running.wait(), 30)
    (work / ".mcp.json").unlink()
    assert await server.lets_in("shop_app", WORD)
    with place.up():
        told = place.done("offboard", "agent/nightly")
        assert f"shop_app at postgresql://localhost:{server.port}  alive -> dead" in told
        until(lambda: kinds(place).count("identity.offboarded") == 1)
        assert logged(place) == ["login.fell_due", "login.fell_due", "login.ended"]
    assert not await server.lets_in("shop_app", WORD)


def logged(place: Place) -> list[str]:
    """Return what is recorded of logins, sealed or not."""
    with closing(sqlite3.connect(f"file:{place.state}/taskbound.db?mode=ro", uri=True)) as at:
        return [kind for (kind,) in at.execute("SELECT kind FROM events WHERE noun = 'login' ORDER BY id")]


def kinds(place: Place) -> list[str]:
    return [one["kind"] for one in place.client.request("GET", "/v1/events?limit=500")["events"]]
