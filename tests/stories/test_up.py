"""`taskbound up` from outside: what the README says works as it stands there, and what goes wrong is said.

Everything here is the real thing: the command in processes of its own, SQLite, sockets, and an MCP
server made with the official SDK. Who owns the machine and types the commands is an ordinary user.
"""

import json
import os
import re
import resource
import shlex
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import httpx2
import pytest

from taskbound_sdk import Refused
from tests.cli.nobody import given, ground, unprivileged  # noqa: F401
from tests.served import Workspace, served
from tests.stories.place import ANY, Place, call, until, upstream

README = (Path(__file__).parents[2] / "README.md").read_text()
# The commands that stand within its sentences about an agent of one's own.
PROSE = re.sub(r"\s+", " ", README.split("### Your own agent")[1].split("\n## ")[0])
INLINE = re.findall(r"`(taskbound [^`]+)`", PROSE)
SAYS = {
    "taskbound doctor": "0 FAIL",
    "taskbound policy test": "",
    "taskbound run --help": "--intent",
    "taskbound call list --denied": "workspace/count",
    "taskbound why d…": "outside_grants",
    "taskbound task list --state open": "open",
    "taskbound task end ID": "ended",
    "taskbound lease list": "",
    "taskbound audit export DIR": "",
    "taskbound audit verify DIR": "verified",
}


@pytest.fixture
def place(ground: Path) -> Place:  # noqa: F811
    made = Place(ground / "home")
    given(made.state)
    return made


@pytest.fixture
def workspace() -> Iterator[tuple[Workspace, str]]:
    made = Workspace()
    with served(made.app) as address:
        yield made, f"{address}/mcp"


@unprivileged
def test_the_steps_of_the_readme_work_as_they_stand_there(place, workspace):
    assert list(SAYS) == INLINE, "the README names another command, or in another order"
    once, each = (re.findall(r"^    (taskbound .*?)(?:  +#.*)?$", part, re.M) for part in README.split("Then, once:")[1]
                  .split("And for each piece of work:")[:2])  # fmt: skip
    assert [line.split()[1] for line in once] == ["policy", "up", "tools", "policy"]
    assert re.search(r'\[\[upstream\]\]\n    name = "workspace"\n    url = "http://127.0.0.1:9000/mcp"', README)
    (place.state / "taskbound.toml").write_text(upstream(workspace[1]))
    place.done(*shlex.split(once[0])[1:])
    with place.up():
        for line in once[2:]:
            place.done(*shlex.split(line)[1:])
        with httpx2.Client(transport=httpx2.HTTPTransport(uds=str(place.state / "run/api.sock"))) as client:
            (used,) = re.findall(r"(?m)^taskbound_disk_used_ratio (.*)$", client.get("http://localhost/metrics").text)
        assert 0 < float(used) < 1
        agent = "import json, os; print(json.load(open(os.environ['TASKBOUND_MCP_CONFIG']))['mcpServers'].keys())"
        line = shlex.split(each[0])[1:]
        assert line[-1] == "my-agent"
        out = place.done(*line[:-1], sys.executable, "-c", agent)
        assert "dict_keys(['workspace'])" in out or "dict_keys([])" in out
        assert "ended" in place.done("task", "list") or "closed" in place.done("task", "list")
        task = place.client.open_task(authorization_details=[ECHO])
        assert call(task, "workspace.count", steps=1)["isError"]
        stands_for = {"ID": task["task"], "DIR": str(place.state.parent / "export")}
        said: dict[str, str] = {}
        for line in INLINE:
            words = [stands_for.get(word, word) for word in shlex.split(line)[1:]]
            said[line] = place.done(*words)
            if line == "taskbound call list --denied":
                (stands_for["d…"],) = re.findall(r"\bd[a-z0-9]{20}\b", said[line])
        assert call(task, "workspace.echo", text="it ended")["isError"]
    assert {line: words for line, words in SAYS.items() if words not in said[line]} == {}


@unprivileged
def test_what_goes_wrong_at_the_start_is_said_and_changes_nothing(place):
    (place.state / "taskbound.toml").write_text("[lisen]\n")
    broken = place.command("up")
    assert broken.returncode == 2 and "lisen" in broken.stderr and "listen" in broken.stderr
    assert not (place.state / "taskbound.db").exists()
    (place.state / "taskbound.toml").write_text(ANY)
    with place.up() as about:
        second = place.command("up")
        assert second.returncode == 3 and f"(pid {about['pid']})" in second.stderr and "hint:" in second.stderr
        taken = re.search(r"127\.0\.0\.1:\d+", about["gateway"])
        assert taken is not None
        other = Place(place.state.parent / "other")
        (other.state / "taskbound.toml").write_text(f'[listen]\ngateway = "{taken[0]}"\n')
        occupied = other.command("up", "--json")
        assert occupied.returncode == 3 and json.loads(occupied.stdout)["error"] == "address_in_use"
        assert not (other.state / "taskbound.db").exists()
    away = place.command("task", "list")
    assert away.returncode == 3 and f"no answer from unix:{place.state}/run/api.sock: " in away.stderr


