"""`taskbound up` on a disk of 32 MiB that is full to its last byte, with tasks that hold logins at a real PostgreSQL.

Not collected by itself: `test_full_disk` runs it in a mount namespace of its own, where the disk is mounted. State
directory, second place of checkpoints and log of the server all lie on that disk; the export does not. The judges are
the list of calls that reached the upstream, `pg_roles`, a second login, and the events in the database file.
"""

import asyncio
import contextlib
import os
import subprocess
from collections.abc import Callable, Coroutine, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import asyncpg
import httpx2
import pytest

from taskbound_sdk import Client, Refused
from tests.postgres.server import Server, running
from tests.served import Workspace, served
from tests.store.stored import check, reading
from tests.stories.place import Place, call, until

TASKS = 4
CONFIGURATION = """\
[listen]
gateway = "127.0.0.1:0"
[[upstream]]
name = "workspace"
url = "{url}/mcp"
[[target]]
name = "shopdb"
provider = "postgres"
admin = "env:SHOPDB_ADMIN"
owner = "shop_owner"
quarantine = "shop_quarantine"
environment = "dev"
assurances = ["unix", "handle"]
holders = ["agent"]
[target.grants.reader]
member_of = ["shop_reader"]
"""
PROFILE = """\
purpose = "what goes on when the disk is full"
owner = "{owner}"
review_by = 2099-01-01
life = "1h"
budget = {{ calls = 100000, leases = 9 }}
[[grant]]
tool = "workspace/echo"
when = {{ text = "any" }}
[[grant]]
lease = "shopdb/reader"
"""


class Disk:
    """The small disk, and what is on it to fill it."""

    def __init__(self, place: Path) -> None:
        self.place, self._filler = place, place / "filler"

    def room(self) -> int:
        about = os.statvfs(self.place)
        return about.f_bavail * about.f_frsize

    def fill(self) -> None:
        with self._filler.open("ab", buffering=0) as filler, contextlib.suppress(OSError):
            while True:
                filler.write(bytes(1 << 16))
        assert self.room() == 0

    def make_room(self) -> None:
        self._filler.unlink()


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    place = tmp_path / "disk"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=32m,mode=0700", "tmpfs", str(place)]
    subprocess.run(mount, check=True, capture_output=True)
    assert os.statvfs(place).f_blocks * os.statvfs(place).f_frsize == 32 << 20
    yield Disk(place)
    subprocess.run(["umount", "--lazy", str(place)], check=True)


@dataclass(frozen=True)
class Held:
    """A task with a login at the database, and a connection that is open with it."""

    task: Mapping[str, Any]
    login: "asyncpg.Connection[Any]"
    credential: Mapping[str, Any]

    @property
    def id(self) -> str:
        return str(self.task["task"])

    @property
    def role(self) -> str:
        return str(self.credential["user"])


class Story:
    """The server on its disk, its tasks, and who looks at it from outside."""

    def __init__(self, place: Place, disk: Disk, workspace: Workspace, database: Server) -> None:
        self.place, self.disk, self.workspace, self.database = place, disk, workspace, database
        self.about: Mapping[str, Any] = {}
        self.held: list[Held] = []

    @property
    def file(self) -> Path:
        return self.place.state / "taskbound.db"

    async def open_tasks(self) -> None:
        for n in range(TASKS):
            task = self.open_task()
            assert not call(task, "workspace.echo", text=str(n))["isError"]
            lease = self.agent(task).lease(task["task"], "shopdb/reader")["credential"]
            login = await self.database.login(lease["user"], lease["password"])
            assert await login.fetchval("SELECT count(*) FROM orders") == 10_000
            self.held.append(Held(task, login, lease))
        assert await self.roles() == {one.role for one in self.held}

    def open_task(self) -> dict[str, Any]:
        return self.place.client.open_task(profile="work", actor="agent/worker")

    def agent(self, task: Mapping[str, Any]) -> Client:
        return Client(self.about["gateway"].removesuffix("/mcp"), task["handle"])

    def until_full(self) -> None:
        """Fill the disk, and call until calls are refused for it, and stay so: the pages at hand are written full."""
        self.disk.fill()
        refused = 0
        for n in range(100_000):
            told = self.calls(self.held[n % TASKS], "x" * 2000)
            refused = refused + 1 if "error" in told else 0
            if refused == 20:
                return
        raise AssertionError("the disk never got full")

    def calls(self, held: Held, text: str) -> dict[str, Any]:
        """Call the tool; return the whole answer."""
        params = {"name": "workspace.echo", "arguments": {"text": text}}
        asked = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}
        headers = {"authorization": f"Bearer {held.task['handle']}", "accept": "application/json"}
        answer = httpx2.post(held.task["gateway"], json=asked, headers=headers, timeout=20)
        told: dict[str, Any] = answer.json()
        return {**told, "status": answer.status_code}

    async def roles(self) -> set[str]:
        superuser = await self.database.superuser()
        try:
            found = await superuser.fetch("SELECT rolname FROM pg_roles WHERE starts_with(rolname, 'tb_')")
            return {row["rolname"] for row in found}
        finally:
            await superuser.close()

    def kinds(self, thing: str) -> list[str]:
        """Return what the log says of a thing, in order."""
        with reading(self.file) as db:
            rows = db.execute("SELECT kind FROM events WHERE thing = ? ORDER BY id", (thing,)).fetchall()
        return [row["kind"] for row in rows]

    def things(self, noun: str) -> dict[str, dict[str, Any]]:
        """Return the things of a kind, which stand in the tables as the events lead to them."""
        return {id: thing for (_, of, id), thing in check(self.file).things.items() if of == noun}

    def lease_of(self, held: Held) -> str:
        (found,) = (id for id, lease in self.things("lease").items() if lease["task"] == held.id)
        return found

    def nothing_is_permitted(self) -> None:
        """Each call, lease and task is refused with its own code, and nothing comes of it."""
        before, leases, tasks = len(self.workspace.ran), self.things("lease").keys(), self.things("task").keys()
        for held in self.held:
            told = self.calls(held, "y")
            self.is_full(Refused(told["error"], told["error_description"], told["hint"], told["status"]))
            with pytest.raises(Refused) as refused:
                self.agent(held.task).lease(held.id, "shopdb/reader")
            self.is_full(refused.value)
        with pytest.raises(Refused) as refused:
            self.open_task()
        self.is_full(refused.value)
        assert len(self.workspace.ran) == before
        assert (self.things("lease").keys(), self.things("task").keys()) == (leases, tasks)

    @staticmethod
    def is_full(refused: Refused) -> None:
        assert (refused.status, refused.error) == (503, "store_unavailable")
        assert "the disk is full: nothing new is permitted" in refused.description
        assert refused.hint == "free space on it"


