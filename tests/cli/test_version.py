import subprocess
import sys
from pathlib import Path

import pytest

COMMAND = Path(sys.executable).with_name("taskbound")


def run(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([COMMAND, *words], capture_output=True, text=True, timeout=30, check=False)


@pytest.mark.parametrize("word", ["--version", "version"])
def test_the_command_says_its_version(word: str) -> None:
    done = run(word)
    assert (done.returncode, done.stdout, done.stderr) == (0, "taskbound 0.1.0\n", "")


@pytest.mark.parametrize("words", [[], ["help"], ["--help"], ["-h"]], ids=["bare", "help", "--help", "-h"])
def test_the_command_says_what_it_can_do(words: list[str]) -> None:
    done = run(*words)
    assert (done.returncode, done.stderr) == (0, "")
    assert "taskbound version" in done.stdout


@pytest.mark.parametrize("words", [["fly"], ["version", "now"]], ids=["unknown", "too-much"])
def test_an_unknown_command_is_refused_with_one_sentence_and_one_hint(words: list[str]) -> None:
    done = run(*words)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == f"taskbound does not know the command {' '.join(words)!r}\nhint: taskbound help\n"
