"""Intent: what a task is for, and the grants that say what it may do.

A grant is one permission: one tool or lease, a condition for each argument, a number of calls, and
whether a person is asked. It is a typed value, made against the pinned tool; its Cedar text is a
rendering that names the level in the chain but no task and no bound value, so that all tasks of a
profile share one text (INTERFACES 7). Values are bound beside it: by `--set` for a profile's
parameters, by the details themselves for RFC 9396 `authorization_details`.

A condition is "any", or an operator and a parameter or literal (INTERFACES 3):

    = x     the same (sets: the same members)        <= x    not more (Long, decimal)
    in x    one of them (sets: nothing but them)     like "x*"    text that begins so; a literal

`narrow` refuses a child that asks for more than its parent holds, so that mistakes are seen early
(INTERFACES 4); what a child can do is an intersection anyway. Refused files are "invalid_policy".
"""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, timedelta
from decimal import Decimal
from functools import cached_property, lru_cache
from typing import Any, TypeAlias

from taskbound.core.catalogue import (
    CONVERTERS,
    KINDS,
    Target,
    Tool,
    Unfit,
    decimal_text,
    nearest,
    only,
    quoted,
    refused,
)
from taskbound.core.errors import Denied, InvalidRequest
from taskbound.core.policy import Entity, Uid
from taskbound.formats import canonical

Value: TypeAlias = str | int | bool | Decimal | tuple[str, ...] | tuple[int, ...] | tuple[Decimal, ...]

DEFAULT_BUDGET: Mapping[str, int] = {"calls": 1000, "leases": 200}  # INTERFACES 12
_SCALARS = ("Bool", "Long", "String", "decimal")
_SETS = ("Set<Long>", "Set<String>")
OPERATORS: Mapping[str, tuple[str, ...]] = {
    "=": (*_SCALARS, *_SETS),
    "in": ("Long", "String", "decimal", *_SETS),
    "<=": ("Long", "decimal"),
    "like": ("String",),
}


@dataclass(frozen=True, slots=True)
class Condition:
    """What one argument must be. Of type and need of the pinned argument it was made against."""

    argument: str
    type: str
    required: bool
    operator: str  # "any" or one of OPERATORS
    parameter: str | None = None  # name of a bound value …
    literal: Value | None = None  # … or the literal in the text

    @property
    def operand(self) -> str:
        """The type of what it is compared with."""
        return f"Set<{self.type}>" if self.operator == "in" and self.type in _SCALARS else self.type


@dataclass(frozen=True, slots=True)
class Grant:
    """One permission of a task."""

    id: str
    action: str  # "tools/call" | "lease/issue"
    resource: str  # "crm/refund", "shopdb/reader"
    conditions: tuple[Condition, ...] = ()  # sorted by argument, one for each that is named
    unnamed: tuple[str, ...] = ()  # arguments that must be absent; none with others = "any"
    calls: int | None = None
    ask: bool = False
    root: int = 0  # position of the root task's grant that it descends from
    pin: str = ""  # of the tool's definition that it was made against; none for a lease


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


# --- values and text -----------------------------------------------------------------------------


def _typed(value: Any, type_: str) -> Value:
    """Return a JSON value as a value of that Cedar type. Raises Unfit."""
    return _value(CONVERTERS[type_](value))


def _value(cedar: Any) -> Value:
    if isinstance(cedar, list):
        if not cedar:
            raise Unfit("expected a list that is not empty: an empty one permits nothing")
        return tuple(_value(item) for item in cedar)  # type: ignore[return-value]
    found: Value = Decimal(cedar["__extn"]["arg"]) if isinstance(cedar, dict) else cedar
    return found


def cedar_value(value: Value) -> Any:
    """Return a bound value as Cedar JSON."""
    if isinstance(value, tuple):
        return [cedar_value(item) for item in value]
    if isinstance(value, Decimal):
        return {"__extn": {"fn": "decimal", "arg": decimal_text(value)}}
    return value


def _escaped(text: str) -> str:
    return "".join(f"\\u{{{ord(one):x}}}" if one in '"\\' or not one.isprintable() else one for one in text)


def _literal(value: Value) -> str:
    if isinstance(value, tuple):
        return f"[{', '.join(map(_literal, value))}]"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, Decimal):
        return f'decimal("{decimal_text(value)}")'
    return str(value) if isinstance(value, int) else f'"{_escaped(value)}"'


_IDENTIFIER = re.compile(r"(?!(if|in|has|like|is|true|false|then|else)\Z)(?!.*__cedar)[A-Za-z_][A-Za-z0-9_]*")


def _member(name: str) -> str:
    return f".{name}" if _IDENTIFIER.fullmatch(name) else f'["{_escaped(name)}"]'


