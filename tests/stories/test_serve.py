"""Two nodes of `taskbound serve` on one PostgreSQL database: what begins at one ends at the other.

The real command twice, each with a state directory of its own; keys and policy are copied as an operator would.
"""

import asyncio
import json
import os
import shutil
import signal
import time
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import asyncpg
import httpx2
import pytest

from tests.postgres.server import running
from tests.served import Workspace, served
from tests.store.postgres_database import drop_database, new_database
from tests.stories.place import ANY, Place, call, until, upstream

DOMAIN = 'trust_domain = "example.org"\n'
ADMIN = """
@id("admin-operator") permit(
    principal == Human::"{operator}",
    action in [
        Action::"policy/load", Action::"identity/register", Action::"identity/suspend", Action::"tool/pin",
        Action::"audit/read"
    ],
    resource
);
"""
AGENT = """
[[registration]]
id = "agent/a"
owner = "{owner}"
environment = "dev"
attestor = "unix"
when = {{ uid = 4711 }}
"""
PROFILE = """
purpose = "echo"
owner = "{owner}"
review_by = 2099-01-01
life = "5m"
[[grant]]
tool = "workspace/echo"
when = {{ text = "any" }}
"""


class Node(Place):
    """The state directory of one node, and the database that it shares."""

    def __init__(self, base: Path, store: str) -> None:
        base.mkdir()
        super().__init__(base / "home")
        self.environ["TASKBOUND_STORE"] = store

    def serve(self, **more: Any) -> AbstractContextManager[Mapping[str, Any]]:
        return self.up(command=("serve", "--store", "env:TASKBOUND_STORE"), **more)

    def like(self, other: "Node") -> None:
        """Take keys and policy of another node, as who deploys it does."""
        for folder in ("keys", "policy"):
            shutil.rmtree(self.state / folder, ignore_errors=True)
            shutil.copytree(other.state / folder, self.state / folder)


@pytest.fixture
def store() -> Iterator[str]:
    database = new_database(running())
    yield database.dsn.reveal()
    drop_database(database)


@pytest.fixture
def first(tmp_path: Path, store: str) -> Iterator[Node]:
    """A node that was never started, with a policy and the pinned tools of an upstream."""
    node = Node(tmp_path / "first", store)
    with served(Workspace().app) as address:
        (node.state / "taskbound.toml").write_text(DOMAIN + upstream(f"{address}/mcp"))
        node.done("policy", "init")
        with node.up() as about:  # on a store of its own, where the tools are pinned
            node.done("tools", "derive", "workspace", "--write")
        (node.state / "policy/profiles").mkdir(exist_ok=True)
        (node.state / "policy/profiles/echo.toml").write_text(PROFILE.format(owner=about["operator"]))
        (node.state / "policy/registrations.toml").write_text(AGENT.format(owner=about["operator"]))
        (node.state / "policy/organisation/admin.cedar").write_text(ADMIN.format(operator=about["operator"]))
        for left in (*node.state.glob("taskbound.db*"), node.state / "instance"):
            left.unlink()
        shutil.rmtree(node.environ["XDG_DATA_HOME"])
        yield node


def second(first: Node, base: Path, store: str) -> Node:
    node = Node(base / "second", store)
    shutil.copy(first.state / "taskbound.toml", node.state)
    return node


def test_doctor_beside_a_node_compares_what_a_node_has_in_force(first: Node) -> None:
    with first.serve():
        told = json.loads(first.done("doctor", "--json"))
        checks = {one["name"]: (one["verdict"], one["says"]) for one in told["checks"]}
        assert checks["policy"][0] == "ok" and checks["policy"][1].endswith("is in order and in force")
        assert checks["log"][0] == "warn" and "in the database that it shares" in checks["log"][1]


def test_doctor_compares_the_rows_that_nodes_share_with_their_log_while_they_run(first: Node, store: str) -> None:
    def looked(status: int) -> list[tuple[str, str]]:
        done = first.command("doctor", "--store", "env:TASKBOUND_STORE", "--json")
        assert done.returncode == status, done.stdout + done.stderr
        checks = json.loads(done.stdout)["checks"]
        return [(one["verdict"], one["says"]) for one in checks if one["name"] in ("log", "rows")]

    with first.serve():
        task = json.loads(first.done("task", "open", "--profile", "echo", "--agent", "agent/a", "--json"))["task"]
        until(lambda: ask(store, "SELECT count(*) FROM taskbound.checkpoints WHERE note IS NOT NULL") == 1)
        (log, rows) = looked(0)
        assert (log[0], rows[0]) == ("ok", "ok") and log[1].endswith("events verify")
        assert rows[1].endswith("rows are what the log says") and not rows[1].startswith("0 ")
        ask(store, f"UPDATE taskbound.tasks SET deadline = deadline + 1 WHERE id = '{task}' RETURNING 1")
        (_, edited) = looked(1)
        assert edited[0] == "fail" and f"task {task}: deadline is " in edited[1]
    assert looked(1)[1] == edited


