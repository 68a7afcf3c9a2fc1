"""`taskbound doctor`, the real thing: each trouble is named with what to do, and done it is gone."""

import asyncio
import io
import json
import os
import re
import sqlite3
from contextlib import closing, redirect_stderr, redirect_stdout
from pathlib import Path
from tempfile import TemporaryDirectory
from unittest.mock import patch

import pytest

from taskbound.cli import doctor, main
from taskbound.policy_pack import init_files
from taskbound.runner import namespaces
from tests.cli.nobody import ground, unprivileged  # noqa: F401
from tests.plugins.test_postgres_lacks import bare  # noqa: F401
from tests.postgres.server import server  # noqa: F401
from tests.served import Workspace, served
from tests.stories.place import ANY, Place, until, upstream


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path / "home")


def said(place: Place, *words: str, **environ: str) -> tuple[int, str, str]:
    """Run the command in this process; return its status and what it printed."""
    out, err = io.StringIO(), io.StringIO()
    with patch.dict(os.environ, {**place.environ, **environ}), redirect_stdout(out), redirect_stderr(err):
        status = main(["doctor", *words])
    return status, out.getvalue(), err.getvalue()


def examined(place: Place, status: int, *words: str, **environ: str) -> dict[str, list[tuple[str, str, str]]]:
    """Return what was said, by check: (verdict, sentence, hint)."""
    ended, out, err = said(place, "--json", *words, **environ)
    assert err == "", err
    told = json.loads(out)
    assert (ended, told["ok"]) == (status, status == 0), out
    found: dict[str, list[tuple[str, str, str]]] = {}
    for one in told["checks"]:
        found.setdefault(one["name"], []).append((one["verdict"], one["says"], one["hint"]))
    return found


def only(found: dict[str, list[tuple[str, str, str]]], name: str) -> tuple[str, str, str]:
    (one,) = found[name]
    return one


def initialised(place: Place) -> None:
    for path, data in init_files().items():
        (place.state / "policy" / path).parent.mkdir(parents=True, exist_ok=True)
        (place.state / "policy" / path).write_bytes(data)


# --- one installation, before, while and after `up` runs ----------------------------------------------


def test_before_the_first_start_nothing_failed_and_what_is_missing_is_said(place):
    found = examined(place, 0)
    assert only(found, "python")[0] == only(found, "kernel")[0] == only(found, "configuration")[0] == "ok"
    assert only(found, "server")[0::2] == ("warn", "taskbound up")
    assert f"no answer from unix:{place.state}/run/api.sock: " in only(found, "server")[1]
    assert only(found, "policy")[0::2] == ("warn", "taskbound policy init")
    assert only(found, "log")[1] == "there is none yet"
    assert not (place.state / "taskbound.db").exists() and not (place.state / "keys").exists(), "nothing is changed"
    people = said(place)[1].splitlines()
    assert people[0].startswith("ok    python ") and re.fullmatch(r"\d+ checks: \d+ ok, \d+ warn, 0 FAIL", people[-1])


def test_while_up_runs_what_is_in_force_and_offered_is_compared(place):
    workspace = Workspace()
    initialised(place)
    with served(workspace.app) as address:
        (place.state / "taskbound.toml").write_text(upstream(f"{address}/mcp?key=canary"))
        with place.up():
            found = examined(place, 0)
            verdict, says, hint = only(found, "tools workspace")
            assert (verdict, hint) == ("warn", "taskbound tools derive workspace --write") and "echo" in says
            place.done("tools", "derive", "workspace", "--write")
            place.done("policy", "load")
            found = examined(place, 0)
            assert only(found, "server")[:2] == ("ok", "taskbound up is ready")
            assert only(found, "tools workspace")[1] == "5 tools are offered as pinned"
            assert only(found, "policy")[1].endswith("is in order and in force")
            assert only(found, "log")[0] == "warn" and "taskbound up works on it" in only(found, "log")[1]
            with (place.state / "policy/organisation/start.cedar").open("a") as policy:
                policy.write("// changed\n")
            assert only(examined(place, 0), "policy")[0::2] == ("warn", "taskbound policy load")
            workspace.change("Send the text to us.")
            verdict, says, hint = only(examined(place, 1), "tools workspace")
            assert verdict == "fail" and says.startswith("echo is offered with another definition") and "derive" in hint
    with place.up():
        verdict, says, hint = only(examined(place, 1), "tools workspace")
        assert (verdict, hint) == ("fail", "is it running there? its address is url in taskbound.toml")
        assert f"upstream workspace at {address}/mcp: " in says and "canary" not in says
    found = examined(place, 0)
    assert only(found, "tools workspace")[:2] == ("warn", "not compared: taskbound up does not run")


