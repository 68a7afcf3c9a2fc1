"""A child never gets more than its parent holds (T3.5): `narrow` refuses every wish that is wider.

The property asks the engine: whatever the rendered grant of an accepted child permits, the grant of
its parent that it descends from permits too, and asks no more for, and counts no tighter. What a child can do
is an intersection anyway; here it is `narrow` itself that must see the mistake.
"""

import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from decimal import Decimal
from typing import Any

import pytest

from taskbound.core import grant as grants
from taskbound.core.cedar import Entity, Uid
from taskbound.core.errors import Denied
from taskbound.core.grant import Condition, Grant, cedar_value, narrow, render
from taskbound.core.policy import PolicySet, Request, authorize
from tests.profile import trials

# --- one edge ------------------------------------------------------------------------------------

TEXTS = ("a", "ab", "abc", "b", "bc")
SUBSETS = (("x",), ("y",), ("x", "y"), ("y", "z"), ("x", "y", "z"))
TYPES = {
    "text": "String",
    "need": "String",
    "count": "Long",
    "price": "decimal",
    "flag": "Bool",
    "to": "Set<String>",
}
DECIMALS = tuple(Decimal(text) for text in ("0.0", "0.5", "1.0", "1.5"))


def when(argument: str, operator: str, value: Any = None, parameter: str | None = None) -> Condition:
    return Condition(argument, TYPES[argument], argument == "need", operator, parameter, None if parameter else value)


def grant(
    *conditions: Condition,
    others: bool = False,
    calls: int | None = None,
    ask: bool = False,
    root: int = 0,
    resource: str = "up/act",
) -> Grant:
    named = {condition.argument for condition in conditions}
    rest = () if others else tuple(sorted(TYPES.keys() - {"need"} - named))
    in_order = tuple(sorted(conditions, key=lambda condition: condition.argument))
    return Grant("g0", "tools/call", resource, in_order, rest, calls, ask, root)


# parent's condition, child's condition, whether the child's is implied
# fmt: off
IMPLIED = {
    "any ⊇ any":             (when("text", "any"), when("text", "any"), True),
    "any ⊇ =":               (when("text", "any"), when("text", "=", "a"), True),
    "any ⊇ in":              (when("to", "any"), when("to", "in", ("x",)), True),
    "= ⊉ any":               (when("text", "=", "a"), when("text", "any"), False),
    "= ⊇ =":                 (when("text", "=", "a"), when("text", "=", "a"), True),
    "= ⊉ = other":           (when("text", "=", "a"), when("text", "=", "b"), False),
    "= ⊇ in one":            (when("text", "=", "a"), when("text", "in", ("a",)), True),
    "= ⊉ in two":            (when("text", "=", "a"), when("text", "in", ("a", "b")), False),
    "= ⊉ like":              (when("text", "=", "a"), when("text", "like", "a*"), False),
    "in ⊇ =":                (when("text", "in", ("a", "b")), when("text", "=", "b"), True),
    "in ⊉ = other":          (when("text", "in", ("a", "b")), when("text", "=", "c"), False),
    "in ⊇ in":               (when("text", "in", ("a", "b")), when("text", "in", ("b",)), True),
    "in ⊉ superset":         (when("text", "in", ("a",)), when("text", "in", ("a", "b")), False),
    "in ⊉ like":             (when("text", "in", ("a",)), when("text", "like", "a*"), False),
    "in ⊉ <=":               (when("count", "in", (1, 2)), when("count", "<=", 2), False),
    "<= ⊇ <=":               (when("count", "<=", 5), when("count", "<=", 5), True),
    "<= ⊉ <= larger":        (when("count", "<=", 5), when("count", "<=", 6), False),
    "<= ⊇ =":                (when("price", "<=", Decimal(5)), when("price", "=", Decimal("4.5")), True),
    "<= ⊉ = larger":         (when("price", "<=", Decimal(5)), when("price", "=", Decimal("5.1")), False),
    "<= ⊇ in":               (when("count", "<=", 5), when("count", "in", (1, 5)), True),
    "<= ⊉ in larger":        (when("count", "<=", 5), when("count", "in", (1, 6)), False),
    "like ⊇ =":              (when("text", "like", "ab*"), when("text", "=", "abc"), True),
    "like ⊉ = shorter":      (when("text", "like", "ab*"), when("text", "=", "a"), False),
    "like ⊇ like":           (when("text", "like", "ab*"), when("text", "like", "abc*"), True),
    "like ⊉ like shorter":   (when("text", "like", "ab*"), when("text", "like", "a*"), False),
    "like ⊇ in":             (when("text", "like", "a*"), when("text", "in", ("a", "ab")), True),
    "like ⊉ in other":       (when("text", "like", "a*"), when("text", "in", ("a", "b")), False),
    "set = ⊇ =":             (when("to", "=", ("x", "y")), when("to", "=", ("y", "x")), True),
    "set = ⊉ = fewer":       (when("to", "=", ("x", "y")), when("to", "=", ("x",)), False),
    "set = ⊉ in":            (when("to", "=", ("x",)), when("to", "in", ("x",)), False),
    "set in ⊇ =":            (when("to", "in", ("x", "y")), when("to", "=", ("x",)), True),
    "set in ⊉ = more":       (when("to", "in", ("x",)), when("to", "=", ("x", "y")), False),
    "set in ⊇ in":           (when("to", "in", ("x", "y")), when("to", "in", ("y",)), True),
    "set in ⊉ in more":      (when("to", "in", ("x",)), when("to", "in", ("x", "y")), False),
    "true ⊉ 1":              (when("flag", "=", True), replace(when("flag", "=", 1), type="Long"), False),
    "need any ⊇ =":          (when("need", "any"), when("need", "=", "a"), True),
}
# fmt: on


