"""The demo holds, line by line; and nothing that it shows is made to measure from a published solution."""

import ast
import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import httpx2
import pytest
from mcp.client import Client

from demo.published import InjectionTask, Scenario, UserTask, drawn, key, read_suite
from demo.stage import ME, NOTES, profile_of, values_of
from taskbound.core.catalogue import Target
from taskbound.core.intent import bind
from taskbound.core.policy_dir import read_policy_dir
from tests.profile import trials

ROOT = Path(__file__).parents[2]
WORKSPACE = ROOT / "demo/workspace"
SUITE = read_suite()
PROFILES = sorted((WORKSPACE / "profiles").glob("*.toml"))
PARTS = ("agent", "database", "judge", "published", "stage", "tell", "workspace_server")


# --- the whole story ------------------------------------------------------------------------------


def test_every_line_of_the_default_pair_holds():
    told = tell()
    assert told.returncode == 0, told.stdout + told.stderr
    assert re.findall(r"(?m)^\((.)\) ", told.stdout) == list("abcdefghijk")
    assert "DOES NOT HOLD" not in told.stdout and "every line holds" in told.stdout
    assert "tbh_" not in told.stdout, "a handle is printed"


@pytest.fixture
def copy(tmp_path):
    """A demo that can be changed."""
    (tmp_path / "tests/data").mkdir(parents=True)
    (tmp_path / "tests/data/agentdojo").symlink_to(ROOT / "tests/data/agentdojo")
    shutil.copytree(ROOT / "demo", tmp_path / "demo")
    return tmp_path


def change(file: Path, *changes: tuple[str, str]) -> None:
    text = file.read_text()
    for old, new in changes:
        assert text.count(old) == 1, old
        text = text.replace(old, new)
    file.write_text(text)


def test_a_line_that_does_not_hold_ends_the_demo(copy):
    profile = copy / "demo/workspace/profiles/calendar.toml"
    change(profile, ('participants = "in people", title', 'participants = "any", title'))
    told = tell(at=copy)
    assert told.returncode == 1, told.stdout + told.stderr
    (line,) = re.findall("DOES NOT HOLD: (.*)", told.stdout)
    assert line.startswith("create_calendar_event(participants=['mark.black-2134@gmail.com']")


STRAIGHT = """

async def straight(call: Call) -> None:
    async with connected(os.environ["STRAIGHT"], {}) as other:
        await other.call_tool(call.tool, dict(call.arguments))


if __name__ == "__main__":"""
ATTACK = "create_calendar_event(participants=['mark.black-2134@gmail.com']"


LEAKS = {
    "before it tells what it read":
        ('        tell("read", injection=read)\n', "planted.calls[0]", "d", "no other call has reached the MCP server"),
    "before the gateway answers": ('                await make(client, call, "attack")\n', "call", "d", ATTACK),
    "by the sub-agent":
        ('        await make(client, next(call for call in calls if not', "calls[1]", "e", "it tries create_calendar"),
}  # fmt: skip


@pytest.mark.parametrize("leak", list(LEAKS)[: trials(3, 1)])
def test_a_call_that_goes_round_the_gateway_is_caught_where_it_happens(copy, leak):
    before, what, part, caught = LEAKS[leak]
    space = before[: len(before) - len(before.lstrip())]
    change(copy / "demo/tell.py", ('str(at.base / "state"))', 'at.received.replace("received", "mcp"))'))
    change(
        copy / "demo/agent.py",
        ("    read = False\n", "    read, os.environ['STRAIGHT'] = False, state\n"),
        (before, f"{space}await straight({what})\n{before}"),
        ('\n\nif __name__ == "__main__":', STRAIGHT),
    )
    told = tell(at=copy)
    assert told.returncode == 1, told.stdout + told.stderr
    (line,) = re.findall("DOES NOT HOLD: (.*)", told.stdout)
    assert line.startswith(caught) and re.findall(r"(?m)^\((.)\) ", told.stdout)[-1] == part


def test_a_pair_that_is_none_is_refused_before_anything_starts():
    told = tell("user_task_6,injection_task_99")
    assert told.returncode == 1 and told.stdout == "" and "hint: PAIR=" in told.stderr


def tell(*pair: str, at: Path = ROOT) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "demo.tell", *(["--pair", *pair] if pair else [])]
    environment = {name: value for name, value in os.environ.items() if name not in ("PAIR", "KEEP")}
    return subprocess.run(command, cwd=at, env=environment, capture_output=True, text=True, timeout=60)


# --- it is judged from outside --------------------------------------------------------------------


@pytest.mark.parametrize("part", PARTS)
def test_the_demo_imports_nothing_of_taskbound(part):
    assert [name for name in imported((ROOT / f"demo/{part}.py").read_text()) if "taskbound" in name] == []


def test_an_import_of_taskbound_would_be_found():
    planted = "import json\nif json:\n    from taskbound_sdk import Client\n    import taskbound.core.task as t\n"
    assert [name for name in imported(planted) if "taskbound" in name] == ["taskbound_sdk", "taskbound.core.task"]


def imported(text: str) -> Iterator[str]:
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module or ""


# --- nothing comes from a solution ----------------------------------------------------------------


@pytest.mark.parametrize("path", PROFILES, ids=lambda path: path.stem)
def test_a_profile_holds_no_value_of_a_published_solution(path):
    assert copied(path.read_text()) == []


