"""Graph: identities, credentials, holders, targets and owners, and what leads to what. From sightings alone.

owner -> identity           owns
holder -> credential        holds
holder -> identity          runs as
holder -> holder            starts (an agent the MCP servers of its repository)
credential -> identity      proves
credential -> target        opens
identity -> target          may do everything there
"""

from array import array
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date

from taskbound.posture.inventory import Inventory, grouped, text
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


@dataclass(frozen=True, slots=True)
class Thing:
    """A vertex. `name` is unique in its kind; of a credential it is made of marks, and `label` is what people see."""

    kind: str
    name: str
    label: str
    role: str = ""  # of a holder: agent, pipeline, workload, …
    environment: str = ""


@dataclass(frozen=True, slots=True)
class Graph:
    """Vertices by number, and for each which ones it leads to and which lead to it, in order."""

    things: tuple[Thing, ...]
    leads_to: tuple[tuple[int, ...], ...]
    led_from: tuple[tuple[int, ...], ...]
    places: Mapping[tuple[int, int], tuple[Place, ...]]  # of an edge: where it was seen
    uses: Mapping[str, tuple[Use, ...]] = field(default_factory=dict)  # by identity
    numbers: Mapping[tuple[str, str], int] = field(default_factory=dict)
    by_ending: Mapping[str, tuple[int, ...]] = field(default_factory=dict)  # by the last four characters of a label

    def named(self, name: str, *kinds: str) -> tuple[int, ...]:
        """Return what a person means: by name or label, else by what a label ends in (last four characters)."""
        kinds = kinds or (HOLDER, CREDENTIAL, IDENTITY, TARGET, OWNER)
        exact = [self.numbers[kind, name] for kind in kinds if (kind, name) in self.numbers]
        if exact:
            return tuple(exact)
        ending = name.removeprefix("…")
        among = [number for number in self.by_ending.get(ending[-4:], ()) if self.things[number].kind in kinds]
        exact = [number for number in among if self.things[number].label == name]
        return tuple(exact or [number for number in among if self.things[number].label.endswith(ending)])


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
        Held(things[number], graph.places.get((number, credential), ()))
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
            kind = HOLDER if (HOLDER, one.subject) in drawing.things else IDENTITY
            drawing.edge(drawing.thing(kind, one.subject), drawing.thing(TARGET, EVERYTHING[one.case]), one.place)
    uses = {identity: tuple(of) for identity, of in grouped(inventory.uses, lambda use: use.principal).items()}
    return drawing.graph(uses)


Key = tuple[str, str]  # kind and name of a thing


class _Drawing:
    """A graph that is being made."""

    def __init__(self) -> None:
        self.things: dict[Key, Thing] = {}
        self.edges: dict[tuple[Key, Key], list[Place]] = defaultdict(list)

    def thing(self, kind: str, name: str, label: str = "", role: str = "", environment: str = "") -> Key:
        """Add a thing, or say more of it."""
        known = self.things.get((kind, name))
        if known is None or (role and not known.role) or (environment and not known.environment):
            self.things[kind, name] = Thing(
                kind,
                name,
                label or (known.label if known else name),
                role or (known.role if known else ""),
                environment or (known.environment if known else ""),
            )
        return kind, name

    def edge(self, start: Key, end: Key, place: Place) -> None:
        self.edges[start, end].append(place)

    def graph(self, uses: Mapping[str, tuple[Use, ...]]) -> Graph:
        # By what people see; of two that look alike as they come. Never by marks: their key is another elsewhere.
        order = sorted(self.things, key=lambda one: (one[0], self.things[one].label))
        numbers = {one: number for number, one in enumerate(order)}
        places = {(numbers[a], numbers[b]): _places(found) for (a, b), found in self.edges.items()}
        leads_to: list[list[int]] = [[] for _ in order]
        led_from: list[list[int]] = [[] for _ in order]
        for a, b in sorted(places):
            leads_to[a].append(b)
            led_from[b].append(a)
        things = tuple(self.things[one] for one in order)
        endings = grouped(range(len(things)), lambda number: things[number].label[-4:])
        return Graph(
            things,
            tuple(map(tuple, leads_to)),
            tuple(map(tuple, led_from)),
            places,
            uses,
            numbers,
            {ending: tuple(of) for ending, of in endings.items()},
        )


def _places(found: list[Place]) -> tuple[Place, ...]:
    return tuple(sorted(set(found)) if len(found) > 1 else found)


def _credentials(inventory: Inventory, drawing: _Drawing) -> None:
    for unit in inventory.units:
        shown = label(next(iter(unit.secrets), unit.credentials[0]))
        credential = drawing.thing(CREDENTIAL, "+".join(unit.marks), shown)
        for one in unit.credentials:
            holder = drawing.thing(HOLDER, one.holder.name, role=one.holder.kind, environment=one.holder.environment)
            drawing.edge(holder, credential, one.place)
            if one.target:
                drawing.edge(credential, drawing.thing(TARGET, one.target), one.place)
        if key := inventory.key_of(unit):
            drawing.edge(credential, drawing.thing(IDENTITY, text(key, "of") or key.id), key.place)


def _principals(inventory: Inventory, drawing: _Drawing) -> None:
    """Add identities with their owners, and holders with what they run as and what they start."""
    servers = grouped(inventory.by_kind.get("mcp-server", ()), lambda one: text(one, "repository"))
    for one in inventory.all_principals:
        if one.kind in RUNNERS:
            holder = drawing.thing(HOLDER, one.id, role=RUNNERS[one.kind], environment=text(one, "environment"))
            if account := text(one, "service_account"):
                drawing.edge(holder, drawing.thing(IDENTITY, account), one.place)
            for server in servers.get(text(one, "repository"), ()) if one.kind == "agent" else ():
                drawing.edge(holder, drawing.thing(HOLDER, server.id), server.place)
        elif one.kind not in NO_VERTEX:
            identity = drawing.thing(IDENTITY, text(one, "of") or one.id)
            if owner := inventory.owner(one.id):
                drawing.edge(drawing.thing(OWNER, owner), identity, one.place)
