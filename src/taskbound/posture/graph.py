"""Graph: identities, credentials, holders, targets and owners, and what leads to what. From sightings alone.

owner -> identity, holder   owns (by a list, or by the CODEOWNERS of the file that tells of it)
holder -> credential        holds
holder -> identity          runs as
holder -> holder            starts (an agent the MCP servers of its repository)
credential -> identity      proves
credential -> target        opens
identity -> identity        is a member of (a role of another)
identity -> target          may do that, or everything there
"""

import re
from array import array
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date
from itertools import accumulate

from taskbound.posture.facts import text, texts
from taskbound.posture.inventory import Inventory
from taskbound.posture.joined import grouped
from taskbound.posture.rules.draft import label
from taskbound.posture.sighting import Place, Sighting, Use

HOLDER, CREDENTIAL, IDENTITY, TARGET, OWNER = "holder", "credential", "identity", "target", "owner"
# What a weakness opens to whoever is its subject.
EVERYTHING: Mapping[str, str] = {
    "iam-star-star": "everything in the cloud account",
    "cluster-admin-to-agent": "everything in the cluster",
    "cluster-admin-to-workload": "everything in the cluster",
    "docker-socket-mounted": "everything on its machine",
    "privileged-container": "everything on its machine",
    "mcp-filesystem-root": "all files of its machine",
}
# Principals that run and hold, with the kind of holder that they are; all others are identities but those named below.
RUNNERS: Mapping[str, str] = {
    "agent": "agent",
    "mcp-server": "agent",
    "ci-workflow": "pipeline",
    "compose-service": "workload",
    "k8s-workload": "workload",
    "helm-release": "workload",
}
NO_VERTEX = frozenset({"person", "owner-list", "repository"})
NOBODY = -1
ID = re.compile("[0-9a-f]{8,64}")  # of a credential, as reports print it: the beginning of its mark


@dataclass(frozen=True, slots=True)
class Thing:
    """A vertex. `name` is unique in its kind; of a credential it is made of marks, and `label` is what people see."""

    kind: str
    name: str
    label: str
    role: str = ""  # of a holder: agent, pipeline, workload, …
    environment: str = ""


@dataclass(frozen=True, slots=True)
class Ways:
    """Which vertices each one leads to, in order: those of vertex n stand in `ends` from starts[n] to starts[n + 1].

    Two flat arrays: of a graph of half a million edges a tuple for each vertex would cost more than its search.
    """

    starts: "array[int]"
    ends: "array[int]"

    def __getitem__(self, vertex: int) -> "array[int]":
        return self.ends[self.starts[vertex] : self.starts[vertex + 1]]


@dataclass(frozen=True, slots=True)
class Graph:
    """Vertices by number, and for each which ones it leads to and which lead to it, in order."""

    things: tuple[Thing, ...]
    leads_to: Ways
    led_from: Ways
    places: Mapping[int, Place | tuple[Place, ...]]  # where an edge was seen, by start * number of things + end
    uses: Mapping[str, tuple[Use, ...]] = field(default_factory=dict)  # by identity
    numbers: Mapping[tuple[str, str], int] = field(default_factory=dict)
    by_ending: Mapping[str, tuple[int, ...]] = field(default_factory=dict)  # by the last four characters of a label
    labels: Mapping[int, tuple[str, ...]] = field(default_factory=dict)  # of what has more than one: a key and its id
    owners: Mapping[str, str] = field(default_factory=dict)  # of files, by path

    def seen_at(self, start: int, end: int) -> tuple[Place, ...]:
        """Return where it was seen that one leads to the other, in order."""
        found = self.places.get(start * len(self.things) + end, ())
        return (found,) if isinstance(found, Place) else found

    def labels_of(self, number: int) -> tuple[str, ...]:
        return self.labels.get(number) or (self.things[number].label,)

    def owner(self, number: int) -> str:
        """Return who answers for a thing: its owner, else that of the first file that tells of it; "" for nobody."""
        if owners := [self.things[one].name for one in self.led_from[number] if self.things[one].kind == OWNER]:
            return ", ".join(owners)
        seen = [place for to in self.leads_to[number] for place in self.seen_at(number, to)]
        seen += [place for before in self.led_from[number] for place in self.seen_at(before, number)]
        return next((owner for place in sorted(seen) if (owner := self.owners.get(place.path))), "")

    def named(self, name: str, *kinds: str) -> tuple[int, ...]:
        """Return what a person means: by name, label or id, else by what a label ends in (last four characters).

        People are meant by what stands before the @ too.
        """
        kinds = kinds or (HOLDER, CREDENTIAL, IDENTITY, TARGET, OWNER)
        exact = [self.numbers[kind, name] for kind in kinds if (kind, name) in self.numbers]
        if exact:
            return tuple(exact)
        ending = name.removeprefix("…")
        among = [number for number in self.by_ending.get(ending[-4:], ()) if self.things[number].kind in kinds]
        exact = [number for number in among if name in self.labels_of(number)]
        exact = exact or [n for n in among if any(label.endswith(ending) for label in self.labels_of(n))]
        if not exact and CREDENTIAL in kinds and ID.fullmatch(name):
            exact = [
                number
                for number, one in enumerate(self.things)
                if one.kind == CREDENTIAL and any(mark.startswith(name) for mark in one.name.split("+"))
            ]
        if not exact and OWNER in kinds:
            exact = [at for (kind, of), at in self.numbers.items() if kind == OWNER and of.startswith(f"{name}@")]
        return tuple(exact)