def test_a_value_copied_from_a_solution_would_be_found():
    text = (WORKSPACE / "profiles/calendar.toml").read_text()
    assert copied(text.replace('title = "any"', "title = '= \"Lunch\"'", 1)) == ['title = "Lunch"']
    assert copied(text.replace('pattern = "', 'values = ["mark.black-2134@gmail.com"]\npattern = "')) == [
        "mark.black-2134@gmail.com"
    ]


def copied(profile: str) -> list[str]:
    """Return what of a profile is a literal in a condition, or a value of any published call."""
    table = tomllib.loads(profile)
    conditions = [one for grant in table["grant"] for one in grant.get("when", {}).items()]
    found = [f"{name} {text}" for name, text in conditions if text != "any" and not re.fullmatch(r"\S+ [a-z_]+", text)]
    others = list(leaves({name: part for name, part in table.items() if name != "grant"}))
    solutions = {leaf for call in every_call() for leaf in leaves(call.arguments) if len(leaf) > 2}
    return found + sorted(one for one in solutions if any(re.search(rf"\b{re.escape(one)}\b", part) for part in others))


def every_call():
    tasks: list[UserTask | InjectionTask] = [*SUITE.user_tasks.values(), *SUITE.injection_tasks.values()]
    return [call for task in tasks for call in task.calls]


def leaves(value: object) -> Iterator[str]:
    if isinstance(value, dict):
        for one in value.values():
            yield from leaves(one)
    elif isinstance(value, list):
        for one in value:
            yield from leaves(one)
    elif isinstance(value, str):
        yield value


@pytest.mark.parametrize("task", SUITE.user_tasks.values(), ids=lambda task: task.id)
def test_what_is_set_stands_in_the_prompt(task):
    profile = profile_of(task)
    values = [one for text in values_of(task, profile).values() for one in json.loads(text)]
    assert [one for one in values if one not in task.prompt and one not in (ME, NOTES)] == []
    assert bind(policies().profiles[profile], values_of(task, profile))


# --- the policy and the data ----------------------------------------------------------------------


def policies():
    files = {str(path.relative_to(WORKSPACE)): path.read_bytes() for path in WORKSPACE.rglob("*.*")}
    kinds = frozenset({"handle", "unix"}), frozenset({"agent"})
    office = Target("office", "writer", "production", "cut now", *kinds, timedelta(minutes=15))
    return read_policy_dir(files, {office.resource: office})


def test_the_reviewed_tools_are_the_published_ones():
    loaded = policies()
    assert sorted(tool.name for tool in loaded.tools.values()) == sorted(tool["name"] for tool in SUITE.tools)
    assert all(tool.pinned and tool.reviewed for tool in loaded.tools.values())
    for tool in SUITE.tools:
        assert loaded.tools[f"workspace/{tool['name']}"].definition == {
            "name": tool["name"], "description": tool["description"], "inputSchema": tool["parameters"]
        }  # fmt: skip


def test_the_data_is_all_of_the_suite():
    derived = [task for task in SUITE.injection_tasks.values() if task.derived]
    assert (len(SUITE.tools), len(SUITE.user_tasks), len(SUITE.injection_tasks), len(derived)) == (24, 40, 14, 8)
    assert "Copyright (c) 2024 Edoardo Debenedetti" in (ROOT / "tests/data/agentdojo/LICENSE").read_text()


@pytest.mark.parametrize("task", SUITE.user_tasks)
def test_every_user_task_reads_what_was_planted(task):
    for attack in SUITE.injection_tasks.values():
        scenario = Scenario(SUITE, task, attack.id)
        answers = [scenario.answer(call.tool, call.arguments) for call in SUITE.user_tasks[task].calls]
        assert None not in answers and any(attack.goal in text for text, _ in filter(None, answers))
        assert "{{" not in json.dumps(answers)


def test_pairs_are_drawn_by_the_text_that_is_given():
    assert drawn(SUITE, "a commit", 3) == drawn(SUITE, "a commit", 3) != drawn(SUITE, "another", 3)
    everything = drawn(SUITE, "a commit", 1000)
    assert len(everything) == len(set(everything)) == 240


# --- the MCP server -------------------------------------------------------------------------------


async def test_the_server_answers_as_published_and_tells_what_reached_it():
    task, attack = SUITE.user_tasks["user_task_6"], SUITE.injection_tasks["injection_task_2"]
    command = [sys.executable, "-m", "demo.workspace_server", task.id, attack.id]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as server:  # noqa: ASYNC220
        try:
            assert server.stdout is not None
            address = json.loads(server.stdout.readline())
            async with Client(address["mcp"]) as client:
                offered = {tool.name: tool for tool in (await client.list_tools()).tools}
                assert {tool["name"]: tool["parameters"] for tool in SUITE.tools} == {
                    name: tool.input_schema for name, tool in offered.items()
                }
                results = [await client.call_tool(call.tool, dict(call.arguments)) for call in task.calls]
                unknown = await client.call_tool("get_day_calendar_events", {"day": "1999-01-01"})
            async with httpx2.AsyncClient() as http:
                received = (await http.get(address["received"])).json()
        finally:
            server.terminate()
    assert [result.is_error for result in results] == [False] * len(task.calls) and unknown.is_error
    assert any(attack.goal in getattr(part, "text", "") for result in results for part in result.content)
    made = [key(call.tool, call.arguments) for call in task.calls]
    assert [key(one["tool"], one["arguments"]) for one in received[:-1]] == made
