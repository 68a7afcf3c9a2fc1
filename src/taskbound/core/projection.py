"""Projection: one JSON value as Cedar's, and an argument's JSON Schema as a Cedar type (INTERFACES 7).

Each argument's schema becomes a Cedar type, and each type has one converter. A value is converted by
its declared type or refused, so that nothing in it is ever interpreted, and free text arrives as its
length and digest.

    boolean, integer    Bool, Long (±2^53)         list of strings, integers   Set<String>, Set<Long>
    number              decimal (4 places)         list of numbers             {count, max?, sum?}
    text, free_text     {len, digest} (of UTF-8)   any other list              {count}
    text, other kinds   String (4 KiB)             object, union, no type      {digest} (canonical JSON)
"""

import hashlib
from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Any

from taskbound.formats import canonical

TEXT_LIMIT = 4096  # bytes of one String: longer text costs the engine 85–160 µs (INTERFACES 7)

FREE_TEXT = "{len: Long, digest: String}"
DIGEST = "{digest: String}"
COUNT = "{count: Long}"
NUMBERS = "{count: Long, max?: decimal, sum?: decimal}"

# --- one value ---------------------------------------------------------------------------------


class Unfit(ValueError):
    """A value is none of its type; says what was expected."""


Convert = Callable[[Any], Any]  # a JSON value to a Cedar JSON value; raises Unfit


def _bool(value: Any) -> bool:
    if value is True or value is False:
        return bool(value)
    raise Unfit("expected true or false")


def _long(value: Any) -> int:
    kind = type(value)
    if (kind is int or (kind is float and value.is_integer())) and abs(value) < 2**53:  # 5.0 is one in JSON Schema
        return int(value)  # beyond, a server whose numbers are doubles reads another than policies saw (RFC 8259 6)
    raise Unfit("expected an integer within ±9007199254740991")


def decimal_text(value: Decimal) -> str:
    """Return a number as Cedar's decimal has it: at least one place, at most four. Raises Unfit."""
    if not value.is_finite() or abs(value) >= 10**15:  # before it is written out: the exponent is foreign
        raise Unfit("expected a number within ±922337203685477.5807")
    whole, _, places = f"{value:f}".partition(".")
    places = places.rstrip("0")
    if len(places) > 4:
        raise Unfit("expected a number of at most 4 decimal places")
    if not -(2**63) <= int(value.scaleb(4)) < 2**63:
        raise Unfit("expected a number within ±922337203685477.5807")
    return "0.0" if not value else f"{whole}.{places or '0'}"


def _decimal(value: Any) -> dict[str, dict[str, str]]:
    kind = type(value)
    if kind is not int and kind is not float:
        raise Unfit("expected a number")
    if kind is int and -(10**14) < value < 10**14:
        text = f"{value}.0"
    else:
        text = decimal_text(Decimal(repr(value) if kind is float else value))  # repr: the shortest that reads back
    return {"__extn": {"fn": "decimal", "arg": text}}


def _utf8(value: Any) -> bytes:
    if type(value) is not str:
        raise Unfit("expected text")
    try:
        return value.encode()
    except UnicodeEncodeError:
        raise Unfit("expected text without lone surrogates") from None


def _string(value: Any) -> str:
    if type(value) is str and len(value) <= TEXT_LIMIT and value.isascii():
        return value
    if len(_utf8(value)) > TEXT_LIMIT:
        raise Unfit(f"expected at most {TEXT_LIMIT} bytes of text")
    return str(value)


def _free_text(value: Any) -> dict[str, int | str]:
    text = _utf8(value)
    return {"len": len(text), "digest": hashlib.sha256(text).hexdigest()}


def _digest(value: Any) -> dict[str, str]:
    try:
        return {"digest": canonical.digest(value)}
    except canonical.Malformed:
        raise Unfit("expected a value that has a canonical form") from None


def _items(value: Any) -> list[Any]:
    if type(value) is not list:
        raise Unfit("expected a list")
    return value