@dataclass(frozen=True, slots=True)
class Reach:
    """What can be reached from a thing, nearest first, and through what."""

    graph: Graph
    start: int
    found: tuple[int, ...]
    via: "array[int]"  # for each thing of the graph the one before it on the way; NOBODY: not reached, or the start

    def of(self, kind: str) -> Iterator[Thing]:
        things = self.graph.things
        return (things[number] for number in self.found if things[number].kind == kind)

    def path(self, to: int) -> tuple[Thing, ...]:
        """Return the way from the start to a thing that was reached, both included."""
        way = [to]
        while (before := self.via[way[-1]]) != NOBODY:
            way.append(before)
        return tuple(self.graph.things[number] for number in reversed(way))


@dataclass(frozen=True, slots=True)
class Held:
    """A holder of a credential, with the places."""

    holder: Thing
    places: tuple[Place, ...]


@dataclass(frozen=True, slots=True)
class Rotation:
    """What breaks when a credential is made invalid. Production first among holders."""

    credential: Thing
    holders: tuple[Held, ...]
    identities: tuple[Thing, ...]
    uses: tuple[Use, ...]  # who was seen using it, newest first
    unseen: tuple[Use, ...]  # those of a kind that no place in files explains: they have a copy that was not found


def reach(graph: Graph, start: int) -> Reach:
    """What can this agent, identity or person reach?"""
    via = array("i", [NOBODY]) * len(graph.things)
    seen = bytearray(len(graph.things))
    seen[start] = 1
    found: list[int] = []
    waiting = [start]
    leads_to = graph.leads_to
    while waiting:
        after: list[int] = []
        for at in waiting:
            for to in leads_to[at]:
                if not seen[to]:
                    seen[to] = 1
                    via[to] = at
                    after.append(to)
        found += after
        waiting = after
    return Reach(graph, start, tuple(found), via)


def holders(graph: Graph, credential: int) -> tuple[Held, ...]:
    """Who else holds this?"""
    things = graph.things
    return tuple(
        Held(things[number], graph.seen_at(number, credential))
        for number in graph.led_from[credential]
        if things[number].kind == HOLDER
    )


def rotate(graph: Graph, credential: int) -> Rotation:
    """What breaks if I rotate this?"""
    held = sorted(holders(graph, credential), key=lambda one: (one.holder.environment != "production", one.holder.name))
    proven = tuple(
        graph.things[number] for number in graph.leads_to[credential] if graph.things[number].kind == IDENTITY
    )
    marks = set(graph.things[credential].name.split("+"))
    uses = [use for one in proven for use in graph.uses.get(one.name, ()) if use.mark in marks]
    uses.sort(key=lambda use: (use.at, use.place), reverse=True)
    known = {one.holder.role for one in held}
    return Rotation(
        graph.things[credential],
        tuple(held),
        proven,
        tuple(uses),
        tuple(use for use in uses if use.by and use.by not in known),
    )


def build(sightings: Iterable[Sighting], as_of: date) -> Graph:
    """Make the graph of everything that was seen until a day."""
    inventory, drawing = Inventory(sightings, as_of), _Drawing()
    _credentials(inventory, drawing)
    _principals(inventory, drawing)
    for one in inventory.weaknesses:
        if one.case in EVERYTHING:
            kind = HOLDER if one.subject in drawing.numbers[HOLDER] else IDENTITY
            drawing.edge(drawing.thing(kind, one.subject), drawing.thing(TARGET, EVERYTHING[one.case]), one.place)
    uses = {identity: tuple(of) for identity, of in grouped(inventory.uses, lambda use: use.principal).items()}
    return drawing.graph(uses, inventory.owner_of if inventory.code_owners else None)


