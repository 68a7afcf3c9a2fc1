"""What a test notes is read at the end of the run, also when it passed and whichever worker ran it."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
NOTES = """
import pytest
from tests.notes import note

@pytest.fixture
def arranged():
    note("seed", 7)
    yield
    note("cleaned")

@pytest.mark.parametrize("n", [1, 2])
def test_passes(n, arranged):
    note(f"{n} tried")

def test_fails():
    note("none found")
    assert False

def test_says_nothing():
    print("seen by nobody")
"""


@pytest.mark.parametrize("workers", [0, 2])
def test_one_line_for_each_test_that_noted_something(tmp_path: Path, workers: int) -> None:
    (tmp_path / "test_some.py").write_text(NOTES)
    words = ["-p", "tests.notes", "-p", "no:cacheprovider", "-n", str(workers), "-c", "pyproject.toml"]
    command = [sys.executable, "-m", "pytest", *words, str(tmp_path / "test_some.py")]
    said = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False).stdout
    _, _, noted = said.partition("noted by the tests")
    assert re.findall(r"(?m)^::test_(.*: .*)$", noted) == [  # outside the root a test's file is not named
        "fails: none found",
        "passes[1]: seed 7; 1 tried; cleaned",
        "passes[2]: seed 7; 2 tried; cleaned",
    ]
    assert "seen by nobody" not in said


def test_this_project_s_own_tests_are_run_with_it() -> None:
    assert 'pytest_plugins = ["tests.notes"]' in (ROOT / "tests/conftest.py").read_text()
