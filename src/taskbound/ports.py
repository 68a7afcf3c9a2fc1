"""Ports: what we ask of the world, as promises. Stores and plug-ins keep them; steps rely on nothing else.

Each port is small and has one public contract suite under tests/contracts, which every
implementation passes. `World` is what a step is given: made in `app`, the same for every step.
"""

from collections.abc import AsyncGenerator, Callable, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal, Protocol, TypeVar, runtime_checkable

from taskbound.core.catalogue import Tool
from taskbound.core.event import Event, Kind
from taskbound.core.identity import Facts, Identity, Peer, Process
from taskbound.core.leaf import Fact
from taskbound.core.lease import Lease
from taskbound.core.policy_dir import PolicyDir
from taskbound.core.secret import Secret
from taskbound.core.storm import Denials
from taskbound.core.thing import Thing
from taskbound.posture.seen import Seen

T = TypeVar("T", bound=Thing)

FOR_EVER = timedelta(days=36_500)  # until when `once` remembers what is once however long ago: a pin, a key


class Transaction(Protocol):
    """One look at the store's committed state, opened by a verified identity.

    Conditional writes are atomic. Everything recorded is durable when the block ends, or nothing
    is; a member of a failed shared commit raises StoreUnavailable. The body awaits nothing but
    this transaction. Opening, ending, activating and approving lock the task; calls do not.
    """

    @property
    def opener(self) -> Identity: ...

    @property
    def org(self) -> str: ...

    @property
    def now(self) -> datetime:
        """The store's clock, the only one deadlines are compared with. It never runs back."""

    async def get(self, noun: type[T], id: str, *, lock: bool = False) -> T:
        """Return the newest value. Raises NotFound, also for another organisation's id."""

    async def find(
        self,
        noun: type[T],
        *,
        due: datetime | None = None,
        after: str | None = None,
        limit: int | None = None,
        newest: bool = False,
        **where: object,
    ) -> list[T]:
        """Return the things whose INDEXED fields match, due not later than the moment given, by id.

        `after`: only those behind this id; `limit`: at most so many. `newest`: not by id, but what
        happened last first, for nouns that happen at a moment (Call).
        """

    async def count(self, noun: type[Thing], state: str) -> int:
        """Return how many things are in a state. They are not read for it."""

    async def left(self, task: str) -> dict[str, int]:
        """Return what is left of each quantity of the task's budget."""

    async def labels(self, root: str) -> frozenset[str]:
        """Return the labels of what the tree of tasks under this root has read. They only grow (D30)."""

    async def record(
        self,
        kind: Kind,
        thing: Thing | None = None,
        *,
        by: Identity | None = None,
        spent: Mapping[str, int] = {},
        shared: Mapping[str, int] = {},
        **detail: object,
    ) -> Event:
        """State a fact. The only way to change anything.

        Raises Conflict unless the stored state leads by this kind to the thing's state, and
        BudgetSpent where an amount is not there; then nothing happened. `spent` is taken from the
        task's own rows, or makes none: no row is spent. `shared`, with `task.opened`, makes the
        rows of a root task, or moves them from the parent's to the child's; ending a task moves
        the rest back. A fact about no thing names what it is about as `id`. The id of the request
        that it happens in comes from the opener (`for_request`).
        """

    async def once(self, purpose: str, value: str, until: datetime) -> None:
        """Return the first time a value is seen, on any node. Raises Replayed after that."""


class Store(Protocol):
    """Keeps everything: nouns, events, budgets, labels, one-time values."""

    def transaction(self, opener: Identity) -> AbstractAsyncContextManager[Transaction]: ...


class Provider(Protocol):
    """Makes and takes back credentials at one target.

    Names are a function of the lease, so every method may be repeated. Taking back what does not
    exist is success. Each call ends within its deadline or raises TargetUnavailable; it never
    blocks without limit.
    """

    async def create(self, lease: Lease) -> Secret:
        """Make the credential. The target itself must refuse it after lease.create_by (D3)."""

    async def cut(self, lease: Lease) -> None:
        """After this returns, the holder can no longer act. Short; waits for no lock (D5)."""

    async def clean(self, lease: Lease) -> None:
        """After this returns, no trace of the lease is left at the target."""

    async def names(self) -> set[str]:
        """Return every name at the target that carries our instance's prefix (D10)."""


@runtime_checkable
class Addressed(Protocol):
    """A provider whose credentials are logins at an address."""

    def address(self, lease: Lease) -> Mapping[str, str | int]:
        """Return host (or the folder of a Unix socket), port, database and user of the lease's login; no secret."""


@runtime_checkable
class Probes(Protocol):
    """A provider that keeps what it gave out until shortly after its end, so that it can show that it is dead (D21).

    In memory only, for 60 s after the lease was first cut, or expired, at most.
    """

    async def probe(self, lease: Lease) -> str | None:
        """Present the credential of a lease that was cut; return what the target said when it refused it.

        None: it is not kept any more; once the lease is clean it never is. Raises TargetUnavailable
        where the target gave no answer to it, StillLetIn where it let it in.
        """


