"""Intent: what a task is for: a profile's template, or an intent alone, and the values that bind it.

Profiles are where grants are read from, and `authorization_details` (core/details.py): each is made
against its pinned tool, with every rule of INTERFACES 3 about what can never permit or never match.
Values come by `--set` for a profile's parameters. Refused files are "invalid_policy".
"""

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, timedelta
from decimal import Decimal
from functools import cached_property
from typing import Any

from taskbound.core.catalogue import KINDS, Target, Tool
from taskbound.core.cedar import Entity, Uid
from taskbound.core.errors import InvalidRequest
from taskbound.core.grant import OPERATORS, Condition, Grant, Value, render, shown
from taskbound.core.projection import CONVERTERS, Unfit, decimal_text
from taskbound.core.refusal import Problems, nearest, only, quoted, refused
from taskbound.formats import canonical

DEFAULT_BUDGET: Mapping[str, int] = {"calls": 1000, "leases": 200}  # INTERFACES 12


@dataclass(frozen=True, slots=True)
class Parameter:
    """What a profile leaves open, and what may be put there."""

    name: str
    kind: str
    type: str
    pattern: re.Pattern[str] | None = None  # of the whole text
    minimum: Value | None = None
    maximum: Value | None = None
    values: Value | None = None  # a tuple of all that are accepted


@dataclass(frozen=True)
class Profile:
    """An intent's template: parameters, grants, owner, review date."""

    name: str
    purpose: str
    owner: str  # human/…
    review_by: date
    life: timedelta
    idle: timedelta | None
    budget: Mapping[str, int]
    heartbeat_grace: timedelta | None
    on_lost: str | None
    parameters: Mapping[str, Parameter]
    grants: tuple[Grant, ...]

    @cached_property
    def entity(self) -> Entity:
        return Entity(Uid("Profile", self.name), (("owner", Uid("Human", self.owner)),))


@dataclass(frozen=True, slots=True)
class Intent:
    """What a task is for: untrusted text, never authority; and the values its grants are bound to."""

    profile: str | None
    text: str | None
    values: Mapping[str, Value] = field(default_factory=dict)
    asked: str = ""  # SHA-256 of who asked and the idempotency key they gave; "" without one
    request: str = ""  # with a key: SHA-256 of what was asked


# --- values and text -----------------------------------------------------------------------------


def _typed(value: Any, type_: str) -> Value:
    """Return a JSON value as a value of that Cedar type. Raises Unfit."""
    return value_of(CONVERTERS[type_](value))


def value_of(cedar: Any) -> Value:
    """Return a projected argument as conditions have values. Raises Unfit."""
    if isinstance(cedar, list):
        if not cedar:
            raise Unfit("expected a list that is not empty: an empty one permits nothing")
        return tuple(value_of(item) for item in cedar)  # type: ignore[return-value]
    found: Value = Decimal(cedar["__extn"]["arg"]) if isinstance(cedar, dict) else cedar
    return found


# --- conditions and grants -----------------------------------------------------------------------

_CONDITION = re.compile(r"(=|<=|in(?=[\s\[])|like(?=[\s\"]))\s*(.+)", re.DOTALL)
_WORD = re.compile(r"(?!(true|false|null|any)\Z)(?!__)[A-Za-z_][A-Za-z0-9_-]*")


