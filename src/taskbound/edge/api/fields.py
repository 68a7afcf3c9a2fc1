"""What is asked, as values: each member is read by its type, and a member that nobody knows is refused."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cache
from typing import Any

from taskbound.core.errors import InvalidRequest
from taskbound.core.refusal import nearest, quoted

PAGE = 100  # things in one answer, unless asked otherwise
MOST = 500

Read = Callable[[str, Any], Any]  # a member's name and JSON value to its value; raises InvalidRequest


@dataclass(frozen=True, slots=True)
class Member:
    """One member of a body, or one parameter of a query: how it is read, and what it says."""

    read: Read
    means: str
    required: bool = False


def _unfit(name: str, expected: str) -> InvalidRequest:
    return InvalidRequest(f"{name} must be {expected}")


def text(name: str, value: Any) -> str:
    if not isinstance(value, str):
        raise _unfit(name, "text")
    return value


def number(name: str, value: Any) -> int:
    if type(value) is not int or not -(2**53) < value < 2**53:
        raise _unfit(name, "an integer")
    return int(value)


def flag(name: str, value: Any) -> bool:
    if not isinstance(value, bool):
        raise _unfit(name, "true or false")
    return value


def seconds(name: str, value: Any) -> timedelta:
    if not 0 <= number(name, value) <= 10**9:
        raise _unfit(name, "a number of seconds")
    return timedelta(seconds=value)


def fact(name: str, value: Any) -> str | int:
    return text(name, value) if isinstance(value, str) else number(name, value)


@cache
def many(read: Read) -> Read:
    def members(name: str, value: Any) -> dict[str, Any]:
        if not isinstance(value, dict):
            raise _unfit(name, "an object")
        return {key: read(f"{name}.{quoted(key)}", one) for key, one in value.items()}

    return members


def texts(name: str, value: Any) -> tuple[str, ...]:
    if not isinstance(value, list):
        raise _unfit(name, "a list of text")
    return tuple(text(name, one) for one in value)


def objects(name: str, value: Any) -> tuple[Mapping[str, Any], ...]:
    if not isinstance(value, list) or not all(isinstance(one, dict) for one in value):
        raise _unfit(name, "a list of objects")
    return tuple(value)


def moment(name: str, value: Any) -> datetime:
    """Read a moment of RFC 3339 with its zone: 2027-01-31T00:00:00Z."""
    try:
        at = datetime.fromisoformat(text(name, value))
    except ValueError:
        raise _unfit(name, "a moment such as 2027-01-31T00:00:00Z") from None
    if at.tzinfo is None:
        raise _unfit(name, "a moment with its zone, such as 2027-01-31T00:00:00Z")
    return at


def person(name: str, value: Any) -> str | None:
    """Return the name of a registered person; None for one by reference."""
    return None if isinstance(value, dict) else text(name, value)


def fields(body: Any, takes: Mapping[str, Member]) -> dict[str, Any]:
    """Return the members of a body, each read; null is as absent. Raises InvalidRequest."""
    if not isinstance(body if body is not None else {}, dict):
        raise InvalidRequest("the body must be an object")
    given = {name: value for name, value in (body or {}).items() if value is not None}
    return _read("member", body or {}, given, takes)


def parameters(query: Mapping[str, str], takes: Mapping[str, Member]) -> dict[str, Any]:
    """Return the parameters of a query, each read. Raises InvalidRequest."""
    return _read("parameter", query, query, takes)


def _read(what: str, named: Mapping[str, Any], given: Mapping[str, Any], takes: Mapping[str, Member]) -> dict[str, Any]:
    for name in named:
        if name not in takes:
            raise InvalidRequest(f"there is no {what} {quoted(name)}", hint=nearest(name, takes))
    for name, member in takes.items():
        if member.required and name not in given:
            raise InvalidRequest(f"{name} is missing")
    return {name: takes[name].read(name, value) for name, value in given.items()}


def page(query: Mapping[str, str], takes: Mapping[str, Member]) -> tuple[dict[str, Any], int]:
    """Return the parameters of a listing, and how many things it gives at most. Raises InvalidRequest."""
    asked = parameters(query, takes)
    limit = asked.pop("limit", PAGE)
    if not 1 <= limit <= MOST:
        raise InvalidRequest(f"limit must be between 1 and {MOST}")
    return asked, limit


def index(name: str, value: Any) -> int:
    return -1 if value == "-1" else digits(name, value)  # before the first


def digits(name: str, value: Any) -> int:
    if not (value.isascii() and value.isdecimal() and len(value) <= 15):
        raise _unfit(name, "a number")
    return int(value)


TYPES: Mapping[Read, str] = {  # as people read them
    text: "text",
    number: "integer",
    flag: "true or false",
    seconds: "integer, seconds",
    fact: "text or integer",
    moment: "text, RFC 3339",
    texts: "list of text",
    objects: "list of objects",
    person: "text, or {iss, sub}",
    digits: "digits",
    index: "digits, or -1",
    many(text): "object of text",
    many(number): "object of integers",
    many(fact): "object of text or integers",
}