@dataclass(frozen=True, slots=True)
class Lack:
    """Something that a target has to have and has not."""

    what: str  # one sentence
    statement: str = ""  # what its administrator runs; "" where nothing of the kind helps
    database: str = ""  # in which one; "" where it is all the same


@runtime_checkable
class Checked(Protocol):
    """Something that can say what a target lacks before leases are issued there. It changes nothing."""

    async def lacks(self) -> list[Lack]:
        """Return what the target lacks; once all statements were run, nothing. Raises TargetUnavailable."""


class Policies(Protocol):
    """The policy directory in force. A broken one never replaces a whole one."""

    @property
    def current(self) -> PolicyDir:
        """The one in force; before the first one that permits nothing but what is built in."""

    def read(self) -> PolicyDir:
        """Read the directory whole. Raises InvalidRequest (`invalid_policy`); changes nothing."""

    def tools(self, upstream: str) -> Mapping[str, Tool]:
        """Return an upstream's tools by name, as its files say now, whatever the others say.

        Raises InvalidRequest (`invalid_policy`) when those are broken.
        """

    def file(self, path: str) -> bytes:
        """Return a file of the directory as it is now; empty when there is none. Raises InvalidRequest."""

    def adopt(self, policies: PolicyDir) -> None:
        """Put what was read in force."""

    def write(self, files: Mapping[str, bytes]) -> None:
        """Write files of the directory, by their paths in it, each whole or not at all. Raises Unavailable."""


class Attestor(Protocol):
    """Learns facts about a workload at the other end of a Unix socket. Doubt is refusal."""

    async def attest(self, peer: Peer) -> Facts:
        """Return what the process is. Raises Unauthenticated when it is gone, or another by now."""

    async def ancestors(self, peer: Peer) -> tuple[Process, ...]:
        """Return the process and its parents, nearest first, up to the first process that there is.

        Raises Unauthenticated when they cannot be shown.
        """

    async def is_confined(self, peer: Peer) -> bool:
        """Return whether the process is under restrictions that `run` puts on all it starts and nobody takes off.

        They outlive the `run`, so they tell an agent whose ancestors no longer do. Doubt is true.
        """


class Answer(Protocol):
    """What an origin answered: its head, and its body as it comes."""

    @property
    def status(self) -> int: ...

    @property
    def headers(self) -> Mapping[str, str]: ...  # names in lower case

    async def read(self) -> bytes:
        """Return what came next; b"" at the end. Raises UpstreamUnavailable when it breaks off, or is too much."""


class Origin(Protocol):
    """HTTP with one address that the operator configured, and with no other. Given by plugins.net."""

    def request(
        self, method: str, headers: Mapping[str, str], body: bytes = b""
    ) -> AbstractAsyncContextManager[Answer]:
        """Send one request with these headers and none of another's. Raises UpstreamUnavailable.

        Redirects are answers like others; leaving the block early drops what is not read yet.
        """


class Upstream(Protocol):
    """One session with one MCP server. Connected at first use, and again after it was lost.

    A session belongs to one task (INTERFACES 6). Every method ends within its deadline or raises
    UpstreamUnavailable; what the server says is data.
    """

    async def tools(self, credential: Secret | None = None) -> list[Mapping[str, Any]]:
        """Return the definitions of all tools that the server offers now, in its order.

        The credential opens the session too, where there is none yet.
        """

    def call(
        self, tool: str, arguments: Mapping[str, Any], credential: Secret | None
    ) -> AsyncGenerator[Mapping[str, Any], None]:
        """Yield the JSON-RPC messages that answer one call: notifications, and last the response.

        Closing it before the response gives the call up.
        """

    async def close(self) -> None:
        """End the session. May be repeated; never raises."""


class Log(Protocol):
    """The sealed sequence of an organisation's events, the lane's (D19). Given by the stores.

    An event gets its index once, dense from 0, and keeps it; a tile only grows; the checkpoint
    moves only from the one that the caller read. Only what is committed is seen. Each method is
    one transaction: durable when it returns, or nothing is.
    """

    async def checkpoint(self, lane: Identity) -> bytes | None:
        """Return the newest signed checkpoint; None before the first."""

    async def appended(self, lane: Identity) -> int:
        """Return how many events have an index: more than the checkpoint says after a crash before `publish`."""

    async def unsealed(self, lane: Identity, limit: int) -> list[Fact]:
        """Return events without an index, the oldest rows first."""

    async def extend(
        self,
        lane: Identity,
        start: int,
        facts: Sequence[Fact],
        tiles: Mapping[tuple[int, int], bytes],
        *,
        after: bytes | None,
    ) -> None:
        """Give the facts the indexes from `start`, and keep the tiles by level and index.

        Raises Conflict, and nothing happened, unless `start` events have an index, the facts have
        none, and `after` is the checkpoint.
        """

    async def publish(self, lane: Identity, checkpoint: bytes, *, after: bytes | None) -> None:
        """Make this the checkpoint. Raises Conflict unless `after` still is."""

    async def read(self, lane: Identity, start: int, end: int) -> list[Fact]:
        """Return the events with these indexes, in their order, as they are stored."""

    async def tile(self, lane: Identity, level: int, index: int) -> bytes:
        """Return the hashes of a tile; empty when there is none."""

    async def about(self, lane: Identity, id: str) -> list[Fact]:
        """Return the events about one thing, sealed or not, oldest first, as they are stored."""

    async def bodies(self, lane: Identity, before: datetime, limit: int) -> list[int]:
        """Return the indexes of events from before that moment that have a body, in order."""

    async def erase(self, lane: Identity, indexes: Sequence[int], by: Identity, reason: str) -> int:
        """Remove bodies and salts, and state it as one `body.erased`. Return how many of the indexes it names.

        In one transaction. It names as many, from the first on, as fit into one header; an index
        that is not sealed, or whose body is gone, raises Conflict.
        """