def refusal(parent, wish, parent_values=(), values=()):
    """Return what a refusal says, or the root of the grant that the wish is paired with."""
    try:
        (paired,) = narrow([parent], dict(parent_values), [wish], dict(values))
    except Denied as denied:
        assert denied.code == "outside_grants" and denied.hint
        return str(denied)
    return paired.root


@pytest.mark.parametrize(("parent", "child", "implied"), IMPLIED.values(), ids=IMPLIED)
def test_a_child_holds_what_its_parents_condition_implies(parent, child, implied):
    wider = f"up/act: argument '{child.argument}' is wider than what it was granted"
    assert refusal(grant(parent, root=7), grant(child)) == (7 if implied else wider)


@pytest.mark.parametrize(("parent", "child", "implied"), IMPLIED.values(), ids=IMPLIED)
def test_bound_values_count_and_not_how_they_are_named(parent, child, implied):
    def bound(condition, name):
        if condition.literal is None or condition.operator == "like":
            return condition, {}
        return replace(condition, parameter=name, literal=None), {name: condition.literal}

    (held, held_values), (wished, wished_values) = bound(parent, "p"), bound(child, "q")
    assert isinstance(refusal(grant(held), grant(wished), held_values, wished_values), int) is implied
    assert isinstance(refusal(grant(held), grant(child), held_values), int) is implied


def test_a_parameter_of_one_name_is_not_one_value():
    same = grant(when("text", "=", parameter="order_id"))
    assert refusal(same, same, {"order_id": "4711"}, {"order_id": "4711"}) == 0
    assert "argument 'text'" in refusal(same, same, {"order_id": "4711"}, {"order_id": "4712"})
    assert "argument 'text'" in refusal(same, same, {}, {"order_id": "4711"})
    assert "argument 'text'" in refusal(same, same, {}, {})


A = when("text", "=", "a")
# parent's grant, child's grant, what the refusal names ("" when there is none)
KEPT = {
    "others closed stay closed": (grant(A), grant(A, others=True), "argument 'count'"),
    "others open may close":     (grant(A, others=True), grant(A), ""),
    "others open stay open":     (grant(A, others=True), grant(A, others=True), ""),
    "what was absent":           (grant(A), grant(A, when("count", "=", 1)), "argument 'count'"),
    "what was absent, as any":   (grant(A), grant(A, when("count", "any")), "argument 'count'"),
    "what was named, left open": (grant(A, others=True), grant(others=True), "argument 'text'"),
    "what was named, absent":    (grant(A), grant(), "argument 'text'"),
    "any, then absent":          (grant(when("text", "any")), grant(), ""),
    "any, then open":            (grant(when("text", "any"), others=True), grant(others=True), ""),
    "what was open, named":      (grant(others=True), grant(A, others=True), ""),
    "ask stays":                 (grant(A, ask=True), grant(A, ask=True), ""),
    "ask dropped":               (grant(A, ask=True), grant(A), "'ask'"),
    "ask added":                 (grant(A), grant(A, ask=True), ""),
    "calls the same":            (grant(A, calls=2), grant(A, calls=2), ""),
    "calls more":                (grant(A, calls=2), grant(A, calls=3), "'calls'"),
    "calls without end":         (grant(A, calls=2), grant(A), "'calls'"),
    "calls where none were":     (grant(A), grant(A, calls=2), ""),
    "another tool":              (grant(A), grant(A, resource="up/other"), "up/other: it was not granted"),
    "a lease of that name":      (grant(A), replace(grant(A), action="lease/issue"), "up/act: it was not granted"),
}  # fmt: skip