@unprivileged
def test_inside_of_a_task_no_second_server_is_started_by_mistake(place):
    """The state directory is hidden there, so that the usual one looks unused."""
    inside = {"TASKBOUND_TASK": "t1", "TASKBOUND_HOME": "", "XDG_STATE_HOME": str(place.state.parent / "usual")}
    for words in (("up",), ("serve", "--store", "postgresql://nobody@127.0.0.1:1/none")):
        refused = place.command(*words, **inside)
        assert refused.returncode == 1 and refused.stderr.startswith("you are inside of task t1: its server runs")
        assert "hint: nothing is to be started" in refused.stderr
    assert not (place.state.parent / "usual").exists()
    place.environ |= {"TASKBOUND_TASK": "t1"}
    (place.state / "taskbound.toml").write_text(ANY)
    with place.up() as about:  # what somebody names is no mistake
        assert about["state"] == str(place.state)


@unprivileged
def test_no_session_key_is_written_down(place):
    """Python opens the file as soon as there is a TLS context: here that of an upstream."""
    (place.state / "taskbound.toml").write_text(upstream("https://127.0.0.1:1/mcp"))
    log = place.state.parent / "session-keys"
    place.environ["SSLKEYLOGFILE"] = str(log)
    with place.up() as about:
        assert any(one.startswith("SSLKEYLOGFILE is set, and not followed") for one in about["warnings"])
        assert not log.exists()


@unprivileged
def test_another_trust_domain_is_refused_and_the_operator_is_not_locked_out(place):
    file, old = place.state / "taskbound.toml", 'trust_domain = "old.example"\n'

    def known() -> list[tuple[object, ...]]:
        with closing(sqlite3.connect(place.state / "taskbound.db")) as db:
            return db.execute("SELECT * FROM events").fetchall()

    file.write_text(old + ANY)
    with place.up():
        place.done("identity", "list")
    before = known()
    for other in ('trust_domain = "new.example"\n', ""):
        file.write_text(other + ANY)
        refused = place.command("up")
        assert refused.returncode == 2 and "invalid_config" in refused.stderr
        assert "old.example" in refused.stderr and known() == before
    file.write_text(old + ANY)
    with place.up():
        place.done("identity", "list")


@unprivileged
def test_a_broken_policy_leaves_the_old_one_in_force(place):
    (place.state / "taskbound.toml").write_text(ANY)
    place.done("policy", "init")
    with place.up() as about:
        (place.state / "policy/organisation/more.cedar").write_text("permit(principal, action, resource);")
        refused = place.command("policy", "load")
        assert refused.returncode == 1 and "more.cedar" in refused.stderr and "hint:" in refused.stderr
        os.kill(about["pid"], signal.SIGHUP)
        time.sleep(0.3)
        assert "policy_refused" in (place.state.parent / "up.log").read_text()
        assert place.client.request("GET", "/v1/tools")["tools"] == []


@unprivileged
def test_a_suspended_owner_ends_what_they_own_and_is_resumed_by_who_owns_the_machine(place):
    workspace = Workspace()  # in this process: what ran is looked at
    with served(workspace.app) as address:
        _suspended_and_resumed(place, f"{address}/mcp")
    assert [text for _, text in workspace.ran] == ["here"]


def _suspended_and_resumed(place: Place, workspace: str) -> None:
    (place.state / "taskbound.toml").write_text(upstream(workspace))
    place.done("policy", "init")
    with place.up() as about:
        place.done("tools", "derive", "workspace", "--write")
        (place.state / "policy/profiles").mkdir()
        (place.state / "policy/profiles/echo.toml").write_text(
            f'purpose = "echo"\nowner = "{about["operator"]}"\nreview_by = 2099-01-01\nlife = "5m"\n'
            '[[grant]]\ntool = "workspace/echo"\nwhen = { text = "any" }\n'
        )
        place.done("policy", "load")
        task = place.client.open_task(profile="echo", actor="agent/echo")
        assert not call(task, "workspace.echo", text="here")["isError"]
        place.done("identity", "suspend", about["operator"])
        after = call(task, "workspace.echo", text="gone")
        assert after["isError"] and "task_ended" in after["content"][0]["text"]
        for what in ({"profile": "echo", "actor": "agent/echo"}, {}):
            with pytest.raises(Refused, match=f"^{about['operator']} is suspended") as refused:
                place.client.open_task(**what)
            assert refused.value.hint == "stop taskbound up, then: taskbound up --resume-operator"
    with place.up() as about:
        assert any("--resume-operator" in warning for warning in about["warnings"])
    with place.up("--resume-operator"):
        assert place.client.open_task(profile="echo", actor="agent/echo")["state"] == "open"


@unprivileged
def test_what_ends_is_closed_though_nobody_reads_the_log_any_more(place, workspace):
    (place.state / "taskbound.toml").write_text(upstream(workspace[1]))
    place.done("policy", "init")
    reading, writing = os.pipe()
    with place.up(stderr=writing) as about:
        os.close(writing)
        os.close(reading)
        place.done("tools", "derive", "workspace", "--write")
        os.kill(about["pid"], signal.SIGHUP)  # is logged as well
        for _ in range(2):  # the lanes fail to say the first, and go on to the second
            task = place.client.open_task(authorization_details=[ECHO], life_s=1)
            until(lambda: place.client.request("GET", f"/v1/tasks/{task['task']}")["state"] == "closed")  # noqa: B023


