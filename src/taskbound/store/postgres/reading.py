"""Reading: things, budgets and labels, as they are committed when the statement begins."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, TypeVar

from taskbound.core.call import Call
from taskbound.core.errors import NotFound
from taskbound.core.identity import Registration
from taskbound.core.task import Task
from taskbound.core.thing import Thing, noun_of
from taskbound.store.postgres import sql
from taskbound.store.postgres.block import Block
from taskbound.store.rows import TABLES, Table, from_moment, quoted

T = TypeVar("T", bound=Thing)


class Reading:
    """What the body of a transaction reads, for its organisation."""

    def __init__(self, block: Block, org: str) -> None:
        self._block, self._org = block, org
        self.seen: dict[tuple[str, str], int] = {}  # by table and id: the version of the row that was read
        self.people: dict[str, Registration] = {}  # that were read, by SPIFFE ID

    async def get(self, noun: type[T], id: str, *, lock: bool = False) -> T:
        if not lock:
            rows = await self._block.query(sql.GET[noun], self._org, id)
        elif noun is Task:
            rows = await self._block.write(sql.LOCK_TREE, self._org, id)
        else:
            rows = await self._block.write(sql.LOCK[noun], self._org, id)
        for thing in self._things(noun, rows):
            if thing.id == id:
                return thing
        raise NotFound(f"there is no {noun_of(noun)} {id[:32]}")

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
        if due is not None and "due" not in TABLES[noun].columns:
            raise TypeError(f"{noun_of(noun)} is never due")
        if newest and "at" not in TABLES[noun].columns:
            raise TypeError(f"{noun_of(noun)} happens at no moment")
        values: list[Any] = [self._org]
        text = f"{sql.READS[noun]} WHERE org = $1"
        for name, value in where.items():
            if value is None:
                text += f" AND {quoted(name)} IS NULL"
            else:
                values.append(value)
                text += f" AND {quoted(name)} = ${len(values)}"
        if due is not None:
            values.append(from_moment(due))
            text += f" AND due <= ${len(values)}"
        if after is not None:
            values.append(after)
            text += f" AND id > ${len(values)}"
        text += " ORDER BY at DESC, id" if newest else " ORDER BY id"
        if limit is not None:
            values.append(limit)
            text += f" LIMIT ${len(values)}"
        return self._things(noun, await self._block.query(text, *values))

    async def count(self, noun: type[Thing], state: str) -> int:
        text = f"SELECT count(*) FROM {TABLES[noun].name} WHERE org = $1 AND state = $2"
        return int((await self._block.query(text, self._org, state))[0][0])

    def _things(self, noun: type[T], rows: Sequence[Any]) -> list[T]:
        table: Table[T] = TABLES[noun]
        things = []
        for version, *row in rows:
            thing = table.thing(tuple(row))
            if noun is not Call:  # is never written again
                self.seen[table.name, thing.id] = version
            if isinstance(thing, Registration):
                self.people[thing.spiffe_id] = thing
            things.append(thing)
        return things

    async def left(self, task: str) -> dict[str, int]:
        rows = await self._block.query(
            'SELECT quantity, "left" FROM budgets WHERE org = $1 AND task = $2', self._org, task
        )
        return dict(rows)

    async def labels(self, root: str) -> frozenset[str]:
        rows = await self._block.query("SELECT label FROM labels WHERE org = $1 AND root = $2", self._org, root)
        return frozenset(label for (label,) in rows)
