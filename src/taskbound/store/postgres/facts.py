"""Facts: `record`, the one write verb, and `once`.

A fact is one statement, conditional on the stored state (sql.py), after the locks that it needs.
"""

import hashlib
import os
from collections.abc import Mapping
from datetime import datetime, timedelta
from types import TracebackType
from typing import Self

from taskbound.core.call import Call
from taskbound.core.errors import BudgetSpent, Conflict, InvalidRequest, Replayed, StoreUnavailable, TaskboundError
from taskbound.core.event import Event, Kind
from taskbound.core.identity import Identity, Registration
from taskbound.core.task import Task
from taskbound.core.thing import Thing, event_about, next_state, noun_of
from taskbound.store.postgres import sql
from taskbound.store.postgres.block import UNFIT, Block
from taskbound.store.postgres.name import Name
from taskbound.store.postgres.pool import Links
from taskbound.store.postgres.reading import Reading
from taskbound.store.postgres.time import DatabaseTime
from taskbound.store.reserve import ENDS
from taskbound.store.rows import TABLES, body, from_moment

REMEMBERED = timedelta(hours=1)  # one-time values are kept so much longer than they could be used
BARRED = ("suspended", "ended")  # states of a task into which no call in flight may slip


class PostgresTransaction:
    """One look at the store, from entering its block to leaving it; leaving waits for COMMIT."""

    def __init__(self, links: Links, time: DatabaseTime, name: Name | None, opener: Identity) -> None:
        self.opener, self.org = opener, opener.org
        self._time = time
        self._block = block = Block(links, time, name)
        self._reading = reading = Reading(block, self.org)
        self.query, self.write = block.query, reading.write
        self.get, self.find, self.count = reading.get, reading.find, reading.count
        self.left, self.labels = reading.left, reading.labels

    @property
    def now(self) -> datetime:
        return self._block.now

    async def __aenter__(self) -> Self:
        await self._block.enter()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._block.leave(kind)

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
        if kind not in ENDS and self._time.is_doubtful:
            raise StoreUnavailable(
                "the clocks of the node and of the database differ: nothing new is permitted", hint="set both by NTP"
            )
        if thing is not None and thing.org != self.org:
            raise Conflict(f"{noun_of(thing)} {thing.id} belongs to another organisation")
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
        said = sql.Statement()
        if thing is not None:
            await self._keep(said, event, thing)
        if isinstance(thing, Task) and event.kind is Kind.TASK_OPENED:
            await self._hold_people(thing, event.by)
        try:
            text, salt = body(event), os.urandom(32)
        except UnicodeEncodeError as error:
            raise InvalidRequest(UNFIT) from error
        said.state(event, from_moment(event.at), hashlib.sha256(salt + text).digest(), salt, text)
        if isinstance(thing, Call) and thing.root and thing.labels:
            said.label(self.org, thing.root, thing.labels)
        await self._move(said, event)
        rows = await self.write(said.sql, *said.values)
        if thing is not None:
            if not rows:
                raise await self._refusal(event, thing)
            self._reading.seen[TABLES[type(thing)].name, thing.id] = rows[0]["version"]
        if isinstance(thing, Registration):
            self._reading.people[thing.spiffe_id] = thing
        return event

    async def _keep(self, said: sql.Statement, event: Event, thing: Thing) -> None:
        """Say how the thing becomes its table's newest value."""
        sources = sql.sources_of(thing, event.kind)
        if not sources:
            raise await self._refusal(event, thing)
        seen = self._reading.seen.get((TABLES[type(thing)].name, thing.id))
        said.keep(thing, sources, seen=seen, needs=_needs(event, sources))

    async def _hold_people(self, task: Task, by: str) -> None:
        """Hold the registrations that were read of whom a task is for, acts or opens it, and of their owners.

        Raises Conflict if one is not as it was read: to be attested changes none.
        """
        names = {by, task.actor, task.subject or task.actor}
        names |= {self._reading.people[name].owner for name in names if name in self._reading.people}
        read = {one.id: one for name in names if (one := self._reading.people.get(name))}
        if read:
            hold = sql.HOLD if task.parent is None else sql.HOLD_IF_FREE
            rows = await self.write(hold, self.org, list(read))
            held = [TABLES[Registration].thing(tuple(row)) for _, *row in rows]  # not noted as read by the body
            if {one.id: one for one in held} != read:
                raise Conflict("somebody whom the task is for was changed meanwhile", hint="try again")

    async def _move(self, said: sql.Statement, event: Event) -> None:
        """Say how the budgets change, and lock what is taken from until then. Raises BudgetSpent."""
        thing = event.value
        if event.spent:
            await self._require_left(thing.task, event.spent)
            said.take(self.org, thing.task, event.spent)
        if event.shared:
            if thing.parent is not None:
                await self._require_left(thing.parent, event.shared)
                said.take(self.org, thing.parent, event.shared)
            said.give(self.org, thing.id, event.shared, afresh=True)
        if isinstance(thing, Task) and thing.state in BARRED:
            parent = thing.parent if event.kind is Kind.TASK_ENDED else None
            held = [thing.id] if parent is None else [parent, thing.id]
            rows = await self.write(sql.LOCK_BUDGETS, self.org, held, None)
            rest = {quantity: left for task, quantity, left in rows if task == thing.id and left}
            if parent is not None and rest:
                said.give(self.org, parent, rest, afresh=False)
                said.empty(self.org, thing.id)

    async def _require_left(self, task: str, amounts: Mapping[str, int]) -> None:
        """Lock the rows of these quantities until the end. Raises BudgetSpent where one has less."""
        rows = await self.write(sql.LOCK_BUDGETS, self.org, [task], list(amounts))
        left = {quantity: number for _, quantity, number in rows}
        for quantity, amount in amounts.items():
            if amount < 0 or quantity not in left or left[quantity] < amount:
                raise BudgetSpent(f"task {task} has {left.get(quantity, 0)} {quantity} left, {amount} were asked")

    async def _refusal(self, event: Event, thing: Thing) -> TaskboundError:
        """Return why the fact was not stated: what it would have changed is read again."""
        rows = await self.query(sql.STATE[type(thing)], self.org, thing.id)
        state = rows[0]["state"] if rows else ""
        following = next_state(thing, state, event.kind, thing.id)
        if following != thing.state:
            return Conflict(f"{noun_of(thing)} {thing.id} would become {following} by {event.kind}, not {thing.state}")
        task, is_open = _needs(event, sql.sources_of(thing, event.kind))
        if task is not None:
            about = await self.query(sql.STATE[Task], self.org, task)
            if not about:
                return Conflict("what is not stored cannot be referred to")
            if is_open and about[0]["state"] != "open":
                message = f"task {task} is {about[0]['state']}"
                return BudgetSpent(f"{message}: nothing of it is spent any more") if _pays(event) else Conflict(message)
        return Conflict(f"{noun_of(thing)} {thing.id} was changed meanwhile", hint="try again")

    async def once(self, purpose: str, value: str, until: datetime) -> None:
        try:
            digest = hashlib.sha256(value.encode()).digest()
        except UnicodeEncodeError as error:
            raise InvalidRequest(UNFIT) from error
        # Each takes away up to two that nobody can use any more, so the table stays as small as what is in use.
        first = await self.write(
            "WITH gone AS (DELETE FROM once WHERE (org, purpose, value) IN"
            " (SELECT org, purpose, value FROM once WHERE org = $1 AND until < $2 LIMIT 2 FOR UPDATE SKIP LOCKED))"
            " INSERT INTO once (org, purpose, value, until) VALUES ($1, $3, $4, $5)"
            " ON CONFLICT DO NOTHING RETURNING true",
            self.org, from_moment(self.now - REMEMBERED), purpose, digest, from_moment(until),
        )  # fmt: skip
        if not first:
            raise Replayed(f"this {purpose} was used before")


def _pays(event: Event) -> str | None:
    """Return the task that the fact takes from."""
    if event.shared:
        parent: str | None = event.value.parent
        return parent
    task: str | None = event.value.task if event.spent else None
    return task


def _needs(event: Event, sources: set[str]) -> tuple[str | None, bool]:
    """Return the task that is to exist for the fact, and whether it is to be open."""
    thing = event.value
    if payer := _pays(event):
        return payer, True
    if "" not in sources:
        return None, False
    task = thing.parent if isinstance(thing, Task) else getattr(thing, "task", None)
    return task, event.kind is Kind.CALL_PERMITTED
