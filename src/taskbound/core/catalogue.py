"""Catalogue: what a tool and a target are to a policy: effect, argument kinds and types, projection, pin.

A tool's pinned definition is read once, at load: each argument's JSON Schema becomes a Cedar type and
a converter. `Tool.project` is then the only way from arguments to what the engine sees (INTERFACES 7):
a value is converted by its declared type or refused, so that nothing in it is ever interpreted, and
free text arrives as its length and digest. The file that a person reviewed says the effect and the
kinds; types and `required` come from the definition that the pin is the hash of (INTERFACES 3, D29).

    boolean, integer    Bool, Long (±2^53)         list of strings, integers   Set<String>, Set<Long>
    number              decimal (4 places)         list of numbers             {count, max?, sum?}
    text, free_text     {len, digest} (of UTF-8)   any other list              {count}
    text, other kinds   String (4 KiB)             object, union, no type      {digest} (canonical JSON)

All refusals of arguments are InvalidRequest("invalid_argument"), those of files "invalid_policy".
"""

import hashlib
import json
import re
import tomllib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import date, timedelta
from decimal import Decimal
from difflib import get_close_matches
from functools import cached_property
from typing import Any

from taskbound.core.errors import InvalidRequest
from taskbound.core.policy import Attribute, Entity, Uid
from taskbound.formats import canonical

EFFECTS = ("read", "write", "send", "destroy", "read_secret", "spend", "execute")
KINDS = (
    "recipient", "account", "url", "path", "amount", "object_id", "date", "time", "name", "principal", "secret",
    "flag", "free_text",
)  # fmt: skip
INTEGRITIES = ("attested", "member_text", "free_text")

TEXT_LIMIT = 4096  # bytes of one String: longer text costs the engine 85–160 µs (INTERFACES 7)
RECORD_LIMIT = 8192  # bytes of a projected record as JSON
_BOUND = 200  # at most as many bytes take a converted value of fixed size, and its punctuation
TOOL_NAME = re.compile(r"[A-Za-z0-9_./-]{1,128}")  # MCP 2025-11-25, tool names
DEFINITIONS_LIMIT = 4 << 20  # bytes of one tools/*.json

FREE_TEXT = "{len: Long, digest: String}"
DIGEST = "{digest: String}"
COUNT = "{count: Long}"
NUMBERS = "{count: Long, max?: decimal, sum?: decimal}"


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
    return InvalidRequest(f"{place}: {message}", code=code, hint=hint)


def line_of(text: str, message: str) -> int | None:
    """Return the line where the first name stands that a message quotes: in the n-th table that it begins with."""
    start, end = 0, len(text)
    if match := re.match(r"(grant|registration|upstream|target|issuer) (\d+)", message):
        tables = list(re.finditer(rf"(?m)^\s*\[\[\s*{match[1]}\s*\]\]", text))
        if int(match[2]) <= len(tables):
            start = tables[int(match[2]) - 1].start()
            after = re.compile(r"(?m)^\s*\[\[").search(text, tables[int(match[2]) - 1].end())
            end = after.start() if after else end
    for name in map(re.escape, re.findall(r"['\"]([^'\"]+)['\"]", message)):
        for pattern in (
            rf"(?m)^[ \t\[]*[\"']?{name}[\"']?\s*[\]=]",
            rf"(?<![\w-]){name}(?![\w-])",
        ):  # as a key, or at all
            if found := re.compile(pattern).search(text, start, end):
                return text.count("\n", 0, found.start()) + 1
    return text.count("\n", 0, start) + 1 if start else None


def read_toml(path: str, text: str, code: str = "invalid_policy") -> Mapping[str, Any]:
    """Return the table that a file states. Raises InvalidRequest naming the line."""
    try:
        return tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError, ValueError) as error:  # ValueError: a day that no calendar has
        line = re.search(r"at line (\d+)", str(error))
        at = int(line[1]) if line else None
        raise problem(path, "", "it is no TOML", hint=str(error), line=at, code=code) from None


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


def _resolved(schema: Any, root: Mapping[str, Any]) -> tuple[Mapping[str, Any], bool]:
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
    schema, nullable = _resolved(schema, root)
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


# --- tools and targets -------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Argument:
    """One argument of a tool, as policies see it."""

    name: str
    kind: str  # one of KINDS; "" where none is declared and it is no text
    type: str  # Cedar type text
    required: bool  # present in every request that is accepted