ES256 = frozenset({"token"})  # the purposes whose keys are P-256 and sign ES256; those of all others are Ed25519


class Keys(Protocol):
    """Signs for us. A key has one purpose, so that what is signed for one is never valid for another."""

    async def sign(self, purpose: str, message: bytes) -> bytes:
        """Return the signature, 64 bytes: Ed25519, or ES256 (RFC 7518 3.4) where the purpose says so.

        Raises Unavailable, also for a purpose that has no key.
        """

    async def public(self) -> Mapping[str, bytes]:
        """Return the public keys by purpose: of Ed25519 its 32 bytes, of P-256 the uncompressed point, 65 bytes.

        Each is read once: asked again, nothing outside of the process is touched.
        """


class Checkpoints(Protocol):
    """A second place for checkpoints, on another disk than the log: what it has seen cannot be unsaid there."""

    async def put(self, origin: str, size: int, checkpoint: bytes) -> None:
        """Keep a checkpoint, durably. May be repeated. Raises Unavailable, also for another one of that size."""

    async def newest(self, origin: str) -> bytes | None:
        """Return the checkpoint of the largest size; None when there is none. Raises Unavailable."""


class Sink(Protocol):
    """Takes sealed events out of here, at least once and in order."""

    async def last(self) -> int:
        """Return the index of the last event that it has durably; -1 before the first. Raises Unavailable."""

    async def send(self, facts: Sequence[Fact]) -> None:
        """Take sealed events, in the order of their indexes. What it has already may come again. Raises Unavailable."""


class Archive(Protocol):
    """Takes the files of an export."""

    async def write(self, path: str, data: bytes) -> None:
        """Add the data to the end of a file; its folders are made. Raises Unavailable."""


class Discoverer(Protocol):
    """Sees who holds which credentials somewhere. Changes nothing there and sends nothing."""

    def discover(self) -> Iterator[Seen]:
        """Yield what is seen, part by part, in an order that depends on nothing but what is there.

        What cannot be read is named, and stops nothing. The value of a credential is in nothing that is yielded.
        Ends by itself, in bounded memory; closing it early ends what it has begun.
        """


Standing = Literal["alive", "dead", "unknown"]


class Issuer(Protocol):
    """Where a login is made and dies: one server that is really asked. Each call ends within its deadline."""

    async def probe(self, login: str, password: Secret | None) -> Standing:
        """Return whether a login lets in: with the password by a real login, without one as the catalogue says.

        A login that does not exist is dead, and so is one whose password the server refuses. Whatever gives no answer
        of that kind (not reached, too many connections, no right to read the catalogue) is unknown, and so is a login
        without a name. Never raises.
        """

    async def kill(self, login: str) -> None:
        """After this returns, nobody logs in by that name, and nobody who did is still there.

        May be repeated; what does not exist is dead. The login itself stays, and so does what it owns. Raises
        Unavailable.
        """


@dataclass(frozen=True, slots=True)
class World:
    """What steps are given. `app` and tests make it; nothing in it can be replaced afterwards."""

    store: Store
    log: Log
    keys: Keys
    checkpoints: Checkpoints
    policies: Policies
    providers: Mapping[str, Provider]  # by target
    issuers: Mapping[str, Issuer]  # by address, postgresql://host:port: those whose logins we may end
    upstreams: Mapping[str, Callable[[], Upstream]]  # by name: opens one session
    attestor: Attestor | None  # of workloads on this machine; None where no door listens on a Unix socket
    trust_domain: str
    operator: str | None  # SPIFFE ID of the local operator; None where nobody administers without a policy
    instance: str  # six characters, part of every name at a target
    node: str  # which of the processes on one store this is; "" where there is one (`up`)
    new_id: Callable[[str], str]  # kind letter -> id (INTERFACES 1)
    new_handle: Callable[[], tuple[Secret, str]]  # a task handle and its SHA-256
    denials: Denials  # those of this process that others may repeat
