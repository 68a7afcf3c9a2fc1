"""`taskbound doctor`: what of this installation is not as it should be, and what to do about it."""

import asyncio
import os
import platform
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from taskbound.cli import answer
from taskbound.core.errors import InvalidRequest
from taskbound_sdk import Client, Refused, Unreachable

if TYPE_CHECKING:
    from taskbound.app.doctor import Check, Running

ABOUT = """\
Look at this installation and say what is not as it should be; nothing is changed.

Exit 0 when nothing failed (a warning is no failure), 1 otherwise. What a target lacks is printed as the
statement that its administrator runs. The log and the stored rows are compared only while no up runs,
those of nodes of serve at any time (--store).
"""
NEWEST = (3, 11)  # the Python that is needed
WORD = {"ok": "ok", "warn": "warn", "fail": "FAIL"}
ASKED_WITHIN = 30.0  # seconds for an upstream


def main(words: Sequence[str]) -> int:
    """Run `taskbound doctor`."""
    parser = answer.Parser("taskbound doctor", description=ABOUT)
    parser.add_argument("--json", action="store_true", help="print one JSON value")
    parser.add_argument("--config", metavar="FILE", type=Path, help="instead of taskbound.toml in the state directory")
    parser.add_argument(
        "--store", metavar="REFERENCE", help="the database of a node of serve: env:NAME, file:/path or a URL"
    )
    asked = parser.parse_args(words)
    if answer.within_task():
        task = os.environ["TASKBOUND_TASK"]
        raise answer.Inside(f"you are inside of task {task}: what doctor looks at is hidden from you")

    from taskbound import app

    state = answer.state_directory()
    client = Client(answer.socket_of(state), timeout=ASKED_WITHIN)
    running, answers = _running(client, _upstreams(asked.config, state))
    database = app.database_of(asked.store, state) if asked.store else None
    checks = [*_machine(), answers, *asyncio.run(app.examine(state, asked.config, running, database))]
    failed = any(one.verdict == "fail" for one in checks)
    if asked.json:
        answer.show_json({"ok": not failed, "checks": [asdict(one) for one in checks]})
    else:
        _tell(checks)
    return answer.REFUSED if failed else answer.DONE


def _tell(checks: "Sequence[Check]") -> None:
    widths = max(len(one.name) for one in checks)
    for one in checks:
        answer.show(f"{WORD[one.verdict]:4}  {one.name:{widths}}  {one.says}")
        if one.hint and one.verdict != "ok":
            answer.show(f"{'':4}  {'':{widths}}  {one.hint}")
    counts = {word: sum(one.verdict == verdict for one in checks) for verdict, word in WORD.items()}
    answer.show(f"{len(checks)} checks: " + ", ".join(f"{count} {word}" for word, count in counts.items()))


# --- this machine ----------------------------------------------------------------------------------


def _machine() -> "Iterator[Check]":
    from taskbound.app.doctor import FAIL, OK, WARN, Check

    version = platform.python_version()
    if sys.version_info < NEWEST:
        yield Check("python", FAIL, f"Python {version}, at least 3.11 is needed", "install a newer Python")
    else:
        yield Check("python", OK, f"Python {version}")
    if not sys.platform.startswith("linux"):
        yield Check("kernel", FAIL, f"{platform.system()}: Linux is needed", "run it on Linux")
        return
    yield Check("kernel", OK, f"{platform.system()} {platform.release()}")
    hides, why = can_hide()
    lost = "run cannot hide anything: an agent of the same user reaches taskbound's keys, log and operator socket"
    knobs = "sysctl user.max_user_namespaces, and kernel.apparmor_restrict_unprivileged_userns where there is one"
    if not hides:
        yield Check("hiding", WARN, f"{lost} ({why})", knobs)
    elif why:
        yield Check("hiding", WARN, f"run hides folders, but not other processes ({why})", "allow /proc to be mounted")
    else:
        yield Check("hiding", OK, "run hides the state directory, keys and other processes from agents")


def can_hide() -> tuple[bool, str]:
    """Try in a child what `run` does to hide things. Return whether folders can be hidden, and what failed."""
    from taskbound.runner.namespaces import EMPTY, hide, mount_proc, new_pid_namespace

    reads, writes = os.pipe()
    with tempfile.TemporaryDirectory(prefix="taskbound-") as folder:
        own = Path(folder)
        (own / EMPTY).touch(mode=0o600)
        child = os.fork()
        if child == 0:
            said = b"?"
            try:
                hide((), own)
                said = b"+"
                new_pid_namespace()
                first = os.fork()
                if first == 0:
                    status = 1
                    try:
                        mount_proc()
                        status = 0
                    finally:
                        os._exit(status)
                if os.waitpid(first, 0)[1] != 0:
                    said = b"+/proc cannot be mounted"
            except OSError as error:
                said = (said if said == b"+" else b"-") + (error.strerror or "refused").encode()
            finally:
                os.write(writes, said)
                os._exit(0)
        os.close(writes)
        os.waitpid(child, 0)
        with open(reads, "rb") as told:
            text = told.read().decode(errors="replace")
    return text.startswith("+"), text[1:]


# --- the server ------------------------------------------------------------------------------------


def _upstreams(file: Path | None, state: Path) -> tuple[str, ...]:
    """Return the names of the configured upstreams; none where the configuration is broken, which is said later."""
    from taskbound import app

    try:
        return tuple(one.name for one in app.load_config(file, state).upstreams)
    except InvalidRequest:
        return ()


def _running(client: Client, upstreams: Sequence[str]) -> "tuple[Running | None, Check]":
    """Return what the `up` of this state directory says, and whether it answers."""
    from taskbound.app.doctor import FAIL, OK, WARN, Check, Running

    try:
        client.request("GET", "/readyz")
    except Unreachable as error:
        return None, Check("server", WARN, f"taskbound up does not run: {error}", "taskbound up")
    except Refused as error:
        return Running("", {}), Check("server", FAIL, f"taskbound up is not ready: {error.description}", error.hint)
    try:
        in_force = client.request("GET", "/v1/tools")["policy"]
        offered = {name: _offered(client, name) for name in upstreams}
    except (Refused, Unreachable) as error:
        return Running("", {}), Check(
            "server", FAIL, f"taskbound up refuses to tell: {error}", "run it as its operator"
        )
    return Running(in_force, offered), Check("server", OK, "taskbound up is ready")


def _offered(client: Client, upstream: str) -> Any:
    """Return the pins of what an upstream offers now, or why it does not."""
    try:
        return client.request("POST", f"/v1/tools/{upstream}/pin", {"write": False})["pins"]
    except (Refused, Unreachable) as error:
        return str(error)
