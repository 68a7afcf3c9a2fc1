"""The SQLite store's log: places, tiles and the checkpoint beside the events, in the same database.

Each method is a transaction of the store, so it shares commits with all others. What is read is
read as bytes: a row that somebody edited into nonsense must still be shown, for the tree to
contradict it. Erased bodies are overwritten in the file (`secure_delete`), not only unlinked.

Contract suite: tests/contracts/log.py.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import partial
from typing import Any

from taskbound.core.errors import Conflict
from taskbound.core.event import Kind
from taskbound.core.identity import Identity
from taskbound.core.leaf import Fact, Header, render_ranges
from taskbound.store.rows import from_moment, to_shown_moment
from taskbound.store.sqlite import SqliteStore, SqliteTransaction

_FACT = (
    'SELECT e.id, e."index", CAST(e.org AS BLOB), CAST(e.kind AS BLOB), e.at, CAST(e."by" AS BLOB),'
    " CAST(e.noun AS BLOB), CAST(e.thing AS BLOB), CAST(e.request AS BLOB), e.commitment, b.salt, b.body"
    " FROM events e LEFT JOIN bodies b ON b.event = e.id WHERE e.org = ?"
)


_text = partial(str, encoding="utf-8", errors="replace")


class SqliteLog:
    """The sealed sequences over a SQLite store's events."""

    def __init__(self, store: SqliteStore) -> None:
        self._store = store

    async def checkpoint(self, lane: Identity) -> bytes | None:
        async with self._store.transaction(lane) as tx:
            return _checkpoint(tx)

    async def appended(self, lane: Identity) -> int:
        async with self._store.transaction(lane) as tx:
            return _appended(tx)

    async def unsealed(self, lane: Identity, limit: int) -> list[Fact]:
        async with self._store.transaction(lane) as tx:
            return [
                _fact(row) for row in tx.query(f'{_FACT} AND e."index" IS NULL ORDER BY e.id LIMIT ?', tx.org, limit)
            ]

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
            if _appended(tx) != start or _checkpoint(tx) != after:
                raise Conflict("the log was extended by another")
            placed = tx.execute_many(
                'UPDATE events SET "index" = ? WHERE org = ? AND id = ? AND "index" IS NULL',
                [(index, tx.org, fact.row) for index, fact in enumerate(facts, start)],
            )
            if placed != len(facts):
                raise Conflict("an event is sealed already")
            for (level, index), data in tiles.items():
                tx.execute(
                    "INSERT INTO tiles (org, level, tile, hashes) VALUES (?, ?, ?, ?)"
                    " ON CONFLICT (org, level, tile) DO UPDATE SET hashes = excluded.hashes",
                    tx.org, level, index, data,
                )  # fmt: skip

    async def publish(self, lane: Identity, checkpoint: bytes, *, after: bytes | None) -> None:
        async with self._store.transaction(lane) as tx:
            if _checkpoint(tx) != after:
                raise Conflict("another checkpoint was published")
            tx.execute(
                "INSERT INTO checkpoints (org, note) VALUES (?, ?)"
                " ON CONFLICT (org) DO UPDATE SET note = excluded.note",
                tx.org, checkpoint,
            )  # fmt: skip

    async def read(self, lane: Identity, start: int, end: int) -> list[Fact]:
        where = 'AND e."index" >= ? AND e."index" < ? ORDER BY e."index", e.id'
        async with self._store.transaction(lane) as tx:
            return [_fact(row) for row in tx.query(f"{_FACT} {where}", tx.org, start, end)]

    async def tile(self, lane: Identity, level: int, index: int) -> bytes:
        async with self._store.transaction(lane) as tx:
            rows = tx.query("SELECT hashes FROM tiles WHERE org = ? AND level = ? AND tile = ?", tx.org, level, index)
            return bytes(rows[0][0]) if rows else b""

    async def about(self, lane: Identity, id: str) -> list[Fact]:
        async with self._store.transaction(lane) as tx:
            return [_fact(row) for row in tx.query(f"{_FACT} AND e.thing = ? ORDER BY e.id", tx.org, id)]

    async def bodies(self, lane: Identity, before: datetime, limit: int) -> list[int]:
        async with self._store.transaction(lane) as tx:
            rows = tx.query(
                'SELECT e."index" FROM events e JOIN bodies b ON b.event = e.id'
                ' WHERE e.org = ? AND e."index" IS NOT NULL AND e.at < ? ORDER BY e."index" LIMIT ?',
                tx.org, from_moment(before), limit,
            )  # fmt: skip
            return [index for (index,) in rows]

    async def erase(self, lane: Identity, indexes: Sequence[int], by: Identity, reason: str) -> int:
        text, named = render_ranges(indexes)
        async with self._store.transaction(lane) as tx:
            tx.query("PRAGMA secure_delete = ON")
            await tx.record(Kind.BODY_ERASED, by=by, id=text, reason=reason)
            for index in indexes[:named]:
                gone = tx.execute(
                    'DELETE FROM bodies WHERE event = (SELECT id FROM events WHERE org = ? AND "index" = ?)',
                    tx.org,
                    index,
                )
                if gone.rowcount != 1:
                    raise Conflict(f"event {index} has no body")
        return named


def _checkpoint(tx: SqliteTransaction) -> bytes | None:
    rows = tx.query("SELECT note FROM checkpoints WHERE org = ?", tx.org)
    return bytes(rows[0][0]) if rows else None


def _appended(tx: SqliteTransaction) -> int:
    ((last,),) = tx.query('SELECT max("index") FROM events WHERE org = ? AND "index" IS NOT NULL', tx.org)
    return 0 if last is None else int(last) + 1


def _fact(row: tuple[Any, ...]) -> Fact:
    id, index, org, kind, at, by, noun, thing, request, committed, salt, body = row
    org, kind, by, noun, thing, request = map(_text, (org, kind, by, noun, thing, request))
    return Fact(id, index, Header(org, kind, to_shown_moment(at), by, noun, thing, request, committed), salt, body)
