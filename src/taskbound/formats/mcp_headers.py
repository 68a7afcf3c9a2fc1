"""Headers that mirror arguments of `tools/call` (MCP 2026-07-28, streamable HTTP 7: custom headers).

A property of a tool's `inputSchema` with `x-mcp-header: Region` is mirrored as `Mcp-Param-Region`, so
that who reads no bodies can route by it. Who reads both must find the same in both: whoever trusted
the header would else have let another call through than the one that is made.
"""

import base64
import binascii
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from taskbound.formats.mcp import HEADER_MISMATCH, Id, MalformedMessage

MARK = "x-mcp-header"
PREFIX = "mcp-param-"
TYPES = ("string", "integer", "boolean")
PLACES = 10_000  # of one schema that are looked at
VALUE_LIMIT = 8 << 10  # characters of a header: as many as arguments of one call take

_TOKEN = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]{1,64}")  # RFC 9110 5.6.2; the length is ours
_PLAIN = re.compile(r"[\x21-\x7e](?:[\x20-\x7e\t]*[\x21-\x7e])?|")
_WRAPPED = re.compile(r"=\?base64\?(.*)\?=", re.DOTALL)
_DECIMAL = re.compile(r"(-?[0-9]{1,40})(?:\.0+)?")


class BadMark(ValueError):
    """A schema asks for a header that there cannot be: the tool is not one that clients may offer."""


@dataclass(frozen=True, slots=True)
class Mark:
    """One argument that is mirrored."""

    path: tuple[str, ...]  # names of properties from the root of the arguments
    header: str  # in lower case, with the prefix
    type: str  # one of TYPES


def encode_value(text: str) -> str:
    """Return a text as the value of a header: as it is where it survives the way, else as Base64 of its UTF-8."""
    if _PLAIN.fullmatch(text) and not _WRAPPED.fullmatch(text):
        return text
    return f"=?base64?{base64.b64encode(text.encode()).decode()}?="


def decode_value(value: str) -> str | None:
    """Return the text that a header's value is; None for what is no text that way."""
    if (wrapped := _WRAPPED.fullmatch(value)) is None:
        return value if _PLAIN.fullmatch(value) else None
    try:
        data = base64.b64decode(wrapped[1], validate=True)
        return data.decode() if base64.b64encode(data).decode() == wrapped[1] else None
    except (binascii.Error, UnicodeError, ValueError):
        return None


def marks_of(schema: Any) -> tuple[Mark, ...]:
    """Return the arguments that a tool's inputSchema mirrors. Raises BadMark for a mark where none may stand.

    A mark counts on a property that is reached over `properties` alone; anywhere else that a schema may
    stand, it makes the definition invalid. What is data to a schema (`default`, `enum`) is not looked at.
    """
    found: dict[str, Mark] = {}
    for path, place in _places(schema):
        if MARK not in place:
            continue
        name, kind = place[MARK], place.get("type")
        if not path:
            raise BadMark(f"{MARK} stands where no argument is named")
        if type(name) is not str or not _TOKEN.fullmatch(name):
            raise BadMark(f"{MARK} is no name of a header")
        if type(kind) is not str or kind not in TYPES:
            raise BadMark(f"{MARK} stands on what is no text, integer or boolean")
        header = PREFIX + name.lower()
        if header in found:
            raise BadMark(f"{MARK} names one header twice")
        found[header] = Mark(path, header, kind)
    return tuple(found.values())


_DATA = ("default", "examples", "const", "enum", "required", "$ref", "$dynamicRef")
_NAMED = ("properties", "patternProperties", "dependentSchemas", "$defs", "definitions")


def _places(schema: Any) -> Iterator[tuple[tuple[str, ...] | None, Mapping[str, Any]]]:
    """Yield each schema within a schema, with its path; None where more than `properties` leads to it."""
    waiting: list[tuple[tuple[str, ...] | None, Any]] = [((), schema)]
    seen = 0
    while waiting:
        path, place = waiting.pop()
        if isinstance(place, list):
            waiting += [(None, one) for one in place]
            continue
        if not isinstance(place, dict):
            continue
        if (seen := seen + 1) > PLACES:
            raise BadMark(f"the schema has more than {PLACES} places")
        yield path, place
        for key, below in place.items():
            if key in _NAMED and isinstance(below, dict):
                further = path if key == "properties" else None
                waiting += [(None if further is None else (*further, name), one) for name, one in below.items()]
            elif key not in _DATA:
                waiting.append((None, below))


def mirrored(marks: tuple[Mark, ...], arguments: Mapping[str, Any]) -> dict[str, str]:
    """Return the headers of a call's arguments. Raises MalformedMessage for one that has none."""
    headers: dict[str, str] = {}
    for mark in marks:
        value = _value(arguments, mark.path)
        if value is None:
            continue
        text = _text(value)
        if text is None or len(encoded := encode_value(text)) > VALUE_LIMIT:
            raise MalformedMessage(HEADER_MISMATCH, f"{'.'.join(mark.path)[:64]!r} has no form as a header")
        headers[mark.header] = encoded
    return headers


def check(marks: tuple[Mark, ...], arguments: Mapping[str, Any], headers: Mapping[str, str], id: Id) -> None:
    """Check that the headers of a call mirror its arguments. Raises MalformedMessage for the first that does not.

    A header that the tool knows nothing of is nobody's, and ignored.
    """
    for mark in marks:
        value, shown = _value(arguments, mark.path), headers.get(mark.header)
        if value is None and shown is None:
            continue
        if value is None or shown is None or not _equal(mark, value, decode_value(shown)):
            problem = f"Header mismatch: {mark.header} is not what the argument {'.'.join(mark.path)[:64]!r} is"
            raise MalformedMessage(HEADER_MISMATCH, problem, id)


def _value(arguments: Any, path: tuple[str, ...]) -> Any:
    for name in path:
        if not isinstance(arguments, Mapping):
            return None
        arguments = arguments.get(name)
    return arguments


def _text(value: Any) -> str | None:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float) and value.is_integer() and abs(value) < 2**53:
        value = int(value)
    return str(value) if isinstance(value, str | int) else None


def _equal(mark: Mark, value: Any, shown: str | None) -> bool:
    text = _text(value)
    if text is None or shown is None:
        return False
    if mark.type == "integer" and not isinstance(value, str | bool) and (decimal := _DECIMAL.fullmatch(shown)):
        return int(decimal[1]) == int(text)
    return shown == text
