"""An unprivileged person with a home, a state directory and a fake server: who `run` is tried out as."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.profile import WORKER
from tests.runner.as_person import CLONE, NOT_POSSIBLE
from tests.runner.fake_api import FakeApi

UID = 54321 + WORKER  # a user of each worker: what one has started is not another's to look into
AS_PERSON = Path(__file__).with_name("as_person.py")
# What `taskbound run` does once its command line is read.
RUN = """
import json, os, sys
from datetime import timedelta
from pathlib import Path
from taskbound import runner
from taskbound.posture import references
from taskbound.runner import hold
ask = json.loads(sys.argv[1])
assert os.getuid() != 0 or ask["as_root"]
runner.GRACE, hold.LOST = ask["patience"] or (runner.GRACE, hold.LOST)
task = {"profile": "etl", "set": {"n": "1"}, "intent": None, "agent": ask["agent"], "life": None}
how = {"keep": ask["keep"], "must_contain": ask["must_contain"], "state": Path(ask["state"])}
how |= {"second": Path(ask["second"]), "references": references, "resolve": [Path(one) for one in ask["resolve"]]}
sys.exit(runner.run(ask["command"], ask["address"], **task, **how))
"""


class Person:
    def __init__(self, base: Path, *, root: bool = False) -> None:
        self.base, self.root = base, root
        self.uid = UID if os.getuid() == 0 and not root else os.getuid()
        self.home, self.state, self.tmp = base / "home", base / "home/.local/state/taskbound", base / "tmp"
        self.second = base / "home/checkpoints"  # what `up` says that it is
        for folder in (self.home, self.state / "run", self.tmp, self.second):
            folder.mkdir(parents=True, exist_ok=True)
        self.put(".ssh/id_ed25519", "a private key")
        self.put(".aws/credentials", "a cloud key")
        self.put(".netrc", "machine example.org password netrc")
        self.put(".local/state/taskbound/keys/log", "a log key")
        self.state.chmod(0o700)
        self.environment = {"PATH": "/usr/bin:/bin", "LANG": "C.UTF-8", "HOME": str(self.home), "TMPDIR": str(self.tmp)}
        self.own_everything(base)
        self.api = FakeApi(self.state / "run/api.sock", self.uid).start()

    def put(self, name: str, text: str) -> Path:
        file = self.home / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        return file

    def own_everything(self, base: Path) -> None:
        for path in (base, *base.rglob("*")):
            os.chown(path, self.uid, self.uid, follow_symlinks=False)

    def words(
        self,
        command: Sequence[str],
        *,
        conditions: Sequence[str] = (),
        keep: Sequence[str] = (),
        must_contain: bool = False,
        agent: str | None = None,
        patience: tuple[float, float] | None = None,
        resolve: Sequence[Path] = (),
    ) -> list[str]:
        ask: dict[str, Any] = {
            "command": list(command),
            "address": f"unix:{self.state}/run/api.sock",
            "keep": list(keep),
        }
        ask |= {"must_contain": must_contain, "state": str(self.state), "agent": agent, "as_root": self.root}
        ask["second"] = str(self.second)
        ask["resolve"] = [str(one) for one in resolve]
        ask["patience"] = patience  # seconds until KILL, and without a server: else the real ones
        return [*as_person(self, conditions), sys.executable, "-c", RUN, json.dumps(ask)]

    def environ(self) -> dict[str, str]:
        return {**self.environment, "PYTHONPATH": str(CLONE / "src")}

    def start(self, *command: str, **how: Any) -> "subprocess.Popen[str]":
        """Start `run` with the command; `how` as in `words`, and cwd, env."""
        env, cwd = how.pop("env", {}), how.pop("cwd", self.home)
        return subprocess.Popen(
            self.words(command, **how),
            env={**self.environ(), **env},
            cwd=cwd,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self, *command: str, **how: Any) -> "subprocess.CompletedProcess[str]":
        with self.start(*command, **how) as running:
            try:
                out, err = running.communicate(timeout=60)
            except BaseException:
                running.kill()
                raise
        if running.returncode == NOT_POSSIBLE:
            pytest.skip(err.strip())
        return subprocess.CompletedProcess(command, running.returncode, out, err)


def as_person(somebody: Person, conditions: Sequence[str] = ()) -> list[str]:
    """Return what stands before a command line that is to run as somebody, under the conditions."""
    if os.getuid() == somebody.uid and not conditions:
        return []
    return [sys.executable, str(AS_PERSON), str(somebody.uid), *conditions]


@contextmanager
def person(*, root: bool = False) -> Iterator[Person]:
    # Not pytest's tmp_path: that lies in a folder 0700 of root's. Short, for the socket's path.
    base = Path(tempfile.mkdtemp(prefix="tb-run-", dir="/tmp"))
    base.chmod(0o755)
    somebody = Person(base, root=root)
    try:
        yield somebody
    finally:
        somebody.api.stop()
        shutil.rmtree(base, ignore_errors=True)
