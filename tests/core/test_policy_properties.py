"""core/policy.py against bare Cedar: what is sliced, trimmed, merged and read by level changes no answer.

Random worlds (policies, hierarchies, chains), each with many requests. The reference is
cedarpy.is_authorized over the whole text, the whole context and one evaluation per level. Faults
planted into one function each must be found, or the comparison proves nothing.
"""

import json
import random
import re
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import cedarpy
import pytest

from taskbound.core import call, cedar, policy
from taskbound.core.cedar import Entity, Policy, Scope, Uid, parse_policies, parse_policy
from taskbound.core.grant import Condition, Grant
from taskbound.core.policy import Answer, PolicySet, Request, authorize
from tests.notes import note
from tests.profile import trials

CASES = trials(full=20_000, short=4_000)
PLANTED_WITHIN = 2_000
PER_WORLD = 20

# --- random worlds -----------------------------------------------------------------------------------

TEXT = "abc"
ATOMS = (
    "context.args.a <= {n}",
    "context.args.a == {n}",
    "context.args.a >= {n}",
    'context.args has b && context.args.b == "{t}"',
    'context.args.b == "{t}"',  # b is optional: an error without it
    'context.args.rec == {{len: {n}, digest: "{t}"}}',
    "context.args.rec.len <= {n}",
    "context.args == {{}} || context.args.rec.len > 1",
    "context.args.set.contains({n})",
    "[0, 1, {n}].containsAll(context.args.set)",
    'context.args.d.lessThan(decimal("{n}.5"))',
    'principal.environment == "{t}"',  # a Human has none
    'principal has environment && principal.environment == "{t}"',
    'principal has owner && principal.owner in Group::"g{g}"',
    'context has subject && context.subject in Group::"g{g}"',
    'context.subject in [Group::"g{g}", Human::"p0"]',  # subject is optional
    'principal in Group::"g{g}"',
    'principal is Agent in Group::"g{g}"',
    'resource in Upstream::"u{g}"',
    'resource.effect == "{t}"',
    'action in Action::"acts"',
    'context.labels.contains("{t}")',
    "context.depth < {n}",
    "context.depth + 9223372036854775806 > 0",  # overflows from depth 2
    "context.effect < {n}",  # always a type error, behind a guard most of the time
    "{{Var: context.depth, args: {n}}}.Var <= {n}",
    "(if context.depth == 0 then context.args else context.args.rec).len <= {n}",
    "(if context.depth <= 1 then context else {{args: {{a: {n}}}}}).args.a == {n}",
    'context["args"]["rec"] has len && context has args.rec.digest',
    "context.args.rec.len.below == {n}",  # reads into what is no record
)
RISKY = {atom for atom in ATOMS if "effect <" in atom or "below" in atom}
GRANT_ATOMS = (
    'context.args.a <= context.grant["§"].a',
    'context.args.a == context.grant["§"].a',
    'context.grant["§"].set.containsAll(context.args.set)',
    'context.args.d.lessThanOrEqual(context.grant["§"].d)',
    'context.args has b && context.args.b == context.grant["§"].b',
    'context.grant["§"] == {{a: {n}, b: "{t}", set: [0, 1], d: decimal("1.0")}} || context.args.a <= 2',
    'context.args.rec.len <= context.grant["§"].a',
)


# Grants as tasks hold them; the product renders these, as it does for each decision.
CONDITIONS = (
    Condition("a", "Long", True, "<=", "a"),
    Condition("a", "Long", True, "=", "a"),
    Condition("b", "String", False, "=", "b"),
    Condition("d", "decimal", True, "<=", "d"),
    Condition("set", "Set<Long>", True, "in", "set"),
)


def rendered(grant: str | Grant, level: int) -> str:
    return grant.replace("§", str(level)) if isinstance(grant, str) else str(vars(call)["render"](grant, level))


@dataclass
class World:
    rng: random.Random
    entities: dict[Uid, Entity]
    organisation: str
    grants: list[list[str | Grant]]  # per level, with the level's place open
    whole: cedarpy.PolicySet = field(init=False)
    scopes: cedarpy.PolicySet = field(init=False)  # the same policies without their conditions
    names: list[str] = field(init=False)
    policies: tuple[Policy, ...] = field(init=False)

    def __post_init__(self) -> None:
        self.policies = parse_policies(self.organisation)
        self.names = [one.name for one in self.policies]
        self.whole = cedarpy.PolicySet.from_str(self.organisation)
        texts = [re.sub(r" (when|unless) .*", ";", line) for line in self.organisation.splitlines()]
        self.scopes = cedarpy.PolicySet.from_str("\n".join(text.replace("forbid(", "permit(") for text in texts))