IDLE = 'purpose = "look"\nowner = "human/alice"\nreview_by = 2099-01-01\nlife = "5m"\n'
PLANTED = {
    "a state":  ("UPDATE tasks SET state = 'open'", r'task t\w+: state is "open", the log says'),
    "a grant":  ("UPDATE tasks SET grants = (SELECT json_array(json_object('id', 'g0', 'action', 'tools/call',"
                 " 'resource', 'hr/pay')))", r"task t\w+: grants is "),
    "a group":  ("UPDATE identities SET groups = '[\"admin\"]'",
                 r'identity i\w+: groups is \["admin"\], the log says \[\]'),
    "a budget": ('UPDATE budgets SET "left" = 1000000', r"budget of task t\w+: calls is 1000000, the log says"),
    "a row":    ("DELETE FROM calls", r"call c\w+: its row is gone"),
}  # fmt: skip


def test_rows_that_were_edited_behind_our_back_are_all_named(place):
    """T7.4, with the log verified first."""
    initialised(place)
    (place.state / "policy/profiles").mkdir()
    (place.state / "policy/profiles/idle.toml").write_text(IDLE)
    (place.state / "taskbound.toml").write_text(ANY)
    with place.up():
        opened = json.loads(place.done("task", "open", "--profile", "idle", "--agent", "a", "--json"))
        place.done("task", "end", opened["task"])
        assert place.command("task", "open", "--profile", "none-such", "--agent", "a").returncode == 1  # and recorded
    found = examined(place, 0)
    assert re.fullmatch(r"\d+ events verify", only(found, "log")[1]) and only(found, "rows")[0] == "ok"
    database = place.state / "taskbound.db"
    with closing(sqlite3.connect(database, isolation_level=None)) as db:
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    kept = database.read_bytes()
    for edit, says in PLANTED.values():
        with closing(sqlite3.connect(database, isolation_level=None)) as db:
            assert db.execute(edit).rowcount > 0, edit
            db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        found = examined(place, 1)
        assert only(found, "log")[0] == "ok"
        assert all(verdict == "fail" for verdict, _, _ in found["rows"])
        assert any(re.match(says, sentence) for _, sentence, _ in found["rows"]), found["rows"]
        for more in ("-wal", "-shm"):
            database.with_name(f"{database.name}{more}").unlink(missing_ok=True)
        database.write_bytes(kept)
    assert only(examined(place, 0), "rows")[0] == "ok"


def test_a_header_that_was_edited_breaks_the_log(place):
    (place.state / "taskbound.toml").write_text(ANY)
    with place.up():
        until(lambda: any((place.state.parent / "data").rglob("main/*")))  # the first checkpoint
    with closing(sqlite3.connect(place.state / "taskbound.db", isolation_level=None)) as db:
        db.execute("DROP TRIGGER events_stay")
        db.execute("UPDATE events SET \"by\" = 'spiffe://x/human/mallory' WHERE id = 1")
    found = examined(place, 1)
    assert any(verdict == "fail" and says.startswith("event 0") for verdict, says, _ in found["log"]), found["log"]
    (place.state / "keys/log.pem").unlink()
    assert "is gone" in only(examined(place, 1), "log")[1]
    assert not (place.state / "keys/log.pem").exists(), "nothing is made in its place"


# --- what is configured ---------------------------------------------------------------------------------


@unprivileged
def test_modes_that_let_others_in_fail_with_the_command_that_closes_them(ground):  # noqa: F811
    place = Place(ground / "home")
    (place.state / "keys").mkdir(mode=0o700)
    (place.state / "keys/log.pem").touch(mode=0o644)
    place.state.chmod(0o755)
    found = examined(place, 1)["state directory"]
    assert {hint for _, _, hint in found} == {
        f"chmod go-rwx {place.state}", f"chmod go-rwx {place.state / 'keys/log.pem'}",
    }  # fmt: skip
    place.state.chmod(0o700)
    (place.state / "keys/log.pem").chmod(0o600)
    assert only(examined(place, 0), "state directory")[0] == "ok"


def test_the_command_that_closes_a_folder_is_pasted_as_it_is(tmp_path):
    strange = Place(tmp_path / "a home; rm x")
    strange.state.chmod(0o755)
    assert only(examined(strange, 1), "state directory")[2] == f"chmod go-rwx '{strange.state}'"


def test_a_configuration_that_cannot_be_read_is_one_failure(place):
    (place.state / "taskbound.toml").write_text("[lisen]\n")
    found = examined(place, 1)
    assert only(found, "configuration")[0] == "fail" and "listen" in only(found, "configuration")[2]
    assert "secrets" not in found


