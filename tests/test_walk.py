"""docs/walk.md is true: the functions it names are entered in its order, and no module is left out."""

import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import taskbound
from taskbound.core import catalogue, cedar, grant, intent, policy
from tests.edge.gateways import gateways, profile
from tests.rig import Rig
from tests.served import Workspace, served
from tests.stories.story import one_task_from_open_to_end

SOURCE = Path(taskbound.__file__).parent
TASK, CALL = (Path(__file__).parent.parent / "docs" / "walk.md").read_text().split("## A call, ")


def cold() -> None:
    for module in (catalogue, cedar, grant, intent, policy):
        for value in vars(module).values():
            if hasattr(value, "cache_clear"):
                value.cache_clear()


@contextmanager
def noted() -> Iterator[list[tuple[str, str]]]:
    """Give every function of ours that the block enters, in order: (module's path, function)."""
    seen: list[tuple[str, str]] = []

    def note(frame, event, arg):
        path = frame.f_code.co_filename
        if path.startswith(str(SOURCE)) and frame.f_code.co_name != "<module>":
            seen.append((Path(path).relative_to(SOURCE).as_posix(), frame.f_code.co_name))

    cold()  # what is kept under its values is entered again
    before = sys.gettrace()
    sys.settrace(note)
    try:
        yield seen
    finally:
        sys.settrace(before)


async def a_task() -> list[tuple[str, str]]:
    rig = Rig()
    await rig.people()
    with noted() as seen:
        await one_task_from_open_to_end(rig)
    return seen


async def a_call(policy: Path) -> list[tuple[str, str]]:
    asked = {"name": "echo", "arguments": {"text": "here"}}
    with served(Workspace().app) as address:
        async with gateways(policy, {"all": profile("echo")}, {"workspace": address}) as gate:
            _, handle = await gate.task()
            with noted() as seen:
                answer = await gate.post(handle, {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": asked})
                await gate.gate.outcomes.drained()
    assert answer.status_code == 200 and not answer.json()["result"]["isError"]
    return seen


def named(walk: str) -> set[str]:
    walk = walk.partition("\nWith a token instead of a handle")[0]  # which this call does not show
    return set(re.findall(r"`([\w/]+\.py)", walk)) - {"tests/stories/story.py", "tests/test_walk.py"}


def require_order(walk: str, entered: list[tuple[str, str]], least: int) -> None:
    rows = re.findall(r"^\| \d+ \| `([\w/]+\.py): (\w+)`", walk, re.MULTILINE)
    assert len(rows) >= least
    left = iter(entered)
    for number, step in enumerate(rows, 1):
        assert step in left, f"row {number}, {step}, is not entered after row {number - 1}"


async def test_a_task_enters_the_functions_of_its_walk_in_order_and_no_other_module():
    entered = await a_task()
    require_order(TASK, entered, 20)
    assert {module for module, _ in entered} == named(TASK)


async def test_a_call_enters_the_functions_of_its_walk_in_order_and_no_other_module(tmp_path):
    entered = await a_call(tmp_path / "policy")
    require_order(CALL, entered, 20)
    assert {module for module, _ in entered} == named(CALL)
