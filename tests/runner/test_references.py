"""What stands as a reference is found resolved by the program alone: in its environment, in files in their places."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.runner.fake_api import PASSWORD
from tests.runner.person import Person, person
from tests.runner.test_run import MASKED, NO_NAMESPACES, runs_of


def words(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError:
        return b""


@pytest.fixture
def alice() -> Iterator[Person]:
    with person() as somebody:
        yield somebody


LOGIN = f"postgresql://tb_x:{PASSWORD}@127.0.0.1:5432/shop"


def test_a_variable_that_is_a_reference_comes_along_resolved(alice):
    outside = {
        "DATABASE_URL": "taskbound://shopdb/url",
        "PGPASS": "taskbound://shopdb",
        "OTHER": "x taskbound://shopdb",
    }
    done = alice.run("/usr/bin/env", "-0", env=outside)
    inside = dict(line.split("=", 1) for line in done.stdout.split("\0") if line)
    assert (inside["DATABASE_URL"], inside["PGPASS"]) == (LOGIN, PASSWORD)
    assert "OTHER" not in inside, "it is more than a reference, and nobody kept it"
    assert "resolved for the program: $DATABASE_URL" in done.stderr and PASSWORD not in done.stderr


def test_what_is_kept_is_resolved_within(alice):
    done = alice.run("/usr/bin/printenv", "AUTH", env={"AUTH": "Bearer taskbound://shopdb"}, keep=["AUTH"])
    assert done.stdout == f"Bearer {PASSWORD}\n"


@pytest.mark.parametrize("text", ["taskbound://crm", "taskbound://shopdb/nothing"])
def test_what_leads_nowhere_starts_nothing_and_ends_the_task(alice, text):
    done = alice.run("/bin/echo", "it started", env={"TOKEN": text})
    assert (done.returncode, done.stdout) == (125, "")
    assert f"$TOKEN: {text}: " in done.stderr and PASSWORD not in done.stderr
    assert len(alice.api.called("/end")) == 1


@pytest.mark.parametrize("conditions", [(), (MASKED,)], ids=["all", "no-pids"])
def test_a_file_is_found_resolved_in_its_place_and_stays_as_it_is_outside(alice, conditions):
    text = '{"mcpServers": {"a": {"env": {"TOKEN": "taskbound://shopdb",}}}} // mine\n'
    file = alice.put("project/.mcp.json", text)
    link = alice.home / "link.json"
    link.symlink_to(file)
    alice.own_everything(alice.home)
    script = f"cat {file}; echo x 2>/dev/null >{file} || echo cannot be written"
    done = alice.run("/bin/sh", "-c", script, resolve=[link], conditions=conditions)
    assert done.stdout == text.replace("taskbound://shopdb", PASSWORD) + "cannot be written\n", done.stderr
    assert file.read_text() == text
    assert f"resolved for the program: {file}" in done.stderr and PASSWORD not in done.stderr
    assert list(runs_of(alice).iterdir()) == []


def test_while_it_runs_nobody_else_sees_it_resolved_and_no_argument_holds_it(alice):
    file = alice.put(".env", "A=taskbound://shopdb\n")
    alice.own_everything(alice.home)
    with alice.start("/bin/sh", "-c", "cat .env; echo; sleep 0.5", resolve=[file]) as running:
        assert running.stdout.readline() == f"A={PASSWORD}\n"
        assert file.read_text() == "A=taskbound://shopdb\n"
        assert [one for one in Path("/proc").glob("[0-9]*/cmdline") if PASSWORD.encode() in words(one)] == []
        assert running.wait(20) == 0


def test_where_nothing_can_be_shown_it_does_not_start(alice):
    file = alice.put(".env", "A=taskbound://shopdb\n")
    done = alice.run("/bin/echo", "it started", resolve=[file], conditions=(NO_NAMESPACES,))
    assert (done.returncode, done.stdout) == (125, "")
    assert "no file can be shown to the program" in done.stderr and alice.api.asked == []


@pytest.mark.parametrize("name", [".aws/credentials", "no-such-file"])
def test_what_is_hidden_or_absent_cannot_be_resolved(alice, name):
    done = alice.run("/bin/echo", "it started", resolve=[alice.home / name])
    assert (done.returncode, done.stdout, alice.api.asked) == (125, "", [])
    assert os.path.basename(name) in done.stderr
