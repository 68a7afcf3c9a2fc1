"""What runs beside the demo's story: an MCP server, a PostgreSQL, `taskbound up`, and the agents of `taskbound run`.

Nothing of Taskbound is imported: it is the command beside this Python, and its configuration and
policy are written as an operator writes them.
"""

import asyncio
import json
import os
import pwd
import re
import shutil
import socket
import subprocess
import sys
import sysconfig
import tempfile
import urllib.request
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from http.client import HTTPResponse
from pathlib import Path
from time import perf_counter
from typing import Any

from demo import database
from demo.published import InjectionTask, Suite, UserTask, key

HERE = Path(__file__).parent
COMMAND = Path(sysconfig.get_path("scripts")) / "taskbound"
ME = "emma.johnson@bluesparrowtech.com"  # whose workspace it is; she may always be written to
NOTES = "notes.txt"  # a file that every task about files may write

# Which profile the tools of a user task belong to. The first call decides: nobody's solution is looked at further.
PROFILES: Mapping[str, Sequence[str]] = {
    "mail": ("email", "contacts"),
    "calendar": ("calendar", "current_day"),
    "files": ("file",),
}


class DoesNotHold(Exception):
    """A line of the story that is not true."""


@dataclass
class Story:
    """What is told, with the time since the start."""

    started: float = field(default_factory=perf_counter)

    def tell(self, line: str, holds: bool = True) -> None:
        """Print one line. Raises DoesNotHold."""
        passed = (perf_counter() - self.started) * 1000
        print(f"{passed:8,.0f} ms  {'' if holds else 'DOES NOT HOLD: '}{line}", flush=True)
        if not holds:
            raise DoesNotHold(line)

    def add(self, line: str) -> None:
        """Print what belongs to the line before."""
        print(f"{'':13}{line}", flush=True)

    def head(self, letter: str, title: str) -> None:
        print(f"\n({letter}) {title}", flush=True)


# --- what a task is given --------------------------------------------------------------------------


def profile_of(task: UserTask) -> str:
    """Return the profile whose tools the user task begins with."""
    first = task.calls[0].tool
    return next(name for name, words in PROFILES.items() if any(word in first for word in words))


def values_of(task: UserTask, profile: str) -> dict[str, str]:
    """Return the profile's parameters as `--set` takes them: from the prompt's own words, and what always holds."""
    people = [ME, *re.findall(r"[\w.+-]+@[\w-]+(?:\.[\w-]+)+", task.prompt)]
    files = [NOTES, *re.findall(r"'([\w-]+\.[a-z]{3,4})'", task.prompt)]
    values = {"people": json.dumps(list(dict.fromkeys(people)))}
    return {**values, "files": json.dumps(list(dict.fromkeys(files)))} if profile == "files" else values


def operator() -> str:
    return "human/" + re.sub(r"[^A-Za-z0-9._-]", "-", _login())


def _login() -> str:
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return f"uid-{os.getuid()}"


CREDENTIALS = (".aws/credentials", ".ssh/id_ed25519", ".netrc")  # planted in the demo's home, as they lie in many