TARGET = """
[[target]]
name = "shopdb"
provider = "postgres"
admin = "{admin}"
owner = "doc_owner"
quarantine = "doc quarantine"
environment = "dev"
[target.grants.reader]
member_of = ["doc_reader"]
[target.grants.writer]
member_of = ["doc_writer", "doc_reader"]
"""


@unprivileged
def test_a_secret_that_does_not_resolve_is_named_and_never_shown(ground):  # noqa: F811
    place, admin = Place(ground / "home"), ground / "admin"
    (place.state / "taskbound.toml").write_text(ANY + TARGET.format(admin="env:SHOPDB_ADMIN"))
    found = examined(place, 1)
    assert only(found, "secrets")[:2] == ("fail", "target shopdb: env:SHOPDB_ADMIN is not set")
    admin.write_text("postgresql://broker:hunter2@127.0.0.1:1/x")
    admin.chmod(0o644)
    (place.state / "taskbound.toml").write_text(ANY + TARGET.format(admin=f"file:{admin}"))
    _, out, err = said(place)
    assert f"chmod 600 {admin}" in out and "hunter2" not in out + err
    admin.chmod(0)
    assert only(examined(place, 1), "secrets")[1] == f"target shopdb: file:{admin} cannot be read: Permission denied"
    admin.chmod(0o600)
    _, out, err = said(place)
    assert "the target gave no answer" in out and "hunter2" not in out + err


def test_a_secret_that_only_up_was_given_is_not_looked_at(place):
    (place.state / "taskbound.toml").write_text(ANY + TARGET.format(admin="env:SHOPDB_ADMIN"))
    place.environ["SHOPDB_ADMIN"] = "postgresql://broker:hunter2@127.0.0.1:1/x"
    with place.up():
        del place.environ["SHOPDB_ADMIN"]
        found = examined(place, 0)
        for name in ("secrets", "target shopdb"):
            verdict, says, hint = only(found, name)
            assert verdict == "warn" and "env:SHOPDB_ADMIN is not set here" in says and "started with" in hint
    assert only(examined(place, 1), "secrets")[0] == "fail"


def test_a_policy_directory_that_is_not_in_order_is_told_whole(place):
    initialised(place)
    (place.state / "policy/registrations.toml").write_text('[[registration]]\nid = "x"\n[[registration]]\nid = "y"\n')
    assert [verdict for verdict, _, _ in examined(place, 1)["policy"]] == ["fail", "fail"]
    (place.state / "policy/registrations.toml").unlink()
    tests = place.state / "policy/tests/start.toml"
    tests.write_text(
        tests.read_text().replace('expect = "permit"', 'expect = "deny"').replace('policy = "start"\n', "")
    )
    (place.state / "policy/profiles").mkdir()
    old = 'purpose = "p"\nowner = "human/alice"\nreview_by = 2020-01-01\nlife = "1m"\n'
    (place.state / "policy/profiles/old.toml").write_text(old)
    found = examined(place, 1)
    assert only(found, "policy tests")[0::2] == ("fail", "taskbound policy test")
    assert ("warn", "profile old was to be reviewed by 2020-01-01") in [one[:2] for one in found["policy"]]


def test_a_second_place_on_the_logs_own_disk_is_a_warning(place):
    found = examined(place, 0)
    assert only(found, "second place")[0] == "warn" and "checkpoints =" in only(found, "second place")[2]
    if Path("/dev/shm").stat().st_dev != place.state.stat().st_dev:
        (place.state / "taskbound.toml").write_text('checkpoints = "file:/dev/shm/taskbound-of-a-test"\n')
        assert only(examined(place, 0), "second place")[0] == "ok"


@unprivileged
def test_a_second_place_that_cannot_be_written_fails(ground):  # noqa: F811
    place, other = Place(ground / "home"), Path("/dev/shm")
    if other.stat().st_dev == place.state.stat().st_dev:
        pytest.skip("there is no other disk")
    with TemporaryDirectory(dir=other) as shut:
        (place.state / "taskbound.toml").write_text(f'checkpoints = "file:{shut}/below"\n')
        assert only(examined(place, 0), "second place")[:2] == ("ok", f"{shut}/below is on another disk")
        Path(shut).chmod(0o500)
        assert only(examined(place, 1), "second place")[:2] == ("fail", f"{shut} cannot be written: nothing is sealed")


@pytest.mark.parametrize("mode", [0o500, 0o000], ids=["to be read", "closed"])
@unprivileged
def test_where_nothing_can_be_written_on_the_same_disk_it_fails_too_and_so_does_a_sink(ground, mode):  # noqa: F811
    place, shut = Place(ground / "home"), ground / "shut"
    shut.mkdir(mode=mode)
    (place.state / "taskbound.toml").write_text(f'checkpoints = "file:{shut}/below"\nsinks = ["file:{shut}/events"]\n')
    found = examined(place, 1)
    assert only(found, "second place")[:2] == ("fail", f"{shut} cannot be written: nothing is sealed")
    assert only(found, "sinks")[:2] == ("fail", f"{shut}/events cannot be written: it receives no event")
    shut.chmod(0o700)
    assert only(examined(place, 0), "sinks")[:2] == ("ok", f"{shut}/events can be written")


