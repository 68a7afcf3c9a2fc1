"""Offboarding at a real `up` and a real PostgreSQL: an agent, and a person, leave nothing that lets them in."""

# ruff: noqa: F811 - fixtures are imported by name

import json
from pathlib import Path
from typing import Any

import pytest

from taskbound.app.places import login as login_name
from taskbound_sdk import Client
from tests.postgres.server import Server, server  # noqa: F401
from tests.redis.server import redis  # noqa: F401
from tests.stories.place import ANY, Place, until
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


@pytest.fixture
def work(ground: Path, server: Server) -> Path:
    """What an agent is started with: an MCP server that holds a login of the application."""
    folder = ground / "nightly"
    folder.mkdir()
    env = {"DATABASE_URL": server.url("shop_app", WORD)}
    (folder / ".mcp.json").write_text(json.dumps({"mcpServers": {"shop": {"command": "shop", "env": env}}}))
    return folder


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
    assert "it breaks ci:deploy.yml@nightly, which hold it too" in told
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


def kinds(place: Place) -> list[str]:
    return [one["kind"] for one in place.client.request("GET", "/v1/events?limit=500")["events"]]
