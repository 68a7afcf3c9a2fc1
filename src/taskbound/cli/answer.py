"""What every command shares: how it finds the server, what it prints, and the status it ends with (INTERFACES 6).

A listing or a result goes to stdout, progress and warnings to stderr. With `--json` stdout gets one
JSON value, an error's too. Nothing heavy is imported here: a command answers within 0.25 s.
"""

import argparse
import difflib
import errno
import io
import json
import os
import re
import stat
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext, redirect_stdout, suppress
from datetime import date, timedelta
from pathlib import Path
from typing import Any, NoReturn
from urllib.parse import urlencode

from taskbound.core.errors import Conflict, InvalidRequest, TaskboundError, Unavailable, hint_of
from taskbound_sdk import Client, Refused, Unreachable, from_environment, plain

DONE, REFUSED, USAGE, UNAVAILABLE, UNVERIFIED = range(5)
INTERRUPTED, NOBODY_READS = 130, 141  # 128 + SIGINT, 128 + SIGPIPE, as a shell tells them
PATIENCE = 600.0  # seconds for what asks another server, or walks through the whole log
PAGE = 500  # things in one answer
UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
# What to do about a file that is in the way, by why it is.
FILE_HINTS = {
    errno.ENOENT: "name a file that there is",
    errno.EEXIST: "name one that there is not yet",
    errno.EISDIR: "name a file, not a folder",
    errno.ENOTDIR: "name a folder",
    errno.ENOSPC: "make room on the disk",
}
OUTSIDE = "type it outside of it, where taskbound run was typed; an agent may open, show and end tasks below its own"
NO_ADDRESS = "there is no such address"  # as a door says it
HIDDEN = (errno.EROFS, errno.EACCES, errno.EPERM)
STATUS = {"usage": USAGE, "invalid_config": USAGE, "log_broken": UNVERIFIED}  # by code; else by family
# What argparse says of --json=yes.
_VALUE_OF_NONE = re.compile(r"(?s)argument (?:\S+/)?(--[\w-]+): ignored explicit argument .*")


class Usage(InvalidRequest):
    """The words are not what the command takes."""

    code = "usage"


class Inside(Conflict):
    """It looks at what is hidden from who is inside of a task."""

    hint = OUTSIDE


class Parser(argparse.ArgumentParser):
    """A parser that takes no shortened option, and raises Usage instead of leaving the process."""

    def __init__(self, prog: str, **words: Any) -> None:
        shape = {"formatter_class": argparse.RawDescriptionHelpFormatter, **words}
        super().__init__(prog, **{**shape, "allow_abbrev": False})
        self.verbs: Mapping[str, Parser] = {}

    def require_known(self, words: Sequence[str]) -> None:
        """Refuse an option that there is not, with the nearest that is one: before what is missing is complained of."""
        speaker = self.verbs.get(words[0], self) if words else self
        known = [option for option in speaker._option_string_actions if option.startswith("--")]
        for word in _own(words):
            name = word.partition("=")[0]
            if name.startswith("--") and name not in known:
                near = difflib.get_close_matches(name, known, n=1)
                hint = f"did you mean {near[0]}?" if near else f"{speaker.prog} --help"
                raise Usage(f"{speaker.prog} knows no option {name}", hint=hint)

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        if args is not None:
            self.require_known(args)
        return super().parse_known_args(args, namespace)

    def error(self, message: str) -> NoReturn:
        if given := _VALUE_OF_NONE.fullmatch(message):
            raise Usage(f"{given[1]} takes no value", hint=f"write {given[1]} alone, as {self.prog} --help shows it")
        raise Usage(message, hint=f"{self.prog} --help")


def with_verbs(noun: str, about: str, verbs: Mapping[str, str], words: Sequence[str]) -> tuple[Parser, dict[str, Any]]:
    """Return a noun's parser and those of its verbs, each with `--json`. Raises Usage for a verb there is not."""
    if words and not words[0].startswith("-") and words[0] not in verbs:
        raise unknown(f"taskbound {noun}", words[0], verbs)
    parser = Parser(f"taskbound {noun}", description=about)
    kinds = parser.add_subparsers(dest="verb", required=True, metavar="|".join(verbs))
    parsers = {verb: kinds.add_parser(verb, help=does, description=does) for verb, does in verbs.items()}
    for verb in parsers.values():
        verb.add_argument("--json", action="store_true", help="print one JSON value")
    parser.verbs = parsers
    return parser, parsers


