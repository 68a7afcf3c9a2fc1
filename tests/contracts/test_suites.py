"""Each port has a suite that is run, or says why it has none; and what has none has one implementation."""

import ast
from pathlib import Path

import pytest

from tests.contracts import ALONE, SUITES

TESTS = Path(__file__).parents[1]
SOURCE = TESTS.parent / "src/taskbound"


def ports() -> set[str]:
    """Return the names of the Protocols of ports.py."""
    tree = ast.parse((SOURCE / "ports.py").read_text())
    classes = [node for node in tree.body if isinstance(node, ast.ClassDef)]
    return {one.name for one in classes if any(isinstance(b, ast.Name) and b.id == "Protocol" for b in one.bases)}


def test_each_port_has_a_suite_or_says_why_not() -> None:
    assert SUITES.keys() | ALONE.keys() == ports() and not SUITES.keys() & ALONE.keys()


@pytest.mark.parametrize("suite", sorted(set(SUITES.values())))
def test_each_suite_is_run(suite: str) -> None:
    runs = f"from tests.contracts.{suite} import *"
    assert any(runs in path.read_text() for path in TESTS.rglob("test_*.py") if path != Path(__file__))


@pytest.mark.parametrize("port", ["Policies", "Attestor", "Archive"])
def test_a_port_without_a_suite_has_one_implementation(port: str) -> None:
    folder, _ = ALONE[port]
    assert len([path for path in (SOURCE / "plugins" / folder).glob("*.py") if path.stem != "__init__"]) == 1


@pytest.mark.parametrize("port", ALONE)
def test_the_tests_of_the_one_there_is_are_where_it_is_said(port: str) -> None:
    folder, tests = ALONE[port]
    assert (SOURCE / "plugins" / folder).is_dir() and (TESTS / tests).is_file()