def _clause(condition: Condition, level: int) -> str:
    argument = f"context.args{_member(condition.argument)}"
    if condition.parameter is not None:
        operand = f'context.grant["{level}"]{_member(condition.parameter)}'
    else:
        operand = _literal(condition.literal) if condition.literal is not None else ""
    match condition.operator, condition.type:
        case "any", _:
            return ""
        case "=", ("Set<Long>" | "Set<String>"):
            text = f"{argument}.containsAll({operand}) && {operand}.containsAll({argument})"
        case "in", ("Set<Long>" | "Set<String>"):
            text = f"{operand}.containsAll({argument})"
        case "in", _:
            text = f"{operand}.contains({argument})"
        case "<=", "decimal":
            text = f"{argument}.lessThanOrEqual({operand})"
        case operator, _:
            text = f"{argument} {'==' if operator == '=' else operator} {operand}"
    return text if condition.required else f"{_has(condition.argument)} && {text}"


def _has(argument: str) -> str:
    return f"context.args has {argument if _IDENTIFIER.fullmatch(argument) else _literal(argument)}"


@lru_cache(maxsize=16_384)
def render(grant: Grant, level: int) -> str:
    """Return the grant as a Cedar permit for the level-th task from the root.

    One `when` for each condition: the engine refuses what is nested more than 50 deep.
    """
    entity = "Tool" if grant.action == "tools/call" else "Target"
    action, resource = f'Action::"{_escaped(grant.action)}"', f'{entity}::"{_escaped(grant.resource)}"'
    scope = f"principal, action == {action}, resource == {resource}"
    clauses = [text for condition in grant.conditions if (text := _clause(condition, level))]
    clauses += [f"!({_has(argument)})" for argument in grant.unnamed]
    return "\n".join([f"permit({scope})", *(f"when {{ {text} }}" for text in clauses)]) + ";"


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


def _grant(
    place: int,
    entry: Mapping[str, Any],
    tools: Mapping[str, Tool],
    targets: Mapping[str, Target],
    parameters: Iterable[str],
) -> Grant:
    """Return the grant of a table of `tool` or `lease`, `when`, `others`, `calls`, `ask`. Raises InvalidRequest."""
    where = f"grant {place + 1}"
    only(entry, ("tool", "lease", "when", "others", "calls", "ask"), where)
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
        hint = f'name it: {needed[0]} = "any" lets every value through'
        raise refused(f"{where} can never permit: {quoted(needed[0])} is required and not named", hint)
    conditions = tuple(_condition(when[name], tool, name, parameters, where) for name in sorted(when))
    return Grant(f"g{place}", "tools/call", resource, conditions, tuple(rest), calls, ask, place, tool.pin)


_GRANT_DEFAULTS: Mapping[str, Any] = {"calls": None, "ask": False, "others": None, "when": {}}


def _distinct(grants: Sequence[Grant]) -> None:
    seen: dict[str, int] = {}
    for place, grant in enumerate(grants):
        first = seen.setdefault(render(grant, 0), place)
        if first != place:
            raise refused(f"grant {place + 1} ({grant.resource}) says the same as grant {first + 1}", "leave one out")


# --- profiles ------------------------------------------------------------------------------------

_DURATION = re.compile(r"([1-9][0-9]{0,6})(s|m|h|d)")
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_PROFILE = (
    "purpose", "owner", "review_by", "life", "idle", "budget", "heartbeat_grace", "on_lost", "parameters", "grant",
)  # fmt: skip


def _duration(table: Mapping[str, Any], key: str) -> timedelta | None:
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
    """Return the profile that a parsed file states, its grants made against the pinned tools. Raises InvalidRequest."""
    only(table, _PROFILE, "profile")
    for key in ("purpose", "owner"):
        if not isinstance(table.get(key), str) or not table[key].strip():
            raise refused(f"{key!r} is missing, or no text")
    if not re.fullmatch(r"human/[A-Za-z0-9._/-]+", table["owner"]):
        raise refused("'owner' is no person", 'write "human/NAME"')
    if type(table.get("review_by")) is not date:
        raise refused("'review_by' is missing, or no day", "write review_by = 2027-05-01")
    if (life := _duration(table, "life")) is None:
        raise refused("'life' is missing", 'write life = "10m"')
    grace, on_lost = _duration(table, "heartbeat_grace"), table.get("on_lost")
    if on_lost not in (None, "end", "suspend") or (on_lost is not None and grace is None):
        raise refused("'on_lost' is \"end\" or \"suspend\", and goes with 'heartbeat_grace'")
    declared, entries = table.get("parameters", {}), table.get("grant", [])
    if not isinstance(declared, Mapping) or not isinstance(entries, list):
        raise refused("'parameters' is a table, 'grant' a list of tables: [[grant]]")
    if not all(isinstance(entry, Mapping) for entry in entries):
        raise refused("'grant' is no list of tables", "write [[grant]]")
    grants = tuple(_grant(place, entry, tools, targets, declared) for place, entry in enumerate(entries))
    _distinct(grants)
    return Profile(
        name=name,
        purpose=table["purpose"],
        owner=table["owner"],
        review_by=table["review_by"],
        life=life,
        idle=_duration(table, "idle"),
        budget=_budget(table.get("budget", {})),
        heartbeat_grace=grace,
        on_lost=on_lost,
        parameters={one: _parameter(one, entry, grants) for one, entry in declared.items()},
        grants=grants,
    )


