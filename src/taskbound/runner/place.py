"""The child's own files: a fresh folder 0700, files 0600 in it, gone at the end.

All such folders of a user lie in one, `taskbound-<uid>`: hiding that hides every other run's, those of later ones too.
A live folder is locked (flock) by its `run`, and the kernel gives the lock up however that process
ends. So what a killed one left behind is told from what is in use without looking at pids, which
mean something else in another PID namespace. Each start sweeps what is not locked.
"""

import errno
import fcntl
import json
import os
import shutil
import stat
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import quote

PREFIX = "run-"
CONNECTION = ("host", "port", "dbname", "user", "password")


@contextmanager
def own_folder(outside: Mapping[str, str]) -> Iterator[Path]:
    """Make the folder, in memory where the system offers that, and remove it at the end. Raises OSError."""
    base = _private(_bases(outside)[0])
    _sweep(base)
    # Locked before it has the name that is swept: no other start can take it for a dead one's.
    fresh = Path(tempfile.mkdtemp(prefix=".run-", dir=base))
    lock = os.open(fresh, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        folder = fresh.rename(base / f"{PREFIX}{fresh.name.removeprefix('.run-')}")
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)
    finally:
        os.close(lock)


def shared_folders(outside: Mapping[str, str]) -> Iterator[Path]:
    """Make and yield every folder in which a run of this user may have its own, this one or another."""
    for base in _bases(outside):
        with suppress(OSError):  # where it cannot be made, or is somebody else's, no run starts either
            yield _private(base)


def _bases(outside: Mapping[str, str]) -> list[Path]:
    """Return where runs have their folders, our own first: others were started with another environment."""
    bases = [Path(tempfile.gettempdir()).resolve(), Path("/tmp")]
    runtime = Path(outside.get("XDG_RUNTIME_DIR") or "/nonexistent")
    with suppress(OSError):
        if _is_ours_alone(runtime.stat()):
            bases.insert(0, runtime.resolve())
    return bases


def _private(base: Path) -> Path:
    """Return our folder below a base, made where it is not there. Raises OSError where it is not ours alone."""
    folder = base / f"taskbound-{os.geteuid()}"
    with suppress(FileExistsError):
        folder.mkdir(mode=0o700)
    if not _is_ours_alone(folder.lstat()):  # not of what a symbolic link names: who made that can change it
        raise PermissionError(errno.EPERM, "it must be a folder of yours with mode 0700", str(folder))
    return folder


def _is_ours_alone(about: os.stat_result) -> bool:
    return stat.S_ISDIR(about.st_mode) and about.st_uid == os.geteuid() and not stat.S_IMODE(about.st_mode) & 0o077


def _sweep(base: Path) -> None:
    for left in base.glob(f"{PREFIX}*"):
        with suppress(OSError):  # another user's, or gone meanwhile
            lock = os.open(left, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
            try:
                if os.fstat(lock).st_uid == os.geteuid():
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    shutil.rmtree(left, ignore_errors=True)
            finally:
                os.close(lock)


def write(file: Path, text: str) -> str:
    """Write a new file that only its owner can read; return where it is."""
    return write_bytes(file, text.encode())


def write_bytes(file: Path, data: bytes) -> str:
    """As `write`, of a file that is no text of ours."""
    with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), "wb") as opened:
        opened.write(data)
    return str(file)


def mcp_config(gateway: str, handle: str, upstreams: Sequence[str]) -> str:
    """Render the configuration that MCP clients read: one server for each upstream that the task may use."""
    url = gateway.removesuffix("/")
    servers = {name: f"{url}/{name}" for name in upstreams} or {"taskbound": url}
    headers = {"Authorization": f"Bearer {handle}"}
    entries = {name: {"type": "http", "url": url, "headers": headers} for name, url in servers.items()}
    return json.dumps({"mcpServers": entries}, indent=2)


def lease_json(lease: Mapping[str, Any]) -> str:
    """Render one lease as its file holds it."""
    return json.dumps({key: lease[key] for key in ("target", "class", "expires")} | dict(lease["credential"]), indent=2)


def database_url(credential: Mapping[str, Any]) -> str:
    """Return a connection URI of libpq for a login; a folder of a Unix socket stands in it as `host` too."""
    user, password, database = (quote(str(credential[key]), safe="") for key in ("user", "password", "database"))
    host, port = str(credential["host"]), credential["port"]
    if host.startswith("/"):
        return f"postgresql://{user}:{password}@/{database}?host={quote(host, safe='')}&port={port}"
    return f"postgresql://{user}:{password}@{f'[{host}]' if ':' in host else host}:{port}/{database}"


def pg_services(credentials: Mapping[str, Mapping[str, Any]]) -> str:
    """Render a connection service file of libpq: one section for each credential, the password in it."""
    lines = []
    for name, credential in credentials.items():
        about = {"dbname": credential["database"], **credential}
        lines += [f"[{name}]", *(f"{key}={about[key]}" for key in CONNECTION), ""]
    return "\n".join(lines)