class _Drawing:
    """A graph that is being made. Things are numbered as they come; an edge is two numbers in one."""

    def __init__(self) -> None:
        self.numbers: dict[str, dict[str, int]] = {kind: {} for kind in (HOLDER, CREDENTIAL, IDENTITY, TARGET, OWNER)}
        self.things: list[Thing] = []
        self.labels: dict[int, tuple[str, ...]] = {}
        self.edges: dict[int, Place | list[Place]] = {}

    def thing(self, kind: str, name: str, label: str = "", role: str = "", environment: str = "") -> int:
        """Add a thing, or say more of it."""
        number = self.numbers[kind].get(name)
        if number is None:
            self.numbers[kind][name] = len(self.things)
            self.things.append(Thing(kind, name, label or name, role, environment))
            return len(self.things) - 1
        if role or environment:
            known = self.things[number]
            if (role and not known.role) or (environment and not known.environment):
                self.things[number] = replace(
                    known, role=known.role or role, environment=known.environment or environment
                )
        return number

    def edge(self, start: int, end: int, place: Place) -> None:
        known = self.edges.setdefault(start << 32 | end, place)
        if known is not place:
            if isinstance(known, Place):
                self.edges[start << 32 | end] = known = [known]
            known.append(place)

    def graph(self, uses: Mapping[str, tuple[Use, ...]], owner_of: Callable[[Place], str] | None) -> Graph:
        """Return it with its things in order: by what people see, and of two that look alike as they come.

        Never by marks: their key is another elsewhere.
        """
        order = [
            (kind, name)
            for kind in sorted(self.numbers)
            for name in sorted(self.numbers[kind], key=lambda name: self.things[self.numbers[kind][name]].label)
        ]
        size, now = len(order), array("q", [0]) * len(order)
        for number, (kind, name) in enumerate(order):
            now[self.numbers[kind][name]] = number
        was = array("q", [0]) * size
        for before, number in enumerate(now):
            was[number] = before
        things = tuple(self.things[before] for before in was)
        places = {now[key >> 32] * size + now[key & LOW]: _places(found) for key, found in self.edges.items()}
        labels = {now[before]: names for before, names in self.labels.items()}
        endings = defaultdict[str, list[int]](list)
        for number, one in enumerate(things):
            for ending in {name[-4:] for name in labels.get(number) or (one.label,)}:
                endings[ending].append(number)
        paths = {} if owner_of is None else {place.path: place for found in places.values() for place in _each(found)}
        return Graph(
            things,
            _ways(sorted(places), size),
            _ways(sorted(key % size * size + key // size for key in places), size),
            places,
            uses,
            dict(zip(order, range(size), strict=True)),
            {ending: tuple(of) for ending, of in endings.items()},
            labels,
            {path: owner for path, place in paths.items() if owner_of and (owner := owner_of(place))},
        )


LOW = (1 << 32) - 1


def _ways(edges: Sequence[int], size: int) -> Ways:
    """Return edges, each start * size + end and all in order, by their starts."""
    starts = array("i", [0]) * (size + 1)
    for start, many in Counter(edge // size for edge in edges).items():
        starts[start + 1] = many
    return Ways(array("i", accumulate(starts)), array("i", [edge % size for edge in edges]))


def _places(found: Place | list[Place]) -> Place | tuple[Place, ...]:
    if isinstance(found, Place):
        return found
    several = tuple(sorted(set(found)))
    return several if len(several) > 1 else several[0]


def _each(found: Place | tuple[Place, ...]) -> tuple[Place, ...]:
    return (found,) if isinstance(found, Place) else found


def _credentials(inventory: Inventory, drawing: _Drawing) -> None:
    for unit in inventory.units:
        shown = label(next(iter(unit.secrets), unit.credentials[0]))
        credential = drawing.thing(CREDENTIAL, "+".join(unit.marks), shown)
        if len(unit.credentials) > 1 and len(names := dict.fromkeys((shown, *map(label, unit.credentials)))) > 1:
            drawing.labels[credential] = tuple(names)
        for one in unit.credentials:
            holder = drawing.thing(HOLDER, one.holder.name, role=one.holder.kind, environment=one.holder.environment)
            drawing.edge(holder, credential, one.place)
            if one.target:
                drawing.edge(credential, drawing.thing(TARGET, one.target), one.place)
        for one, login in inventory.logins_of(unit):
            drawing.edge(credential, drawing.thing(IDENTITY, login.id), one.place)
        if key := inventory.key_of(unit):
            drawing.edge(credential, drawing.thing(IDENTITY, text(key, "of") or key.id), key.place)


def _principals(inventory: Inventory, drawing: _Drawing) -> None:
    """Add identities with their owners, and holders with what they run as and what they start."""
    servers = grouped(inventory.by_kind.get("mcp-server", ()), lambda one: text(one, "repository"))
    for one in inventory.all_principals:
        if one.kind in RUNNERS:
            holder = drawing.thing(HOLDER, one.id, role=RUNNERS[one.kind], environment=text(one, "environment"))
            for owner in filter(None, inventory.owner_of(one.place).split(", ")):
                drawing.edge(drawing.thing(OWNER, owner), holder, one.place)
            if account := text(one, "service_account"):
                drawing.edge(holder, drawing.thing(IDENTITY, account), one.place)
            for server in servers.get(text(one, "repository"), ()) if one.kind == "agent" else ():
                drawing.edge(holder, drawing.thing(HOLDER, server.id), server.place)
        elif one.kind not in NO_VERTEX:
            identity = drawing.thing(IDENTITY, text(one, "of") or one.id)
            if owner := inventory.owner(one.id):
                drawing.edge(drawing.thing(OWNER, owner), identity, one.place)
            for above in texts(one, "member_of"):
                drawing.edge(identity, drawing.thing(IDENTITY, above), one.place)
            for what in texts(one, "may"):
                drawing.edge(identity, drawing.thing(TARGET, what), one.place)
