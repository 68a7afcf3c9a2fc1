"""Answers: what the graph says when it is asked, for people and for machines. Each step with its file and line.

A thing is named as `discover` prints it: an agent, pipeline or identity by its name, a credential by kind and last
four characters or by the beginning of its id. What is named must be one thing; else the answer is a refusal that
says which ones were meant, or which are near.
"""

import difflib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from taskbound.core.errors import Conflict, NotFound
from taskbound.posture.graph import (
    CREDENTIAL,
    HOLDER,
    IDENTITY,
    NOBODY,
    OWNER,
    TARGET,
    Graph,
    Held,
    Reach,
    Thing,
    holders,
    reach,
    rotate,
)
from taskbound.posture.sighting import Place, Use

SAYS = {  # what an edge says, by the kinds at its ends
    (OWNER, IDENTITY): "owns",
    (OWNER, HOLDER): "owns",
    (HOLDER, CREDENTIAL): "holds",
    (HOLDER, IDENTITY): "runs as",
    (HOLDER, HOLDER): "starts",
    (HOLDER, TARGET): "may do",
    (CREDENTIAL, IDENTITY): "proves",
    (CREDENTIAL, TARGET): "opens",
    (IDENTITY, IDENTITY): "is a member of",
    (IDENTITY, TARGET): "may do",
}
KINDS = {  # in the order in which they are told: what can be done first; one, several
    TARGET: ("target", "targets"),
    IDENTITY: ("identity", "identities"),
    CREDENTIAL: ("credential", "credentials"),
    HOLDER: ("holder", "holders"),
    OWNER: ("owner", "owners"),
}
NEAR = 5  # names that a refusal tells
TOLD = 100  # of a kind, told to a person; --format json tells all
PLACES = 3  # of a step, told to a person


@dataclass(frozen=True, slots=True)
class Known:
    """A credential that is asked about, with who holds it."""

    number: int
    held: tuple[Held, ...]


def one_named(graph: Graph, name: str) -> int:
    """Return the thing that a person means. Raises NotFound, and Conflict where it could be several."""
    found = graph.named(name)
    if len(found) == 1:
        return found[0]
    if found:
        meant = ", ".join(shown(graph.things[number]) for number in found[:NEAR])
        more = f" and {len(found) - NEAR} more" if len(found) > NEAR else ""
        raise Conflict(
            f"that could be {len(found)} things: {meant}{more}",
            code="ambiguous_name",
            hint="name one of them, a credential by its id",
        )
    near = ", ".join(_near(graph, name))
    raise NotFound(  # what was typed is not repeated: somebody will type the value
        "nothing that was seen has that name",
        hint=f"nearest: {near}" if near else "taskbound discover says what there is",
    )


def _near(graph: Graph, name: str) -> Iterable[str]:
    wanted = name.lower()
    among = dict.fromkeys(one.label for one in graph.things)
    inside = [one for one in among if wanted in one.lower()]
    return sorted(inside, key=len)[:NEAR] or difflib.get_close_matches(name, among, n=NEAR, cutoff=0.5)


def shown(one: Thing) -> str:
    """Return a thing in a few words; of a credential with its id, since many end alike."""
    return f"{one.label} ({id_of(one)})" if one.kind == CREDENTIAL else one.label


def id_of(one: Thing) -> str:
    """Return what reports call a credential."""
    return one.name[:16]


def credentials_of(graph: Graph, number: int) -> tuple[Known, ...]:
    """Return the credential itself, or those that a thing holds or is proven or opened by; an owner's identities'."""
    things = graph.things
    if things[number].kind == CREDENTIAL:
        about = [number]
    elif things[number].kind == OWNER:
        about = [c for identity in graph.leads_to[number] for c in graph.led_from[identity]]
    else:
        about = [*graph.leads_to[number], *graph.led_from[number]]
    known = dict.fromkeys(one for one in about if things[one].kind == CREDENTIAL)
    return tuple(Known(one, holders(graph, one)) for one in known)


# --- for people ------------------------------------------------------------------------------------


def reach_lines(graph: Graph, start: int) -> Iterator[str]:
    """Yield what a thing reaches: what can be done first, each with the way to it."""
    reached = reach(graph, start)
    groups = {kind: [n for n in reached.found if graph.things[n].kind == kind] for kind in KINDS}
    yield f"{_titled(graph, start)} reaches {_counts(groups)}"
    for kind, found in groups.items():
        if found:
            yield from ("", KINDS[kind][1].upper())
        for number in found[:TOLD]:
            yield f"  {shown(graph.things[number])}{_owned(graph, number)}"
            yield from (f"    {line}" for line in _way(reached, number))
        if len(found) > TOLD:
            yield f"  and {len(found) - TOLD:,} more (--format json names all)"


def holder_lines(graph: Graph, number: int) -> Iterator[str]:
    """Yield who holds a credential; of another thing, who holds those that it has."""
    yield from _about_credentials(graph, number, _holder_lines)


def rotate_lines(graph: Graph, number: int) -> Iterator[str]:
    """Yield what breaks when a credential is made invalid, production first."""
    yield from _about_credentials(graph, number, _rotate_lines)


def _about_credentials(graph: Graph, number: int, tell: Callable[[Graph, Known], Iterator[str]]) -> Iterator[str]:
    known = credentials_of(graph, number)
    if graph.things[number].kind != CREDENTIAL:
        yield f"{_titled(graph, number)} has {_counted(len(known), CREDENTIAL)}"
    for turn, one in enumerate(known):
        if turn or graph.things[number].kind != CREDENTIAL:
            yield ""
        yield from tell(graph, one)