def pick_condition(rng: random.Random, atoms: tuple[str, ...]) -> str:
    parts = []
    for _ in range(rng.choice((1, 1, 1, 2, 2, 3))):
        atom = rng.choice(atoms)
        text = atom.format(n=rng.randrange(5), t=rng.choice(TEXT), g=rng.randrange(10))
        if atom in RISKY and rng.random() < 0.9:
            text = f"context.args.a == 0 && {text}"
        parts.append(f"!({text})" if rng.random() < 0.1 else f"({text})")
    return rng.choice((" && ", " || ", " || ")).join(parts)


def pick_one(rng: random.Random, kind: str, names: list[str], groups: tuple[str, list[str]]) -> str:
    """Return a random constraint on the principal or the resource, in each form that Cedar has."""
    group = f'{groups[0]}::"{rng.choice(groups[1])}"'
    types = ["Human", "Service", "Agent"] if kind == "principal" else ["Tool"]
    one = f'{rng.choice(types)}::"{rng.choice(names)}"'
    form = rng.choices(range(6), (40, 8, 22, 12, 14, 4))[0]
    typed = rng.choice([*types, groups[0]])
    return (
        kind,
        f"{kind} == {one}",
        f"{kind} in {group}",
        f"{kind} is {typed}",
        f"{kind} is {typed} in {group}",
        f"{kind} in {one}",
    )[form]


def pick_policy(rng: random.Random, effect: str, atoms: tuple[str, ...], wide: bool) -> str:
    groups = [f"g{n}" for n in range(10)]
    principal = pick_one(rng, "principal", [f"p{n}" for n in range(6)], ("Group", groups))
    resource = pick_one(rng, "resource", [f"t{n}" for n in range(4)], ("Upstream", [f"u{n}" for n in range(10)]))
    action = rng.choice(
        (
            "action",
            "action",
            'action == Action::"tools/call"',
            'action in [Action::"tools/call", Action::"issue"]',
            'action in Action::"acts"',
            'action in Action::"all"',
            'action in [Action::"issue", Action::"other"]',
        )
    )
    if wide:
        principal, action, resource = (
            word if rng.random() < 0.6 else text
            for word, text in zip(("principal", "action", "resource"), (principal, action, resource), strict=True)
        )
    clauses = "".join(
        f" {'unless' if rng.random() < 0.15 else 'when'} {{ {pick_condition(rng, atoms)} }}"
        for _ in range(rng.choice((0, 1, 1, 2) if effect == "permit" else (1, 1, 2)))
    )
    name = f'@id("n{rng.randrange(10**6)}") ' if rng.random() < 0.3 else ""
    return f"{name}{effect}({principal}, {action}, {resource}){clauses};"


def pick_hierarchy(rng: random.Random, kind: str, letter: str) -> list[Entity]:
    """Return ten entities in four layers; each is in one or two of the layer above."""
    layers = ((0, 1, 2), (3, 4, 5), (6, 7), (8, 9))
    made = []
    for place, layer in enumerate(layers):
        above = layers[place + 1] if place + 1 < len(layers) else ()
        for number in layer:
            parents = rng.sample(above, rng.choice((1, 1, 2))) if above else []
            made.append(Entity(Uid(kind, f"{letter}{number}"), (), tuple(Uid(kind, f"{letter}{up}") for up in parents)))
    return made


