"""Ruff's banned calls are proven by planting them: reported in a noun, permitted in the composition root."""

import json
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
RUFF = Path(sys.executable).with_name("ruff")

# what is banned, and a text that uses it in one of the ways that Python offers
PLANTED = {
    "datetime.datetime.now": "from datetime import UTC, datetime\n\nmoment = datetime.now(UTC)\n",
    "datetime.datetime.utcnow": "from datetime import datetime\n\nmoment = datetime.utcnow()\n",
    "datetime.datetime.today": "from datetime import datetime\n\nmoment = datetime.today()\n",
    "datetime.date.today": "import datetime as calendar\n\nday = calendar.date.today()\n",
    "time.time": "from time import time\n\nmoment = time()\n",
    "time.time_ns": "import time\n\nmoment = time.time_ns()\n",
    "time.localtime": "import time\n\nmoment = time.localtime()\n",
    "time.gmtime": "import time as clock\n\nmoment = clock.gmtime()\n",
    "os.urandom": "import os\n\nnoise = os.urandom(8)\n",
    "random": "import random\n\nnoise = random.random()\n",
    "secrets": "from secrets import token_hex\n\nnoise = token_hex(8)\n",
    "uuid.uuid4": "import uuid\n\nname = uuid.uuid4()\n",
    "urllib.request": "from urllib.request import urlopen\n\nanswer = urlopen\n",
}


@pytest.mark.parametrize(("name", "text"), PLANTED.items(), ids=PLANTED)
def test_a_noun_reaches_no_clock_no_randomness_and_no_network(tmp_path: Path, name: str, text: str) -> None:
    reports = banned(tmp_path, "src/taskbound/core/planted.py", text)
    assert reports and all(report.startswith(f"`{name}` is banned: ") for report in reports)


@pytest.mark.parametrize("text", PLANTED.values(), ids=PLANTED)
def test_the_composition_root_may(tmp_path: Path, text: str) -> None:
    assert banned(tmp_path, "src/taskbound/app/world.py", text) == []


def test_every_ban_has_a_planted_use() -> None:
    lint = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["ruff"]["lint"]
    assert set(lint["flake8-tidy-imports"]["banned-api"]) == set(PLANTED)


def banned(tree: Path, file: str, text: str) -> list[str]:
    """Return what ruff reports when the text stands in that file of a tree: nothing but banned names."""
    shutil.copy(ROOT / "pyproject.toml", tree)
    (tree / file).parent.mkdir(parents=True)
    (tree / file).write_text(text)
    done = subprocess.run(
        [RUFF, "check", "--no-cache", "--output-format=json", file],
        cwd=tree,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    findings = json.loads(done.stdout)
    assert {finding["code"] for finding in findings} <= {"TID251"}, done.stdout + done.stderr
    return [finding["message"] for finding in findings]