@dataclass(frozen=True)
class Tool:
    """One tool of one upstream: its pinned definition, read with what a person said about it."""

    upstream: str
    name: str
    effect: str
    arguments: Mapping[str, Argument]
    result: Mapping[str, str]
    pin: str
    pinned: bool  # the definition is the one that the pin is the hash of
    reviewed: bool
    undo: str | None
    definition: Mapping[str, Any]
    entry: Mapping[str, Any] = field(default_factory=dict)  # what its file says, as it was read
    wanted: frozenset[str] = frozenset()  # required by the definition, were it as null
    never: frozenset[str] = frozenset()  # required, but of a name that no request may have: it cannot be called
    _converters: Mapping[str, tuple[Convert, int]] = field(init=False, repr=False, compare=False)
    _required: tuple[str, ...] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        table = {name: (CONVERTERS[one.type], _BOUND + 6 * len(name)) for name, one in self.arguments.items()}
        object.__setattr__(self, "_converters", table)
        required = {name for name, one in self.arguments.items() if one.required} | self.never
        object.__setattr__(self, "_required", tuple(sorted(required)))

    @cached_property
    def resource(self) -> str:
        return f"{self.upstream}/{self.name}"

    @cached_property
    def entity(self) -> Entity:
        return Entity(Uid("Tool", self.resource), (("effect", self.effect),), (Uid("Upstream", self.upstream),))

    @cached_property
    def labels(self) -> frozenset[str]:
        """What reading its result taints a task with. What nobody reviewed or declared is free text (D30)."""
        found = set(self.result.values()) - {"attested"}
        if not self.result or not self.reviewed:
            found.add("free_text")
        if self.effect == "read_secret":
            found.add("secret")
        return frozenset(found)

    def project(self, arguments: Mapping[str, Any]) -> dict[str, Any]:
        """Return the arguments as Cedar JSON values. Raises InvalidRequest naming the argument."""
        record: dict[str, Any] = {}
        converters, size, name = self._converters, 0, ""
        try:
            for name, value in arguments.items():
                convert, bound = converters[name]
                if value is None:
                    continue
                record[name] = found = convert(value)
                size += bound
                if type(found) is str:
                    size += 6 * len(found)  # at most: "\u0000"
                elif type(found) is list:
                    size += sum(6 * len(item) + 4 if type(item) is str else 24 for item in found)
        except KeyError:
            hint = "names with __ are kept for the engine" if str(name).startswith("__") else nearest(name, converters)
            raise self._refusal(name, "it has no such argument", hint) from None
        except Unfit as error:
            raise self._refusal(name, str(error)) from None
        for name in self._required:
            if name not in record:
                raise self._refusal(name, "it is required")
        if size > RECORD_LIMIT and (size := _size(record)) > RECORD_LIMIT:
            longest = max(record, key=lambda name: _size(record[name]))
            raise self._refusal(longest, f"all arguments take {size} bytes, expected at most {RECORD_LIMIT}")
        return record

    def sent(self, arguments: Mapping[str, Any]) -> dict[str, Any]:
        """Return arguments that were projected as they go out: a server reads in them what policies saw.

        A null is an absent argument unless the definition requires one, and 5.0 is the integer 5.
        """
        given = {name: value for name, value in arguments.items() if value is not None or name in self.wanted}
        for name, value in given.items():
            if value is not None and self.arguments[name].type in ("Long", "Set<Long>"):
                given[name] = CONVERTERS[self.arguments[name].type](value)
        return given

    def _refusal(self, name: object, expected: str, hint: str = "") -> InvalidRequest:
        message = f"argument {quoted(name)} of {self.resource[:160]}: {expected}"
        return InvalidRequest(message, code="invalid_argument", hint=hint)


def _size(record: Any) -> int:
    return len(json.dumps(record, ensure_ascii=False, separators=(",", ":")).encode())


MEMBERS = ("name", "title", "description", "inputSchema", "outputSchema", "annotations")  # what a pin is the hash of


def pin_of(definition: Mapping[str, Any]) -> str:
    """Return the hash of what a definition says, as it stands in the catalogue. Raises InvalidRequest."""
    try:
        return "sha256:" + canonical.digest({name: definition[name] for name in MEMBERS if name in definition})
    except canonical.Malformed:
        raise refused("the definition has no canonical form") from None


