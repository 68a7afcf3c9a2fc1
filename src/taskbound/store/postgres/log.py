"""The PostgreSQL store's log: places, tiles and the checkpoint beside the events, in the same database.

Each method is a transaction of the store. Rows commit out of the order of their ids, so nothing
here follows an id: what is unsealed is what has no place, whenever it became visible (D13). Who
extends, or publishes, holds the organisation's row of `checkpoints`: of two sealers on two nodes
one is second, and gets Conflict.

An erased body is gone from the table with its transaction, and from the files of the server when
it vacuums and recycles its log; copies and backups are its operator's. Contract suite:
tests/contracts/log.py.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from taskbound.core.errors import Conflict
from taskbound.core.event import Kind
from taskbound.core.identity import Identity
from taskbound.core.leaf import Fact, Header, render_ranges
from taskbound.store.postgres import PostgresStore, PostgresTransaction
from taskbound.store.rows import from_moment, to_shown_moment

_FACT = (
    'SELECT e.id, e."index", e.org, e.kind, e.at, e."by", e.noun, e.thing, e.request, e.commitment, b.salt, b.body'
    " FROM events e LEFT JOIN bodies b ON b.event = e.id WHERE e.org = $1"
)


class PostgresLog:
    """The sealed sequences over a PostgreSQL store's events."""

    def __init__(self, store: PostgresStore) -> None:
        self._store = store

    async def checkpoint(self, lane: Identity) -> bytes | None:
        async with self._store.transaction(lane) as tx:
            return _note(await tx.query("SELECT note FROM checkpoints WHERE org = $1", tx.org))

    async def appended(self, lane: Identity) -> int:
        async with self._store.transaction(lane) as tx:
            return await _appended(tx)

    async def unsealed(self, lane: Identity, limit: int) -> list[Fact]:
        async with self._store.transaction(lane) as tx:
            rows = await tx.query(f'{_FACT} AND e."index" IS NULL ORDER BY e.id LIMIT $2', tx.org, limit)
            return [_fact(row) for row in rows]

    async def extend(
        self,
        lane: Identity,
        start: int,
        facts: Sequence[Fact],
        tiles: Mapping[tuple[int, int], bytes],
        *,
        after: bytes | None,
    ) -> None:
        async with self._store.transaction(lane) as tx:
            if await _held(tx) != after or await _appended(tx) != start:
                raise Conflict("the log was extended by another")
            placed = await tx.write(
                'UPDATE events SET "index" = place."index"'
                ' FROM unnest($2::bigint[], $3::bigint[]) AS place (id, "index")'
                ' WHERE events.org = $1 AND events.id = place.id AND events."index" IS NULL RETURNING true',
                tx.org, [fact.row for fact in facts], list(range(start, start + len(facts))),
            )  # fmt: skip
            if len(placed) != len(facts):
                raise Conflict("an event is sealed already")
            await tx.write(
                "INSERT INTO tiles (org, level, tile, hashes)"
                " SELECT $1, level, tile, hashes FROM unnest($2::bigint[], $3::bigint[], $4::bytea[])"
                " AS grown (level, tile, hashes)"
                " ON CONFLICT (org, level, tile) DO UPDATE SET hashes = excluded.hashes",
                tx.org, [level for level, _ in tiles], [index for _, index in tiles], list(tiles.values()),
            )  # fmt: skip

    async def publish(self, lane: Identity, checkpoint: bytes, *, after: bytes | None) -> None:
        async with self._store.transaction(lane) as tx:
            if await _held(tx) != after:
                raise Conflict("another checkpoint was published")
            await tx.write("UPDATE checkpoints SET note = $2 WHERE org = $1", tx.org, checkpoint)

    async def read(self, lane: Identity, start: int, end: int) -> list[Fact]:
        where = 'AND e."index" >= $2 AND e."index" < $3 ORDER BY e."index", e.id'
        async with self._store.transaction(lane) as tx:
            return [_fact(row) for row in await tx.query(f"{_FACT} {where}", tx.org, start, end)]

    async def tile(self, lane: Identity, level: int, index: int) -> bytes:
        async with self._store.transaction(lane) as tx:
            rows = await tx.query(
                "SELECT hashes FROM tiles WHERE org = $1 AND level = $2 AND tile = $3", tx.org, level, index
            )
            return bytes(rows[0][0]) if rows else b""

    async def about(self, lane: Identity, id: str) -> list[Fact]:
        async with self._store.transaction(lane) as tx:
            return [_fact(row) for row in await tx.query(f"{_FACT} AND e.thing = $2 ORDER BY e.id", tx.org, id)]

    async def bodies(self, lane: Identity, before: datetime, limit: int) -> list[int]:
        async with self._store.transaction(lane) as tx:
            rows = await tx.query(
                'SELECT e."index" FROM events e JOIN bodies b ON b.event = e.id'
                ' WHERE e.org = $1 AND e."index" IS NOT NULL AND e.at < $2 ORDER BY e."index" LIMIT $3',
                tx.org, from_moment(before), limit,
            )  # fmt: skip
            return [index for (index,) in rows]

    async def erase(self, lane: Identity, indexes: Sequence[int], by: Identity, reason: str) -> int:
        text, named = render_ranges(indexes)
        async with self._store.transaction(lane) as tx:
            await tx.record(Kind.BODY_ERASED, by=by, id=text, reason=reason)
            gone = await tx.write(
                'DELETE FROM bodies USING events WHERE bodies.event = events.id AND events.org = $1'
                ' AND events."index" = ANY ($2::bigint[]) RETURNING events."index"',
                tx.org, list(indexes[:named]),
            )  # fmt: skip
            if missing := sorted(set(indexes[:named]) - {index for (index,) in gone}):
                raise Conflict(f"event {missing[0]} has no body")
        return named


async def _held(tx: PostgresTransaction) -> bytes | None:
    """Return the newest checkpoint, and hold the organisation's log until the end."""
    await tx.write("INSERT INTO checkpoints (org) VALUES ($1) ON CONFLICT DO NOTHING", tx.org)
    return _note(await tx.write("SELECT note FROM checkpoints WHERE org = $1 FOR NO KEY UPDATE", tx.org))


def _note(rows: list[Any]) -> bytes | None:
    return rows[0][0] if rows else None


async def _appended(tx: PostgresTransaction) -> int:
    ((last,),) = await tx.query('SELECT max("index") FROM events WHERE org = $1 AND "index" IS NOT NULL', tx.org)
    return 0 if last is None else int(last) + 1


def _fact(row: Any) -> Fact:
    id, index, org, kind, at, by, noun, thing, request, committed, salt, body = row
    return Fact(id, index, Header(org, kind, to_shown_moment(at), by, noun, thing, request, committed), salt, body)