@pytest.mark.parametrize(("parent", "child", "names"), KEPT.values(), ids=KEPT)
def test_what_the_parent_keeps_the_child_keeps(parent, child, names):
    said = refusal(parent, child)
    assert names in said if names else said == 0


def test_a_wish_descends_from_the_first_grant_that_covers_it():
    held = [grant(A, root=3), grant(when("text", "any"), ask=True, root=4), grant(when("text", "any"), calls=2, root=5)]
    b = when("text", "=", "b")
    wishes = [grant(A), grant(b, ask=True), grant(b, calls=1), grant(A, calls=9)]
    assert [one.root for one in narrow(held, {}, wishes, {})] == [3, 4, 5, 3]
    assert narrow(held, {}, [], {}) == ()
    with pytest.raises(Denied, match="up/act: argument 'text' is wider"):
        narrow(held, {}, [grant(A), grant(b)], {})
    with pytest.raises(Denied, match="it was not granted"):
        narrow([], {}, [grant(A)], {})


# --- whole trees ---------------------------------------------------------------------------------

# what is drawn for an argument: its values, and the operators on it
# fmt: off
ARGUMENTS = {"text": TEXTS, "need": TEXTS, "count": (0, 1, 2, 3), "price": DECIMALS, "flag": (True, False),
             "to": SUBSETS}
OPERATORS = {"text": ("any", "=", "in", "like"), "need": ("any", "=", "in", "like"), "count": ("any", "=", "in", "<="),
             "price": ("any", "=", "in", "<="), "flag": ("any", "="), "to": ("any", "=", "in")}
# fmt: on
NO_POLICY = PolicySet([])


@dataclass
class Held:
    """What a task of a tree holds, and its depth."""

    depth: int
    grants: tuple[Grant, ...]
    values: dict[str, Any] = field(default_factory=dict)


def condition_of(pick: random.Random, argument: str, values: dict[str, Any]) -> Condition:
    operator, domain = pick.choice(OPERATORS[argument]), ARGUMENTS[argument]
    if operator == "any":
        return when(argument, "any")
    if operator == "like":
        return when(argument, "like", pick.choice(("a*", "ab*", "abc*", "b*")))
    value: Any = pick.choice(domain)
    if operator == "in" and argument != "to":
        value = tuple(pick.sample(domain, pick.randint(1, 3)))
    if pick.random() < 0.15:
        return when(argument, operator, value)
    name = f"{argument}{len(values)}" if pick.random() < 0.1 else argument
    if values.setdefault(name, value) != value:
        return when(argument, operator, value)
    return when(argument, operator, parameter=name)


def grant_of(pick: random.Random, values: dict[str, Any], root: int = 0) -> Grant:
    named = ["need", *pick.sample(("text", "count", "price", "flag", "to"), pick.choice((0, 1, 1, 2, 3)))]
    conditions = [condition_of(pick, argument, values) for argument in named]
    calls, ask, others = pick.choice((None, None, 1, 2)), pick.random() < 0.25, pick.random() < 0.4
    return grant(*conditions, others=others, calls=calls, ask=ask, root=root)


def wish_of(pick: random.Random, held: Held) -> Held:
    """Return a wish near what a task holds: much the same, and here and there something drawn anew."""
    values: dict[str, Any] = {}
    grants = []
    for parent in pick.sample(held.grants, pick.randint(1, len(held.grants))):
        conditions = []
        for one in parent.conditions:
            value = one.literal if one.parameter is None else held.values[one.parameter]
            if pick.random() < 0.2:
                conditions.append(condition_of(pick, one.argument, values))
            elif one.parameter is None or values.setdefault(one.parameter, value) != value:
                conditions.append(replace(one, parameter=None, literal=value))
            else:
                conditions.append(one)
        others = not parent.unnamed if pick.random() < 0.85 else pick.random() < 0.5
        calls = parent.calls if pick.random() < 0.8 else pick.choice((None, 1, 2))
        ask = parent.ask if pick.random() < 0.8 else not parent.ask
        grants.append(grant(*conditions, others=others, calls=calls, ask=ask))
    return Held(held.depth + 1, tuple(grants), values)


def call_of(pick: random.Random, near: Held) -> dict[str, Any]:
    """Return projected arguments, mostly such as one of the task's grants names."""
    arguments: dict[str, Any] = {"need": pick.choice(TEXTS)}
    model = pick.choice(near.grants)
    for one in model.conditions:
        value: Any = one.literal if one.parameter is None else near.values[one.parameter]
        if value is None or pick.random() < 0.3:
            value = pick.choice(ARGUMENTS[one.argument])
        elif one.operator == "in" and one.argument != "to":
            value = pick.choice(value)
        elif one.operator == "like":
            value = value[:-1] + pick.choice(("", "b", "c"))
        arguments[one.argument] = value
    if pick.random() < 0.3:
        extra = pick.choice(tuple(ARGUMENTS))
        arguments[extra] = pick.choice(ARGUMENTS[extra])
    return {name: cedar_value(value) for name, value in arguments.items()}