def _count(value: Any) -> dict[str, int]:
    _digest(_items(value))  # only its length is used, but what has no canonical form is no JSON
    return {"count": len(value)}


def _numbers(value: Any) -> dict[str, Any]:
    found: dict[str, Any] = {"count": len(_items(value))}
    if numbers := [Decimal(_decimal(item)["__extn"]["arg"]) for item in value]:
        for name, number in (("max", max(numbers)), ("sum", sum(numbers, Decimal(0)))):
            found[name] = {"__extn": {"fn": "decimal", "arg": decimal_text(number)}}
    return found


def _each(convert: Convert) -> Convert:
    return lambda value: [convert(item) for item in _items(value)]


CONVERTERS: Mapping[str, Convert] = {
    "Bool": _bool, "Long": _long, "decimal": _decimal, "String": _string,
    FREE_TEXT: _free_text, DIGEST: _digest, COUNT: _count, NUMBERS: _numbers,
    "Set<Bool>": _each(_bool), "Set<Long>": _each(_long),
    "Set<decimal>": _each(_decimal), "Set<String>": _each(_string),
}  # fmt: skip

# --- JSON Schema to Cedar type -----------------------------------------------------------------

_SCALARS = {"boolean": "Bool", "integer": "Long", "number": "decimal", "string": "String"}
_LISTS = {"string": "Set<String>", "integer": "Set<Long>", "number": NUMBERS}


def resolved(schema: Any, root: Mapping[str, Any]) -> tuple[Mapping[str, Any], bool]:
    """Return the schema behind local references and [T, null], and whether null was among them.

    What leads nowhere, or in a circle, is a schema that says nothing.
    """
    nullable = False
    for _ in range(32):
        if not isinstance(schema, Mapping):
            break
        if isinstance(ref := schema.get("$ref"), str):
            schema = _pointed(ref, root)
            continue
        branches = next((schema[key] for key in ("anyOf", "oneOf", "allOf") if key in schema), None)
        if branches is None or "type" in schema or not isinstance(branches, list):
            return schema, nullable
        others = [branch for branch in branches if not (isinstance(branch, Mapping) and branch.get("type") == "null")]
        nullable = nullable or ("allOf" not in schema and len(others) < len(branches))
        if len(others) != 1:
            break
        schema = others[0]
    return {}, nullable


def _pointed(ref: str, root: Mapping[str, Any]) -> Any:
    """Return what a local reference points at (RFC 6901), or None."""
    if ref != "#" and not ref.startswith("#/"):
        return None
    found: Any = root
    for step in ref.split("/")[1:]:
        step = step.replace("~1", "/").replace("~0", "~")
        if isinstance(found, list) and step.isdecimal() and len(step) < 6:
            found = dict(enumerate(found)).get(int(step))
        else:
            found = found.get(step) if isinstance(found, Mapping) else None
    return found


def named_schema(schema: Any, root: Mapping[str, Any]) -> tuple[Mapping[str, Any], str, bool]:
    """Return the schema behind references, its one type ("" without), and whether null is among its values."""
    schema, nullable = resolved(schema, root)
    named = schema.get("type")
    if isinstance(named, list):
        nullable = nullable or "null" in named
        others = [one for one in named if one != "null"]
        named = others[0] if len(others) == 1 else None
    return schema, named if isinstance(named, str) else "", nullable


def cedar_type(schema: Any, root: Mapping[str, Any], kind: str = "") -> tuple[str, bool]:
    """Return an argument's Cedar type, and whether null is among its values."""
    schema, named, nullable = named_schema(schema, root)
    if named == "array":
        _, items, optional = named_schema(schema.get("items"), root)  # one level: items may lead back here
        if optional or "prefixItems" in schema or (kind == "free_text" and items == "string"):
            return COUNT, nullable
        return _LISTS.get(items, COUNT), nullable
    found = _SCALARS.get(named, DIGEST)
    return (FREE_TEXT if found == "String" and kind in ("", "free_text") else found), nullable
