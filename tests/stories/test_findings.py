"""Findings at a real `up` and a real PostgreSQL: what a scan saw is kept until it is gone and dead."""

# ruff: noqa: F811 - fixtures are imported by name

import json
import tempfile
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tests.postgres.server import Server, server  # noqa: F401
from tests.stories.place import ANY, Place, until

WORD = "Zq7vR2kXt9Lm4WnB"
TARGET = """
[[target]]
name = "shopdb"
provider = "postgres"
admin = "file:{admin}"
owner = "shop_owner"
quarantine = "shop_quarantine"
environment = "dev"
[target.grants.reader]
member_of = ["shop_reader"]
"""


@pytest.fixture
def ground() -> Iterator[Path]:
    """A folder with a name that is short enough for a socket."""
    with tempfile.TemporaryDirectory(prefix="tb-", dir="/tmp") as path:
        yield Path(path)


@pytest.fixture
def place(ground: Path, server: Server) -> Place:
    made = Place(ground / "home")
    admin = made.state / "admin"
    admin.write_text(server.admin.reveal())
    admin.chmod(0o600)
    (made.state / "taskbound.toml").write_text(ANY + TARGET.format(admin=admin))
    return made


@pytest.fixture
async def login(server: Server):
    """A login of an application, which the broker may end."""
    superuser = await server.superuser()
    await superuser.execute(
        f"CREATE ROLE shop_app LOGIN PASSWORD '{WORD}'; GRANT shop_app TO taskbound_broker WITH ADMIN TRUE"
    )
    yield superuser
    await superuser.execute("DROP ROLE IF EXISTS shop_app")
    await superuser.close()


def leak(folder: Path, server: Server) -> Path:
    folder.mkdir(exist_ok=True)
    file = folder / ".env"
    file.write_text(f"DATABASE_URL={server.url('shop_app', WORD)}\n")
    return file


def kinds(place: Place) -> list[str]:
    events = place.client.request("GET", "/v1/events?limit=500")["events"]
    return [one["kind"] for one in events if one["noun"] == "finding"]


async def test_a_finding_is_closed_once_it_is_gone_from_its_place_and_dead_at_its_server(place, server, login, ground):
    work = ground / "work"
    file = leak(work, server)
    assert "in the registry" not in place.done("discover", str(work)), "nothing runs"
    with place.up():
        said = place.done("discover", str(work))
        assert "in the registry: 1 raised, 0 known, 0 closed, 0 gone and kept open" in said
        assert "in the registry: 0 raised, 1 known, 0 closed" in place.done("discover", str(work))
        (finding,) = place.client.request("GET", "/v1/findings")["findings"]
        where = f"postgresql://localhost:{server.port}"
        assert (finding["state"], finding["places"][0]["path"]) == ("raised", str(file))
        assert [(one["issuer"], one["login"]) for one in finding["issued"]] == [(where, "shop_app")]
        file.write_text("# nothing\n")
        assert f"1 gone and kept open (shop_app still logs in at {where})" in place.done("discover", str(work))
        (ground / "empty").mkdir()
        assert "0 gone and kept open" in place.done("discover", str(ground / "empty")), "it did not look there"
        await login.execute("ALTER ROLE shop_app NOLOGIN")
        done = place.command("discover", str(work), "--format", "json")
        assert "in the registry: 0 raised, 0 known, 1 closed, 0 gone and kept open" in done.stderr
        json.loads(done.stdout)
        until(lambda: kinds(place) == ["finding.raised", "finding.raised", "finding.closed"])
    stored = b"".join(file.read_bytes() for file in place.state.glob("taskbound.db*"))
    assert WORD.encode() not in stored and b"shop_app" in stored


async def test_without_a_way_to_ask_it_stays_open(place, server, login, ground):
    work = ground / "work"
    file = leak(work, server)
    (place.state / "taskbound.toml").write_text(ANY)
    with place.up():
        place.done("discover", str(work))
        file.unlink()
        await login.execute("ALTER ROLE shop_app NOLOGIN")
        said = place.done("discover", str(work))
        assert f"1 gone and kept open (cannot be verified: postgresql://localhost:{server.port})" in said


async def test_a_risk_is_accepted_by_a_living_person_until_a_day_and_open_again_after_it(place, server, ground):
    work = ground / "work"
    leak(work, server)
    with place.up() as about:
        place.done("discover", str(work))
        (finding,) = place.client.request("GET", "/v1/findings")["findings"]
        day = (datetime.now(UTC) + timedelta(days=30)).date().isoformat()
        accept = ("risk", "accept", finding["seen_as"], "--until", day, "--reason", "=a test account", "--owner")
        refused = place.command(*accept, "human/nobody")
        assert (refused.returncode, "human/nobody is not registered" in refused.stderr) == (1, True)
        assert f"accepted by {about['operator']}" in place.done(*accept, about["operator"])
        assert place.done("risk", "list").startswith("residual risk: accepted: 1 critical")
        assert '"\'=a test account"' in place.done("risk", "list", "--format", "csv")
        assert "<h2>Accepted: 1</h2>" in place.done("risk", "list", "--format", "html")
        soon = (datetime.now(UTC) + timedelta(seconds=1)).isoformat()
        body = {"owner": about["operator"], "until": soon, "reason": "for a second"}
        place.client.request("POST", f"/v1/findings/{finding['id']}/accept", body)
        events = ["finding.raised", "finding.accepted", "finding.accepted", "finding.raised"]
        until(lambda: kinds(place) == events, within=40)  # what is not sealed yet is not shown
        assert place.done("risk", "list").startswith("residual risk: expired: 1 critical")