_NUMBER = re.compile(r"-?[0-9]{1,19}(\.[0-9]{1,4})?")


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
            raise InvalidRequest(f"profile {profile.name} needs parameter {name!r}", hint=f"add --set {name}=VALUE")
        try:
            values[name] = value = _parsed(given[name], parameter.type)
            for item in value if isinstance(value, tuple) else (value,):
                _accept(parameter, item)
        except Unfit as error:
            raise InvalidRequest(f"parameter {name!r} of profile {profile.name}: {error}") from None
    return values


def _accept(parameter: Parameter, item: Any) -> None:
    if parameter.pattern is not None and not parameter.pattern.fullmatch(item):
        raise Unfit(f"expected text that matches {parameter.pattern.pattern[:64]}")
    if isinstance(parameter.values, tuple) and item not in parameter.values:
        raise Unfit(f"expected one of {len(parameter.values)} values that the profile lists")
    if parameter.minimum is not None and item < parameter.minimum:
        raise Unfit(f"expected at least {parameter.minimum}")
    if parameter.maximum is not None and item > parameter.maximum:
        raise Unfit(f"expected at most {parameter.maximum}")


# --- authorization_details (RFC 9396) ------------------------------------------------------------

_DETAIL = ("type", "actions", "locations", "identifier", "when", "budget", "ask")


def grants_from_details(
    details: Sequence[Mapping[str, Any]], tools: Mapping[str, Tool], targets: Mapping[str, Target]
) -> tuple[tuple[Grant, ...], dict[str, Value], dict[str, int]]:
    """Return the grants of `authorization_details`, the values bound to them, and the budget they name (INTERFACES 6).

    Literals become parameters named after their argument, so that equal wishes share one text; a
    second value for one name gets a number behind it. `like` keeps its literal. Raises InvalidRequest.
    """
    grants: list[Grant] = []
    values: dict[str, tuple[str, Value]] = {}
    try:
        for place, detail in enumerate(details):
            grant = _grant(place, _entry(place, detail), tools, targets, ())
            grants.append(replace(grant, conditions=tuple(_bound(one, values) for one in grant.conditions)))
        _distinct(grants)
    except InvalidRequest as error:
        raise InvalidRequest(str(error), code="invalid_authorization_details", hint=error.hint) from None  # 9396 5
    budget = {}
    for quantity, action in (("calls", "tools/call"), ("leases", "lease/issue")):
        named = [grant.calls for grant in grants if grant.action == action]
        if named and (known := [calls for calls in named if calls is not None]) == named:
            budget[quantity] = sum(known)
    return tuple(grants), {name: value for name, (_, value) in values.items()}, budget


def _entry(place: int, detail: Any) -> Mapping[str, Any]:
    """Return a detail in the form that a profile has it."""
    where = f"grant {place + 1}"
    if not isinstance(detail, Mapping) or detail.get("type") != "taskbound_grant":
        raise refused(f"{where}: the type is not taskbound_grant")
    only(detail, _DETAIL, where)
    kinds = {"tools/call": ("tool", "mcp", "calls"), "lease/issue": ("lease", "target", "leases")}
    actions = detail.get("actions")
    if not isinstance(actions, list) or len(actions) != 1 or (found := kinds.get(str(actions[0]))) is None:
        raise refused(f'{where}: \'actions\' is ["tools/call"] or ["lease/issue"]')
    kind, scheme, quantity = found
    identifier, budget = str(detail.get("identifier")), detail.get("budget", {})
    if detail.get("locations", location := [f"{scheme}:{identifier.split('/')[0]}"]) != location:
        raise refused(f"{where}: 'locations' is not where {quoted(identifier)} is")
    if not isinstance(budget, Mapping):
        raise refused(f"{where}: 'budget' is no table")
    only(budget, (quantity,), f"{where}: budget")
    return {kind: identifier, "calls": budget.get(quantity), **{k: detail[k] for k in ("when", "ask") if k in detail}}


