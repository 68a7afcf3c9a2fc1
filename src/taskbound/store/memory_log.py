"""The memory store's log. It polices its caller: a sealed tile that would change, or an index that would not be dense.

Contract suite: tests/contracts/log.py.
"""

import os
from collections.abc import Mapping, Sequence
from datetime import datetime

from taskbound.core.errors import Conflict
from taskbound.core.event import Kind
from taskbound.core.identity import Identity
from taskbound.core.leaf import Fact, Header, commitment, render_ranges
from taskbound.store.memory import MemoryStore
from taskbound.store.rows import body


class MemoryLog:
    """The sealed sequences over a memory store's events. An event's row is its place in `store.events`."""

    def __init__(self, store: MemoryStore) -> None:
        self._store = store
        self.order: dict[str, list[int]] = {}  # organisation -> rows by index
        self.tiles: dict[tuple[str, int, int], bytes] = {}
        self.checkpoints: dict[str, bytes] = {}
        self._bodies: dict[int, tuple[bytes, bytes] | None] = {}  # row -> salt and body, made at first sight
        self._commitments: dict[int, bytes] = {}

    async def checkpoint(self, lane: Identity) -> bytes | None:
        return self.checkpoints.get(lane.org)

    async def appended(self, lane: Identity) -> int:
        return len(self.order.get(lane.org, ()))

    async def unsealed(self, lane: Identity, limit: int) -> list[Fact]:
        sealed = set(self.order.get(lane.org, ()))
        rows = [n for n, event in enumerate(self._store.events) if event.org == lane.org and n not in sealed]
        return [self._fact(row, None) for row in rows[:limit]]

    async def extend(
        self,
        lane: Identity,
        start: int,
        facts: Sequence[Fact],
        tiles: Mapping[tuple[int, int], bytes],
        *,
        after: bytes | None,
    ) -> None:
        order = self.order.setdefault(lane.org, [])
        if len(order) != start or self.checkpoints.get(lane.org) != after:
            raise Conflict("the log was extended by another")
        if any(fact.row in order or self._store.events[fact.row].org != lane.org for fact in facts):
            raise Conflict("an event is sealed already")
        for (level, index), data in tiles.items():
            if not data.startswith(self.tiles.get((lane.org, level, index), b"")):
                raise RuntimeError(f"tile {level}/{index} would change")
        order.extend(fact.row for fact in facts)
        self.tiles.update({(lane.org, level, index): data for (level, index), data in tiles.items()})

    async def publish(self, lane: Identity, checkpoint: bytes, *, after: bytes | None) -> None:
        if self.checkpoints.get(lane.org) != after:
            raise Conflict("another checkpoint was published")
        self.checkpoints[lane.org] = checkpoint

    async def read(self, lane: Identity, start: int, end: int) -> list[Fact]:
        rows = self.order.get(lane.org, [])[start:end]
        return [self._fact(row, start + at) for at, row in enumerate(rows)]

    async def tile(self, lane: Identity, level: int, index: int) -> bytes:
        return self.tiles.get((lane.org, level, index), b"")

    async def about(self, lane: Identity, id: str) -> list[Fact]:
        places = {row: index for index, row in enumerate(self.order.get(lane.org, ()))}
        rows = [n for n, event in enumerate(self._store.events) if (event.org, event.id) == (lane.org, id)]
        return [self._fact(row, places.get(row)) for row in rows]

    async def bodies(self, lane: Identity, before: datetime, limit: int) -> list[int]:
        facts = await self.read(lane, 0, await self.appended(lane))
        old = [fact.index for fact in facts if fact.body is not None and fact.header.at < before]
        return [index for index in old if index is not None][:limit]

    async def erase(self, lane: Identity, indexes: Sequence[int], by: Identity, reason: str) -> int:
        text, named = render_ranges(indexes)
        order = self.order.get(lane.org, [])
        for index in indexes[:named]:
            if not 0 <= index < len(order) or self._fact(order[index], index).body is None:
                raise Conflict(f"event {index} has no body")
        async with self._store.transaction(lane) as tx:
            await tx.record(Kind.BODY_ERASED, by=by, id=text, reason=reason)
        for index in indexes[:named]:
            self._bodies[order[index]] = None
        return named

    def _fact(self, row: int, index: int | None) -> Fact:
        event = self._store.events[row]
        if row not in self._bodies:
            salt, text = os.urandom(32), body(event)
            self._commitments[row] = commitment(salt, text)
            self._bodies[row] = (salt, text)
        kept = self._bodies[row]
        header = Header(
            event.org, event.kind, event.at, event.by, event.noun, event.id, event.request, self._commitments[row]
        )
        return Fact(row, index, header, kept and kept[0], kept and kept[1])
