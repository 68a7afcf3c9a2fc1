"""What `pip install .` builds is whole: the README's first step, without an index and without this tree."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
OFFLINE = ("--quiet", "--disable-pip-version-check", "--no-index", "--no-deps")
# What the package needs is taken from the tests' own environment, and the package itself from nowhere but the folder.
LOOK = """
import sys
sys.path[:0] = [sys.argv[1]]
from importlib.metadata import entry_points
import taskbound, taskbound_sdk
print(*{str(module.__file__).startswith(sys.argv[1]) for module in (taskbound, taskbound_sdk)})
(command,) = entry_points(group="console_scripts", name="taskbound")
sys.exit(command.load()(["--version"]))
"""


def test_what_pip_builds_installs_and_runs_by_itself(tmp_path: Path) -> None:
    built, installed = tmp_path / "built", tmp_path / "installed"
    done("-m", "pip", "wheel", *OFFLINE, "--no-build-isolation", "--wheel-dir", str(built), str(ROOT))
    (wheel,) = built.iterdir()
    done("-m", "pip", "install", *OFFLINE, "--target", str(installed), str(wheel))
    source = {str(path.relative_to(ROOT / "src")) for path in (ROOT / "src").rglob("*") if path.is_file()}
    ours = {one for one in source if "__pycache__" not in one}
    assert {one for one in ours if not (installed / one).is_file()} == set(), "a file of the source is not in the wheel"
    said = done("-I", "-c", LOOK, str(installed))
    assert said == "True\ntaskbound 0.1.0\n"


def done(*words: str) -> str:
    ran = subprocess.run([sys.executable, *words], capture_output=True, text=True, timeout=120, check=False)
    assert ran.returncode == 0, f"{words}: {ran.stdout}{ran.stderr}"
    return ran.stdout