def _condition(text: Any, tool: Tool, name: str, parameters: Iterable[str], where: str) -> Condition:
    """Return the condition that a text states of an argument of the tool. Raises InvalidRequest."""
    argument, where = tool.arguments[name], f"{where}: the condition on {quoted(name)}"
    if isinstance(text, str) and text.strip() == "any":
        return Condition(name, argument.type, argument.required, "any")
    match = _CONDITION.fullmatch(text.strip()) if isinstance(text, str) else None
    if match is None:
        raise refused(f"{where} is none", 'write "= x", "<= x", "in [x]", "like \\"x*\\"" or "any"')
    operator, operand = match[1], match[2].strip()
    if argument.type not in OPERATORS[operator]:
        allowed = [one for one, types in OPERATORS.items() if argument.type in types]
        raise refused(f"{where}: {operator} is not for {argument.type}", f"use {', '.join(['any', *allowed])}")
    condition = Condition(name, argument.type, argument.required, operator)
    if _WORD.fullmatch(operand):
        if operator == "like":
            raise refused(f"{where}: like takes a literal only", 'write like "abc*"')
        if operand not in parameters:
            hint = nearest(operand, parameters) or f'a literal text stands in quotes: {operator} "{operand[:32]}"'
            raise refused(f"{where}: there is no parameter {quoted(operand)}", hint)
        return replace(condition, parameter=operand)
    try:
        literal = _typed(canonical.parse(operand), condition.operand)
    except (canonical.Malformed, Unfit) as error:
        raise refused(f"{where}: {error}", f"it is compared with {condition.operand}") from None
    if operator == "like" and (not str(literal).endswith("*") or str(literal).count("*") != 1 or literal == "*"):
        raise refused(f"{where}: a pattern is text and one * at its end", "use any for every text")
    return replace(condition, literal=literal)


def read_grant(
    place: int,
    entry: Mapping[str, Any],
    tools: Mapping[str, Tool],
    targets: Mapping[str, Target],
    parameters: Iterable[str],
) -> Grant:
    """Return the grant of a table of `tool` or `lease`, `when`, `others`, `calls`, `ask`. Raises InvalidRequest."""
    where = f"grant {place + 1}"
    _only_known(entry, tools, where)
    if ("tool" in entry) == ("lease" in entry):
        raise refused(f"{where} names a tool or a lease, and not both")
    kind: str = "tool" if "tool" in entry else "lease"
    resource, known = entry[kind], tools if kind == "tool" else targets
    if not isinstance(resource, str) or resource not in known:
        raise refused(f"{where}: there is no {kind} {quoted(resource)}", nearest(resource, known))
    where = f"{where} ({resource})"
    calls, ask, others, when = (entry.get(key, default) for key, default in _GRANT_DEFAULTS.items())
    if calls is not None and (type(calls) is not int or calls < 1):
        raise refused(f"{where}: 'calls' is no number above 0")
    if type(ask) is not bool or others not in (None, "any") or not isinstance(when, Mapping):
        raise refused(f"{where}: 'ask' is true or false, 'others' is \"any\", 'when' is a table")
    if kind == "lease":
        if when or others:
            raise refused(f"{where}: a lease has no arguments", "leave out 'when' and 'others'")
        return Grant(f"g{place}", "lease/issue", resource, (), (), calls, ask, place)
    tool = tools[resource]
    if strange := [name for name in when if name not in tool.arguments]:
        raise refused(f"{where}: it has no argument {quoted(strange[0])}", nearest(strange[0], tool.arguments))
    rest = sorted(name for name in tool.arguments if name not in when and others != "any")
    if needed := [name for name in rest if tool.arguments[name].required]:
        said = f"{', '.join(map(quoted, needed))} {'is' if len(needed) == 1 else 'are'} required and not named"
        raise refused(f"{where} can never permit: {said}", when_of(tool, when))
    conditions = tuple(_condition(when[name], tool, name, parameters, where) for name in sorted(when))
    return Grant(f"g{place}", "tools/call", resource, conditions, tuple(rest), calls, ask, place, tool.pin)


def _only_known(entry: Mapping[str, Any], tools: Mapping[str, Tool], where: str) -> None:
    """Refuse a key that a grant has not; of an argument of its tool say where it stands. Raises InvalidRequest."""
    known = ("tool", "lease", "when", "others", "calls", "ask")
    tool = tools.get(entry["tool"]) if isinstance(entry.get("tool"), str) else None
    for key in entry:
        if tool is not None and key not in known and key in tool.arguments:
            given = entry.get("when")
            beside = given if isinstance(given, Mapping) else {}
            raise refused(f"{where}: unknown key {quoted(key)}, which is an argument", when_of(tool, beside))
    only(entry, known, where)


