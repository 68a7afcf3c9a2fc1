"""A whole Taskbound to measure: `taskbound up` as a process of its own, on a state directory of its own."""

import json
import os
import signal
import sqlite3
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from typing import Any, TextIO
from urllib.parse import urlsplit

from bench import stub
from demo.database import end_with_parent
from demo.stage import operator
from taskbound.core.catalogue import pin_of
from taskbound_sdk import Client

ROOT = Path(__file__).parents[1]
COMMAND = Path(sysconfig.get_path("scripts")) / "taskbound"
AGENT = "agent/bench"

CONFIGURATION = """\
trust_domain = "bench.example"
[listen]
gateway = "127.0.0.1:0"
"""
UPSTREAM = """\
[[upstream]]
name = "echo"
url = "http://127.0.0.1:{port}/mcp"
"""
TARGET = """\
[[target]]
name = "office"
provider = "postgres"
admin = "env:OFFICE_ADMIN"
owner = "office_owner"
quarantine = "office_quarantine"
environment = "production"
assurances = ["unix", "handle"]
holders = ["agent"]
[target.grants.writer]
member_of = ["office_writer"]
"""
PROFILE = """\
purpose = "be measured"
owner = "{owner}"
review_by = {review_by}
life = "10h"
budget = {{ calls = 1000000000, leases = 1000 }}
"""
MAY_CALL = '[[grant]]\ntool = "echo/echo"\nwhen = { text = "any" }\n'
MAY_LEASE = '[[grant]]\nlease = "office/writer"\n'
REGISTRATION = """\
[[registration]]
id = "{agent}"
owner = "{owner}"
environment = "production"
attestor = "unix"
when = {{ uid = 4294967294 }}
"""
TOOL = """\
[echo]
pin = "{pin}"
reviewed = {{ by = "{owner}", on = 2026-11-24 }}
effect = "read"
arguments = {{ text = "object_id" }}
result = {{ text = "attested" }}
"""


@dataclass(frozen=True)
class Installation:
    """What runs, and where."""

    state: Path
    up: "subprocess.Popen[str]"
    stub: "subprocess.Popen[str] | None"
    stub_port: int
    gateway: str  # complete MCP address

    @property
    def api(self) -> str:
        return f"unix:{self.state}/run/api.sock"

    @property
    def port(self) -> int:
        return int(urlsplit(self.gateway).port or 0)

    def open_task(self) -> dict[str, Any]:
        """Open a task of the agent, as the operator asks for it."""
        return Client(self.api).open_task(profile="bench", actor=AGENT)

    def events(self, kind: str) -> int:
        """Return how many facts of a kind are committed, as the database's file says."""
        with sqlite3.connect(f"file:{self.state}/taskbound.db?mode=ro", uri=True) as db:
            return int(db.execute("SELECT count(*) FROM events WHERE kind = ?", (kind,)).fetchone()[0])

    def cpu(self) -> float:
        """Return the seconds of CPU that `up` has used, in user and kernel mode."""
        return cpu_of(self.up.pid)

    def memory(self) -> dict[str, float]:
        """Return the MB that `up` has: "RSS", and "PSS" where the kernel tells (`up` lets nobody else look into it)."""
        lines = Path(f"/proc/{self.up.pid}/status").read_text().splitlines()
        told = {"RSS": next(int(line.split()[1]) for line in lines if line.startswith("VmRSS:")) / 1024}
        try:
            lines = Path(f"/proc/{self.up.pid}/smaps_rollup").read_text().splitlines()
            told["PSS"] = next(int(line.split()[1]) for line in lines if line.startswith("Pss:")) / 1024
        except OSError:
            pass
        return told


def cpu_of(pid: int) -> float:
    """Return the seconds of CPU that a process has used (proc(5): utime and stime, in clock ticks)."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def cores() -> tuple[int, int] | None:
    """Return one core for the load and one for the product; None where there is only one."""
    mine = sorted(os.sched_getaffinity(0))
    return (mine[0], mine[1]) if len(mine) > 1 else None


def launch(
    words: Sequence[str | Path], core: int | None = None, errors: TextIO | None = None, **environment: str
) -> "subprocess.Popen[str]":
    """Start a program on one core (what `taskset` does), its input and output ours; it ends with us."""

    def begin() -> None:
        end_with_parent()
        if core is not None:
            os.sched_setaffinity(0, {core})

    return subprocess.Popen(
        words,
        env={**os.environ, **environment},
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=errors,
        text=True,
        start_new_session=True,
        preexec_fn=begin,
    )


def line_of(process: "subprocess.Popen[str]") -> str:
    """Return the next line that a program says. Raises RuntimeError when it says nothing more."""
    line = process.stdout.readline() if process.stdout else ""
    if not line:
        raise RuntimeError(f"{process.args!r} ended with status {process.wait(10)}")
    return line


def end(process: "subprocess.Popen[str]") -> None:
    """Ask a program to end; make it, if it does not."""
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(10)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait(10)
    for stream in (process.stdin, process.stdout):
        if stream:
            stream.close()


@contextmanager
def installed(
    *,
    upstream: bool = True,
    admin: str | None = None,
    pinned: tuple[int, int] | None = None,
    command: Sequence[str | Path] = (COMMAND, "up", "--json"),
) -> Iterator[Installation]:
    """Give a running installation: with the stub as its upstream, and a PostgreSQL that `admin` logs in to.

    `pinned` are the cores of the load and of `up`; `command` is what starts `up`.
    """
    load, product = pinned or (None, None)
    with ExitStack() as stack:
        base = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="taskbound-", dir="/tmp")))
        server, port = None, 0
        if upstream:
            server = launch([sys.executable, "-m", "bench.stub"], load)
            stack.callback(end, server)
            port = json.loads(line_of(server))["port"]
        places = {"TASKBOUND_HOME": str(base / "state"), "XDG_DATA_HOME": str(base / "data")}
        _prepare(base / "state", port, admin is not None, places)
        errors = stack.enter_context((base / "up.log").open("w"))
        environment = places | ({"OFFICE_ADMIN": admin} if admin else {})
        up = launch(command, product, errors, **environment)
        stack.callback(end, up)
        yield Installation(base / "state", up, server, port, json.loads(line_of(up))["gateway"])


def _prepare(state: Path, port: int, has_target: bool, places: dict[str, str]) -> None:
    """Write what an operator writes: the configuration and the policy directory."""
    state.mkdir(mode=0o700)
    parts = [CONFIGURATION, UPSTREAM.format(port=port) if port else "", TARGET if has_target else ""]
    (state / "taskbound.toml").write_text("".join(parts))
    subprocess.run(
        [COMMAND, "policy", "init"], env={**os.environ, **places}, check=True, capture_output=True, text=True
    )
    policy, owner = state / "policy", operator()
    for folder in ("profiles", "tools"):
        (policy / folder).mkdir(exist_ok=True)
    (policy / "registrations.toml").write_text(REGISTRATION.format(agent=AGENT, owner=owner))
    profile = PROFILE.format(owner=owner, review_by=date.today() + timedelta(days=30))
    may = (MAY_CALL if port else "") + (MAY_LEASE if has_target else "")
    (policy / "profiles/bench.toml").write_text(profile + may)
    if port:
        (policy / "tools/echo.json").write_text(json.dumps({"echo": stub.TOOL}))
        (policy / "tools/echo.toml").write_text(TOOL.format(pin=pin_of(stub.TOOL), owner=owner))
