"""The GitHub action as GitHub runs it: each step of action.yml, by its own shell, with what a runner gives it.

Of expressions only those are known that the file has; any other is an error here, as is one inside of a script. The
packages that the action installs come from the tests' own environment, so that nothing is fetched: where a fresh
environment is made, ours is put beside it, and pip finds everything there but the package itself.
"""

import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
ACTION: dict[str, Any] = yaml.safe_load((ROOT / "action.yml").read_text())
SHELLS = {"bash": ("bash", "--noprofile", "--norc", "-e", "-o", "pipefail")}  # as the runner starts them
TOKEN = "sk_live_" + "51Hq7zKLw2eZvKYlo2C0" * 2
PYTHON = """#!/bin/sh
set -e
"{python}" "$@"
[ "$1 $2" != "-m venv" ] || echo '{beside}' > "$(echo "$3"/lib/python3*/site-packages)/beside.pth"
"""


@dataclass
class Ran:
    status: int  # of the step that failed, else 0; what comes after it is not run
    said: str
    outputs: dict[str, str]
    sarif: dict[str, Any] | None  # what lies where the action says, below the checkout


class Runner:
    """A job: its checkout, its folder for what is kept until it ends, and the steps of the action."""

    def __init__(self, folder: Path) -> None:
        self.workspace, self.temp, self.action = folder / "work/shop", folder / "temp", folder / "actions/taskbound"
        self.workspace.mkdir(parents=True)
        self.temp.mkdir()
        tracked = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
        for name in filter(None, tracked.split("\0")):
            if not name.startswith(("tests/", "docs/", "bench/", "demo/")) and (ROOT / name).is_file():
                (self.action / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(ROOT / name, self.action / name)
        self.python = folder / "python"
        self.python.write_text(PYTHON.format(python=sys.executable, beside=sysconfig.get_path("purelib")))
        self.python.chmod(0o700)

    def run(self, *names: str, **given: str) -> Ran:
        """Run the steps of these names, or all."""
        unknown = given.keys() - {one.replace("-", "_") for one in ACTION["inputs"]}
        assert not unknown, unknown
        inputs = {name: str(one["default"]) for name, one in ACTION["inputs"].items()}
        inputs |= {"python": str(self.python)} | {name.replace("_", "-"): value for name, value in given.items()}
        said, status = "", 0
        for step in (one for one in ACTION["runs"]["steps"] if one["name"] in names or not names):
            assert step.keys() == {"name", "shell", "env", "run"}, "the test knows no other"
            assert "${{" not in step["run"], "an expression in a script is run as a part of it"
            script = self.temp / "step.sh"
            script.write_text(step["run"])
            environ = {name: evaluated(value, inputs) for name, value in step["env"].items()}
            done = subprocess.run(
                [*SHELLS[step["shell"]], script], cwd=self.workspace, env=self.environ() | environ,
                stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=300, check=False,
            )  # fmt: skip
            said, status = said + done.stdout, done.returncode
            if status:
                break
        outputs = {name: evaluated(one["value"], inputs) for name, one in ACTION["outputs"].items()}
        file = self.workspace / outputs["sarif"]
        return Ran(status, said, outputs, json.loads(file.read_text()) if file.is_file() else None)

    def environ(self) -> dict[str, str]:
        """Return what a runner gives each step, and what keeps pip from the network."""
        files = {name: str(self.temp / name.lower()) for name in ("GITHUB_OUTPUT", "GITHUB_ENV", "GITHUB_STEP_SUMMARY")}
        for one in files.values():
            Path(one).touch()
        offline = {"PIP_NO_INDEX": "1", "PIP_NO_BUILD_ISOLATION": "0", "PIP_CONFIG_FILE": os.devnull}  # 0: without it
        return files | offline | {
            "CI": "true", "GITHUB_ACTIONS": "true", "GITHUB_ACTION_PATH": str(self.action),
            "GITHUB_WORKSPACE": str(self.workspace), "HOME": str(self.temp), "PATH": "/usr/local/bin:/usr/bin:/bin",
            "RUNNER_TEMP": str(self.temp),
        }  # fmt: skip


def evaluated(text: str, inputs: Mapping[str, str]) -> str:
    """Return a text with its expressions put in: those of inputs alone."""
    found = re.sub(r"\$\{\{ inputs\.([a-z-]+) \}\}", lambda one: inputs[one[1]], text)
    assert "${{" not in text or found != text, f"not known here: {text}"
    return found


@pytest.fixture(scope="module")
def runner(tmp_path_factory: pytest.TempPathFactory) -> Runner:
    made = Runner(tmp_path_factory.mktemp("runner"))
    server = {"command": "uvx", "args": ["shop-mcp==1.0"], "env": {"KEY": TOKEN}}
    (made.workspace / "agents").mkdir()
    (made.workspace / "agents/.mcp.json").write_text(json.dumps({"mcpServers": {"shop": server}}))
    (made.workspace / "clean").mkdir()
    (made.workspace / "clean/a.conf").write_text("colour = blue\n")
    subprocess.run(["git", "init", "-q"], cwd=made.workspace, check=True)
    installed = made.run("Install")
    assert installed.status == 0, installed.said
    return made


def test_it_installs_its_own_commit_with_what_is_pinned(runner):
    words = [runner.temp / "taskbound/bin/python", "-I", "-c", "import taskbound; print(taskbound.__file__)"]
    where = subprocess.run(words, capture_output=True, text=True, check=True).stdout
    assert where.startswith(f"{runner.temp}/taskbound/lib/")


def test_it_says_what_it_found_and_fails_nothing_unasked(runner):
    ran = runner.run("Discover")
    assert (ran.status, ran.outputs) == (0, {"sarif": "taskbound.sarif"})
    assert ran.sarif is not None and ran.sarif["version"] == "2.1.0"
    results = ran.sarif["runs"][0]["results"]
    assert "literal-secret-in-mcp-config" in {one["ruleId"] for one in results}
    assert TOKEN not in json.dumps(ran.sarif) + ran.said and "1 credential lies open in 1 place of 1 file" in ran.said


@pytest.mark.parametrize(("path", "fail_on", "status"), [
    (".", "critical", 1), (".", "high", 1), ("clean", "low", 0), ("agents", "medium", 1),
    ("none", "", 1), (".", "hihg", 2),
])  # fmt: skip
def test_it_fails_where_what_is_open_is_as_bad_as_asked(runner, path, fail_on, status):
    ran = runner.run("Discover", path=path, fail_on=fail_on, sarif=f"{path.strip('.')}{fail_on}.sarif")
    assert ran.status == status, ran.said
    if path != "none" and fail_on != "hihg":
        assert ran.sarif is not None, "what fails has to be told too"


def test_of_a_folder_below_the_checkout_the_places_are_those_of_the_checkout(runner):
    """Code scanning puts an alert on the file of that name from the top of the repository."""
    for path in ("agents", "./agents/", str(runner.workspace / "agents")):
        ran = runner.run("Discover", path=path)
        found = {
            at["physicalLocation"]["artifactLocation"]["uri"]
            for one in ran.sarif["runs"][0]["results"]
            for at in (*one["locations"], *one.get("relatedLocations", ()))
        }
        assert found == {"agents/.mcp.json"}


def test_what_the_baseline_knows_fails_nothing(runner):
    command = runner.temp / "taskbound/bin/taskbound"
    words = [command, "discover", "--write-baseline", "baseline.json"]
    subprocess.run(words, cwd=runner.workspace, env=runner.environ(), capture_output=True, check=True)
    ran = runner.run("Discover", fail_on="low", baseline="baseline.json")
    assert ran.status == 0 and {one["baselineState"] for one in ran.sarif["runs"][0]["results"]} == {"unchanged"}
    (runner.workspace / "baseline.json").unlink()


@pytest.mark.parametrize("name", ["path", "fail_on", "baseline", "sarif"])
def test_no_input_is_run(runner, name):
    """They may come from a pull request."""
    for text in ("$(touch stolen)", '"; touch stolen; "', "--output=stolen"):
        runner.run("Discover", **{name: text})
        assert not (runner.workspace / "stolen").exists(), text