# Kinds of argument that say whom, where or how much: a grant that lets them be anything is somebody's decision.
_BOUND = ("recipient", "account", "url", "path", "amount", "principal", "secret")
_BARE = re.compile(r"[A-Za-z0-9_-]+")  # TOML 1.0, bare keys


def when_of(tool: Tool, given: Mapping[str, Any]) -> str:
    """Return the line of a grant of the tool that names all it requires, as TOML to paste, and what is left to fill in.

    What is given stays as it is. An open `…` is no condition, so that nothing is granted before a person fills it.
    """
    conditions = {name: text for name, text in given.items() if name in tool.arguments}
    open_: list[str] = []
    for name, one in sorted(tool.arguments.items()):
        if not one.required or name in conditions:
            continue
        fits = [operator for operator in ("<=", "in", "=") if one.type in OPERATORS[operator]]
        if one.kind not in _BOUND or not fits:
            conditions[name] = "any"
            continue
        operator = "<=" if "<=" in fits else "in" if one.type.startswith("Set<") else "="
        conditions[name] = f"{operator} …"
        open_.append(f"{quoted(name)} a {one.type.lower().removesuffix('>').replace('set<', 'list of ')}")
    members = (f"{_key(name)} = {json.dumps(text, ensure_ascii=False)}" for name, text in conditions.items())
    filled = f", with its value in place of each …: {', '.join(open_)}" if open_ else ""
    return f"when = {{ {', '.join(members)} }}{filled}"


def _key(name: str) -> str:
    return name if _BARE.fullmatch(name) else json.dumps(name)


_GRANT_DEFAULTS: Mapping[str, Any] = {"calls": None, "ask": False, "others": None, "when": {}}


def require_distinct(grants: Sequence[Grant]) -> None:
    """Refuse two grants of one text. Raises InvalidRequest."""
    seen: dict[str, int] = {}
    for place, grant in enumerate(grants):
        first = seen.setdefault(render(grant, 0), place)
        if first != place:
            raise refused(f"grant {place + 1} ({grant.resource}) says the same as grant {first + 1}", "leave one out")


# --- profiles ------------------------------------------------------------------------------------

_DURATION = re.compile(r"([1-9][0-9]{0,6})(s|m|h|d)")
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
SHORTEST_GRACE = timedelta(seconds=3)
_PROFILE = (
    "purpose", "owner", "review_by", "life", "idle", "budget", "heartbeat_grace", "on_lost", "parameters", "grant",
)  # fmt: skip


def duration(table: Mapping[str, Any], key: str) -> timedelta | None:
    """Return the duration that a key of a file states; None without the key. Raises InvalidRequest."""
    if key not in table:
        return None
    match = _DURATION.fullmatch(table[key]) if isinstance(table[key], str) else None
    if match is None:
        raise refused(f"{key!r} is no duration", 'write a number and s, m, h or d: "10m"')
    return timedelta(seconds=int(match[1]) * _UNITS[match[2]])


def _budget(given: Any) -> Mapping[str, int]:
    if not isinstance(given, Mapping) or any(type(n) is not int or not 0 <= n < 2**53 for n in given.values()):
        raise refused("'budget' is no table of numbers from 0")
    only(given, DEFAULT_BUDGET, "budget")
    return {**DEFAULT_BUDGET, **given}


