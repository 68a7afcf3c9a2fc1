"""`taskbound up` as a process of its own, in a state directory of its own, and the command as it is typed there."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2

from taskbound_sdk import Client

COMMAND = [sys.executable, "-c", "import sys; from taskbound.cli import main; sys.exit(main(sys.argv[1:]))"]
ANY = '[listen]\ngateway = "127.0.0.1:0"\n'


class Place:
    """A state directory, and the command as it is typed there."""

    def __init__(self, state: Path) -> None:
        self.state = state
        state.mkdir(mode=0o700)
        self.environ = {**os.environ, "TASKBOUND_HOME": str(state), "XDG_DATA_HOME": str(state.parent / "data")}

    def command(self, *words: str, **more: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [*COMMAND, *words], env={**self.environ, **more}, capture_output=True, text=True, timeout=60, check=False
        )

    def done(self, *words: str) -> str:
        done = self.command(*words)
        assert done.returncode == 0, f"{words}: {done.stdout}{done.stderr}"
        return done.stdout

    @contextmanager
    def up(
        self,
        *flags: str,
        command: Sequence[str] = ("up",),
        stop: int = signal.SIGTERM,
        stderr: int | None = None,
        **more: Any,
    ) -> Iterator[Mapping[str, Any]]:
        log = (self.state.parent / "up.log").open("a")
        to: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": log if stderr is None else stderr}
        running = subprocess.Popen([*COMMAND, *command, "--json", *flags], env=self.environ, text=True, **to, **more)
        assert running.stdout is not None
        try:
            said = running.stdout.readline()
            assert said, (self.state.parent / "up.log").read_text()
            yield {**json.loads(said), "pid": running.pid}
        finally:
            running.send_signal(stop)
            status = running.wait(20)
            running.stdout.close()
            log.close()
        assert status == (0 if stop == signal.SIGTERM else -stop)

    @property
    def client(self) -> Client:
        return Client(f"unix:{self.state}/run/api.sock")


def upstream(url: str) -> str:
    """Return a configuration with one upstream."""
    return f'{ANY}[[upstream]]\nname = "workspace"\nurl = "{url}"\n'


def call(task: Mapping[str, Any], tool: str, **arguments: Any) -> dict[str, Any]:
    """Call a tool at the gateway as an agent does, without a session; return the result."""
    asked = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": tool, "arguments": arguments}}
    headers = {"authorization": f"Bearer {task['handle']}", "accept": "application/json, text/event-stream"}
    answer = httpx2.post(task["gateway"], json=asked, headers=headers, timeout=20)
    text = answer.text.partition("data: ")[2] if "event-stream" in answer.headers["content-type"] else answer.text
    told: dict[str, Any] = json.loads(text)["result"]
    return told


def until(holds: Callable[[], bool], within: float = 10) -> None:
    begun = time.monotonic()
    while not holds():
        assert time.monotonic() - begun < within, f"not within {within} s"
        time.sleep(0.05)