def answered(parent: Held, child: Held, arguments: Mapping[str, Any]):
    """Return the positions of the satisfied grants of parent and child, from one evaluation."""
    both = (parent, child)
    levels = [()] * parent.depth + [tuple(render(one, held.depth) for one in held.grants) for held in both]
    bound = {str(held.depth): {name: cedar_value(value) for name, value in held.values.items()} for held in both}
    who, what = Entity(Uid("Agent", "agent/a")), Entity(Uid("Tool", "up/act"))
    context = {"args": arguments, "grant": bound}
    answer = authorize(NO_POLICY, Request(who, Uid("Action", "tools/call"), what, context, tuple(levels)))
    assert answer.errors == ()
    return answer.granted[parent.depth], answer.granted[child.depth]


@dataclass
class Tally:
    """How much was really tried."""

    depths: list[int] = field(default_factory=list)
    accepted: int = 0
    refused: int = 0
    permitted: int = 0


def widenings(seed: int, trees: int, tally: Tally, calls: int = 6) -> Iterator[str]:
    """Grow trees of delegations, and yield each accepted child that can do what its parent cannot."""
    pick = random.Random(seed)
    for _ in range(trees):
        values: dict[str, Any] = {}
        root = Held(0, tuple(grant_of(pick, values, place) for place in range(pick.randint(1, 3))), values)
        depth = pick.choice((1, 2, 2, 3, 3, 4))
        tally.depths.append(depth)
        leaves = [root]
        for _ in range(depth):
            parent = leaves[-1] if pick.random() < 0.9 else pick.choice(leaves[-2:])  # a chain, here and there a fork
            child = None
            for attempt in range(4):
                wish = wish_of(pick, parent) if attempt < 3 else Held(parent.depth + 1, parent.grants, parent.values)
                try:
                    child = replace(wish, grants=narrow(parent.grants, parent.values, wish.grants, wish.values))
                    break
                except Denied:
                    tally.refused += 1
            assert child is not None, "what is no wider was refused"
            tally.accepted += 1
            leaves.append(child)
            for _ in range(calls):
                arguments = call_of(pick, child)
                above, below = answered(parent, child, arguments)
                for position in below:
                    tally.permitted += 1
                    mine = child.grants[position]
                    backed = [parent.grants[place] for place in above if parent.grants[place].root == mine.root]
                    if not any(holds(one, mine) for one in backed):
                        yield f"{arguments} by {mine} with {child.values}, of {parent.grants} with {parent.values}"


def holds(above: Grant, mine: Grant) -> bool:
    return (mine.ask or not above.ask) and (above.calls is None or (mine.calls or above.calls + 1) <= above.calls)


@pytest.mark.parametrize("part", range(5))
def test_a_child_never_exceeds_its_parent(part):
    tally, trees = Tally(), trials(5000, 1000) // 5
    assert next(widenings(part, trees, tally), None) is None
    assert len(tally.depths) == trees and sum(depth >= 2 for depth in tally.depths) >= 0.6 * trees
    # not vacuous: wishes are granted and refused, and half of the 6 calls on each edge reach a grant
    assert tally.accepted >= 2 * trees and tally.refused >= trees and tally.permitted >= 3 * tally.accepted, tally


def accept_supersets(monkeypatch):
    monkeypatch.setitem(grants.COVERS, ("in", "in"), lambda parent, child: bool(set(parent) & set(child)))


def accept_larger(monkeypatch):
    monkeypatch.setitem(grants.COVERS, ("<=", "<="), lambda parent, child: True)


def accept_others(monkeypatch):
    monkeypatch.setattr(grants, "widened_other", lambda parent, child: None)


def reverse_prefixes(monkeypatch):
    monkeypatch.setitem(grants.COVERS, ("like", "like"), lambda parent, child: parent[:-1].startswith(child[:-1]))


def drop_ask(monkeypatch):
    monkeypatch.setattr(grants, "asks_less", lambda parent, child: False)


@pytest.mark.parametrize("plant", [accept_supersets, accept_larger, accept_others, reverse_prefixes, drop_ask])
def test_a_planted_widening_is_found(monkeypatch, plant):
    plant(monkeypatch)
    assert next(widenings(0, 1000, Tally()), None) is not None
