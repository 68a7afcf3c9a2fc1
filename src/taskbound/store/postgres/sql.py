"""The statement by which PostgreSQL states a fact: one for all that the fact changes.

The event, its body, the thing's row, labels and budgets are parts of one statement, and each
depends on the row of the thing being written, which is written only under its conditions. So a
refused fact leaves nothing, without a savepoint, and a fact costs one round trip, or two where a
budget is locked before. Values are parameters, always; names come from the tables of rows.py.
"""

from collections.abc import Collection, Mapping, Sequence
from functools import lru_cache
from itertools import count
from typing import Any

from taskbound.core.event import Event, Kind
from taskbound.core.identity import Registration
from taskbound.core.task import Task
from taskbound.core.thing import Thing, noun_of
from taskbound.store.rows import TABLES, Table, quoted

READS = {
    noun: f"SELECT xmin, {', '.join(map(quoted, table.columns))} FROM {table.name}" for noun, table in TABLES.items()
}
GET = {noun: f"{read} WHERE org = $1 AND id = $2" for noun, read in READS.items()}
# NO KEY: what refers to the row goes on meanwhile, above all calls. A task is locked with its root, and the root
# first, so that whoever opens or ends in a tree does it alone, and nobody holds a part that another waits for.
LOCK = {noun: f"{get} FOR NO KEY UPDATE" for noun, get in GET.items()}
LOCK_TREE = (
    f"{READS[Task]} WHERE org = $1 AND id IN ($2, (SELECT root FROM tasks WHERE org = $1 AND id = $2))"
    " ORDER BY depth FOR NO KEY UPDATE"
)
# Budgets from the root to the leaf, and in one order of quantities: whoever takes two waits for nobody who has one.
LOCK_BUDGETS = (
    'SELECT task, quantity, "left" FROM budgets'
    " WHERE org = $1 AND task = ANY ($2::text[]) AND ($3::text[] IS NULL OR quantity = ANY ($3::text[]))"
    " ORDER BY array_position($2::text[], task), quantity FOR NO KEY UPDATE"
)
# Registrations, as they are now. Each is changed under a lock that waits for this one.
HOLD = f"{READS[Registration]} WHERE org = $1 AND id = ANY ($2::text[]) ORDER BY id FOR SHARE"
HOLD_IF_FREE = f"{HOLD} SKIP LOCKED"
STATE = {noun: f"SELECT state, xmin FROM {table.name} WHERE org = $1 AND id = $2" for noun, table in TABLES.items()}


def _work(column: str) -> str:
    tasks, people = (", ".join(("xmin", *map(quoted, TABLES[noun].columns))) for noun in (Task, Registration))
    named = "version, " + ", ".join(map(quoted, TABLES[Task].columns))
    # LATERAL and LIMIT 1: each is looked up by its key. A join that is left to the planner reads all there are of the
    # organisation, where it takes them for few.
    return (
        f"WITH RECURSIVE chain ({named}) AS (SELECT {tasks} FROM tasks WHERE org = $1 AND {column} = $2"
        " UNION SELECT above.* FROM chain, LATERAL"
        f" (SELECT {tasks} FROM tasks WHERE org = $1 AND id = chain.parent LIMIT 1) AS above)"
        " SELECT chain.*, actor.*,"
        " ARRAY(SELECT label FROM labels WHERE org = $1 AND root = chain.root),"
        " ARRAY(SELECT quantity FROM budgets WHERE org = $1 AND task = chain.id ORDER BY quantity),"
        ' ARRAY(SELECT "left" FROM budgets WHERE org = $1 AND task = chain.id ORDER BY quantity)'
        " FROM chain LEFT JOIN LATERAL"
        f" (SELECT {people} FROM identities WHERE org = $1 AND spiffe_id = chain.actor LIMIT 1) AS actor ON true"
        " ORDER BY chain.id"
    )


# A task and those above it, each with who acts in it, what its tree has read, and what is left of its budget.
WORK = {column: _work(column) for column in ("id", "handle")}


@lru_cache
def find(
    noun: type[Any], where: tuple[tuple[str, bool], ...], due: bool, after: bool, limit: bool, newest: bool
) -> str:
    """Return the query that finds things by fields, of each whether it is NULL. The organisation is $1, the others
    follow in the order of this signature. Raises TypeError for a query that there cannot be.
    """
    columns = TABLES[noun].columns
    if due and "due" not in columns:
        raise TypeError(f"{noun_of(noun)} is never due")
    if newest and "at" not in columns:
        raise TypeError(f"{noun_of(noun)} happens at no moment")
    number = count(2)
    text = f"{READS[noun]} WHERE org = $1"
    for name, is_null in where:
        text += f" AND {quoted(name)} " + ("IS NULL" if is_null else f"= ${next(number)}")
    text += f" AND due <= ${next(number)}" if due else ""
    text += f" AND id > ${next(number)}" if after else ""
    text += " ORDER BY at DESC, id" if newest else " ORDER BY id"
    return text + (f" LIMIT ${next(number)}" if limit else "")


