"""Grant: one permission of a task, as a typed value; its Cedar text is a rendering of it.

A grant is one tool or lease, a condition for each argument, a number of calls, and whether a person
is asked. It is made against the pinned tool, so it carries types. Its text names its level in the
chain but no task and no bound value, so that all tasks of a profile share one text (INTERFACES 7);
values are bound beside it. A condition is "any", or an operator and a parameter or literal
(INTERFACES 3):

    = x     the same (sets: the same members)        <= x    not more (Long, decimal)
    in x    one of them (sets: nothing but them)     like "x*"    text that begins so; a literal

`narrow` refuses a child that asks for more than its parent holds, so that mistakes are seen early
(INTERFACES 4); what a child can do is an intersection anyway.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from functools import lru_cache
from typing import Any, TypeAlias

from taskbound.core.errors import Denied
from taskbound.core.projection import decimal_text
from taskbound.core.refusal import quoted

Value: TypeAlias = str | int | bool | Decimal | tuple[str, ...] | tuple[int, ...] | tuple[Decimal, ...]

SCALARS = ("Bool", "Long", "String", "decimal")
SETS = ("Set<Long>", "Set<String>")
OPERATORS: Mapping[str, tuple[str, ...]] = {
    "=": (*SCALARS, *SETS),
    "in": ("Long", "String", "decimal", *SETS),
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
        return f"Set<{self.type}>" if self.operator == "in" and self.type in SCALARS else self.type


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
    rule = (COVERS_SETS if parent.type in SETS else COVERS).get((parent.operator, child.operator))
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


def said(grant: Grant, values: Mapping[str, Value]) -> str:
    """Return a grant as a person reads it, with the values that are bound: what may be done, with what, how often."""
    conditions = [said_of(one, values) for one in grant.conditions]
    rest = [f"without {', '.join(grant.unnamed)}"] if grant.unnamed else []
    limit = [f"{grant.calls} times at most" if grant.calls != 1 else "once"] if grant.calls else []
    ask = ["a person is asked each time"] if grant.ask else []
    verb = "log in as" if grant.action == "lease/issue" else "call"
    return "; ".join([f"{verb} {grant.resource}", *conditions, *rest, *limit, *ask])


def said_of(condition: Condition, values: Mapping[str, Value]) -> str:
    """Return a condition as a person reads it; one without an operator is of an argument that must be absent."""
    if not condition.operator:
        return f"without {condition.argument}"
    if condition.operator == "any":
        return f"any {condition.argument}"
    if condition.parameter is not None and condition.parameter not in values:  # of a profile, not of a task
        return f"{condition.argument} {condition.operator} {condition.parameter}"
    bound = condition.literal if condition.parameter is None else values[condition.parameter]
    return f"{condition.argument} {condition.operator} {shown(bound)}"


def shown(value: Value | None) -> str:
    """Return a value as a person reads it, short, and nothing that steers a terminal."""
    if isinstance(value, tuple):
        return f"[{', '.join(shown(one) for one in value)}]"
    if isinstance(value, str):
        text = _escaped(value)  # what came in with --set or a request may hold what a terminal would obey
        return f'"{text[:77]}..."' if len(text) > 80 else f'"{text}"'
    if isinstance(value, Decimal):
        return f"{value.normalize():f}"
    return str(value).lower() if isinstance(value, bool) else str(value)
