"""The memory store: a real store that forgets when the process ends; for tests and for trying out.

A transaction works on an overlay and is applied at once when its block ends. Blocks never
interleave, because a block awaits nothing but its transaction, which never suspends; the store
raises when one does (the durable stores rely on the same rule, INTERFACES 12). Contract suite:
tests/contracts/store.py.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Any, TypeVar

from taskbound.core.call import Call
from taskbound.core.errors import BudgetSpent, Conflict, NotFound, Replayed
from taskbound.core.event import Event, Kind
from taskbound.core.identity import Identity
from taskbound.core.task import Task
from taskbound.core.thing import Thing, event_about, next_state, noun_of

T = TypeVar("T", bound=Thing)
Key = tuple[str, str, str]  # organisation, noun, id
Row = tuple[str, str, str]  # organisation, task, quantity


class MemoryStore:
    """Everything in dictionaries. `events` is in the order of commits."""

    def __init__(self, clock: Callable[[], datetime]) -> None:
        self._clock = clock
        self._latest: datetime | None = None
        self.things: dict[Key, Any] = {}
        self.budgets: dict[Row, int] = {}
        self.read: dict[tuple[str, str], frozenset[str]] = {}  # organisation, root task -> labels
        self.seen: dict[tuple[str, str, str], datetime] = {}
        self.events: list[Event] = []

    def _now(self) -> datetime:
        # A clock that runs back must not revive what was due (D12).
        self._latest = max(self._clock(), self._latest or datetime.min.replace(tzinfo=self._clock().tzinfo))
        return self._latest

    @asynccontextmanager
    async def transaction(self, opener: Identity) -> AsyncIterator["MemoryTransaction"]:
        """Open a transaction as this identity, for its organisation."""
        strayed = False

        def stray() -> None:
            nonlocal strayed
            strayed = True

        sentinel = asyncio.get_running_loop().call_soon(stray)
        try:
            tx = MemoryTransaction(self, opener, self._now())
            yield tx
            if strayed:
                raise RuntimeError("the body of a transaction awaited something other than its transaction")
            tx.apply()
        finally:
            sentinel.cancel()


class MemoryTransaction:
    """One look at the store; what it writes is seen by itself, and by others when its block ends."""

    def __init__(self, store: MemoryStore, opener: Identity, now: datetime) -> None:
        self.opener, self.org, self.now = opener, opener.org, now
        self._store = store
        self._things: dict[Key, Any] = {}
        self._budgets: dict[Row, int] = {}
        self._read: dict[tuple[str, str], frozenset[str]] = {}
        self._seen: dict[tuple[str, str, str], datetime] = {}
        self._events: list[Event] = []

    def apply(self) -> None:
        store = self._store
        store.things.update(self._things)
        store.budgets.update(self._budgets)
        store.read.update(self._read)
        store.seen.update(self._seen)
        store.events.extend(self._events)

    def _thing(self, kind: str, id: str) -> Any:
        key = (self.org, kind, id)
        return self._things.get(key) or self._store.things.get(key)

    async def get(self, noun: type[T], id: str, *, lock: bool = False) -> T:
        found = self._thing(noun_of(noun), id)
        if found is None:
            raise NotFound(f"there is no {noun_of(noun)} {id[:32]}")
        thing: T = found
        return thing

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
        if newest and "at" not in noun.__dataclass_fields__:
            raise TypeError(f"{noun_of(noun)} happens at no moment")
        if unknown := set(where) - set(noun.INDEXED):
            raise TypeError(f"{noun_of(noun)} is not indexed by {', '.join(sorted(unknown))}")
        merged = {**self._store.things, **self._things}
        found: list[T] = [t for (org, kind, _), t in merged.items() if org == self.org and kind == noun_of(noun)]
        matching = [
            thing
            for thing in found
            if all(getattr(thing, name) == value for name, value in where.items())
            and (due is None or _is_due(thing, due))
            and (after is None or thing.id > after)
        ]
        by_id = sorted(matching, key=lambda thing: thing.id)
        return (sorted(by_id, key=_at, reverse=True) if newest else by_id)[:limit]

    async def count(self, noun: type[Thing], state: str) -> int:
        return len(await self.find(noun, state=state))

    async def left(self, task: str) -> dict[str, int]:
        merged = {**self._store.budgets, **self._budgets}
        return {quantity: n for (org, owner, quantity), n in merged.items() if (org, owner) == (self.org, task)}

    async def labels(self, root: str) -> frozenset[str]:
        key = (self.org, root)
        return self._store.read.get(key, frozenset()) | self._read.get(key, frozenset())

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
        if thing is not None:
            self._require_follows(kind, thing)
        event = event_about(
            thing,
            kind,
            detail,
            org=self.org,
            at=self.now,
            by=(by or self.opener).spiffe_id,
            via=self.opener.spiffe_id,
            request=self.opener.facts.get("request", ""),
            spent=spent,
            shared=shared,
        )
        moves = self._moves(event)
        # Nothing above changed anything: a refused fact leaves no trace in this transaction.
        self._budgets.update(moves)
        if thing is not None:
            self._things[(self.org, noun_of(thing), thing.id)] = thing
        if isinstance(thing, Call) and thing.root and thing.labels:
            self._read[(self.org, thing.root)] = await self.labels(thing.root) | set(thing.labels)
        self._events.append(event)
        return event

    def _require_follows(self, kind: Kind, thing: Thing) -> None:
        if thing.org != self.org:
            raise Conflict(f"{noun_of(thing)} {thing.id} belongs to another organisation")
        stored = self._thing(noun_of(thing), thing.id)
        state = next_state(thing, stored.state if stored else "", kind, thing.id)
        if state != thing.state:
            raise Conflict(f"{noun_of(thing)} {thing.id} would become {state} by {kind}, not {thing.state}")

    def _balance(self, task: str, quantity: str) -> int | None:
        row = (self.org, task, quantity)
        return self._budgets.get(row, self._store.budgets.get(row))

    def _moves(self, event: Event) -> dict[Row, int]:
        """Return the budget rows as they are after the fact. Raises BudgetSpent."""
        thing, moves = event.value, dict[Row, int]()

        def take(task: str, quantity: str, amount: int) -> None:
            balance = self._balance(task, quantity)
            if amount < 0 or balance is None or balance < amount:
                raise BudgetSpent(f"task {task} has {balance or 0} {quantity} left, {amount} were asked")
            moves[(self.org, task, quantity)] = balance - amount

        for quantity, amount in event.spent.items():
            take(thing.task, quantity, amount)
        for quantity, amount in event.shared.items():
            if thing.parent is not None:
                take(thing.parent, quantity, amount)
            moves[(self.org, thing.id, quantity)] = amount
        if isinstance(thing, Task) and event.kind is Kind.TASK_ENDED and thing.parent is not None:
            rest = {**self._store.budgets, **self._budgets}
            for (org, owner, quantity), amount in rest.items():
                if (org, owner) == (self.org, thing.id) and amount:
                    moves[(org, owner, quantity)] = 0
                    moves[(org, thing.parent, quantity)] = (self._balance(thing.parent, quantity) or 0) + amount
        return moves

    async def once(self, purpose: str, value: str, until: datetime) -> None:
        key = (self.org, purpose, value)
        if key in self._seen or key in self._store.seen:
            raise Replayed(f"this {purpose} was used before")
        self._seen[key] = until


def _at(thing: Any) -> datetime:
    at: datetime = thing.at
    return at


def _is_due(thing: Any, moment: datetime) -> bool:
    return thing.due is not None and thing.due <= moment
