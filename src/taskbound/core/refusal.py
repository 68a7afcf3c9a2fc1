"""How a file is refused: in one sentence, where the trouble stands, and what was probably meant (INTERFACES 3).

Foreign names are quoted and cut, a name that is not known comes with the nearest that is, and a
line is found from what the message quotes. Policy files are "invalid_policy". Who reads something
of several parts keeps the trouble of each and goes on, so that people see all of it at once.
"""

import re
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from difflib import get_close_matches
from typing import Any

from taskbound.core.errors import InvalidRequest

# What to do about a problem that does not say it itself, by its code.
OTHERWISE = {"invalid_policy": "change what is named there, then: taskbound policy check"}


class Broken(InvalidRequest):
    """Several problems. It says the first, and holds all of them in the order in which they were found."""

    def __init__(self, problems: Iterable[InvalidRequest]) -> None:
        self.problems = tuple(problems)
        first, more = self.problems[0], len(self.problems) - 1
        others = [f"{more} more problem{'s' * (more > 1)}: taskbound policy check"] if more else []
        super().__init__(str(first), code=first.code, hint="; ".join(filter(None, (first.hint, *others))))


class Problems:
    """The problems met while something is read in parts."""

    def __init__(self) -> None:
        self.found: list[InvalidRequest] = []

    @contextmanager
    def kept(self) -> Iterator[None]:
        """Keep what the block refuses, and go on behind it."""
        try:
            yield
        except InvalidRequest as error:
            self.found.extend(problems_of(error))

    def require_none(self) -> None:
        """Raises what was found: the one, or all of them as Broken."""
        if self.found:
            raise self.found[0] if len(self.found) == 1 else Broken(self.found)


def problems_of(error: InvalidRequest) -> tuple[InvalidRequest, ...]:
    """Return each of the problems that a refusal says."""
    return error.problems if isinstance(error, Broken) else (error,)


def quoted(name: object) -> str:
    """Return at most 64 characters of a foreign name, quoted."""
    return repr(str(name)[:64])


def refused(message: str, hint: str = "") -> InvalidRequest:
    """Return the refusal of a file of the policy directory."""
    return InvalidRequest(message, code="invalid_policy", hint=hint)


def nearest(name: object, known: Iterable[str]) -> str:
    """Return a hint with the nearest known name, or with all of a few."""
    names = sorted(known)
    if close := get_close_matches(str(name)[:64], names, 1):
        return f"did you mean {close[0]!r}?"
    return f"known: {', '.join(names[:16])}" if names else ""


def only(given: Iterable[Any], known: Iterable[str], where: str) -> None:
    """Refuse a key that is not known, with the nearest that is. Raises InvalidRequest."""
    known = tuple(known)
    for key in given:
        if key not in known:
            raise refused(f"{where}: unknown key {quoted(key)}", nearest(key, known))


def problem(
    path: str,
    text: str,
    message: str,
    *,
    hint: str = "",
    line: int | None = None,
    id: str | None = None,
    code: str = "invalid_policy",
) -> InvalidRequest:
    """Return the refusal of a file, with the line of the first name that the message quotes, where the file has it."""
    if line is None:
        line = line_of(text, message)
    place = path + (f" line {line}" if line else "") + (f" @id {id}" if id else "")
    return InvalidRequest(f"{place}: {message}", code=code, hint=hint or OTHERWISE.get(code, ""))


def line_of(text: str, message: str) -> int | None:
    """Return the line where the first name stands that a message quotes: in the n-th table that it begins with."""
    start, end, is_known = 0, len(text), False
    if match := re.match(r"(grant|registration|upstream|target|issuer|test|suppression) (\d+)", message):
        tables = list(re.finditer(rf"(?m)^[ \t]*\[\[\s*{match[1]}\s*\]\]", text))
        if int(match[2]) <= len(tables):
            start, is_known = tables[int(match[2]) - 1].start(), True
            after = re.compile(r"(?m)^\s*\[\[").search(text, tables[int(match[2]) - 1].end())
            end = after.start() if after else end
    for name in map(re.escape, re.findall(r"['\"]([^'\"]+)['\"]", message)):
        for pattern in (
            rf"(?m)^[ \t\[]*[\"']?{name}[\"']?\s*[\]=]",
            rf"(?<![\w-]){name}(?![\w-])",
        ):  # as a key, or at all
            if found := re.compile(pattern).search(text, start, end):
                return text.count("\n", 0, found.start()) + 1
    return text.count("\n", 0, start) + 1 if is_known else None


def read_toml(path: str, text: str, code: str = "invalid_policy") -> Mapping[str, Any]:
    """Return the table that a file states. Raises InvalidRequest naming the line."""
    try:
        return tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError, ValueError) as error:  # ValueError: a day that no calendar has
        line = re.search(r"at line (\d+)", str(error))
        at = int(line[1]) if line else None
        raise problem(path, "", "it is no TOML", hint=str(error), line=at, code=code) from None