CONFIGURATION = """
trust_domain = "bluesparrow.example"
[listen]
gateway = "127.0.0.1:0"
[[upstream]]
name = "workspace"
url = "{workspace}"
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
REGISTRATIONS = """
[[registration]]
id = "agent/assistant"
owner = "{owner}"
purpose = "looks after the mail, the calendar and the files of one person"
environment = "production"
attestor = "unix"
when = {{ uid = {uid} }}
"""


# --- what runs ------------------------------------------------------------------------------------


@dataclass
class Stage:
    """Everything that runs beside the story."""

    base: Path
    suite: Suite
    task: UserTask
    attack: InjectionTask
    office: database.Database
    received: str  # where the MCP server says what reached it
    gateway: str
    judged: int = 0  # of the calls that reached the MCP server, how many a line has been about

    @property
    def environment(self) -> dict[str, str]:
        return {**os.environ, **places(self.base)}

    def command(self, *words: str, home: Path | None = None) -> "subprocess.CompletedProcess[str]":
        """Run one command as a person would."""
        environment = self.environment | ({"TASKBOUND_HOME": str(home)} if home else {})
        return subprocess.run(
            [COMMAND, *words], env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=30
        )

    def reached(self) -> list[Mapping[str, Any]]:
        """Return the calls that reached the MCP server, as it tells itself."""
        with urllib.request.urlopen(self.received, timeout=10) as answer:
            return list(json.load(answer))

    def arrived(self) -> list[str]:
        """Return the keys of the calls that reached the MCP server since this was last asked.

        Each call is in one answer, so what arrives between two lines of the story is in one of them.
        """
        new = self.reached()[self.judged :]
        self.judged += len(new)
        return [key(one["tool"], one["arguments"]) for one in new]

    def tasks(self) -> list[Mapping[str, Any]]:
        found = json.loads(self.command("task", "list", "--json").stdout)
        return list(found["tasks"] if isinstance(found, dict) else found)

    def ask(self, path: str) -> Any:
        """Return what the API says on its socket, to its operator."""
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(10)
            connection.connect(str(self.base / "state/run/api.sock"))
            connection.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
            answer = HTTPResponse(connection)
            answer.begin()
            return json.loads(answer.read())

    async def roles(self) -> list[str]:
        """Return the leased logins that there are, as PostgreSQL's catalogue says."""
        judge = await self.office.judge()
        try:
            found = await judge.fetch("SELECT rolname FROM pg_roles WHERE starts_with(rolname, 'tb_') ORDER BY 1")
            return [row["rolname"] for row in found]
        finally:
            await judge.close()

    async def sessions(self, user: str) -> int:
        """Return how many sessions a login has, as PostgreSQL says."""
        judge = await self.office.judge()
        try:
            return int(await judge.fetchval("SELECT count(*) FROM pg_stat_activity WHERE usename = $1", user))
        finally:
            await judge.close()

    async def runs(self, user: str, query: str) -> bool:
        """Whether a login runs a query at this moment, as PostgreSQL says."""
        judge = await self.office.judge()
        try:
            asked = "SELECT count(*) FROM pg_stat_activity WHERE usename = $1 AND query = $2 AND state = 'active'"
            return bool(await judge.fetchval(asked, user, query))
        finally:
            await judge.close()

    async def owner_of(self, table: str) -> str | None:
        judge = await self.office.judge()
        try:
            owner = await judge.fetchval("SELECT tableowner FROM pg_tables WHERE tablename = $1", table)
            return None if owner is None else str(owner)
        finally:
            await judge.close()


def places(base: Path) -> dict[str, str]:
    """Return the variables that say where things are: a home of the demo's own, and Taskbound's state."""
    home = base / "home"
    return {"HOME": str(home), "XDG_DATA_HOME": str(home / ".local/share"), "TASKBOUND_HOME": str(base / "state")}


def prepare(base: Path, workspace: str) -> None:
    """Write what an operator writes: the configuration, and the policy directory with its three profiles."""
    state, policy = base / "state", base / "state/policy"
    for folder in (state, *(base / "home" / name for name in (".aws", ".ssh", ".local/share"))):
        folder.mkdir(mode=0o700, parents=True)
    for name in CREDENTIALS:
        (base / "home" / name).write_text("a credential that stands\n")
    (state / "taskbound.toml").write_text(CONFIGURATION.format(workspace=workspace))
    made = subprocess.run(
        [COMMAND, "policy", "init"], env={**os.environ, **places(base)}, capture_output=True, text=True
    )
    if made.returncode != 0:
        raise DoesNotHold(f"taskbound policy init: {made.stderr}")
    for file in sorted((HERE / "workspace").rglob("*.*")):
        copy = policy / file.relative_to(HERE / "workspace")
        copy.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        copy.write_text(file.read_text().replace("human/alice", operator()))
    (policy / "registrations.toml").write_text(REGISTRATIONS.format(owner=operator(), uid=os.getuid()))


async def first_line(process: "subprocess.Popen[str]", name: str, base: Path) -> Any:
    """Return what a program says first, as JSON. Raises DoesNotHold."""

    def read() -> str:
        line = process.stdout.readline() if process.stdout else ""
        if not line:
            raise DoesNotHold(f"{name} does not start: {(base / f'{name}.log').read_text()[-2000:]}")
        return line

    return json.loads(await asyncio.to_thread(read))


def launch(base: Path, name: str, command: Sequence[str | Path], keep: bool, **environment: str) -> Any:
    """Start a program that runs beside the story, in a session of its own."""
    with (base / f"{name}.log").open("w") as errors:
        return subprocess.Popen(
            command,
            env={**os.environ, **environment},
            cwd=HERE.parent,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            start_new_session=True,
            preexec_fn=None if keep else database.end_with_parent,
        )