def unknown(command: str, word: str, known: Iterable[str]) -> Usage:
    """Return the refusal of a word that is no command, with the nearest that is one."""
    near = difflib.get_close_matches(word.partition(" ")[0], list(known), n=1)
    hint = f"did you mean {near[0]!r}?" if near else f"{command} help" if " " not in command else f"{command} --help"
    kind = "command" if " " not in command else "verb"
    return Usage(f"{command} does not know the {kind} {word!r}", hint=hint)


def answered(command: Callable[[Sequence[str]], int], words: Sequence[str]) -> int:
    """Run a command, say what went wrong where something did, and return the status."""
    _open_what_is_closed()
    with _said_whole():
        return _answered(command, words)


def _answered(command: Callable[[Sequence[str]], int], words: Sequence[str]) -> int:
    _spell_out_what_cannot_be_shown()
    try:
        try:
            status = command(words)
        except SystemExit as left:  # --help
            status = int(left.code or 0)
        except (TaskboundError, Refused, Unreachable, OSError) as error:
            if isinstance(error, BrokenPipeError):
                raise
            status = _refuse(error, " ".join(("taskbound", *words[:1], "--help")), as_json="--json" in _own(words))
        sys.stdout.flush()
        return status
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        # Whoever read has left. What is still buffered must not fail once more when Python ends.
        with suppress(OSError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return NOBODY_READS


def _open_what_is_closed() -> None:
    """Give standard streams that were closed (`2>&-`) nowhere to go.

    Else the next file that is opened, a database or a socket, would have their number, and what is said get into it.
    """
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # the lowest number that is free, which this is
        if getattr(sys, name) is None:
            setattr(sys, name, os.fdopen(number, "r" if number == 0 else "w", closefd=False))


def _said_whole() -> AbstractContextManager[object]:
    """Give an unbuffered stdout (`python -u`) a buffer: else Python forgets the rest of a write that a signal cut."""
    if not isinstance(getattr(sys.stdout, "buffer", None), io.RawIOBase):
        return nullcontext()
    through = io.BufferedWriter(io.FileIO(sys.stdout.fileno(), "w", closefd=False))
    return redirect_stdout(io.TextIOWrapper(through, sys.stdout.encoding, sys.stdout.errors, line_buffering=True))


def _spell_out_what_cannot_be_shown() -> None:
    """Give who takes no Unicode `\\u2026`, which in JSON is the same text, and no failure half-way."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")


def _own(words: Sequence[str]) -> Sequence[str]:
    """Return the words that are ours: those before `--`."""
    return words[: words.index("--")] if "--" in words else words


def _refuse(error: Exception, otherwise: str, *, as_json: bool) -> int:
    """Say what went wrong, and what to do: what the error says of it, else `otherwise`."""
    code, text, hint = getattr(error, "code", ""), str(error), getattr(error, "hint", "")
    hint = hint_of(error) if isinstance(error, TaskboundError) else hint
    request, family = "", UNAVAILABLE if isinstance(error, Unavailable | Unreachable) else REFUSED
    if isinstance(error, Refused):
        code, text, request = error.error, error.description, error.request
        family = UNAVAILABLE if error.status == 503 else REFUSED
    elif isinstance(error, Unreachable):
        code, hint = "unreachable", hint or "taskbound up"
    elif isinstance(error, OSError):
        file = "" if error.filename is None else str(error.filename)
        code, text = "not_possible", f"{file}: {error.strerror}" if file else str(error)
        hint = FILE_HINTS.get(error.errno or 0, "")
    hint = _in_the_way(error) or hint or otherwise
    if within_task() and _is_out_of_reach(error):
        text, hint = f"you are inside of task {os.environ['TASKBOUND_TASK']}: {text}", OUTSIDE
    if as_json:
        show_json({"error": code, "error_description": text, "hint": hint, "request": request})
    else:
        shown = "" if code == "usage" else f" ({code})"
        say(f"{text}{shown}", f"hint: {hint}")
    return STATUS.get(code, family)


def _is_out_of_reach(error: Exception) -> bool:
    """Whether it is what an agent's surroundings lack on purpose: the operator's routes, the socket, hidden folders."""
    if isinstance(error, Refused):
        return error.status == 405 or (error.status, error.description) == (404, NO_ADDRESS)
    return isinstance(error, OSError) and error.errno in HIDDEN


def _in_the_way(error: BaseException | None) -> str:
    """Return whose file or folder a refused access stopped at, and its mode; nothing for another trouble."""
    while error and not isinstance(error, PermissionError):
        error = error.__cause__
    if not isinstance(error, PermissionError) or not isinstance(error.filename, str | Path):
        return ""
    file = Path(error.filename).absolute()
    for place in (file, *file.parents):
        with suppress(OSError):  # what cannot be looked at lies behind the one in the way
            about = place.stat()
            mode = stat.S_IMODE(about.st_mode)
            return f"{place} belongs to uid {about.st_uid} and has mode {mode:04o}; you are uid {os.geteuid()}"
    return ""


# --- printing --------------------------------------------------------------------------------------


def say(*lines: str) -> None:
    """Tell people, on stderr: progress, warnings, what went wrong."""
    for line in lines:
        print(plain(line), file=sys.stderr)


def show(*lines: str) -> None:
    """Print what was asked for."""
    for line in lines:
        print(plain(line))


def show_json(value: object) -> None:
    """Print one JSON value, at once."""
    print(json.dumps(value), flush=True)


def show_table(columns: Mapping[str, str], rows: Sequence[Mapping[str, Any]], empty: str) -> None:
    """Print rows as aligned columns: titles, and the member that each shows."""
    cells = [[plain(_cell(row.get(member))) for member in columns.values()] for row in rows]
    widths = [max(map(len, column)) for column in zip(columns, *cells, strict=True)]
    for line in [list(columns), *cells] if rows else []:
        print("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())
    if not rows:
        say(empty)


def counted(number: int, noun: str) -> str:
    """Return a number of things: 1 tool, 2 tools, 2 policies."""
    many = f"{noun[:-1]}ies" if noun.endswith("y") else f"{noun}s"
    return f"{number} {noun if number == 1 else many}"


def whole(client: Client, path: str, member: str, **query: str) -> list[dict[str, Any]]:
    """Return every thing of a listing, read page by page."""
    found: list[dict[str, Any]] = []
    asked: dict[str, str] = {**query, "limit": str(PAGE)}
    while True:
        page = client.request("GET", f"{path}?{urlencode(asked)}")
        found += page[member]
        if not page.get("next"):
            return found
        asked["after"] = page["next"]


def _cell(value: Any) -> str:
    if isinstance(value, list):
        return ",".join(map(str, value))
    return {True: "yes", False: "no"}[value] if isinstance(value, bool) else "" if value is None else str(value)


# --- words -----------------------------------------------------------------------------------------


def duration(text: str) -> timedelta:
    """Read 90d, 12h, 30m or 45s. Raises argparse's error."""
    spelled = re.fullmatch(r"([0-9]{1,6})([smhd])", text, re.ASCII)
    if not spelled:
        raise argparse.ArgumentTypeError(f"{text!r} is no time such as 90d, 12h, 30m or 45s")
    return timedelta(seconds=int(spelled[1]) * UNITS[spelled[2]])


def day(text: str) -> date:
    """Read 2027-01-31. Raises argparse's error; so of the last day of all, which none comes after."""
    try:
        if (read := date.fromisoformat(text)) < date.max:
            return read
    except ValueError:
        pass
    raise argparse.ArgumentTypeError(f"{text!r} is no day such as 2027-01-31")


def pair(text: str) -> tuple[str, str]:
    """Read `name=value`. Raises argparse's error."""
    name, equals, value = text.partition("=")
    if not equals or not name:
        raise argparse.ArgumentTypeError(f"{text!r} is not spelled name=value")
    return name, value


def amount(text: str) -> tuple[str, int]:
    """Return a quantity and how much of it: calls=20."""
    name, value = pair(text)
    if not (value.isascii() and value.isdecimal() and len(value) < 16):
        raise argparse.ArgumentTypeError(f"{text!r} is no quantity such as calls=20")
    return name, int(value)


def count(text: str) -> int:
    """Read a number of things, at least one. Raises argparse's error."""
    if not (text.isascii() and text.isdecimal() and 0 < len(text) < 10 and int(text)):
        raise argparse.ArgumentTypeError(f"{text!r} is no number such as 20")
    return int(text)


# --- where the server is ---------------------------------------------------------------------------


def state_directory() -> Path:
    """Return the state directory (INTERFACES 2), as `app` does, which costs too much to ask."""
    if home := os.environ.get("TASKBOUND_HOME"):
        return Path(home).absolute()
    if base := os.environ.get("XDG_STATE_HOME"):
        return Path(base).absolute() / "taskbound"
    return Path("/var/lib/taskbound") if os.geteuid() == 0 else Path.home() / ".local/state/taskbound"


def socket_of(state: Path) -> str:
    """Return the address of the API of a state directory."""
    return f"unix:{state / 'run/api.sock'}"


def within_task() -> bool:
    """Whether this command runs inside a task."""
    return bool(os.environ.get("TASKBOUND_TASK"))


def client(timeout: float = 10.0) -> Client:
    """Return the client of the task this runs in, else of this machine's own server. Raises Unreachable."""
    return from_environment() if within_task() else Client(socket_of(state_directory()), timeout=timeout)
