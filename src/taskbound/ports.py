"""Ports: what we ask of the world, as promises. Stores and plug-ins keep them; steps rely on nothing else.

Each port is small and has one public contract suite under tests/contracts, which every
implementation passes. `World` is what a step is given: made in `app`, the same for every step.
"""

from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol, TypeVar

from taskbound.core.event import Event, Kind
from taskbound.core.identity import Identity
from taskbound.core.lease import Lease
from taskbound.core.policy_dir import PolicyDir
from taskbound.core.secret import Secret
from taskbound.core.thing import Thing

T = TypeVar("T", bound=Thing)


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

    async def find(self, noun: type[T], *, due: datetime | None = None, **where: object) -> list[T]:
        """Return the things whose INDEXED fields match, due not later than the moment given, by id."""

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
        the rest back. A fact about no thing names what it is about as `id`; `request` is the id of
        the request that it happens in.
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


class Policies(Protocol):
    """The policy directory in force. A broken one never replaces a whole one."""

    @property
    def current(self) -> PolicyDir:
        """The one in force; before the first load one that permits nothing."""

    def load(self) -> PolicyDir:
        """Read the directory whole and put it in force. Raises InvalidRequest (`invalid_policy`), changing nothing."""


@dataclass(frozen=True, slots=True)
class World:
    """What steps are given. `app` and tests make it; nothing in it can be replaced afterwards."""

    store: Store
    policies: Policies
    providers: Mapping[str, Provider]  # by target
    trust_domain: str
    instance: str  # six characters, part of every name at a target
    new_id: Callable[[str], str]  # kind letter -> id (INTERFACES 1)
    new_handle: Callable[[], tuple[Secret, str]]  # a task handle and its SHA-256
