"""Reading: things, budgets and labels."""

from datetime import datetime
from functools import lru_cache
from typing import Any, TypeVar, cast

from taskbound.core.errors import NotFound
from taskbound.core.thing import Thing, noun_of
from taskbound.store.rows import READ_OFTEN, TABLES, Table, from_moment
from taskbound.store.sqlite.block import Block

T = TypeVar("T", bound=Thing)


class Reading(Block):
    """A block that reads."""

    async def get(self, noun: type[T], id: str, *, lock: bool = False) -> T:
        self.open()
        if (kept := self.commits.kept.get((self.org, noun, id))) is not None:
            return cast(T, kept)
        table: Table[T] = TABLES[noun]
        rows = self.query(table.by_id, self.org, id)
        if not rows:
            raise NotFound(f"there is no {noun_of(noun)} {id[:32]}")
        thing = table.thing(rows[0])
        if noun in READ_OFTEN:
            self.commits.kept.keep((self.org, noun, id), thing)
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
        self.open()
        is_plain = due is None and after is None and limit is None and not newest
        asked = (self.org, noun, *where.items())
        if is_plain and (kept := self.commits.kept.get(asked)) is not None:
            return [cast(T, kept)]
        if unknown := set(where) - set(noun.INDEXED):
            raise TypeError(f"{noun_of(noun)} is not indexed by {', '.join(sorted(unknown))}")
        table: Table[T] = TABLES[noun]
        sql = _find(noun, tuple(where), due is not None, after is not None, newest, limit is not None)
        more = (due and from_moment(due), after, limit)
        values = [self.org, *where.values(), *(one for one in more if one is not None)]
        things = [table.thing(row) for row in self.query(sql, *values)]
        if is_plain and len(things) == 1 and noun in READ_OFTEN:  # found by its name or its handle; next it is got
            self.commits.kept.keep(asked, things[0])
            self.commits.kept.keep((self.org, noun, things[0].id), things[0])
        return things

    async def count(self, noun: type[Thing], state: str) -> int:
        sql = f"SELECT count(*) FROM {TABLES[noun].name} WHERE org = ? AND state = ?"
        return int(self.query(sql, self.org, state)[0][0])

    async def left(self, task: str) -> dict[str, int]:
        return dict(self.query('SELECT quantity, "left" FROM budgets WHERE org = ? AND task = ?', self.org, task))

    async def labels(self, root: str) -> frozenset[str]:
        return self.labels_of(root)

    def labels_of(self, root: str) -> frozenset[str]:
        self.open()
        asked = (self.org, "labels", root)
        if (kept := self.commits.kept.get(asked)) is not None:
            return cast(frozenset[str], kept)
        rows = self.query("SELECT label FROM labels WHERE org = ? AND root = ?", self.org, root)
        labels = frozenset(label for (label,) in rows)
        self.commits.kept.keep(asked, labels)
        return labels


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