@unprivileged
def test_the_operator_is_served_beside_idle_connections(place):
    (place.state / "taskbound.toml").write_text(ANY)
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    few = 200  # as few as a shell may give it; how many it could have is another number
    with place.up(preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (few, hard))) as about:
        host, port = about["gateway"].removeprefix("http://").removesuffix("/mcp").rsplit(":", 1)
        idle = [socket.create_connection((host, int(port)), 5) for _ in range(few + 50)]
        time.sleep(0.5)  # until all are accepted
        assert place.client.request("GET", "/v1/tasks")["tasks"] == []
        for one in idle:
            one.close()


ECHO = {"type": "taskbound_grant", "actions": ["tools/call"], "identifier": "workspace/echo", "when": {"text": "any"}}


@unprivileged
def test_a_held_task_outlives_a_crash_of_the_server_only_with_its_holder(place, workspace):
    (place.state / "taskbound.toml").write_text(upstream(workspace[1]))
    place.done("policy", "init")
    held: dict[str, bool] = {}  # by task, whether its holder comes back
    holders: list[subprocess.Popen[str]] = []
    with place.up(stop=signal.SIGKILL):
        place.done("tools", "derive", "workspace", "--write")
        for comes_back in (True, False):
            # Their own processes: who holds is a process, and this one must be able to die.
            holder = subprocess.Popen(
                [sys.executable, "-c", HOLD, f"unix:{place.state}/run/api.sock", str(int(comes_back))],
                env=place.environ, stdout=subprocess.PIPE, text=True,
            )  # fmt: skip
            holders.append(holder)
            assert holder.stdout is not None
            held[holder.stdout.readline().strip()] = comes_back
    with place.up():
        states = {id: (lambda id=id: place.client.request("GET", f"/v1/tasks/{id}")) for id in held}
        gone = next(id for id, comes_back in held.items() if not comes_back)
        until(lambda: states[gone]()["state"] != "open", 10)
        time.sleep(0.5)
        for id, comes_back in held.items():
            assert (states[id]()["state"] == "open") is comes_back
        assert states[gone]()["reason"] == "holder gone"
        for holder in holders:
            holder.kill()
            holder.communicate()


@unprivileged
def test_a_child_that_is_held_over_tcp_ends_without_its_holder(place, workspace):
    """Also where the server was killed meanwhile: who is heard by the next one goes on, who is not ends."""
    (place.state / "taskbound.toml").write_text(upstream(workspace[1]))
    place.done("policy", "init")
    with place.up(stop=signal.SIGKILL) as about:
        place.done("tools", "derive", "workspace", "--write")
        parent = place.client.open_task(authorization_details=[ECHO])
        gateway = about["gateway"].removesuffix("/mcp")
        (place.state / "taskbound.toml").write_text(upstream(workspace[1]).replace("127.0.0.1:0", gateway[7:]))
        words = [sys.executable, "-c", HOLD_CHILD, gateway, parent["handle"]]
        holders = [subprocess.Popen(words, env=place.environ, stdout=subprocess.PIPE, text=True) for _ in range(2)]
        lives, dies = (one.stdout.readline().strip() for one in holders if one.stdout)
        holders[1].kill()
    with place.up():
        state = lambda id: place.client.request("GET", f"/v1/tasks/{id}")  # noqa: E731
        until(lambda: state(dies)["state"] != "open", 15)
        assert state(dies)["reason"] == "no heartbeat"
        assert [state(id)["state"] for id in (lives, parent["task"])] == ["open", "open"]
        place.client.end_task(parent["task"], "enough")
        assert holders[0].communicate(timeout=15)[0] == "ended\n", "it is told by its next heartbeat"
        holders[1].communicate()


HOLD_CHILD = """
import sys
from taskbound_sdk import Client
detail = {"type": "taskbound_grant", "actions": ["tools/call"], "identifier": "workspace/echo", "when": {"text": "any"}}
client, budget = Client(sys.argv[1], sys.argv[2]), {"calls": 1, "leases": 0}
with client.hold_task(authorization_details=[detail], budget=budget) as held:
    print(held.task["task"], flush=True)
    for line in held: print(line["state"], flush=True)
"""
HOLD = """
import sys, time
from taskbound_sdk import Client, Unreachable, Refused
client = Client(sys.argv[1])
detail = {"type": "taskbound_grant", "actions": ["tools/call"], "identifier": "workspace/echo", "when": {"text": "any"}}
held = client.hold_task(authorization_details=[detail])
print(held.task["task"], flush=True)
try:
    for line in held: pass
except Unreachable: pass
if sys.argv[2] == "0": sys.exit()
for _ in range(200):
    try: held = client.reopen(held.task["task"]); break
    except (Unreachable, Refused): time.sleep(0.05)
time.sleep(60)
"""