def _holder_lines(graph: Graph, known: Known) -> Iterator[str]:
    yield f"{_titled(graph, known.number)} has {_counted(len(known.held), HOLDER)}"
    yield from (f"  {_held(graph, one)}" for one in known.held)


def _rotate_lines(graph: Graph, known: Known) -> Iterator[str]:
    answer = rotate(graph, known.number)
    yield f"rotating {_titled(graph, known.number)} breaks {_counted(len(answer.holders), HOLDER)}"
    yield from (f"  {_held(graph, one)}" for one in answer.holders)
    for identity in answer.identities:
        number = graph.numbers[IDENTITY, identity.name]
        yield f"  it proves {identity.name}{_owned(graph, number)}  {_at(graph.seen_at(known.number, number))}"
    last: dict[tuple[str, str], Use] = {}
    for use in answer.uses:
        last.setdefault((use.by, use.address), use)
    for use in last.values():
        hidden = "; NO FILE EXPLAINS IT: a copy was not found" if use in answer.unseen else ""
        by = " ".join(filter(None, (use.by or "somebody", use.address and f"at {use.address}")))
        yield f"  last used {use.at:%Y-%m-%d} by {by}{hidden}  {_at((use.place,))}"
    if not answer.uses:
        yield "  no log that was read tells of its use: what else breaks cannot be said"


def _held(graph: Graph, one: Held) -> str:
    number = graph.numbers[HOLDER, one.holder.name]
    where = f" ({one.holder.environment})" if one.holder.environment else ""
    return f"{_role(one.holder)} {one.holder.name}{where}{_owned(graph, number)}  {_at(one.places)}"


def _role(one: Thing) -> str:
    return one.role or one.kind


def _titled(graph: Graph, number: int) -> str:
    one = graph.things[number]
    return f"{_role(one)} {shown(one)}{_owned(graph, number)}"


def _owned(graph: Graph, number: int) -> str:
    owner = "" if graph.things[number].kind in (OWNER, TARGET) else graph.owner(number)
    return f", owner {owner}" if owner else ""


def _way(reached: Reach, to: int) -> Iterator[str]:
    graph = reached.graph
    for before, after in _steps(reached, to):
        one, other = graph.things[before], graph.things[after]
        yield f"{one.label} {SAYS[one.kind, other.kind]} {other.label}  {_at(graph.seen_at(before, after))}"


def _steps(reached: Reach, to: int) -> list[tuple[int, int]]:
    steps: list[tuple[int, int]] = []
    while (before := reached.via[to]) != NOBODY:
        steps.append((before, to))
        to = before
    return steps[::-1]


def _at(places: Iterable[Place]) -> str:
    told = [f"{one.path}:{one.line}" for one in places]
    return ", ".join(told[:PLACES]) + (f" and {len(told) - PLACES} more" if len(told) > PLACES else "")


def _counted(number: int, kind: str) -> str:
    return f"{number:,} {KINDS[kind][number != 1]}"


def _counts(groups: dict[str, list[int]]) -> str:
    return ", ".join(_counted(len(found), kind) for kind, found in groups.items() if found) or "nothing that was seen"


# --- for machines ----------------------------------------------------------------------------------


def reach_json(graph: Graph, start: int) -> dict[str, Any]:
    """Return what a thing reaches, nearest first: each with the step that leads to it."""
    reached = reach(graph, start)
    found = []
    for number in reached.found:
        before = reached.via[number]
        found.append(
            {
                **_thing(graph, number),
                "from": _name(graph.things[before]),
                "step": SAYS[graph.things[before].kind, graph.things[number].kind],
                "places": _places(graph.seen_at(before, number)),
            }
        )
    return {"subject": _thing(graph, start), "reaches": found}


def holders_json(graph: Graph, number: int) -> dict[str, Any]:
    known = credentials_of(graph, number)
    told = [{**_thing(graph, one.number), "holders": _holders(graph, one.held)} for one in known]
    return {"subject": _thing(graph, number), "credentials": told}


def rotate_json(graph: Graph, number: int) -> dict[str, Any]:
    told = []
    for one in credentials_of(graph, number):
        answer = rotate(graph, one.number)
        told.append(
            {
                **_thing(graph, one.number),
                "holders": _holders(graph, answer.holders),
                "identities": [_thing(graph, graph.numbers[IDENTITY, who.name]) for who in answer.identities],
                "uses": [{**_use(use), "explained": use not in answer.unseen} for use in answer.uses],
            }
        )
    return {"subject": _thing(graph, number), "credentials": told}


def _holders(graph: Graph, held: Iterable[Held]) -> list[dict[str, Any]]:
    return [{**_thing(graph, graph.numbers[HOLDER, one.holder.name]), "places": _places(one.places)} for one in held]


def _name(one: Thing) -> str:
    return id_of(one) if one.kind == CREDENTIAL else one.name


def _thing(graph: Graph, number: int) -> dict[str, Any]:
    one = graph.things[number]
    return {
        "kind": one.kind,
        "name": _name(one),
        "label": one.label,
        "role": one.role,
        "environment": one.environment,
        "owner": graph.owner(number) if one.kind not in (OWNER, TARGET) else "",
    }


def _use(use: Use) -> dict[str, Any]:
    return {"by": use.by, "address": use.address, "at": use.at.isoformat(), "places": _places((use.place,))}


def _places(places: Iterable[Place]) -> list[dict[str, Any]]:
    return [{"path": one.path, "line": one.line} for one in places]


Lines = Callable[[Graph, int], Iterator[str]]
Json = Callable[[Graph, int], dict[str, Any]]
QUESTIONS: Mapping[str, tuple[Lines, Json]] = {
    "reach": (reach_lines, reach_json),
    "holders": (holder_lines, holders_json),
    "rotate": (rotate_lines, rotate_json),
}