def make_world(rng: random.Random) -> World:
    groups, upstreams = pick_hierarchy(rng, "Group", "g"), pick_hierarchy(rng, "Upstream", "u")
    actions = [
        Entity(Uid("Action", "tools/call"), (), (Uid("Action", "acts"),)),
        Entity(Uid("Action", "issue"), (), (Uid("Action", "acts"),) if rng.random() < 0.7 else ()),
        Entity(Uid("Action", "acts"), (), (Uid("Action", "all"),)),
    ]
    actors, tools = [], []
    for number in range(6):
        kind = ("Human", "Service", "Agent")[number % 3]
        owner = (("owner", Uid("Human", rng.choice(("p0", "p3")))), ("environment", rng.choice(TEXT)))
        parents = tuple(one.uid for one in rng.sample(groups[:5], rng.choice((0, 1, 1, 2))))
        actors.append(Entity(Uid(kind, f"p{number}"), () if kind == "Human" else owner, parents))
    for number in range(4):
        parents = tuple(one.uid for one in rng.sample(upstreams[:5], rng.choice((0, 1, 1, 2))))
        tools.append(Entity(Uid("Tool", f"t{number}"), (("effect", rng.choice(TEXT)),), parents))
    everybody = [*groups, *upstreams, *actions, *actors, *tools]
    texts = [pick_policy(rng, "permit", ATOMS, wide=True) for _ in range(rng.randint(4, 9))]
    texts += [pick_policy(rng, "forbid", ATOMS, wide=False) for _ in range(rng.randint(1, 4))]
    rng.shuffle(texts)
    grants: list[list[str | Grant]] = [
        [pick_policy(rng, "permit", GRANT_ATOMS * 3 + ATOMS[:9], wide=True) for _ in range(rng.randint(2, 5))]
        for _ in range(3)
    ]
    for level in grants:
        level += [
            Grant("g0", "tools/call", f"t{rng.randrange(4)}", tuple(rng.sample(CONDITIONS, rng.randint(1, 2))), ())
            for _ in range(2)
        ]
    for one, other in ((0, 1), (1, 2)):  # levels of one profile share their texts
        if rng.random() < 0.5:
            grants[other] = [*grants[one]]
    return World(rng, {one.uid: one for one in everybody}, "\n".join(texts), grants)


def make_request(world: World) -> Request:
    rng = world.rng
    depth = rng.randrange(3)
    args = {
        "a": rng.randrange(4),
        "rec": {"len": rng.randrange(4), "digest": rng.choice(TEXT)},
        "set": rng.sample(range(4), rng.randrange(3)),
        "d": {"__extn": {"fn": "decimal", "arg": f"{rng.randrange(3)}.25"}},
    }
    if rng.random() < 0.8:
        args["b"] = rng.choice(TEXT)
    bound = {
        str(level): {
            "a": rng.randrange(1, 5),
            "b": rng.choice(TEXT),
            "set": rng.sample(range(4), 3),
            "d": {"__extn": {"fn": "decimal", "arg": f"{rng.randrange(1, 4)}.0"}},
        }
        for level in range(depth + 1)
    }
    context = {"args": args, "grant": bound, "depth": depth, "labels": rng.sample(TEXT, 2), "effect": rng.choice(TEXT)}
    if rng.random() < 0.7:
        context["subject"] = {"__entity": {"type": "Human", "id": rng.choice(("p0", "p3"))}}
    actors = [uid for uid in world.entities if uid.id.startswith("p")]
    principal = world.entities[rng.choice(actors)]
    resource = world.entities[Uid("Tool", f"t{rng.randrange(4)}")]
    forgotten = rng.choice([*world.entities]) if rng.random() < 0.2 else None  # its ancestors are unknown to both
    others = tuple(one for uid, one in world.entities.items() if uid not in (principal.uid, resource.uid, forgotten))
    action = Uid("Action", rng.choice(("tools/call", "tools/call", "issue", "other")))
    levels = tuple(tuple(rendered(one, level) for one in world.grants[level]) for level in range(depth + 1))
    return Request(principal, action, resource, context, levels, others)


def cases(seed: int, count: int) -> Iterator[tuple[World, Request]]:
    note(f"seed {seed}")
    rng = random.Random(seed)
    for number in range(count):
        if number % PER_WORLD == 0:
            world = make_world(rng)
        yield world, make_request(world)


# --- the reference -------------------------------------------------------------------------------------


def cedar_json(value: Any) -> Any:
    return {"__entity": {"type": value.type, "id": value.id}} if isinstance(value, Uid) else value


