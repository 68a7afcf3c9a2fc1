"""docs/walk.md is true: the functions it names are entered in its order, and no module is left out."""

import re
import sys
from pathlib import Path

import taskbound
from taskbound.core import catalogue, cedar, grant, intent, policy
from tests.rig import Rig
from tests.stories.story import one_task_from_open_to_end

SOURCE = Path(taskbound.__file__).parent
WALK = (Path(__file__).parent.parent / "docs" / "walk.md").read_text()


def cold() -> None:
    for module in (catalogue, cedar, grant, intent, policy):
        for value in vars(module).values():
            if hasattr(value, "cache_clear"):
                value.cache_clear()


async def entered() -> list[tuple[str, str]]:
    """Return every function of ours that the story enters, in order: (module's path, function)."""
    rig = Rig()
    await rig.people()
    seen: list[tuple[str, str]] = []

    def note(frame, event, arg):
        path = frame.f_code.co_filename
        if path.startswith(str(SOURCE)) and frame.f_code.co_name != "<module>":
            seen.append((Path(path).relative_to(SOURCE).as_posix(), frame.f_code.co_name))

    cold()  # what is kept under its values is entered again
    before = sys.gettrace()
    sys.settrace(note)
    try:
        await one_task_from_open_to_end(rig)
    finally:
        sys.settrace(before)
    return seen


async def test_the_functions_of_the_walk_are_entered_in_its_order():
    walk = re.findall(r"^\| \d+ \| `([\w/]+\.py): (\w+)`", WALK, re.MULTILINE)
    assert len(walk) >= 20
    left = iter(await entered())
    for number, step in enumerate(walk, 1):
        assert step in left, f"row {number}, {step}, is not entered after row {number - 1}"


async def test_the_modules_of_the_walk_are_those_that_are_entered():
    named = set(re.findall(r"`([\w/]+\.py)", WALK)) - {"tests/stories/story.py", "tests/test_walk.py"}
    assert {module for module, _ in await entered()} == named
