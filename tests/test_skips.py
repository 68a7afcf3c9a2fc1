"""A run that skips more than five tests has failed, and says why each was skipped; the ten slowest are printed."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.profile import pairs, trials

ROOT = Path(__file__).parents[1]
SKIPS = """
import pytest

@pytest.mark.parametrize("n", range({skipped}))
def test_skipped(n):
    pytest.skip("odd" if n % 2 else "even")

def test_passed():
    pass
"""


@pytest.mark.parametrize(("workers", "how"), pairs([0, 2], ["option", "environment"]))
def test_what_is_deselected_counts_as_skipped(tmp_path: Path, workers: int, how: str) -> None:
    ran = run(tmp_path, 5, workers, *(["-k", "not passed"] if how == "option" else []), environment=how)
    assert ran.returncode == 1, ran.stdout + ran.stderr
    said = ran.stdout.splitlines()
    at = said.index("skips: 6 (too many, the run fails)")
    assert sorted(said[at + 1 :][:3]) == ["  1 × deselected", "  2 × odd", "  3 × even"]


def test_who_picks_tests_by_hand_is_not_judged(tmp_path: Path) -> None:
    ran = run(tmp_path, 6, 0, "-k", "passed", judged=False)
    assert ran.returncode == 0 and "6 deselected" in ran.stdout and "skips:" not in ran.stdout


@pytest.mark.parametrize(("skipped", "workers", "status", "verdict"), [
    (5, 0, 0, "skips: 5 (5 are allowed)"),
    (6, 0, 1, "skips: 6 (too many, the run fails)"),
    (6, 2, 1, "skips: 6 (too many, the run fails)"),
])  # fmt: skip
def test_five_skips_pass_and_six_fail(tmp_path: Path, skipped: int, workers: int, status: int, verdict: str) -> None:
    """As `make test` runs pytest, with the project's own configuration."""
    (line,) = (line for line in (ROOT / "Makefile").read_text().splitlines() if "-m pytest" in line)
    assert "-m pytest -p tests.skips -n 3 " in line
    ran = run(tmp_path, skipped, workers)
    assert ran.returncode == status, ran.stdout + ran.stderr
    said = ran.stdout.splitlines()
    assert said[said.index(verdict) + 1 :][:2] == ["  3 × even", f"  {skipped - 3} × odd"]
    assert "slowest 10 durations" in ran.stdout


def run(
    at: Path, skipped: int, workers: int, *more: str, environment: str = "", judged: bool = True
) -> "subprocess.CompletedProcess[str]":
    (at / "test_some.py").write_text(SKIPS.format(skipped=skipped))
    words = ["-p", "no:cacheprovider", "-n", str(workers), "-c", "pyproject.toml", str(at), *more]
    words += ["-p", "tests.skips"] if judged else []
    added = {"PYTEST_ADDOPTS": "-k 'not passed'"} if environment == "environment" else {}
    ours = {name: value for name, value in os.environ.items() if name != "PYTEST_ADDOPTS"}
    itself = [sys.executable, "-m", "pytest", *words]
    return subprocess.run(itself, cwd=ROOT, env=ours | added, capture_output=True, text=True, check=False)


@pytest.mark.parametrize(("workers", "fails"), [(0, True), (2, True), (0, False)][: trials(3, 1)])
def test_a_test_that_is_expected_to_fail_fails_the_run(tmp_path: Path, workers: int, fails: bool) -> None:
    (tmp_path / "test_some.py").write_text(
        f"import pytest\n@pytest.mark.xfail\ndef test_it():\n    assert {not fails}\n"
    )
    words = ("-p", "tests.skips", "-p", "no:cacheprovider", "-n", str(workers), "-c", "pyproject.toml", str(tmp_path))
    itself = [sys.executable, "-m", "pytest", *words]
    ran = subprocess.run(itself, cwd=ROOT, capture_output=True, text=True, check=False)
    assert ran.returncode == 1, ran.stdout + ran.stderr
    assert "xfails: 1 (none is allowed, the run fails)" in ran.stdout
