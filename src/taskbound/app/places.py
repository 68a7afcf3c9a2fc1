"""Where things are: the state directory, the second place for checkpoints, the configuration and its secrets.

INTERFACES 2. A secret is only ever referred to, `env:NAME` or `file:/path`, and read here.
"""

import fcntl
import json
import os
import pwd
import re
import socket
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from taskbound.core.config import Config, TargetConfig
from taskbound.core.config_file import read_config
from taskbound.core.errors import InvalidRequest, Unavailable
from taskbound.core.refusal import problem
from taskbound.core.secret import Secret
from taskbound.formats.libpq import is_verified

TOLD = "places.json"  # in the state directory: what `up` alone knows, for `run` and `doctor`
# Files with a secret of a database, as an address names them, and where it names none the environment (asyncpg).
SECRET_FILES = {"passfile": "PGPASSFILE", "sslkey": "PGSSLKEY"}
SERVICE_FILE = {"servicefile": "PGSERVICEFILE"}  # with passwords where somebody wrote them there; not for the store
SECRET_LIMIT = 64 << 10  # bytes; a certificate chain is the largest of them


class Unresolved(InvalidRequest):
    """What a reference names cannot be had, or be used."""

    code = "invalid_config"

    def __init__(self, message: str, *, reference: str = "", hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.reference = reference


@contextmanager
def located(file: Path) -> Iterator[None]:
    """Say of a reference that is refused in the block where it stands in the configuration. Raises InvalidRequest."""
    try:
        yield
    except Unresolved as error:
        text = file.read_text() if file.is_file() else ""
        line = next((n for n, line in enumerate(text.splitlines(), start=1) if f'"{error.reference}"' in line), None)
        if line is None:  # it was named elsewhere
            raise
        raise problem(str(file), text, str(error), hint=error.hint, line=line, code=error.code) from None


def state_directory() -> Path:
    """Return the state directory: $TASKBOUND_HOME, else of $XDG_STATE_HOME, else below the home; root's is /var/lib."""
    if home := os.environ.get("TASKBOUND_HOME"):
        return Path(home).absolute()
    if base := os.environ.get("XDG_STATE_HOME"):
        return Path(base).absolute() / "taskbound"
    return Path("/var/lib/taskbound") if os.geteuid() == 0 else Path.home() / ".local/state/taskbound"


def second_place(config: Config) -> Path:
    """Return where this process keeps checkpoints a second time: as configured, else below $XDG_DATA_HOME or home."""
    base = os.environ.get("XDG_DATA_HOME") or Path.home() / ".local/share"
    return Path(config.checkpoints or Path(base, "taskbound/checkpoints")).absolute()


def static_folder(state: Path, target: str) -> Path:
    """Return where the value of a static target lies: below the keys, which `run` hides."""
    return state / "keys/static" / target


def tell_places(config: Config, file: Path | None, state: Path, node: str) -> None:
    """Make the second place, and write down where it is, which files the configuration refers to, and the node.

    `file` is the configuration itself where it is not the state directory's: who writes it says where all else is.

    Others have another environment, and another `--config`: what they would find by themselves is a guess.
    """
    second = second_place(config)
    with suppress(OSError):  # then nothing can be sealed, which is said elsewhere
        second.mkdir(mode=0o700, parents=True, exist_ok=True)  # what is not there yet cannot be hidden
    told, fresh = state / TOLD, state / f".{TOLD}.new"
    told.unlink(missing_ok=True)  # before all else: `run` warns of what is not told, not of what is told wrongly
    with suppress(OSError):  # the disk is full
        keys = (path for target in config.targets for path in _files_of_admin(target))
        named = [*_named(asdict(config)), *keys, *config.sinks, *([str(file.absolute())] if file else [])]
        fresh.write_text(json.dumps({"second_place": str(second), "named": named, "node": node}))
        fresh.replace(told)


def told_second_place(state: Path) -> Path | None:
    """Return where the `up` of a state directory keeps checkpoints, or last did; None where it does not say."""
    place = _told(state, "second_place")
    return Path(place) if place else None


def told_node(state: Path) -> str:
    """Return the name of the node of `serve` that works on a state directory, or last did; "" for `up`."""
    return _told(state, "node")


def _told(state: Path, member: str) -> str:
    try:
        return str(json.loads((state / TOLD).read_bytes())[member])
    except (OSError, ValueError, KeyError, TypeError):
        return ""


def likely_second_place(config: Config, state: Path) -> Path:
    """Return the second place for who is not `up`: the configured one, else where `up` keeps it, else our own."""
    told = None if config.checkpoints else told_second_place(state)
    return told or second_place(config)


def _named(value: Any) -> Iterator[str]:
    """Yield the path of every file that a configuration refers to, however deep: `file:/path`."""
    if isinstance(value, str) and value.startswith("file:/"):
        yield value.removeprefix("file:")
    elif isinstance(value, dict | list | tuple):
        for part in value.values() if isinstance(value, dict) else value:
            yield from _named(part)


def _files_of_admin(target: TargetConfig) -> Iterator[str]:
    """Yield the paths of the files with secrets that the address of a target names, or the environment does for it."""
    try:
        query = dict(parse_qsl(urlsplit(secret(target.admin).reveal()).query))
    except (InvalidRequest, ValueError):  # who makes logins there says so
        return
    for member, variable in (SECRET_FILES | SERVICE_FILE).items():
        if path := query.get(member) or os.environ.get(variable):
            yield str(Path(path).absolute())


def load_config(path: Path | None, state: Path) -> Config:
    """Return the configuration of a file, else of the state directory's; without one the defaults.

    Raises InvalidRequest (`invalid_config`), also for a file that was named and is not there.
    """
    file = path or state / "taskbound.toml"
    text = ""
    if path or file.exists():
        try:
            text = file.read_text()
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
            raise InvalidRequest(f"{file}: {reason}", code="invalid_config", hint="name it with --config") from None
    return read_config(text, str(file), hostname=socket.gethostname())


def secret(reference: str) -> Secret:
    """Return what a reference names. Raises InvalidRequest; the value is never part of the message."""
    scheme, _, name = reference.partition(":")
    if scheme == "env":
        value = os.environ.get(name)
        if not value:
            raise Unresolved(f"{reference} is not set", reference=reference, hint=f"export {name}=…")
        return Secret(value)
    try:
        with open(name, "rb") as file:
            if stat.S_IMODE(os.fstat(file.fileno()).st_mode) & 0o077:
                raise Unresolved(f"{name} may be read by others", reference=reference, hint=f"chmod 600 {name}")
            return Secret(file.read(SECRET_LIMIT).decode().strip())
    except (OSError, UnicodeDecodeError) as error:
        raise _unread(reference, error) from None


def admin_login(target: TargetConfig) -> Secret:
    """Return the address with which a target's logins are made. Raises InvalidRequest, as for the store's address."""
    address = secret(target.admin)
    try:
        verified = is_verified(address.reveal(), os.environ)
    except ValueError:  # it would quote the address
        verified = True  # whoever connects says that it is none
    if not verified:
        raise InvalidRequest(
            f"target {target.name} is not on this machine, and who it is would not be verified",
            code="invalid_config",
            hint=f"add to the address in {target.admin}: ?sslmode=verify-full&sslrootcert=FILE",
        )
    return address


def public(reference: str) -> str:
    """Return what a reference to something that everybody may read names: a certificate. Raises InvalidRequest."""
    if reference.startswith("env:"):
        return secret(reference).reveal()
    try:
        with open(reference.removeprefix("file:"), "rb") as file:
            return file.read(SECRET_LIMIT).decode()
    except (OSError, UnicodeDecodeError) as error:
        raise _unread(reference, error) from None


def _unread(reference: str, error: Exception) -> Unresolved:
    reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
    hint = "put the file there, or name another in the configuration"
    return Unresolved(f"{reference} cannot be read: {reason}", reference=reference, hint=hint)


def database_of(reference: str, state: Path) -> Secret:
    """Return the address of the store's database: `env:NAME`, `file:/path`, or a URL without a password.

    Raises InvalidRequest, which repeats nothing of it: what stands on a command line is seen by everybody on the
    machine, and a file outside of the state directory by every agent that `run` starts, for it hides that alone.
    """
    if named := re.fullmatch(r"(env:[A-Za-z_][A-Za-z0-9_]*)|file:(/[^\0]+)", reference):
        if named[2]:
            _require_hidden("file", named[2], state)
        address = secret(reference)
    else:
        address = Secret(reference)
    try:
        parts = urlsplit(address.reveal())
        query = dict(parse_qsl(parts.query, errors="strict"))
    except ValueError:
        raise _no_address() from None
    if parts.scheme not in ("postgresql", "postgres"):
        raise _no_address()
    if not named and (parts.password is not None or query.keys() & {"password", "sslpassword"}):
        hint = "--store env:NAME or file:/path, or keep the password in ~/.pgpass"
        raise InvalidRequest("a password on the command line is seen by everybody", code="invalid_config", hint=hint)
    if "service" in query:
        message = "the store's address names a service, of a file that may name others with secrets"
        raise InvalidRequest(message, code="invalid_config", hint="write out what the service says")
    for member, variable in SECRET_FILES.items():
        if member in query:
            _require_hidden(member, query[member], state)
        elif path := os.environ.get(variable):
            _require_hidden(variable, path, state)
    return address


def _no_address() -> InvalidRequest:
    hint = "--store env:NAME, file:/path or postgresql://USER@HOST/DATABASE"
    return InvalidRequest("the store's address is no URL of a PostgreSQL database", code="invalid_config", hint=hint)


def _require_hidden(named: str, path: str, state: Path) -> None:
    if not Path(path).resolve().is_relative_to(state.resolve()):
        message = f"{named}: a file with a secret of the store lies outside of the state directory: agents read it"
        raise InvalidRequest(message, code="invalid_config", hint=f"put it below {state}, mode 0600")


@contextmanager
def only_one(state: Path) -> Iterator[None]:
    """Hold the state directory, made 0700 when there is none. Raises Unavailable while another process holds it."""
    state.mkdir(mode=0o700, parents=True, exist_ok=True)
    about = state.stat()
    if about.st_uid != os.geteuid() or stat.S_IMODE(about.st_mode) & 0o077:
        private = f"{state} is open to others, or belongs to somebody else (mode {stat.S_IMODE(about.st_mode):04o})"
        raise InvalidRequest(private, code="invalid_config", hint=f"chmod 700 {state}")
    held = os.open(state, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Unavailable(
                f"another process{_holder(about)} works on {state}",
                code="already_running",
                hint="use it, or stop it first",
            ) from None
        yield
    finally:
        os.close(held)


def _holder(about: os.stat_result) -> str:
    """Return who has locked a file, as far as it is seen from here: " (pid 7)", or nothing (proc(5), /proc/locks)."""
    with suppress(OSError, ValueError, IndexError):
        for fields in map(str.split, Path("/proc/locks").read_text().splitlines()):
            if fields[1] == "FLOCK" and int(fields[4]) > 0 and fields[5].rpartition(":")[2] == str(about.st_ino):
                return f" (pid {fields[4]})"
    return ""


def kept_name(path: Path, fresh: str) -> str:
    """Return the name that a file keeps, which is `fresh` for the first time and ever after (INTERFACES 1)."""
    if not path.exists():
        new = path.with_name(f".{path.name}.{os.getpid()}")
        new.write_text(fresh)
        with suppress(FileExistsError):
            os.link(new, path)
        new.unlink()
    return path.read_text()


def login() -> str:
    """Return the login name of our uid, in the letters of a SPIFFE path."""
    try:
        name = pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        name = f"uid-{os.getuid()}"
    return re.sub(r"[^A-Za-z0-9._-]", "-", name)
