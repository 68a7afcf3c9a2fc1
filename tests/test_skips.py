"""A run that skips more than five tests has failed, and says why each was skipped; the ten slowest are printed."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SKIPS = """
import pytest

@pytest.mark.parametrize("n", range({skipped}))
def test_skipped(n):
    pytest.skip("odd" if n % 2 else "even")

def test_passed():
    pass
"""


@pytest.mark.parametrize(("skipped", "workers", "status", "verdict"), [
    (5, 0, 0, "skips: 5 (5 are allowed)"),
    (6, 0, 1, "skips: 6 (too many, the run fails)"),
    (6, 2, 1, "skips: 6 (too many, the run fails)"),
])  # fmt: skip
def test_five_skips_pass_and_six_fail(tmp_path: Path, skipped: int, workers: int, status: int, verdict: str) -> None:
    """As `make test` runs pytest, with the project's own configuration."""
    (line,) = (line for line in (ROOT / "Makefile").read_text().splitlines() if "-m pytest" in line)
    assert "-m pytest -p tests.skips -n 2 " in line
    (tmp_path / "test_some.py").write_text(SKIPS.format(skipped=skipped))
    words = ("-p", "tests.skips", "-p", "no:cacheprovider", "-n", str(workers), "-c", "pyproject.toml", str(tmp_path))
    itself = [sys.executable, "-m", "pytest", *words]
    ran = subprocess.run(itself, cwd=ROOT, capture_output=True, text=True, check=False)
    assert ran.returncode == status, ran.stdout + ran.stderr
    said = ran.stdout.splitlines()
    assert said[said.index(verdict) + 1 :][:2] == ["  3 × even", f"  {skipped - 3} × odd"]
    assert "slowest 10 durations" in ran.stdout