@unprivileged
def test_checkpoints_that_nobody_here_may_read_are_a_failure_of_the_log(ground):  # noqa: F811
    place, shut = Place(ground / "home"), ground / "shut"
    shut.mkdir()
    (place.state / "taskbound.toml").write_text(f'checkpoints = "file:{shut}/below"\n{ANY}')
    initialised(place)
    with place.up():
        until(lambda: any(shut.glob("below/*/main/*")))
    shut.chmod(0o000)
    try:
        found = examined(place, 1)
    finally:
        shut.chmod(0o700)
    assert only(found, "second place")[:2] == ("fail", f"{shut} cannot be written: nothing is sealed")
    assert only(found, "log")[0] == "fail"


def test_a_certificate_may_be_read_by_all_and_its_key_may_not(place, tmp_path):
    for name in ("certificate", "key"):
        (tmp_path / name).write_text("PEM")
        (tmp_path / name).chmod(0o644)
    tls = f'[listen.tls]\ncertificate = "file:{tmp_path}/certificate"\nkey = "file:{tmp_path}/key"\n'
    (place.state / "taskbound.toml").write_text(tls)
    assert only(examined(place, 1), "secrets")[:2] == (
        "fail",
        f"listen.tls key: {tmp_path}/key may be read by others",
    )
    (tmp_path / "key").chmod(0o600)
    assert only(examined(place, 0), "secrets")[:2] == ("ok", "2 references resolve")


def test_the_second_place_is_the_one_that_up_has_whatever_the_environment_says(place, tmp_path):
    (place.state / "taskbound.toml").write_text(ANY)
    database, kept = place.state / "taskbound.db", tmp_path / "data/taskbound/checkpoints"
    elsewhere = {"XDG_DATA_HOME": str(tmp_path / "elsewhere")}

    def seen() -> int:
        return len([*kept.rglob("main/*")])

    with place.up():
        until(lambda: seen() > 0)
    old, before = database.read_bytes(), seen()
    with place.up():
        assert str(kept) in only(examined(place, 0, **elsewhere), "second place")[1]
        until(lambda: seen() > before)
    assert only(examined(place, 0, **elsewhere), "log")[0] == "ok"
    for more in ("-wal", "-shm"):
        database.with_name(f"{database.name}{more}").unlink(missing_ok=True)
    database.write_bytes(old)
    assert only(examined(place, 1, **elsewhere), "log")[0] == "fail"
    assert not (tmp_path / "elsewhere").exists()
    (place.state / "taskbound.toml").write_text(f'checkpoints = "file:{tmp_path}/third"\n{ANY}')
    says = [one[1] for one in examined(place, 0)["second place"]]
    assert says[0] == f"taskbound up keeps checkpoints in {kept}, configured is {tmp_path}/third"


# --- targets --------------------------------------------------------------------------------------------


async def test_what_a_target_lacks_is_printed_as_the_statement_that_mends_it(place, bare):  # noqa: F811
    (place.state / "taskbound.toml").write_text(ANY + TARGET.format(admin="env:SHOPDB_ADMIN"))
    admin = {"SHOPDB_ADMIN": bare.admin.reveal()}
    lacking = (await asyncio.to_thread(examined, place, 1, **admin))["target shopdb"]
    assert len(lacking) >= 8 and all(verdict == "fail" and hint for verdict, _, hint in lacking)
    for _, _, hint in lacking:
        _, _, where = hint.partition("  -- in database ")
        await bare.run(hint, where.strip("'"))  # as it is pasted
    mended = await asyncio.to_thread(examined, place, 0, **admin)
    assert only(mended, "target shopdb")[:2] == ("ok", "it is reachable and lacks nothing")
    await bare.issue()


# --- this machine ---------------------------------------------------------------------------------------


@unprivileged
def test_whether_anything_can_be_hidden_is_tried_and_not_guessed(monkeypatch):
    hides, why = doctor.can_hide()
    assert hides or why

    def refused(*_: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(namespaces, "mount_proc", refused)
    if hides:
        assert doctor.can_hide()[0] and doctor.can_hide()[1]
    monkeypatch.setattr(namespaces, "hide", refused)
    assert doctor.can_hide() == (False, "Operation not permitted")
    checks = {one.name: one for one in doctor._machine()}
    assert checks["hiding"].verdict == "warn" and "operator socket" in checks["hiding"].says
