"""Identity: who is asking, proven: an immutable value that only a successful proof can make (D15).

What is stored is a Registration (name, kind, owner, lifecycle). What arrives is a Claim: who is
said to ask, and by which proof. `identify` turns a claim, the registration it leads to and the
task it names into an Identity, or raises; there is no default and no optional identity.

A join token is evidence for a machine that can show nothing else yet: its registration asks for
the SHA-256 of the token's text, which holds the moment until which it works, once (S7, A6.3).

A task token is for callers off the host (INTERFACES 5): it works with a proof of the key that it is
bound to alone, and each proof works once (RFC 9449). Which requests a proof is for is found out by the
door; when it is for, whether it is its first, and whether its key is the token's is found out here.
"""

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import ClassVar, Protocol

from taskbound.core.errors import InvalidRequest, Unauthenticated
from taskbound.core.event import Kind
from taskbound.core.refusal import nearest, quoted
from taskbound.core.thing import Lifecycle
from taskbound.formats.canonical import digest_parts
from taskbound.formats.spiffe import MalformedSpiffeId, make

KINDS = ("human", "service", "agent")
NAMES = "such as agent/nightly or human/alice"  # how a name is spelled, for who spelled none
JOIN_TOKEN = "join_token"  # the attestor of who shows one
ANOTHER = "each works once, for ten minutes at most: taskbound identity join NAME prints another"
PROOF_CODE = "invalid_dpop_proof"  # RFC 9449 7.1
# What each attestor can learn, and of which type: a registration that asks for anything else would match nobody.
FACTS: Mapping[str, Mapping[str, type[str | int]]] = {
    "unix": {
        "uid": int, "gid": int, "pid": int, "started": int,
        "path": str, "sha256": str, "script": str, "script_sha256": str,
    },
    "operator": {"uid": int, "name": str},
    JOIN_TOKEN: {},  # they come with the token that is issued
}  # fmt: skip
_EXAMPLES: Mapping[type[str | int], tuple[str, str]] = {int: ("a number", "1000"), str: ("a text", '"…"')}
_JOIN_TOKEN = re.compile(r"tbj_[A-Za-z0-9_-]{43}\.([0-9]{1,10})")


@dataclass(frozen=True, slots=True)
class Process:
    """One process of this machine. A pid is used again; with its start time it is not."""

    pid: int
    started: int  # clock ticks since boot, field 22 of /proc/PID/stat
    node: str = ""  # of several on one store, the one whose machine it runs on: only where it is stored


@dataclass(frozen=True, slots=True)
class Peer:
    """Who is at the other end of a Unix socket, as the kernel says (SO_PEERCRED)."""

    uid: int
    gid: int
    process: Process


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
    since: datetime | None = None  # it works from then on; None: from ever
    code: str = ""  # the standard's, of a refusal; "": Unauthenticated's, and Replayed for a second time
    again: str = ""  # how to get another


@dataclass(frozen=True, slots=True)
class Token:
    """What a task token of ours says of who shows it; its signature and audience held."""

    id: str  # its jti
    org: str
    task: str
    actor: str  # SPIFFE ID of who works in the task
    key: str  # thumbprint of the key that it is bound to (RFC 7638)
    since: datetime
    until: datetime


@dataclass(frozen=True, slots=True)
class Claim:
    """Who is said to ask: a task handle's digest, a task token, or facts. All that could be checked without a store."""

    org: str
    handle: str | None = None  # SHA-256 of the handle, hexadecimal
    facts: Facts | None = None
    token: Token | None = None
    key: str | None = None  # thumbprint of the key of which a proof was shown
    spend: tuple[OneTime, ...] = ()

    @property
    def names_task(self) -> bool:
        """Whether it is somebody in a task who is said to ask."""
        return self.handle is not None or self.token is not None