class Bare:
    """Bare Cedar: one evaluation of one whole text."""

    def __init__(self, request: Request) -> None:
        listed = [
            {
                "uid": cedar_json(one.uid),
                "attrs": {name: cedar_json(value) for name, value in one.attrs},
                "parents": [cedar_json(parent) for parent in one.parents],
            }
            for one in (request.principal, request.resource, *request.others)
        ]
        self.entities = cedarpy.Entities.from_json_str(json.dumps(listed))
        self.request = {
            "principal": request.principal.uid._asdict(),
            "action": request.action._asdict(),
            "resource": request.resource.uid._asdict(),
            "context": request.context,
        }

    def asked(self, policies: cedarpy.PolicySet) -> tuple[bool, set[int], set[int]]:
        """Return whether Cedar allows, and the places of the reasons and of the errors."""
        result = cedarpy.is_authorized(self.request, policies, self.entities)
        reasons, errors = result.diagnostics.reasons, result.diagnostics.errors
        blamed = [re.findall(r"^error while evaluating policy `policy(\d+)`", error)[0] for error in errors]
        assert result.decision is not cedarpy.Decision.NoDecision
        return result.allowed, {int(one.removeprefix("policy")) for one in reasons}, set(map(int, blamed))


def expected(world: World, request: Request, bare: Bare, grants: dict[str, cedarpy.PolicySet]) -> tuple[Answer, bool]:
    """Return the answer put together from n + 1 evaluations, and whether it permits."""
    allowed, reasons, errors = bare.asked(world.whole)
    by_level = []
    for texts in request.levels:
        text = "\n".join(texts)
        if text not in grants:
            grants[text] = cedarpy.PolicySet.from_str(text)
        by_level.append(bare.asked(grants[text]))
    spoke = tuple(sorted({world.names[place] for place in reasons}))
    forbids = () if allowed else spoke
    failed = {world.names[place] for place in errors if world.policies[place].effect == "forbid"}
    granted = tuple(frozenset() if forbids else frozenset(places) for _, places, _ in by_level)
    ids = {f"o/{world.policies[place].digest}" for place in errors}
    for level, (_, _, wrong) in enumerate(by_level):
        ids |= {f"{level}/{parse_policy(request.levels[level][place]).digest}" for place in wrong}
    answer = Answer(
        allowed=not forbids and (allowed or any(level for level, _, _ in by_level)),
        forbids=forbids,
        failed_forbids=tuple(sorted(failed)),
        permits=spoke if allowed else (),
        granted=granted,
        errors=tuple(sorted(ids)),
    )
    return answer, allowed and not failed and all(level for level, _, _ in by_level)


class Checked:
    """Counts cases and what they showed; `broken` names the properties that a case contradicts."""

    def __init__(self) -> None:
        self.seen: Counter[str] = Counter()
        self.grants: dict[str, cedarpy.PolicySet] = {}
        self.world: World | None = None
        self.organisation = PolicySet(())

    def broken(self, world: World, request: Request) -> list[str]:
        if world is not self.world:
            self.world, self.grants = world, {}
            self.organisation = PolicySet(parse_policies(world.organisation))
        bare = Bare(request)
        answer, permitted = expected(world, request, bare, self.grants)
        wrong = []

        levels = tuple(tuple(rendered(one, n) for one in world.grants[n]) for n in range(len(request.levels)))
        asked = Request(request.principal, request.action, request.resource, request.context, levels, request.others)
        given = authorize(self.organisation, asked)
        if (given, given.permitted) != (answer, permitted):
            wrong.append("read by level")

        alone = Request(request.principal, request.action, request.resource, request.context, (), request.others)
        allowed, reasons, errors = bare.asked(world.whole)
        sliced = authorize(self.organisation, alone)
        if (sliced.allowed, {*sliced.permits, *sliced.forbids}, {*sliced.errors}) != (
            allowed,
            {world.names[place] for place in reasons},
            {f"o/{world.policies[place].digest}" for place in errors},
        ):
            wrong.append("sliced")
        _, in_scope, _ = bare.asked(world.scopes)
        if {one.digest for one in self.organisation.slice(alone)} != {world.policies[n].digest for n in in_scope}:
            wrong.append("in scope")

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(policy, "trim", lambda context, _: dict(context))
            if authorize(self.organisation, asked) != given:
                wrong.append("trimmed")

        self.seen["cases"] += 1
        self.seen["permitted"] += permitted
        self.seen["forbidden"] += bool(answer.forbids)
        self.seen["with errors"] += bool(answer.errors)
        self.seen["merged set allows what is denied"] += answer.allowed and not permitted
        self.seen["failed forbid alone denies"] += answer.allowed and bool(answer.failed_forbids)
        self.seen[f"chain of {len(request.levels)}"] += 1
        return wrong