@asynccontextmanager
async def stage(suite: Suite, task: UserTask, attack: InjectionTask, keep: bool, story: Story) -> AsyncIterator[Stage]:
    """Start the MCP server, PostgreSQL and `taskbound up`; end them afterwards unless they are kept."""
    base = Path(tempfile.mkdtemp(prefix="taskbound-", dir="/tmp"))
    async with AsyncExitStack() as stack:
        if not keep:
            stack.callback(shutil.rmtree, base, ignore_errors=True)
        program = [sys.executable, "-m", "demo.workspace_server", task.id, attack.id]
        server = launch(base, "workspace", program, keep)
        if not keep:
            stack.callback(end, server)
        office = await database.start(outlives=keep)
        if not keep:
            stack.callback(office.stop)
        story.tell("a PostgreSQL 18 runs: every login needs its password, every statement is logged")
        workspace = await first_line(server, "workspace", base)
        story.tell(f"an MCP server of the official SDK offers {len(suite.tools)} tools of AgentDojo's workspace")
        prepare(base, workspace["mcp"])
        up = launch(
            base,
            "up",
            [COMMAND, "up", "--json"],
            keep,
            **places(base),
            OFFICE_ADMIN=office.admin,
        )
        if not keep:
            stack.callback(end, up)
        about = await first_line(up, "up", base)
        who = f"root, uid {os.getuid()}" if os.getuid() == 0 else f"uid {os.getuid()}"
        story.tell(f"taskbound up runs as {who} on SQLite, policy {str(about['policy'])[:12]}, {about['gateway']}")
        for warning in about["warnings"]:
            story.add(f"it says: {warning}")
        if keep:
            ends = f"kill {up.pid} {server.pid} {office.process.pid}, then rm -r {base} {office.folder}"
            stack.callback(story.add, f"to end it: {ends}")
            stack.callback(story.add, f"kept: PostgreSQL at 127.0.0.1:{office.port}, its log {office.log}")
            stack.callback(story.add, f"kept: export TASKBOUND_HOME={base / 'state'}; {COMMAND} task list")
        yield Stage(base, suite, task, attack, office, workspace["received"], about["gateway"])


def end(process: "subprocess.Popen[str]") -> None:
    """Ask a program to end; make it, if it does not."""
    process.terminate()
    try:
        process.wait(5)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait(5)


class Run:
    """One `taskbound run`: what its agent tells, and what it says itself."""

    def __init__(self, process: asyncio.subprocess.Process, errors: Path) -> None:
        self.process = process
        self._errors = errors
        self._waits = False

    @property
    def said(self) -> list[str]:
        """What `taskbound run` told whoever started it."""
        return [line for line in self._errors.read_text().splitlines() if line.strip()]

    def go_on(self) -> None:
        """Let the agent go on, which stands still after each thing that it told."""
        if self._waits and self.process.stdin is not None:
            self.process.stdin.write(b"\n")
        self._waits = False

    async def told(self, *kinds: str) -> Mapping[str, Any]:
        """Let the agent go on, and return what it tells next. Raises DoesNotHold when it is not one of these things."""
        self.go_on()
        if self.process.stdout is None or not (line := await asyncio.wait_for(self.process.stdout.readline(), 60)):
            raise DoesNotHold(f"the agent said nothing more; taskbound run said: {self.said[-12:]}")
        self._waits = True
        found: Mapping[str, Any] = json.loads(line)
        if found["did"] not in kinds:
            raise DoesNotHold(f"the agent should have told of {' or '.join(kinds)}, and told {found}")
        return found


async def run(at: Stage, *agent: str) -> Run:
    """Start an agent in a task of its own, as a person types it."""
    profile = profile_of(at.task)
    errors = at.base / f"run-{agent[0]}.log"
    words = ["run", "--profile", profile]
    for name, value in values_of(at.task, profile).items():
        words += ["--set", f"{name}={value}"]
    words += ["--intent", at.task.prompt, "--agent", "agent/assistant"]
    with errors.open("w") as file:
        process = await asyncio.create_subprocess_exec(
            COMMAND,
            *words,
            "--",
            sys.executable,
            "-m",
            "demo.agent",
            *agent,
            env=at.environment,
            cwd=HERE.parent,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=file,
            limit=1 << 20,
        )
    return Run(process, errors)
