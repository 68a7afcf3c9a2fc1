"""Each contract in `.importlinter` is proven by breaking it: a violation is planted in a copy of the tree."""

import configparser
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
LINT_IMPORTS = Path(sys.executable).with_name("lint-imports")

# contract, the file that breaks it, the module that this file must not import
PLANTED = [
    ("one-way", "formats/canonical.py", "taskbound.core.errors"),
    ("nouns", "core/lease.py", "taskbound.core.call"),
    ("cedar", "core/task.py", "cedarpy"),
    ("posture", "posture/sighting.py", "taskbound.posture.findings"),
    ("steps", "steps/open_task.py", "taskbound.steps.end_task"),
    ("plugins", "plugins/providers/memory.py", "taskbound.plugins.policies.files"),
    ("doors", "edge/gateway.py", "taskbound.edge.api"),
    ("plugs", "plugins/providers/memory.py", "taskbound.steps.open_task"),
    ("pure", "core/task.py", "os"),
    ("verbs", "steps/open_task.py", "secrets"),
    ("handed-out", "steps/open_task.py", "taskbound.store.memory"),
    ("way-out", "plugins/providers/memory.py", "aiohttp"),
    ("command", "cli/__init__.py", "taskbound.steps.open_task"),
    ("runner", "runner/__init__.py", "taskbound.core.task"),
    ("sdk", "../taskbound_sdk/__init__.py", "taskbound"),
    ("acyclic", "core/task.py", "taskbound.ports"),
]


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A copy of the tree, for planting in."""
    shutil.copytree(ROOT / "src", tmp_path / "src", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / ".importlinter", tmp_path)
    return tmp_path


def test_the_tree_keeps_every_contract(tree: Path) -> None:
    verdicts, report = lint_imports(tree)
    assert verdicts == dict.fromkeys(contracts(), "KEPT"), report


@pytest.mark.parametrize(("contract", "file", "imported"), PLANTED, ids=[row[0] for row in PLANTED])
def test_a_planted_violation_breaks_its_contract(tree: Path, contract: str, file: str, imported: str) -> None:
    plant(tree, file, f"import {imported}")
    verdicts, report = lint_imports(tree, contract)
    assert verdicts == {contract: "BROKEN"}, report
    assert named(contract, file, imported) in report


@pytest.mark.parametrize(
    ("contract", "file"),
    [("one-way", "utils.py"), ("nouns", "core/misc.py")],
    ids=["top-level-module", "noun"],
)
def test_a_module_without_a_place_breaks_the_layers(tree: Path, contract: str, file: str) -> None:
    plant(tree, file, '"""Of no layer."""')
    verdicts, report = lint_imports(tree, contract)
    assert verdicts == {contract: "BROKEN"}, report
    assert f"- {module(file)}\n" in report


def test_every_contract_has_a_planted_violation() -> None:
    assert {contract for contract, _file, _imported in PLANTED} == set(contracts())


def contracts() -> dict[str, str]:
    """Return the contracts of the file: id to name."""
    parser = configparser.ConfigParser()
    parser.read(ROOT / ".importlinter")
    prefix = "importlinter:contract:"
    return {s.removeprefix(prefix): parser[s]["name"] for s in parser.sections() if s.startswith(prefix)}


def plant(tree: Path, file: str, line: str) -> None:
    """Append a line to a module of the copy; the module is made when the tree has none."""
    with (tree / "src/taskbound" / file).open("a") as text:
        text.write(f"\n{line}\n")


def lint_imports(tree: Path, *only: str) -> tuple[dict[str, str], str]:
    """Return the verdict on each contract checked, by its id, and the whole report."""
    done = subprocess.run(
        [LINT_IMPORTS, "--no-cache", "--no-logo", *(f"--contract={contract}" for contract in only)],
        cwd=tree,
        # The copy comes before the installed package; a wide terminal keeps each finding on one line.
        env=os.environ | {"PYTHONPATH": str(tree / "src"), "COLUMNS": "1000", "NO_COLOR": "1"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    report = done.stdout + done.stderr
    verdicts = {}
    for contract, name in contracts().items():
        for verdict in ("KEPT", "BROKEN"):
            if f"\n{name} {verdict}" in report:
                verdicts[contract] = verdict
    assert done.returncode == (1 if "BROKEN" in verdicts.values() or not verdicts else 0), report
    return verdicts, report


def module(file: str) -> str:
    file = file.removeprefix("../") if file.startswith("../") else f"taskbound/{file}"
    return file.removesuffix(".py").removesuffix("/__init__").replace("/", ".")


def named(contract: str, file: str, imported: str) -> str:
    """Return the words by which the report must name what was planted."""
    if contract == "acyclic":  # reports siblings, not the modules inside them
        return f".{file.split('/')[0]} -> .{imported.split('.')[1]}"
    return f"{module(file)} -> {imported} (l."