def test_slicing_trimming_and_reading_by_level_change_no_answer():
    checked = Checked()
    for world, request in cases(20_261_124, CASES):
        wrong = checked.broken(world, request)
        assert not wrong, (wrong, world.organisation, request)
    seen = checked.seen
    note(dict(seen))
    assert seen["cases"] == CASES
    assert seen["permitted"] >= 0.25 * CASES, seen
    assert seen["forbidden"] >= 0.10 * CASES, seen
    assert seen["with errors"] >= 0.05 * CASES, seen
    assert min(seen[f"chain of {length}"] for length in (1, 2, 3)) >= 0.25 * CASES, seen


# --- planted faults ------------------------------------------------------------------------------------


def parents_only(uid: Uid, parents: Any) -> frozenset[Uid]:
    return frozenset({uid, *parents.get(uid, ())})


def no_any_action(scope: Callable[[Any], Scope]) -> Callable[[Any], Scope]:
    def planted(est: Any) -> Scope:
        found = scope(est)
        return found._replace(actions=tuple(key for key in found.actions if key))

    return planted


def is_without_in(key: Callable[[Any], Any]) -> Callable[[Any], Any]:
    return lambda constraint: key({name: value for name, value in constraint.items() if name != "in"})


def without_is_in(met: Callable[..., Any]) -> Callable[..., Any]:
    return lambda *given: frozenset(key for key in met(*given) if key[:1] != ("is-in",))


def records_emptied(tree: Callable[[Any], Any]) -> Callable[[Any], Any]:
    def planted(paths: frozenset[tuple[str, ...]]) -> Any:
        whole = tree(paths)
        return {name: (below or {}) for name, below in whole.items()} if whole else whole

    return planted


def longest_path_wins(tree: Callable[[Any], Any]) -> Callable[[Any], Any]:
    def planted(paths: frozenset[tuple[str, ...]]) -> Any:
        inner = {path[:-1] for path in paths if path}
        return tree(frozenset(path for path in paths if path not in inner))

    return planted


def next_level(right: Callable[[Grant, int], str]) -> Callable[[Grant, int], str]:
    return lambda grant, level: right(grant, (level + 1) % 2)


PLANTS: dict[str, tuple[Any, str, Callable[[Any], Any], set[str]]] = {
    "ancestors of `in` forgotten": (policy, "_ancestors", lambda _: parents_only, {"sliced", "in scope"}),
    "policies without an action constraint dropped": (cedar, "_scope", no_any_action, {"sliced", "in scope"}),
    # Too wide a slice changes no answer, since Cedar evaluates the scope too: only "in scope" sees it.
    "`is T in G` read as `is T`": (cedar, "_key", is_without_in, {"in scope"}),
    "`is T in G` never met": (policy, "_met", without_is_in, {"sliced", "in scope"}),
    "a whole record forgotten": (policy, "_tree", records_emptied, {"trimmed"}),
    "a whole record forgotten beside a longer path": (policy, "_tree", longest_path_wins, {"trimmed"}),
    "a text rendered for another level": (call, "render", next_level, {"read by level"}),
    "the merged set's Allow taken as the answer": (
        Answer,
        "permitted",
        lambda _: property(lambda answer: answer.allowed),
        {"read by level"},
    ),
}


def forget() -> None:
    """Empty the module's memories: a fault planted now must not meet what was found before it."""
    for thing in vars(policy).values():
        if hasattr(thing, "cache_clear"):
            thing.cache_clear()


def test_where_no_fault_is_planted_none_is_found():
    checked = Checked()
    assert not any(checked.broken(world, request) for world, request in cases(7, 400))


@pytest.mark.parametrize("name", PLANTS)
def test_a_planted_fault_is_found(name, monkeypatch):
    place, function, plant, properties = PLANTS[name]
    checked = Checked()
    found: dict[str, int] = {}
    for number, (world, request) in enumerate(cases(7, PLANTED_WITHIN), start=1):
        with monkeypatch.context() as patch:
            patch.setattr(place, function, plant(getattr(place, function)))
            forget()
            wrong = checked.broken(world, request)
        forget()
        for one in wrong:
            found.setdefault(one, number)
        if properties <= found.keys():
            break
    note(f"{name}: {found}")
    assert properties <= found.keys(), found