class Statement:
    """A statement in the making: its parts, and the values of its parameters."""

    def __init__(self) -> None:
        self.values: list[Any] = []
        self._parts: list[str] = []
        self._after = ""  # what the event is written after
        # Drawn when the thing's row is held: the events about one thing have ids in the order of their commits.
        self._id = "nextval('events_id')"

    @property
    def sql(self) -> str:
        said = "fact.id, thing.version FROM fact, thing" if self._after else "fact.id FROM fact"
        return f"WITH {', '.join(self._parts)} SELECT {said}"

    def value(self, value: Any, type: str) -> str:
        self.values.append(value)
        return f"${len(self.values)}::{type}"

    def keep(
        self,
        thing: Thing,
        sources: Collection[str],
        *,
        seen: int | None,
        needs: tuple[str | None, bool],
    ) -> None:
        """Make the thing its table's newest value: from one of these states, and as it was seen.

        `needs` is a task that is to exist, and whether it is to be open.
        """
        table: Table[Any] = TABLES[type(thing)]
        row = {
            column: self.value(value, "bigint" if column in table.numbers else "text")
            for column, value in zip(table.columns, table.row(thing), strict=True)
        }
        org, id = row["org"], row["id"]
        columns, values = [quoted(column) for column in row], list(row.values())
        numbered = ""
        if table.name == "calls":  # which are new, and hold their event's id
            columns, values, numbered = [*columns, "event"], [*values, "place.id"], " FROM place"
            self._parts.append(f"place AS MATERIALIZED (SELECT {self._id} AS id)")
            self._id = "place.id"
        task, is_open = needs
        needed = "true"
        if task is not None:
            state = " AND state = 'open'" if is_open else ""
            needed = f"EXISTS (SELECT FROM tasks WHERE org = {org} AND id = {self.value(task, 'text')}{state})"
        before = sorted(state for state in sources if state)
        matches = "false"
        if before:
            matches = f"{table.name}.state = ANY ({self.value(before, 'text[]')})"
            if seen is not None:
                matches += f" AND {table.name}.xmin = {self.value(seen, 'xid')}"
        if "" not in sources:
            changes = ", ".join(f"{column} = {value}" for column, value in zip(columns, values, strict=True))
            at = f"org = {org} AND id = {id} AND {matches} AND {needed}"
            said = f"UPDATE {table.name} SET {changes} WHERE {at}"
        else:
            said = (
                f"INSERT INTO {table.name} ({', '.join(columns)}) SELECT {', '.join(values)}{numbered} WHERE {needed}"
                " ON CONFLICT (org, id) DO "
            )
            changes = ", ".join(f"{column} = excluded.{column}" for column in columns)
            said += f"UPDATE SET {changes} WHERE {matches}" if before else "NOTHING"
        self._parts.append(f"thing AS ({said} RETURNING {table.name}.xmin AS version)")
        self._after = " FROM thing, place" if numbered else " FROM thing"

    def state(self, event: Event, at: int, commitment: bytes, salt: bytes, body: bytes) -> None:
        """Write the event and its body."""
        texts = (event.org, event.kind.value, event.by, event.noun, event.id, event.request)
        org, kind, by, noun, thing, request = (self.value(text, "text") for text in texts)
        self._parts.append(
            'fact AS (INSERT INTO events (id, org, kind, at, "by", noun, thing, request, commitment)'
            f" SELECT {self._id}, {org}, {kind}, {self.value(at, 'bigint')}, {by}, {noun}, {thing}, {request},"
            f" {self.value(commitment, 'bytea')}{self._after} RETURNING id)"
        )
        self._parts.append(
            "body AS (INSERT INTO bodies (event, org, salt, body)"
            f" SELECT fact.id, {org}, {self.value(salt, 'bytea')}, {self.value(body, 'bytea')} FROM fact)"
        )

    def label(self, org: str, root: str, labels: Sequence[str]) -> None:
        """Add what the tree under the root has read."""
        values = f"{self.value(org, 'text')}, {self.value(root, 'text')}"
        self._parts.append(
            f"read AS (INSERT INTO labels (org, root, label) SELECT {values}, label"
            f" FROM fact, unnest({self.value(sorted(labels), 'text[]')}) AS label ON CONFLICT DO NOTHING)"
        )

    def take(self, org: str, task: str, amounts: Mapping[str, int]) -> None:
        """Take amounts from rows that are locked, and in which they are."""
        of, quantity = self._amounts(amounts), "budgets.quantity = amount.quantity"
        at = f"budgets.org = {self.value(org, 'text')} AND budgets.task = {self.value(task, 'text')}"
        self._parts.append(
            'taken AS (UPDATE budgets SET "left" = budgets."left" - amount.number'
            f" FROM fact, {of} WHERE {at} AND {quantity})"
        )

    def give(self, org: str, task: str, amounts: Mapping[str, int], *, afresh: bool) -> None:
        """Give amounts to a task: afresh, or beside what it has."""
        more = "" if afresh else 'budgets."left" + '
        self._parts.append(
            f'{"made" if afresh else "returned"} AS (INSERT INTO budgets (org, task, quantity, "left")'
            f" SELECT {self.value(org, 'text')}, {self.value(task, 'text')}, amount.quantity, amount.number"
            f" FROM fact, {self._amounts(amounts)}"
            f' ON CONFLICT (org, task, quantity) DO UPDATE SET "left" = {more}excluded."left")'
        )

    def empty(self, org: str, task: str) -> None:
        """Leave nothing of a task's budget."""
        at = f"budgets.org = {self.value(org, 'text')} AND budgets.task = {self.value(task, 'text')}"
        self._parts.append(f'emptied AS (UPDATE budgets SET "left" = 0 FROM fact WHERE {at})')

    def _amounts(self, amounts: Mapping[str, int]) -> str:
        quantities, numbers = self.value(list(amounts), "text[]"), self.value(list(amounts.values()), "bigint[]")
        return f"unnest({quantities}, {numbers}) AS amount (quantity, number)"


def sources_of(thing: Thing, kind: Kind) -> set[str]:
    """Return the states from which the fact leads to the thing's."""
    return {state for state, facts in thing.LIFECYCLE.items() if facts.get(kind) == thing.state}