def test_a_node_of_another_trust_domain_does_not_start(first: Node, tmp_path: Path, store: str) -> None:
    with first.serve():
        other = second(first, tmp_path, store)
        other.like(first)
        file = other.state / "taskbound.toml"
        file.write_text(file.read_text().replace("example.org", "example.net"))
        refused = other.command("serve", "--store", "env:TASKBOUND_STORE")
        assert refused.returncode == 2 and "is of example.org (invalid_config)" in refused.stderr
        first.done("identity", "list")


def test_what_begins_at_one_node_ends_at_another(first: Node, tmp_path: Path, store: str) -> None:
    with first.serve() as here:
        other = second(first, tmp_path, store)
        other.like(first)
        with other.serve() as there:
            assert here["node"] != there["node"]
            opened = json.loads(first.done("task", "open", "--profile", "echo", "--agent", "agent/a", "--json"))
            at = {"handle": opened["token"], "gateway": f"{here['gateway']}/workspace"}
            beside = {**at, "gateway": f"{there['gateway']}/workspace"}
            assert not call(at, "echo", text="1")["isError"]
            assert not call(beside, "echo", text="1")["isError"]  # the same task, at the other node
            assert opened["task"] in other.done("task", "list")
            other.done("task", "end", opened["task"])
            ended = time.monotonic()
            denied = call(at, "echo", text="1")
            assert denied["isError"] and "task_ended" in denied["content"][0]["text"]
            assert time.monotonic() - ended < 2  # S2: it is read in the deciding transaction
            exported = tmp_path / "export"
            until(lambda: "closed" in first.done("task", "show", opened["task"]))
            first.done("audit", "export", str(exported))
            first.done("audit", "verify", str(exported))


def test_a_node_that_is_killed_leaves_the_others_at_work(first: Node, tmp_path: Path, store: str) -> None:
    other = second(first, tmp_path, store)
    with first.serve(stop=signal.SIGKILL):
        other.like(first)
        opened = json.loads(first.done("task", "open", "--profile", "echo", "--agent", "agent/a", "--json"))
    with other.serve() as there:
        at = {"handle": opened["token"], "gateway": f"{there['gateway']}/workspace"}
        assert not call(at, "echo", text="1")["isError"]


def test_a_node_with_other_keys_is_refused(first: Node, tmp_path: Path, store: str) -> None:
    other = second(first, tmp_path, store)
    shutil.copytree(first.state / "policy", other.state / "policy")
    with first.serve():
        refused = other.command("serve", "--store", "env:TASKBOUND_STORE")
    assert refused.returncode == 2 and "copy keys/" in refused.stderr


def copy(first: Node, base: Path, store: str) -> Node:
    """A node with all that stands in the state directory of another, as of an image that was made of it."""
    node = second(first, base, store)
    node.like(first)
    shutil.copy(first.state / "node", node.state)
    return node


def ask(store: str, text: str) -> Any:
    """Return what the database itself says."""

    async def asked() -> Any:
        at = await asyncpg.connect(store)
        try:
            return await at.fetchval(text)
        finally:
            await at.close()

    return asyncio.run(asked())


STARTS = "SELECT count(*) FROM taskbound.events WHERE kind = 'node.started'"
CUT = (
    "SELECT count(pg_terminate_backend(pid)) FROM pg_locks JOIN pg_database ON pg_database.oid = database"
    " WHERE locktype = 'advisory' AND datname = current_database()"
)


def test_a_copied_state_directory_is_no_second_node(first: Node, tmp_path: Path, store: str) -> None:
    with first.serve() as here:
        copied = copy(first, tmp_path, store)
        refused = copied.command("serve", "--store", "env:TASKBOUND_STORE")
        assert refused.returncode == 3, refused.stderr
        assert f"as node {here['node']}" in refused.stderr and "remove the file `node`" in refused.stderr
        assert ask(store, STARTS) == 1, "who is refused records nothing"
        (copied.state / "node").unlink()
        with copied.serve() as there:
            assert here["node"] != there["node"]
            assert ask(store, STARTS) == 2
    with first.serve() as again:  # a node that was stopped finds its name free
        assert again["node"] == here["node"]