@dataclass(frozen=True, slots=True)
class Registration:
    """A name that may be proven: who it is, what it is for, and the human who answers for it."""

    LIFECYCLE: ClassVar[Lifecycle] = {
        "":           {Kind.IDENTITY_REGISTERED: "registered"},
        # Registered anew: with other facts. It lifts no suspension.
        "registered": {Kind.IDENTITY_ATTESTED: "registered", Kind.IDENTITY_SUSPENDED: "suspended",
                       Kind.IDENTITY_REGISTERED: "registered",
                       Kind.IDENTITY_RETIRED: "retired", Kind.IDENTITY_OFFBOARDED: "retired"},
        "suspended":  {Kind.IDENTITY_RESUMED: "registered", Kind.IDENTITY_REGISTERED: "suspended",
                       Kind.IDENTITY_RETIRED: "retired", Kind.IDENTITY_OFFBOARDED: "retired"},
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


class Entry(Protocol):
    """What is stated of an identity, by who asks for it or in registrations.toml. Names as people write them."""

    @property
    def name(self) -> str: ...  # agent/nightly

    @property
    def owner(self) -> str: ...  # human/alice

    @property
    def purpose(self) -> str: ...

    @property
    def environment(self) -> str: ...

    @property
    def groups(self) -> tuple[str, ...]: ...

    @property
    def attestor(self) -> str: ...

    @property
    def when(self) -> Mapping[str, str | int]: ...


@dataclass(frozen=True, slots=True)
class Identity:
    """Somebody who asks, proven. Made by `identify`, and by `door` for our own parts."""

    org: str
    spiffe_id: str
    kind: str  # human, service, agent; "taskbound" for our own doors and lanes
    owner: str
    environment: str
    groups: tuple[str, ...]
    assurance: str  # how it was proven: unix, handle, token, ...
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


def require_facts(name: str, attestor: str, when: Mapping[str, str | int]) -> None:
    """Raises InvalidRequest unless there is such an attestor, for such a name, and it can learn each of the facts.

    A fact is of one type, and of no other that only equals it: to Python, True is 1.
    """
    if attestor not in FACTS:
        raise InvalidRequest(f"there is no attestor {quoted(attestor)}", hint=nearest(attestor, FACTS))
    for fact, value in when.items() if attestor != JOIN_TOKEN else ():
        if fact not in FACTS[attestor]:
            message = f"{attestor} learns no fact {quoted(fact)}"
            raise InvalidRequest(message, hint=nearest(fact, FACTS[attestor]))
        if type(value) is not FACTS[attestor][fact]:
            what, example = _EXAMPLES[FACTS[attestor][fact]]
            raise InvalidRequest(f"the fact {quoted(fact)} is {what}", hint=f"use {fact} = {example}")
    if attestor == "operator" and not name.startswith("human/"):
        # Two that match are a doubt, and doubt is refusal: nobody would administer any more, nor take it back.
        raise InvalidRequest(f"{name[:64]} is no human, so it is no 'operator'", hint="use attestor unix")


def registration_of(id: str, org: str, trust_domain: str, entry: Entry) -> Registration:
    """Return the registration that an entry states, not yet registered. Raises InvalidRequest."""
    name, owner = entry.name, entry.owner
    kind, _, rest = name.partition("/")
    if kind not in KINDS or not rest:
        raise InvalidRequest(f"{name[:64]!r} is no name of an identity", hint="use human/…, service/… or agent/…")
    if kind == "human" and owner != name:
        raise InvalidRequest(f"a human owns itself, so {name[:64]} has no other owner", hint=f"use owner {name[:64]}")
    if not owner.startswith("human/"):
        raise InvalidRequest(f"the owner of {name[:64]} must be a human", hint="use owner human/NAME")
    require_facts(name, entry.attestor, entry.when)
    if entry.attestor == JOIN_TOKEN and entry.when:
        # A token that somebody chose would have the life that they chose.
        raise InvalidRequest(f"{name[:64]} joins with a token that is issued", hint="leave `when` out")
    if entry.attestor != JOIN_TOKEN and not entry.when:
        raise InvalidRequest(f"{name[:64]} has no facts by which it is proven", hint="add `when`")
    try:
        spiffe_id, owner_id = make(trust_domain, name), make(trust_domain, owner)
    except MalformedSpiffeId as error:
        raise InvalidRequest(f"{name[:64]!r} is no name of an identity: {error}", hint=NAMES) from None
    return Registration(
        id=id,
        org=org,
        spiffe_id=str(spiffe_id),
        kind=kind,
        owner=str(owner_id),
        purpose=entry.purpose,
        environment=entry.environment,
        groups=entry.groups,
        attestor=entry.attestor,
        when=dict(entry.when),
    )


def join_claim(org: str, token: str) -> Claim:
    """Return the claim of who shows a join token, `tbj_<43 base64url>.<unix seconds>`. Raises Unauthenticated."""
    shown = _JOIN_TOKEN.fullmatch(token)
    if shown is None:
        raise Unauthenticated("this is no join token", hint=ANOTHER)
    digest = hashlib.sha256(token.encode()).hexdigest()
    until = datetime.fromtimestamp(int(shown[1]), UTC)
    spend = OneTime("join token", digest, until, again=ANOTHER)
    return Claim(org, facts=Facts(JOIN_TOKEN, {"token": digest}), spend=(spend,))


def proof_of(key: str, id: str, issued: datetime, window: timedelta, ahead: timedelta) -> OneTime:
    """Return a DPoP proof as the one-time value that it is: of its key, so that nobody uses up another's (RFC 9449)."""
    value = digest_parts(key.encode(), id.encode())
    return OneTime("DPoP proof", value, issued + window, issued - ahead, PROOF_CODE, "make a proof for each request")


def identify(claim: Claim, registration: Registration, task: str | None, act: tuple[str, ...]) -> Identity:
    """Return the identity that a claim proves. Raises Unauthenticated."""
    if not registration.is_live:
        raise Unauthenticated(f"{name_of(registration.spiffe_id)} is {registration.state}: it cannot act")
    assurance: str
    of: dict[str, str | int]
    if claim.handle is not None and task is not None:
        assurance, of = "handle", {}
    elif claim.token is not None and task == claim.token.task:
        token = claim.token
        if token.org != registration.org or token.actor != registration.spiffe_id:
            raise Unauthenticated("the token is not of who works in its task")
        if claim.key != token.key:  # stolen: who has the token alone has nothing (A2.1)
            raise Unauthenticated("the token is bound to another key than the one proven")
        assurance, of = "token", {"token": token.id, "key": token.key, "until": int(token.until.timestamp())}
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


def for_request(door: Identity, request: str) -> Identity:
    """Return the door as it opens transactions for one request: the request's id stands in each event of it."""
    return replace(door, facts={"request": request})
