"""Reading: things, budgets and labels."""

import sqlite3
from datetime import datetime
from functools import lru_cache
from typing import Any, TypeVar, cast

from taskbound.core.errors import NotFound
from taskbound.core.identity import Identity
from taskbound.core.thing import Thing, noun_of
from taskbound.store.rows import TABLES, Table, from_moment
from taskbound.store.sqlite.block import Block
from taskbound.store.sqlite.commits import Commits

T = TypeVar("T", bound=Thing)


class Reading(Block):
    """A block that reads."""

    def __init__(self, commits: Commits, opener: Identity) -> None:
        super().__init__(commits, opener)
        # By noun and id, until the next write; a chain begins with who was proved by it.
        self._read: dict[tuple[type[Any], str], Any] = {}

    def begin_writing(self, db: sqlite3.Connection) -> None:
        self._read.clear()
        super().begin_writing(db)

    async def get(self, noun: type[T], id: str, *, lock: bool = False) -> T:
        if (read := self._read.get((noun, id))) is not None:
            self.open()
            return cast(T, read)
        table: Table[T] = TABLES[noun]
        rows = self.query(table.by_id, self.org, id)
        if not rows:
            raise NotFound(f"there is no {noun_of(noun)} {id[:32]}")
        return table.thing(rows[0])

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
        if unknown := set(where) - set(noun.INDEXED):
            raise TypeError(f"{noun_of(noun)} is not indexed by {', '.join(sorted(unknown))}")
        table: Table[T] = TABLES[noun]
        sql = _find(noun, tuple(where), due is not None, after is not None, newest, limit is not None)
        more = (due and from_moment(due), after, limit)
        values = [self.org, *where.values(), *(one for one in more if one is not None)]
        things = [table.thing(row) for row in self.query(sql, *values)]
        if len(things) == 1:
            self._read[noun, things[0].id] = things[0]
        return things

    async def count(self, noun: type[Thing], state: str) -> int:
        sql = f"SELECT count(*) FROM {TABLES[noun].name} WHERE org = ? AND state = ?"
        return int(self.query(sql, self.org, state)[0][0])

    async def left(self, task: str) -> dict[str, int]:
        return dict(self.query('SELECT quantity, "left" FROM budgets WHERE org = ? AND task = ?', self.org, task))

    async def labels(self, root: str) -> frozenset[str]:
        rows = self.query("SELECT label FROM labels WHERE org = ? AND root = ?", self.org, root)
        return frozenset(label for (label,) in rows)


@lru_cache
def _find(noun: type[Any], where: tuple[str, ...], due: bool, after: bool, newest: bool, limit: bool) -> str:
    """Return the query that finds things. Raises TypeError for one that there cannot be."""
    table = TABLES[noun]
    if due and "due" not in table.columns:
        raise TypeError(f"{noun_of(noun)} is never due")
    if newest and "at" not in table.columns:
        raise TypeError(f"{noun_of(noun)} happens at no moment")
    sql = "".join((f"{table.select} WHERE org = ?", *(f' AND "{name}" IS ?' for name in where)))
    sql += (" AND due <= ?" if due else "") + (" AND id > ?" if after else "")
    # +id: to have the order for nothing, the planner would walk the whole organisation by its key. That
    # is what is wanted where only the first of all are asked for.
    sql += " ORDER BY at DESC, +id" if newest else " ORDER BY +id" if where or not limit else " ORDER BY id"
    return sql + (" LIMIT ?" if limit else "")