def test_a_node_whose_name_a_copy_took_permits_nothing_until_it_is_free(
    first: Node, tmp_path: Path, store: str
) -> None:
    """The node's machine sleeps and its connection is ended; the copy takes its place; then the machine wakes up."""
    with first.serve() as here:
        opened = json.loads(first.done("task", "open", "--profile", "echo", "--agent", "agent/a", "--json"))
        at = {"handle": opened["token"], "gateway": f"{here['gateway']}/workspace"}
        copied = copy(first, tmp_path, store)
        os.kill(here["pid"], signal.SIGSTOP)
        try:
            assert ask(store, CUT) == 1
            with copied.serve() as there:
                assert there["node"] == here["node"]
                os.kill(here["pid"], signal.SIGCONT)
                until(lambda: "another process serves as this node" in first.command("task", "list").stderr)
                assert first.command("task", "end", opened["task"]).returncode == 3
                asked = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "echo"}}
                headers = {"authorization": f"Bearer {at['handle']}", "accept": "application/json, text/event-stream"}
                denied = httpx2.post(at["gateway"], json=asked, headers=headers)
                assert denied.status_code == 503 and "another process serves as this node" in denied.text
                beside = {**at, "gateway": f"{there['gateway']}/workspace"}
                assert not call(beside, "echo", text="1")["isError"]
        finally:
            os.kill(here["pid"], signal.SIGCONT)
        until(lambda: first.command("task", "list").returncode == 0)
        assert not call(at, "echo", text="1")["isError"]


def test_without_a_policy_nobody_administers(first: Node) -> None:
    (first.state / "policy/organisation/admin.cedar").unlink()
    with first.serve():
        refused = first.command("identity", "register", "agent/b", "--owner", "human/root")
        assert refused.returncode == 1 and "not_permitted" in refused.stderr


def test_an_agent_is_not_registered_by_its_first_use(first: Node) -> None:
    with first.serve():
        refused = first.command("task", "open", "--intent", "echo", "--agent", "agent/unknown")
        assert refused.returncode == 1 and "unknown_agent" in refused.stderr
        assert "taskbound identity register agent/unknown" in refused.stderr


@pytest.mark.parametrize(
    ("store_said", "status", "sentence"),
    [
        ("postgresql://taskbound:secret-of-the-store@127.0.0.1/taskbound", 2, "on the command line"),
        ("env:NOT_SET", 2, "is not set"),
        ("postgresql://taskbound@127.0.0.1:1/taskbound", 3, "cannot be reached"),
        ("nonsense", 2, "is no URL"),
        ("postgresql+asyncpg://taskbound:secret-of-the-store@127.0.0.1/taskbound", 2, "is no URL"),
        ("postgresql://taskbound@127.0.0.1/taskbound?passwor%64=secret-of-the-store", 2, "on the command line"),
        ("postgresql://taskbound@127.0.0.1/taskbound?sslpassword=secret-of-the-store", 2, "on the command line"),
        ("host=127.0.0.1 password=secret-of-the-store", 2, "is no URL"),
        ("file:/etc/hostname", 2, "outside of the state directory"),
        ("postgresql://taskbound@127.0.0.1/taskbound?passfile=/etc/hostname", 2, "outside of the state directory"),
    ],
)
def test_a_store_that_cannot_be_used_is_told(tmp_path: Path, store_said: str, status: int, sentence: str) -> None:
    place = Place(tmp_path / "home")
    (place.state / "taskbound.toml").write_text(ANY)
    refused = place.command("serve", "--store", store_said)
    assert refused.returncode == status, refused.stderr
    assert sentence in refused.stderr and "secret-of-the-store" not in refused.stderr


def test_the_operator_administers_what_the_policy_permits(first: Node) -> None:
    with first.serve() as about:
        first.done("tools", "derive", "workspace", "--write")
        first.done("policy", "load")
        first.done("identity", "register", "agent/b", "--owner", about["operator"])
        assert "agent/b" in first.done("identity", "list")
        refused = first.command("audit", "erase", "--older-than", "1d")  # which the policy does not name
        assert refused.returncode == 1 and "not_permitted" in refused.stderr
