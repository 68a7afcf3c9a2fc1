"""Catalogue: what a tool and a target are to a policy: effect, argument kinds and types, pin.

A tool's pinned definition is read once, at load: each argument's JSON Schema becomes a Cedar type and
a converter (core/projection.py). `Tool.project` is then the only way from arguments to what the engine
sees (INTERFACES 7). The file that a person reviewed says the effect and the kinds; types and
`required` come from the definition that the pin is the hash of (INTERFACES 3, D29).

All refusals of arguments are InvalidRequest("invalid_argument"), those of files "invalid_policy".
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, timedelta
from functools import cached_property
from typing import Any

from taskbound.core.cedar import Attribute, Entity, Uid
from taskbound.core.errors import InvalidRequest
from taskbound.core.projection import CONVERTERS, FREE_TEXT, Convert, Unfit, cedar_type, resolved
from taskbound.core.refusal import nearest, only, quoted, refused
from taskbound.formats import canonical

EFFECTS = ("read", "write", "send", "destroy", "read_secret", "spend", "execute")
KINDS = (
    "recipient", "account", "url", "path", "amount", "object_id", "date", "time", "name", "principal", "secret",
    "flag", "free_text",
)  # fmt: skip
INTEGRITIES = ("attested", "member_text", "free_text")

RECORD_LIMIT = 8192  # bytes of a projected record as JSON
_BOUND = 200  # at most as many bytes take a converted value of fixed size, and its punctuation
TOOL_NAME = re.compile(r"[A-Za-z0-9_./-]{1,128}")  # MCP 2025-11-25, tool names
DEFINITIONS_LIMIT = 4 << 20  # bytes of one tools/*.json


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
    return _table(resolved(whole, whole)[0], "properties", where)


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
    listed = resolved(whole, whole)[0].get("required")
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