def _bound(condition: Condition, values: dict[str, tuple[str, Value]]) -> Condition:
    """Return the condition with its literal as a parameter, which is added to the values."""
    if condition.literal is None or condition.operator == "like":
        return condition
    wanted, name, number = (condition.operand, condition.literal), condition.argument, 1
    while values.setdefault(name, wanted) != wanted:
        number += 1
        name = f"{condition.argument}.{number}"
    return replace(condition, parameter=name, literal=None)


# --- narrowing -----------------------------------------------------------------------------------

# Which pairs of (parent's, child's) operators imply each other, and when; `any` covers all.
COVERS: dict[tuple[str, str], Callable[[Any, Any], bool]] = {
    ("=", "="):       lambda parent, child: bool(parent == child),
    ("=", "in"):      lambda parent, child: set(child) == {parent},
    ("in", "="):      lambda parent, child: child in parent,
    ("in", "in"):     lambda parent, child: set(child) <= set(parent),
    ("<=", "="):      lambda parent, child: bool(child <= parent),
    ("<=", "in"):     lambda parent, child: bool(max(child) <= parent),
    ("<=", "<="):     lambda parent, child: bool(child <= parent),
    ("like", "="):    lambda parent, child: bool(child.startswith(parent[:-1])),
    ("like", "in"):   lambda parent, child: all(item.startswith(parent[:-1]) for item in child),
    ("like", "like"): lambda parent, child: bool(child[:-1].startswith(parent[:-1])),
}  # fmt: skip
COVERS_SETS: dict[tuple[str, str], Callable[[Any, Any], bool]] = {
    ("=", "="):       lambda parent, child: set(parent) == set(child),
    ("in", "="):      lambda parent, child: set(child) <= set(parent),
    ("in", "in"):     lambda parent, child: set(child) <= set(parent),
}  # fmt: skip


def covers(
    parent: Condition, parent_values: Mapping[str, Value], child: Condition, values: Mapping[str, Value]
) -> bool:
    """Whether every value that the child's condition accepts is accepted by the parent's."""
    if parent.operator == "any":
        return True
    if child.operator == "any" or child.type != parent.type:
        return False
    operands = _operand(parent, parent_values), _operand(child, values)
    rule = (COVERS_SETS if parent.type in _SETS else COVERS).get((parent.operator, child.operator))
    return rule is not None and None not in operands and rule(*operands)


def _operand(condition: Condition, values: Mapping[str, Value]) -> Value | None:
    return condition.literal if condition.parameter is None else values.get(condition.parameter)


def widened_other(parent: Grant, child: Grant) -> str | None:
    """Return an argument that the parent's grant says something of, and the child's leaves open or absent."""
    named, absent = {one.argument: one for one in child.conditions}, set(child.unnamed)
    for argument in parent.unnamed:
        if argument not in absent:
            return argument
    for condition in parent.conditions:
        if condition.argument not in named and condition.operator != "any":
            return condition.argument  # left open it may be anything; absent is not what the parent accepts
    return None


def asks_less(parent: Grant, child: Grant) -> bool:
    """Whether the parent's grant asks a person each time, and the child's would not."""
    return parent.ask and not child.ask


def _objection(
    parent: Grant, parent_values: Mapping[str, Value], child: Grant, values: Mapping[str, Value]
) -> str | None:
    """Return what of the child's grant the parent's does not hold, or None."""
    if parent.pin != child.pin:
        return "its definition, pinned anew since,"
    if (argument := widened_other(parent, child)) is not None:
        return f"argument {quoted(argument)}"
    mine = {one.argument: one for one in parent.conditions}
    for condition in child.conditions:
        held = mine.get(condition.argument)
        if held is not None and not covers(held, parent_values, condition, values):
            return f"argument {quoted(condition.argument)}"
    if asks_less(parent, child):
        return "'ask'"
    if parent.calls is not None and (child.calls is None or child.calls > parent.calls):
        return "'calls'"
    return None


def narrow(
    parent_grants: Sequence[Grant],
    parent_values: Mapping[str, Value],
    wish_grants: Sequence[Grant],
    wish_values: Mapping[str, Value],
) -> tuple[Grant, ...]:
    """Return the wished grants, each paired by `root` with the first of the parent's that covers it.

    Raises Denied (`outside_grants`) naming what is wished and the argument that is wider.
    """
    paired: list[Grant] = []
    for wish in wish_grants:
        objections: list[str] = []
        for held in parent_grants:
            if (held.action, held.resource) != (wish.action, wish.resource):
                continue
            if (objection := _objection(held, parent_values, wish, wish_values)) is None:
                paired.append(replace(wish, root=held.root))
                break
            objections.append(objection)
        else:
            what = f"{objections[0]} is wider than what it was granted" if objections else "it was not granted"
            raise Denied(f"{wish.resource}: {what}", code="outside_grants", hint="delegate at most what the task holds")
    return tuple(paired)