def told(story: Callable[[Story], Coroutine[Any, Any, None]], disk: Disk, tmp_path: Path) -> Story:
    """Tell a story of a server that holds tasks on the disk; return what is left of it."""
    database, workspace = running(), Workspace()
    place = Place(disk.place / "home")
    place.environ["SHOPDB_ADMIN"] = database.admin.reveal()
    with served(workspace) as url:
        (place.state / "taskbound.toml").write_text(CONFIGURATION.format(url=url))
        place.done("policy", "init")
        made = Story(place, disk, workspace, database)

        async def from_open_to_end() -> None:
            await made.open_tasks()
            await story(made)

        ballast = disk.place / "ballast"
        ballast.write_bytes(bytes(10 << 20))  # with the reserve that is more than four fifths of it
        with place.up() as about:
            log = disk.place / "up.log"
            until(lambda: "disk_nearly_full" in log.read_text())
            assert log.read_text().count("disk_nearly_full") == 1
            ballast.unlink()
            made.about = about
            place.done("tools", "derive", "workspace", "--write")
            agent = ("agent/worker", "--owner", about["operator"], "--attestor", "unix", "--environment", "dev")
            place.done("identity", "register", *agent, "--when", f"uid={os.geteuid()}")
            (place.state / "policy/profiles").mkdir()
            (place.state / "policy/profiles/work.toml").write_text(PROFILE.format(owner=about["operator"]))
            place.done("policy", "load")
            asyncio.run(from_open_to_end())
        export = str(tmp_path / "export")
        place.done("audit", "export", export)
        assert "verified" in place.done("audit", "verify", export)
    return made


def test_on_a_full_disk_nothing_is_permitted_and_each_open_task_ends_and_is_cut(disk, tmp_path):
    async def story(at: Story) -> None:
        at.until_full()
        assert (at.place.state / "reserve").stat().st_blocks == 0, "the reserve was not freed"
        at.nothing_is_permitted()
        assert await at.roles() == {one.role for one in at.held}
        for held in at.held:
            lease = at.lease_of(held)
            at.place.client.end_task(held.id)
            assert at.kinds(held.id)[-1] == "task.ended"
            until(lambda: at.kinds(lease)[-2:] == ["lease.cut", "lease.revoked"], 30)  # noqa: B023
            assert held.role not in await at.roles()
            with pytest.raises((asyncpg.PostgresError, asyncpg.InterfaceError, ConnectionError)):
                await held.login.fetchval("SELECT 1")
            assert not await at.database.lets_in(held.role, held.credential["password"])
            with pytest.raises(Refused) as refused:
                at.agent(held.task).heartbeat(held.id)
            assert refused.value.status == 401 and "ended" in refused.value.description
        assert await at.roles() == set()
        with pytest.raises(Refused) as refused:  # it is full still
            at.open_task()
        at.is_full(refused.value)
        at.disk.make_room()
        assert not call(at.open_task(), "workspace.echo", text="there is room")["isError"]
        until(lambda: {at.things("task")[held.id]["state"] for held in at.held} == {"closed"}, 30)
        assert (at.place.state / "reserve").stat().st_blocks * 512 == 16 << 20, "there is room, and no reserve"

    told(story, disk, tmp_path)


def test_control_without_the_reserve_no_task_ends_and_no_login_is_cut(disk, tmp_path):
    async def story(at: Story) -> None:
        (at.place.state / "reserve").unlink()
        at.until_full()
        at.nothing_is_permitted()
        failed = at.place.command("task", "end", at.held[0].id)
        assert failed.returncode == 3 and "the disk is full" in failed.stderr
        for held in at.held:
            with pytest.raises(Refused) as refused:
                at.place.client.end_task(held.id)
            at.is_full(refused.value)
        assert {at.things("task")[held.id]["state"] for held in at.held} == {"open"}
        assert await at.roles() == {one.role for one in at.held}
        assert [await held.login.fetchval("SELECT 1") for held in at.held] == [1] * TASKS
        at.disk.make_room()
        for held in at.held:
            at.place.client.end_task(held.id)
        until(lambda: {at.things("task")[held.id]["state"] for held in at.held} == {"closed"}, 30)
        assert await at.roles() == set()

    told(story, disk, tmp_path)
