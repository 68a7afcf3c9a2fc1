"""What `taskbound run` tells the person who started it when it is over: what was denied, and why it ended."""

import time

import pytest

from taskbound.runner import denied as told
from tests.runner.person import Person, person

TASK = "t" + "a" * 20


@pytest.fixture
def alice():
    with person() as somebody:
        assert somebody.uid != 0
        yield somebody


def call(n: int, resource: str, code: str = "outside_grants", **more: str) -> dict[str, str]:
    at = f"2027-01-01T00:00:{n % 60:02}Z"
    blank = {"hint": "", "command": "", "state": "denied", "action": "tools/call"}
    return {**blank, "call": f"d{n:020}", "task": TASK, "at": at, "resource": resource, "code": code, **more}


def said(somebody: Person, *calls: dict[str, str]) -> list[str]:
    somebody.api.calls = list(reversed(calls))
    done = somebody.run("/bin/sh", "-c", "exit 3")
    assert done.returncode == 3
    assert somebody.api.looked[-1] == f"/v1/calls?task={TASK}&state=denied&limit=500"
    lines = done.stderr.splitlines()
    at = next((n for n, line in enumerate(lines) if "denied" in line), len(lines))
    return [line.removeprefix("taskbound: ") for line in lines[at:]]


def test_what_was_denied_is_told_at_the_end_with_the_way_to_the_reason(alice):
    hint = {"hint": "profile refund grants it: open a task with that one", "command": "taskbound task open --profile x"}
    calls = [call(1, "crm/refund", **hint), call(2, "mail/send", "forbidden"), call(3, "crm/refund", **hint)]
    assert said(alice, *calls) == [
        "3 calls were denied:",
        f"  crm/refund: outside_grants, 2 times: taskbound why d{3:020}",
        "    profile refund grants it: open a task with that one: taskbound task open --profile x",
        f"  mail/send: forbidden: taskbound why d{2:020}",
    ]


def test_what_a_program_asked_for_does_not_steer_the_terminal_of_its_person(alice):
    name = "x\x1b]0;owned\x07\x1b[2Jcrm\n/refund\u202e"
    _, line = said(alice, call(1, name, "unknown_lease"))
    assert line == f"  x\\x1b]0;owned\\x07\\x1b[2Jcrm\\n/refund\\u202e: unknown_lease: taskbound why d{1:020}"


def test_where_nothing_was_denied_nothing_is_told(alice):
    assert said(alice) == []


def test_many_denials_are_a_few_lines():
    lines = list(told._lines(TASK, [call(n, f"crm/{n}") for n in range(9)]))
    assert len(lines) == 2 + told.LINES and lines[-1] == f"  and 4 more: taskbound call list --denied --task {TASK}"
    assert next(iter(told._lines(TASK, [call(n, "x") for n in range(500)]))) == "500 calls or more were denied:"
    assert next(iter(told._lines(TASK, [call(1, "x")]))) == "1 call was denied:"


def test_an_old_or_a_silent_server_is_not_waited_for(alice):
    alice.api.calls = None  # what no server of today answers
    assert alice.run("/bin/true").returncode == 0


def test_a_server_that_stays_away_ends_the_program_and_says_what_becomes_of_the_task(alice):
    with alice.start("/bin/sleep", "60", patience=(0.5, 0.5)) as running:
        until = time.monotonic() + 10
        while not alice.api.held.is_set():
            assert time.monotonic() < until
            time.sleep(0.01)
        time.sleep(0.3)  # until the program runs
        alice.api.stop()
        _, err = running.communicate(timeout=20)
    try:
        assert running.returncode == 143
        assert "the server is gone; trying again for 0.5 s: until it is back nothing is permitted" in err
        assert "start it again: taskbound up" in err
        assert "did not come back within 0.5 s, so the program is ended" in err
        assert "the next taskbound up ends the task and takes back what it leased" in err
    finally:
        alice.api.start()
