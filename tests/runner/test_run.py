"""`taskbound run` as an ordinary user: statuses, what is delivered, and that either end ends the other."""

import json
import os
import signal
import stat
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from taskbound.runner.place import PREFIX, own_folder
from tests.profile import FULL, pairs
from tests.runner.fake_api import HANDLE, PASSWORD
from tests.runner.person import Person, person

MASKED, NO_NAMESPACES = "--masked-proc", "--chroot"  # no PID namespace; none at all
CONDITIONS = [
    pytest.param((), id="all"),
    pytest.param((MASKED,), id="no-pids"),
    pytest.param((NO_NAMESPACES,), id="none"),
]


@pytest.fixture
def alice() -> Iterator[Person]:
    with person() as somebody:
        assert somebody.uid != 0
        yield somebody


def until(condition, seconds: float = 10.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not come to that in time"
        time.sleep(0.01)


def written(file: Path) -> str:
    until(lambda: file.exists() and file.read_text().endswith("\n"))
    return file.read_text()


def runs_of(somebody: Person) -> Path:
    """Return the folder below which every run of somebody's has its own."""
    return somebody.tmp / f"taskbound-{somebody.uid}"


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def with_marker(marker: str) -> list[int]:
    """Return the processes that carry the marker among their arguments, `run` itself left out."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            words = (folder / "cmdline").read_bytes().split(b"\0")
        except (FileNotFoundError, ProcessLookupError):
            continue
        if marker.encode() in words:
            found.append(int(folder.name))
    return found


ENDINGS = [("exit 0", 0), ("exit 3", 3), ("kill -9 $$", 137), ("kill -TERM $$", 143), ("exit 125", 125)]


@pytest.mark.parametrize(("conditions", "ending"), pairs([one.values[0] for one in CONDITIONS], ENDINGS), ids=str)
def test_the_status_is_the_childs_own(alice, conditions, ending):
    script, status = ending
    assert alice.run("/bin/sh", "-c", script, conditions=conditions).returncode == status
    assert alice.api.called("/end") == [{"reason": "the program ended"}]


@pytest.mark.parametrize("program", ["no-such-program", "/etc/passwd", "/no/such/program"])
def test_what_cannot_be_executed_is_125_and_opens_no_task(alice, program):
    done = alice.run(program)
    assert done.returncode == 125
    assert f"could not start: there is no program {program!r}" in done.stderr and "hint:" in done.stderr
    assert alice.api.asked == []


def test_a_program_that_fails_at_its_exec_is_125_and_its_task_ends(alice):
    file = alice.put("broken", "#!/no/such/interpreter\n")
    file.chmod(0o755)
    done = alice.run(str(file))
    assert done.returncode == 125
    assert f"could not start: {file}: No such file or directory" in done.stderr
    assert len(alice.api.called("/end")) == 1


def test_a_refusal_is_125_with_its_reason_and_hint(alice):
    alice.api.refuses["/v1/tasks"] = (403, "not_permitted", "nothing permits task/open")
    done = alice.run("/bin/true")
    assert (done.returncode, done.stdout) == (125, "")
    assert "nothing permits task/open" in done.stderr and "hint: a hint" in done.stderr


def test_a_refused_lease_ends_the_task(alice):
    alice.api.refuses["/leases"] = (503, "target_unavailable", "shopdb does not answer")
    done = alice.run("/bin/sh", "-c", "echo it started")
    assert (done.returncode, done.stdout) == (125, "")
    assert "shopdb does not answer" in done.stderr
    assert len(alice.api.called("/end")) == 1


def test_without_a_server_nothing_starts(alice):
    alice.api.stop()
    done = alice.run("/bin/sh", "-c", "echo it started")
    assert (done.returncode, done.stdout) == (125, "")


def test_what_is_asked_of_the_server(alice):
    alice.run("/usr/bin/../bin/env")
    (method, path, body, shown), (_, _, lease, handle), (_, _, _, ended) = alice.api.asked
    assert (method, path, shown) == ("POST", "/v1/tasks", None)
    assert body == {"profile": "etl", "set": {"n": "1"}, "intent": None, "actor": "agent/env", "hold": True}
    assert lease == {"lease": "shopdb/reader"}
    assert handle == ended == f"Bearer {HANDLE}"


@pytest.mark.parametrize(
    ("agent", "program", "actor"),
    [
        ("nightly", "/bin/true", "agent/nightly"),
        ("agent/nightly", "/bin/true", "agent/nightly"),
        (None, "a b+", "agent/a-b-"),
    ],
)
def test_who_acts_is_named_after_the_program_or_as_asked(alice, agent, program, actor):
    if program == "a b+":
        program = str(alice.put("a b+", "#!/bin/sh\n"))
        os.chmod(program, 0o755)
    done = alice.run(program, agent=agent)
    assert alice.api.asked[0][2]["actor"] == actor
    assert f"{actor} was not known: it is registered now" in done.stderr
    assert ("--agent NAME tells it from others" in done.stderr) is (agent is None)


def test_a_run_that_cannot_start_says_that_it_is_inside_of_a_task(alice):
    alice.api.refuses["/v1/tasks"] = (404, "not_found", "there is no such address")
    done = alice.run("/bin/true", env={"TASKBOUND_TASK": "t0"})
    assert (done.returncode, "hint: you are inside of task t0: type it outside" in done.stderr) == (125, True)
    assert "you are inside" not in alice.run("/bin/true").stderr


def test_the_environment_is_exactly_the_allow_list(alice):
    outside = {"AWS_SECRET_ACCESS_KEY": "canary", "SSH_AUTH_SOCK": "/nonexistent", "FOO": "kept", "LC_ALL": "C.UTF-8"}
    outside |= {"HTTPS_PROXY": "http://alice:canary@proxy", "http_proxy": "http://proxy:3128", "TZ": "UTC"}
    done = alice.run("/usr/bin/env", "-0", env=outside, keep=["FOO"])
    inside = dict(line.split("=", 1) for line in done.stdout.split("\0") if line)
    folder = inside["TASKBOUND_MCP_CONFIG"].rpartition("/")[0]
    assert inside == {
        **alice.environment,
        "LC_ALL": "C.UTF-8",
        "TZ": "UTC",
        "FOO": "kept",
        "http_proxy": "http://proxy:3128",
        "NO_PROXY": "127.0.0.1,localhost,::1",
        "TASKBOUND_TASK": "t" + "a" * 20,
        "TASKBOUND_URL": "http://127.0.0.1:8441",
        "TASKBOUND_MCP_URL": "http://127.0.0.1:8441/mcp",
        "TASKBOUND_MCP_CONFIG": f"{folder}/mcp.json",
        "TASKBOUND_LEASE_SHOPDB_FILE": f"{folder}/shopdb.json",
        "PGSERVICEFILE": f"{folder}/pg_service.conf",
        "PGSERVICE": "shopdb",
    }
    assert "kept from outside: FOO" in done.stderr
    assert "not handed on, a password may stand in it: HTTPS_PROXY" in done.stderr
    assert "canary" not in done.stderr


@pytest.mark.parametrize("runtime", [False, True], ids=["tmp", "runtime-dir"])
def test_the_child_finds_its_files_and_nobody_else_does(alice, runtime):
    env = {}
    if runtime:
        (folder := alice.home.parent / "runtime").mkdir(mode=0o700)
        (folder / "bus").write_text("")
        alice.own_everything(folder)
        env = {"XDG_RUNTIME_DIR": str(folder)}
    look = """
        dirname "$TASKBOUND_MCP_CONFIG"; stat -c '%a %u' "$(dirname "$TASKBOUND_MCP_CONFIG")"
        stat -c '%a %u' "$TASKBOUND_MCP_CONFIG" "$TASKBOUND_LEASE_SHOPDB_FILE" "$PGSERVICEFILE"
        ls "$(dirname "$(dirname "$TASKBOUND_MCP_CONFIG")")"
        for file in "$TASKBOUND_MCP_CONFIG" "$TASKBOUND_LEASE_SHOPDB_FILE" "$PGSERVICEFILE"
        do echo ---; cat "$file"; done
    """
    done = alice.run("/bin/sh", "-c", look, env=env)
    modes, config, lease, services = done.stdout.split("---\n") if "---" in done.stdout else pytest.fail(done.stderr)
    own = Path(modes.split("\n")[0])
    assert own.parent == (folder if runtime else alice.tmp) / f"taskbound-{alice.uid}"
    assert modes.split("\n")[1:5] == [f"700 {alice.uid}", *[f"600 {alice.uid}"] * 3]
    assert modes.split("\n")[5:-1] == [own.name]  # those of other runs are hidden
    server = {"type": "http", "url": "http://127.0.0.1:8441/mcp/crm", "headers": {"Authorization": f"Bearer {HANDLE}"}}
    assert json.loads(config) == {"mcpServers": {"crm": server}}
    connection = {"host": "127.0.0.1", "port": 5432, "database": "shop", "user": "tb_x", "password": PASSWORD}
    assert json.loads(lease) == {
        "target": "shopdb",
        "class": "cut now",
        "expires": "2030-01-01T00:00:00Z",
        **connection,
    }
    assert services == f"[shopdb]\nhost=127.0.0.1\nport=5432\ndbname=shop\nuser=tb_x\npassword={PASSWORD}\n"
    assert not own.exists()


def test_a_second_lease_of_a_target_has_a_name_of_its_own(alice):
    grant = alice.api.grants[0]
    alice.api.grants = [
        grant,
        {**grant, "resources": ["shopdb/writer"]},
        {**grant, "resources": ["crm/x"], "ask": True},
    ]
    done = alice.run(
        "/bin/sh", "-c", 'ls "$(dirname "$TASKBOUND_LEASE_SHOPDB_WRITER_FILE")"; grep "^\\[" "$PGSERVICEFILE"'
    )
    assert done.stdout.split() == [
        "empty",
        "mcp.json",
        "pg_service.conf",
        "shopdb.json",
        "shopdb_writer.json",
        "[shopdb]",
        "[shopdb_writer]",
    ]
    assert "no lease of crm/x yet: it needs a person's consent" in done.stderr


def test_no_secret_stands_among_the_arguments_of_any_process(alice):
    done = alice.run(
        "/bin/sh",
        "-c",
        f"sleep 0.2; cat /proc/[0-9]*/cmdline | tr '\\0' '\\n'; touch {alice.home}/seen",
        conditions=(MASKED,),
    )
    assert "sleep" in done.stdout
    assert HANDLE not in done.stdout and PASSWORD not in done.stdout
    assert HANDLE not in done.stderr and PASSWORD not in done.stderr


def test_the_folder_of_a_killed_run_is_swept_and_a_live_one_is_not(alice):
    runs = runs_of(alice)
    runs.mkdir(mode=0o700)
    dead = runs / f"{PREFIX}dead"
    dead.mkdir()
    (dead / "shopdb.json").write_text(PASSWORD)
    alice.own_everything(alice.tmp)
    running = alice.start("/bin/sleep", "60")
    until(lambda: not dead.exists() and alice.api.called("/leases"))
    until(lambda: list(runs_of(alice).glob(f"{PREFIX}*/mcp.json")))
    (live,) = runs.glob(f"{PREFIX}*")
    assert alice.run("/bin/true").returncode == 0
    assert live.exists()
    running.terminate()
    running.communicate(timeout=10)
    assert not live.exists()


def test_a_folder_is_private_from_the_first_moment(monkeypatch, tmp_path):
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    with own_folder({}) as own:
        assert stat.S_IMODE(own.stat().st_mode) == 0o700
    assert not own.exists()


def a_link_to_it(runs: Path, alice: Person) -> None:
    (alice.tmp / "elsewhere").mkdir(mode=0o700)
    runs.symlink_to(alice.tmp / "elsewhere")
    alice.own_everything(alice.tmp)


def open_to_others(runs: Path, alice: Person) -> None:
    runs.mkdir()
    runs.chmod(0o750)
    alice.own_everything(alice.tmp)


def somebody_elses(runs: Path, alice: Person) -> None:
    if os.getuid() == alice.uid:
        pytest.skip("needs root")
    runs.mkdir(mode=0o700)


def a_file(runs: Path, alice: Person) -> None:
    runs.touch(0o700)
    alice.own_everything(alice.tmp)


@pytest.mark.parametrize("lies_there", [a_link_to_it, open_to_others, somebody_elses, a_file])
def test_a_folder_of_runs_that_is_not_ours_alone_is_refused(alice, lies_there):
    lies_there(runs_of(alice), alice)
    done = alice.run("/bin/sh", "-c", "echo it runs")
    assert (done.returncode, done.stdout, alice.api.asked) == (125, "", [])
    assert "could not start" in done.stderr and str(runs_of(alice)) in done.stderr


SIGNALS = [signal.SIGTERM, signal.SIGINT, signal.SIGHUP]


@pytest.mark.parametrize(("conditions", "number"), pairs([one.values[0] for one in CONDITIONS], SIGNALS), ids=str)
def test_a_signal_to_run_reaches_the_child_and_the_task_ends(alice, conditions, number):
    ready = alice.home / "ready"
    running = alice.start("/bin/sh", "-c", f"echo up > {ready}; exec sleep 60", conditions=conditions)
    written(ready)
    running.send_signal(number)
    running.communicate(timeout=10)
    assert running.returncode == 128 + number
    assert alice.api.called("/end") == [{"reason": "the program ended"}]
    assert list(runs_of(alice).glob(f"{PREFIX}*")) == []


def test_a_second_ctrl_c_soon_after_the_first_kills_the_child_and_says_so(alice):
    ready = alice.home / "ready"
    running = alice.start(
        "/bin/sh", "-c", f"trap 'echo no >> {ready}.int' INT; echo up > {ready}; while :; do sleep 0.05; done"
    )
    written(ready)
    running.send_signal(signal.SIGINT)
    written(Path(f"{ready}.int"))
    assert running.poll() is None, "the first one is the child's to heed"
    running.send_signal(signal.SIGINT)
    _, err = running.communicate(timeout=10)
    assert (running.returncode, "interrupted twice: the program is killed" in err) == (137, True)


def test_where_nobody_answers_that_is_said_and_nothing_else_before(alice):
    alice.api.stop()
    try:
        done = alice.run("/bin/true")
    finally:
        alice.api.start()
    assert done.returncode == 125 and done.stderr.startswith("taskbound: could not start: no answer from unix:")


def test_the_child_may_handle_the_signal_itself(alice):
    ready = alice.home / "ready"
    running = alice.start("/bin/sh", "-c", f"trap 'exit 7' TERM; echo up > {ready}; while :; do sleep 0.05; done")
    written(ready)
    running.terminate()
    running.communicate(timeout=10)
    assert running.returncode == 7


FORKS_TWICE = "(setsid sh -c 'sleep 61.{n} & wait' &) ; sleep 60.{n} & echo up > {ready}; wait"


@pytest.mark.parametrize("conditions", CONDITIONS)
def test_kill_9_of_run_kills_the_child_and_lets_the_task_go(alice, conditions):
    ready, n = alice.home / "ready", os.getpid()
    running = alice.start("/bin/sh", "-c", f"echo up > {ready}; exec sleep 60.{n}", conditions=conditions)
    written(ready)
    until(lambda: with_marker(f"60.{n}"))
    running.kill()
    assert alice.api.let_go.wait(5)
    until(lambda: with_marker(f"60.{n}") == [], 5)
    running.communicate(timeout=10)


def test_kill_9_of_run_kills_whatever_was_forked_however(alice):
    ready, n = alice.home / "ready", os.getpid()
    running = alice.start("/bin/sh", "-c", FORKS_TWICE.format(ready=ready, n=n))
    written(ready)
    until(lambda: with_marker(f"60.{n}") and with_marker(f"61.{n}"))
    running.kill()
    until(lambda: with_marker(f"60.{n}") == with_marker(f"61.{n}") == [], 5)
    running.communicate(timeout=10)


@pytest.mark.parametrize("conditions", CONDITIONS)
def test_what_the_child_leaves_running_ends_with_the_task(alice, conditions):
    n = os.getpid()
    left = f"(setsid sh -c 'sleep 61.{n} & wait' >/dev/null 2>&1 &) ; sleep 60.{n} >/dev/null 2>&1 & sleep 0.3"
    assert alice.run("/bin/sh", "-c", left, conditions=conditions).returncode == 0
    until(lambda: with_marker(f"60.{n}") == with_marker(f"61.{n}") == [], 1)


def test_a_task_that_ends_ends_the_child_and_says_why(alice):
    running = alice.start("/bin/sleep", "60")
    until(lambda: list(runs_of(alice).glob(f"{PREFIX}*/mcp.json")))
    alice.api.say(task="t", state="ended", reason="deadline")
    _, err = running.communicate(timeout=5)
    assert running.returncode == 143
    assert "the task ended: deadline" in err


def test_a_child_that_ignores_its_end_is_killed(alice):
    ready, grace = alice.home / "ready", 10.0 if FULL else 0.5
    running = alice.start(
        "/bin/sh", "-c", f"trap '' TERM; echo up > {ready}; while :; do sleep 0.1; done", patience=(grace, 30)
    )
    written(ready)
    began = time.monotonic()
    alice.api.say(task="t", state="ended", reason="deadline")
    running.communicate(timeout=20)
    assert running.returncode == 137
    assert grace <= time.monotonic() - began < grace + 4


def test_a_server_that_comes_back_finds_the_task_held_again(alice):
    ready = alice.home / "ready"
    running = alice.start("/bin/sh", "-c", f"until [ -e {ready} ]; do sleep 0.05; done")
    until(lambda: list(runs_of(alice).glob(f"{PREFIX}*/mcp.json")))
    alice.api.stop()
    time.sleep(0.6)
    assert running.poll() is None
    alice.api.start()
    assert alice.api.held.wait(5)
    assert alice.api.asked[-1] == ("GET", f"/v1/tasks/t{'a' * 20}/hold", None, f"Bearer {HANDLE}")
    ready.touch()
    _, err = running.communicate(timeout=10)
    assert running.returncode == 0
    assert "the server is gone; trying again" in err and "the server is back" in err


def test_a_task_that_ended_while_the_server_was_away_ends_the_child(alice):
    running = alice.start("/bin/sleep", "60")
    until(lambda: list(runs_of(alice).glob(f"{PREFIX}*/mcp.json")))
    alice.api.stop()
    alice.api.refuses["/hold"] = (401, "invalid_token", "task t1 ended at 10:00")
    alice.api.start()
    _, err = running.communicate(timeout=5)
    assert running.returncode == 143
    assert "task t1 ended at 10:00" in err


def test_a_server_that_does_not_come_back_ends_the_child(alice):
    lost = 30.0 if FULL else 1.0
    running = alice.start("/bin/sleep", "60", patience=(10, lost))
    until(lambda: list(runs_of(alice).glob(f"{PREFIX}*/mcp.json")))
    alice.api.stop()
    began = time.monotonic()
    _, err = running.communicate(timeout=45)
    assert lost <= time.monotonic() - began < lost + 4
    assert running.returncode == 143
    assert f"did not come back within {lost:g} s" in err
