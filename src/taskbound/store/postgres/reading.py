"""Reading: things, budgets and labels, as they are committed when the statement begins.

Whoever reads a task by its id or its handle will ask who acts in it, what is above it, what is left of its
budget and what its tree has read: a decision does. So all of it is one statement, and known in this
transaction until its next lock or write: what is read from there on is what was committed by then.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, TypeVar, cast

from taskbound.core.call import Call
from taskbound.core.errors import NotFound
from taskbound.core.identity import Registration
from taskbound.core.task import Task
from taskbound.core.thing import Thing, noun_of
from taskbound.store.postgres import sql
from taskbound.store.postgres.block import Block
from taskbound.store.rows import TABLES, Table, from_moment

T = TypeVar("T", bound=Thing)

_TASK = 1 + len(TABLES[Task].columns)  # of a row of WORK: the task with its version


class Reading:
    """What the body of a transaction reads, for its organisation."""

    def __init__(self, block: Block, org: str) -> None:
        self._block, self._org = block, org
        self.seen: dict[tuple[str, str], int] = {}  # by table and id: the version of the row that was read
        self.people: dict[str, Registration] = {}  # that were read, by SPIFFE ID
        self._known: dict[Any, Any] = {}  # rows of things, by noun, field and value; labels and what is left, by task

    async def write(self, text: str, *values: Any) -> list[Any]:
        """Run a statement that locks or writes. What was known before it is read again after it."""
        self._known.clear()
        return await self._block.write(text, *values)

    def _known_of(self, *key: object) -> Any:
        self._block.open()  # after the end nothing is told, known or not
        return self._known.get(key)

    async def get(self, noun: type[T], id: str, *, lock: bool = False) -> T:
        if noun is Task and lock:
            rows = await self.write(sql.LOCK_TREE, self._org, id)
        elif lock:
            rows = await self.write(sql.LOCK[noun], self._org, id)
        elif noun is Task:
            rows = await self._work("id", id)
        else:
            rows = await self._block.query(sql.GET[noun], self._org, id)
        for thing in self._things(noun, rows):
            if thing.id == id:
                return thing
        raise NotFound(f"there is no {noun_of(noun)} {id[:32]}")

    async def _work(self, field: str, value: object) -> list[Any]:
        """Return the rows of the tasks of which a field has the value, as known or else read with what belongs to them.

        Only what is handed out is noted as read: what the body never saw is no reason to let it write.
        """
        if (row := self._known_of(Task, field, value)) is not None:
            return [row]
        found = []
        for whole in await self._block.query(sql.WORK[field], self._org, value):
            row, actor, (labels, quantities, left) = whole[:_TASK], whole[_TASK:-3], whole[-3:]
            task = dict(zip(TABLES[Task].columns, row[1:], strict=True))
            if task[field] == value:
                found.append(row)
            self._known[Task, "id", task["id"]] = row
            self._known["labels", task["root"]] = frozenset(labels)
            self._known["left", task["id"]] = dict(zip(quantities, left, strict=True))
            if actor[0] is not None:
                self._known[Registration, "spiffe_id", task["actor"]] = actor
        return found

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
        plain = due is None and after is None and limit is None and not newest
        if plain and len(where) == 1:
            ((field, value),) = where.items()
            if noun is Task and field == "handle":
                return self._things(noun, await self._work(field, value))
            if (row := self._known_of(noun, field, value)) is not None:
                return self._things(noun, [row])
        text = sql.find(
            noun,
            tuple((field, value is None) for field, value in where.items()),
            due is not None, after is not None, limit is not None, newest,
        )  # fmt: skip
        more = (*where.values(), due and from_moment(due), after, limit)
        return self._things(noun, await self._block.query(text, self._org, *(one for one in more if one is not None)))

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
        if (known := self._known_of("left", task)) is not None:
            return dict(known)
        rows = await self._block.query(
            'SELECT quantity, "left" FROM budgets WHERE org = $1 AND task = $2', self._org, task
        )
        return dict(rows)

    async def labels(self, root: str) -> frozenset[str]:
        if (known := self._known_of("labels", root)) is not None:
            return cast(frozenset[str], known)
        rows = await self._block.query("SELECT label FROM labels WHERE org = $1 AND root = $2", self._org, root)
        return frozenset(label for (label,) in rows)