def _parameter(name: str, entry: Any, grants: Sequence[Grant]) -> Parameter:
    where = f"parameter {quoted(name)}"
    if not _WORD.fullmatch(name) or not isinstance(entry, Mapping):
        raise refused(f"{where} is no table with a plain name")
    only(entry, ("kind", "pattern", "minimum", "maximum", "values"), where)
    if entry.get("kind") not in KINDS:
        raise refused(f"{where}: the kind is {quoted(entry.get('kind'))}", nearest(entry.get("kind"), KINDS))
    uses = [(grant, one) for grant in grants for one in grant.conditions if one.parameter == name]
    if not uses:
        raise refused(f"{where} is compared with nothing", "name it in a grant's condition, or leave it out")
    type_ = uses[0][1].operand
    for grant, one in uses:
        if one.operand != type_:
            other = f"{one.operand} for {quoted(one.argument)} of {grant.resource}"
            raise refused(f"{where} has two types: {type_}, and {other}")
    scalar = type_.removeprefix("Set<").removesuffix(">")
    for key, types in (("pattern", ("String",)), ("minimum", OPERATORS["<="]), ("maximum", OPERATORS["<="])):
        if key in entry and scalar not in types:
            raise refused(f"{where}: {key!r} is not for {scalar}")
    try:
        pattern = re.compile(entry["pattern"]) if "pattern" in entry else None
        minimum, maximum = (_typed(entry[key], scalar) if key in entry else None for key in ("minimum", "maximum"))
        values = _typed(entry["values"], f"Set<{scalar}>") if "values" in entry else None
    except (re.error, TypeError, RecursionError, OverflowError):
        raise refused(f"{where}: 'pattern' is no regular expression") from None
    except Unfit as error:
        raise refused(f"{where}: {error}", f"it is {scalar}, as what it is compared with") from None
    return Parameter(name, str(entry["kind"]), type_, pattern, minimum, maximum, values)


def read_profile(
    name: str, table: Mapping[str, Any], tools: Mapping[str, Tool], targets: Mapping[str, Target]
) -> Profile:
    """Return the profile that a parsed file states, its grants made against the pinned tools.

    Raises InvalidRequest: every problem of its keys and grants, then of its parameters.
    """
    problems = Problems()
    with problems.kept():
        only(table, _PROFILE, "profile")
    with problems.kept():
        _require_owned(table)
    with problems.kept():
        if duration(table, "life") is None:
            raise refused("'life' is missing", 'write life = "10m"')
    with problems.kept():
        grace, on_lost = duration(table, "heartbeat_grace"), table.get("on_lost")
        if on_lost not in (None, "end", "suspend") or (on_lost is not None and grace is None):
            raise refused("'on_lost' is \"end\" or \"suspend\", and goes with 'heartbeat_grace'")
        if grace is not None and grace < SHORTEST_GRACE:
            raise refused(f"'heartbeat_grace' is below {SHORTEST_GRACE.seconds} s, which one lost heartbeat would be")
    with problems.kept():
        duration(table, "idle")
    with problems.kept():
        _budget(table.get("budget", {}))
    declared, entries = table.get("parameters", {}), table.get("grant", [])
    if not isinstance(declared, Mapping) or not isinstance(entries, list):
        raise refused("'parameters' is a table, 'grant' a list of tables: [[grant]]")
    if not all(isinstance(entry, Mapping) for entry in entries):
        raise refused("'grant' is no list of tables", "write [[grant]]")
    grants: list[Grant] = []
    for place, entry in enumerate(entries):
        with problems.kept():
            grants.append(read_grant(place, entry, tools, targets, declared))
    problems.require_none()  # a parameter is what grants compare with it
    with problems.kept():
        require_distinct(grants)
    parameters: dict[str, Parameter] = {}
    for one, entry in declared.items():
        with problems.kept():
            parameters[one] = _parameter(one, entry, grants)
    problems.require_none()
    life = duration(table, "life")
    assert life is not None
    return Profile(
        name=name,
        purpose=table["purpose"],
        owner=table["owner"],
        review_by=table["review_by"],
        life=life,
        idle=duration(table, "idle"),
        budget=_budget(table.get("budget", {})),
        heartbeat_grace=duration(table, "heartbeat_grace"),
        on_lost=table.get("on_lost"),
        parameters=parameters,
        grants=tuple(grants),
    )


def _require_owned(table: Mapping[str, Any]) -> None:
    """Raises InvalidRequest unless the profile says what it is for, who answers for it and until when it is good."""
    for key in ("purpose", "owner"):
        if not isinstance(table.get(key), str) or not table[key].strip():
            raise refused(f"{key!r} is missing, or no text")
    if not re.fullmatch(r"human/[A-Za-z0-9._/-]+", table["owner"]):
        raise refused("'owner' is no person", 'write "human/NAME"')
    if type(table.get("review_by")) is not date:
        raise refused("'review_by' is missing, or no day", "write review_by = 2027-05-01")


