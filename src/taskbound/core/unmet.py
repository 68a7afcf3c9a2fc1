"""Unmet: what keeps a call out of the grants that its task has for the tool. It explains; nothing is decided here."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from taskbound.core.grant import Condition, Grant, Value, covers
from taskbound.core.intent import Parameter, accept, value_of
from taskbound.core.projection import Unfit


def unmet(grants: Sequence[Grant], values: Mapping[str, Value], args: Mapping[str, Any]) -> tuple[Condition, ...]:
    """Return the conditions that projected arguments do not meet, of the grant that they are nearest to; () for none.

    An argument that must be absent and is there is told as a condition without an operator.
    """
    found: list[tuple[Condition, ...]] = []
    for grant in grants:
        missed = [one for one in grant.conditions if not _meets(one, values, args)]
        missed += [Condition(name, "", False, "") for name in grant.unnamed if name in args]
        found.append(tuple(missed))
    return min(found, key=len, default=())


def _meets(condition: Condition, values: Mapping[str, Value], args: Mapping[str, Any]) -> bool:
    if condition.operator == "any":
        return True
    if condition.argument not in args:
        return False
    return covers(
        condition,
        values,
        replace(condition, operator="=", parameter=None, literal=value_of(args[condition.argument])),
        {},
    )


def takes(parameter: Parameter, condition: Condition, args: Mapping[str, Any]) -> str:
    """Return what of a parameter's limits keeps the condition's argument out, "" where a task may be opened with it."""
    value = value_of(args[condition.argument]) if condition.argument in args else ()
    try:
        for item in value if isinstance(value, tuple) else (value,):
            accept(parameter, item)
    except Unfit as error:
        return str(error).removeprefix("expected ")
    return ""
