"""Identity: who is asking, proven: an immutable value that only a successful proof can make (D15).

What is stored is a Registration (name, kind, owner, lifecycle). What arrives is a Claim: who is
said to ask, and by which proof. `identify` turns a claim, the registration it leads to and the
task it names into an Identity, or raises; there is no default and no optional identity.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import ClassVar

from taskbound.core.errors import Unauthenticated
from taskbound.core.event import Kind
from taskbound.core.thing import Lifecycle

KINDS = ("human", "service", "agent")


@dataclass(frozen=True, slots=True)
class Facts:
    """What an attestor learned about a workload, or a door about its peer. The attestor's name is the assurance."""

    attestor: str
    of: Mapping[str, str | int]


@dataclass(frozen=True, slots=True)
class OneTime:
    """A value that works once, on any node, until a moment (S7)."""

    purpose: str
    value: str
    until: datetime


@dataclass(frozen=True, slots=True)
class Claim:
    """Who is said to ask: a task handle's digest, or facts. All that could be checked without a store."""

    org: str
    handle: str | None = None  # SHA-256 of the handle, hexadecimal
    facts: Facts | None = None
    spend: tuple[OneTime, ...] = ()


@dataclass(frozen=True, slots=True)
class Registration:
    """A name that may be proven: who it is, what it is for, and the human who answers for it."""

    LIFECYCLE: ClassVar[Lifecycle] = {
        "":           {Kind.IDENTITY_REGISTERED: "registered"},
        "registered": {Kind.IDENTITY_ATTESTED: "registered", Kind.IDENTITY_SUSPENDED: "suspended",
                       Kind.IDENTITY_RETIRED: "retired", Kind.IDENTITY_OFFBOARDED: "retired"},
        "suspended":  {Kind.IDENTITY_RESUMED: "registered", Kind.IDENTITY_RETIRED: "retired",
                       Kind.IDENTITY_OFFBOARDED: "retired"},
        "retired":    {},
    }  # fmt: skip
    INDEXED: ClassVar[tuple[str, ...]] = ("spiffe_id", "owner", "attestor", "state")

    id: str
    org: str
    spiffe_id: str
    kind: str
    owner: str  # SPIFFE ID of a human; a human owns itself
    purpose: str
    environment: str
    groups: tuple[str, ...]
    attestor: str
    when: Mapping[str, str | int]  # the facts that must be shown, all of them
    state: str = ""

    @property
    def is_live(self) -> bool:
        return self.state == "registered"

    def matches(self, facts: Facts) -> bool:
        """Whether the facts are those that this registration asks for. One that asks for none matches nobody."""
        return (
            facts.attestor == self.attestor
            and bool(self.when)
            # Of one type too: to Python, True is 1.
            and all((type(v), v) == (type(facts.of.get(k)), facts.of.get(k)) for k, v in self.when.items())
        )


@dataclass(frozen=True, slots=True)
class Identity:
    """Somebody who asks, proven. Made by `identify`, and by `door` for our own parts."""

    org: str
    spiffe_id: str
    kind: str  # human, service, agent; "taskbound" for our own doors and lanes
    owner: str
    environment: str
    groups: tuple[str, ...]
    assurance: str  # how it was proven: unix, handle, ...
    facts: Mapping[str, str | int] = field(default_factory=dict)
    task: str | None = None
    act: tuple[str, ...] = ()  # who acted before, nearest first (RFC 8693 4.1: the outermost `act` is the nearest)

    @property
    def name(self) -> str:
        """The part after the trust domain, as it stands in files, commands and policies: agent/nightly."""
        return name_of(self.spiffe_id)

    @property
    def is_ours(self) -> bool:
        return self.kind == "taskbound"


def name_of(spiffe_id: str) -> str:
    """Return the part of a SPIFFE ID after its trust domain."""
    return spiffe_id.split("/", 3)[3]


def identify(claim: Claim, registration: Registration, task: str | None, act: tuple[str, ...]) -> Identity:
    """Return the identity that a claim proves. Raises Unauthenticated."""
    if not registration.is_live:
        raise Unauthenticated(f"{name_of(registration.spiffe_id)} is {registration.state}: it cannot act")
    if claim.handle is not None and task is not None:
        assurance, of = "handle", {}
    elif claim.facts is not None and task is None and registration.matches(claim.facts):
        assurance, of = claim.facts.attestor, dict(claim.facts.of)
    else:
        raise Unauthenticated("the claim proves no identity")
    return Identity(
        org=registration.org,
        spiffe_id=registration.spiffe_id,
        kind=registration.kind,
        owner=registration.owner,
        environment=registration.environment,
        groups=registration.groups,
        assurance=assurance,
        facts=of,
        task=task,
        act=act,
    )


def door(trust_domain: str, name: str, org: str) -> Identity:
    """Return the identity of one of our own doors or lanes, `/taskbound/<name>`. Called by app and tests only."""
    spiffe_id = f"spiffe://{trust_domain}/taskbound/{name}"
    return Identity(org, spiffe_id, "taskbound", spiffe_id, "", (), "own")