_NUMBER = re.compile(r"-?[0-9]{1,19}(\.[0-9]{1,4})?")


EXAMPLES = {"Set": '["a", "b"]', "Bool": "true", "Long": "12", "decimal": "12.50"}  # of a `--set` text, by type


def _parsed(text: str, type_: str) -> Value:
    """Return what a `--set` text means for a parameter of that type. Raises Unfit."""
    if type_ == "String":
        return _typed(text, type_)
    if type_ == "decimal":
        if not _NUMBER.fullmatch(text):
            raise Unfit("expected a number of at most 4 decimal places")
        return Decimal(decimal_text(Decimal(text)))
    try:
        return _typed(canonical.parse(text), type_)
    except canonical.Malformed:
        raise Unfit(f"expected {'a JSON list' if type_.startswith('Set<') else type_}") from None


def bind(profile: Profile, given: Mapping[str, str]) -> dict[str, Value]:
    """Return the values of a profile's parameters from `--set` texts. Raises InvalidRequest naming the parameter."""
    for name in given:
        if name not in profile.parameters:
            message = f"profile {profile.name} has no parameter {quoted(name)}"
            raise InvalidRequest(message, hint=nearest(name, profile.parameters))
    values: dict[str, Value] = {}
    for name, parameter in profile.parameters.items():
        if not isinstance(given.get(name), str):
            hint = f"give it a value in `set` (--set {name}=VALUE)"
            raise InvalidRequest(f"profile {profile.name} needs parameter {name!r}", hint=hint)
        try:
            values[name] = value = _parsed(given[name], parameter.type)
            for item in value if isinstance(value, tuple) else (value,):
                accept(parameter, item)
        except Unfit as error:
            said = EXAMPLES.get(parameter.type.partition("<")[0], "VALUE")
            hint = f"give it in `set` as {said} (--set '{name}={said}')"
            raise InvalidRequest(f"parameter {name!r} of profile {profile.name}: {error}", hint=hint) from None
    return values


def accept(parameter: Parameter, item: Any) -> None:
    """Raise Unfit for a value outside of a parameter's limits."""
    if parameter.pattern is not None and not parameter.pattern.fullmatch(item):
        raise Unfit(f"expected text that matches {parameter.pattern.pattern[:64]}")
    if isinstance(parameter.values, tuple) and item not in parameter.values:
        raise Unfit(f"expected one of {len(parameter.values)} values that the profile lists")
    if parameter.minimum is not None and item < parameter.minimum:
        raise Unfit(f"expected at least {shown(parameter.minimum)}")
    if parameter.maximum is not None and item > parameter.maximum:
        raise Unfit(f"expected at most {shown(parameter.maximum)}")


# --- an intent alone -----------------------------------------------------------------------------


def grants_of_intent(tools: Mapping[str, Tool]) -> tuple[Grant, ...]:
    """Return what an intent alone grants: every pinned tool that reads, with any arguments (INTERFACES 4).

    The text says nothing of it: it is untrusted, and who wrote it may ask for anything.
    """
    reading = [tool for _, tool in sorted(tools.items()) if tool.effect == "read" and tool.pinned]
    return tuple(
        Grant(f"g{place}", "tools/call", tool.resource, root=place, pin=tool.pin) for place, tool in enumerate(reading)
    )


def grants_that_read(grants: Sequence[Grant], tools: Mapping[str, Tool], left: Mapping[str, int]) -> tuple[Grant, ...]:
    """Return of a task's grants those that read, as a child by intent alone gets them: with the calls that are left."""
    kept: list[Grant] = []
    for grant in grants:
        tool = tools.get(grant.resource) if grant.action == "tools/call" else None
        calls = None if grant.calls is None else min(grant.calls, left.get(f"g{grant.root}#calls", 0))
        if tool is not None and tool.effect == "read" and tool.pin == grant.pin and calls != 0:
            kept.append(replace(grant, calls=calls))
    return tuple(kept)
