"""Details: grants as `authorization_details` (RFC 9396) state them, with their values (INTERFACES 6).

They are made against the pinned tools as a profile's are (core/intent.py). What is refused is
"invalid_authorization_details".
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from taskbound.core.catalogue import Target, Tool
from taskbound.core.errors import InvalidRequest
from taskbound.core.grant import Condition, Grant, Value
from taskbound.core.intent import read_grant, require_distinct
from taskbound.core.refusal import only, quoted, refused

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
            grant = read_grant(place, _entry(place, detail), tools, targets, ())
            grants.append(replace(grant, conditions=tuple(_bound(one, values) for one in grant.conditions)))
        require_distinct(grants)
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