def _one_of(value: Any, known: tuple[str, ...], where: str) -> str:
    if value not in known:
        raise refused(f"{where} is {quoted(value)}", nearest(value, known))
    return str(value)


def _table(entry: Mapping[str, Any], key: str, where: str) -> Mapping[str, Any]:
    if not isinstance(table := entry.get(key, {}), Mapping):
        raise refused(f"{where}: {key!r} is no table")
    return table


def properties_of(definition: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the schemas of a definition's arguments by name. Raises InvalidRequest."""
    where = f"tool {quoted(definition.get('name'))}"
    whole = _table(definition, "inputSchema", where)
    return _table(_resolved(whole, whole)[0], "properties", where)


def read_tool(upstream: str, name: str, entry: Mapping[str, Any], definition: Mapping[str, Any]) -> Tool:
    """Return the tool that an entry of tools/<upstream>.toml and its pinned definition make. Raises InvalidRequest."""
    where = f"tool {quoted(name)}"
    only(entry, ("pin", "reviewed", "effect", "arguments", "result", "undo"), where)
    if not isinstance(definition, Mapping) or definition.get("name") != name:
        raise refused(f"{where}: its definition has another name")
    if not isinstance(pin := entry.get("pin"), str) or not isinstance(entry.get("undo", ""), str):
        raise refused(f"{where}: 'pin' or 'undo' is missing or no text")
    reviewed = _table(entry, "reviewed", where)
    only(reviewed, ("by", "on"), f"{where} reviewed")
    if reviewed and not (str(reviewed.get("by", "")).startswith("human/") and isinstance(reviewed.get("on"), date)):
        raise refused(f"{where}: 'reviewed' names no person and day", '{ by = "human/…", on = 2026-11-24 }')
    whole, properties = _table(definition, "inputSchema", where), properties_of(definition)
    listed = _resolved(whole, whole)[0].get("required")
    wanted = {one for one in listed if isinstance(one, str)} if isinstance(listed, list) else set[str]()
    declared = _table(entry, "arguments", where)
    only(declared, properties, f"{where} arguments")
    kinds = {one: _one_of(kind, KINDS, f"{where}: the kind of {quoted(one)}") for one, kind in declared.items()}
    arguments: dict[str, Argument] = {}
    for one, schema in properties.items():
        if not one.startswith("__"):
            found, nullable = cedar_type(schema, whole, kinds.get(one, ""))
            kind = "free_text" if found == FREE_TEXT else kinds.get(one, "")
            arguments[one] = Argument(one, kind, found, one in wanted and not nullable)
    result = _table(entry, "result", where)
    return Tool(
        upstream=upstream,
        name=name,
        effect=_one_of(entry.get("effect"), EFFECTS, f"{where}: 'effect'"),
        arguments=arguments,
        result={one: _one_of(what, INTEGRITIES, f"{where}: the result {quoted(one)}") for one, what in result.items()},
        pin=pin,
        pinned=pin == pin_of(definition),
        reviewed=bool(reviewed),
        undo=entry.get("undo"),
        definition=definition,
        entry=entry,
        wanted=frozenset(wanted),
        never=frozenset(wanted - arguments.keys()),
    )


@dataclass(frozen=True)
class Target:
    """One grant of one target, as the configuration has it: a credential that can be leased."""

    name: str
    grant: str
    environment: str
    revocation_class: str  # "cut now", "needs its value", "gateway only", "dies of age" (INTERFACES 11)
    assurances: frozenset[str]
    holders: frozenset[str]
    max_life: timedelta
    statements: Mapping[str, Any] = field(default_factory=dict)  # what the provider does for this grant

    @cached_property
    def resource(self) -> str:
        return f"{self.name}/{self.grant}"

    @cached_property
    def parent(self) -> Entity:
        """The target itself. It carries the same attributes (INTERFACES 7)."""
        attrs: tuple[tuple[str, Attribute], ...] = (
            ("environment", self.environment),
            ("class", self.revocation_class),
            ("assurances", tuple(sorted(self.assurances))),
            ("holders", tuple(sorted(self.holders))),
        )
        return Entity(Uid("Target", self.name), attrs)

    @cached_property
    def entity(self) -> Entity:
        return Entity(Uid("Target", self.resource), self.parent.attrs, (self.parent.uid,))
