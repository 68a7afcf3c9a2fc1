"""Every tamper at the rows of a SQLite log is found by the export's verification, and named (T7.1)."""

import asyncio
import random
import sqlite3
from functools import lru_cache
from typing import Any

import pytest

from taskbound.core import audit
from taskbound.core.audit import verify
from taskbound.formats.tlog import WIDTH, entries_path, render_entries, tiles
from taskbound.steps import export_log
from tests.logs import Files, log_rig
from tests.notes import note
from tests.profile import trials

SIZE = trials(2_000, 400)
COLUMNS = ("kind", '"by"', "noun", "thing", "request", "commitment")


class Rows:
    """The database as whoever can write the file has it: no triggers, no checks, and a way back."""

    def __init__(self, rig) -> None:
        self.rig, self.db = rig, rig.store.commits.db
        for (name,) in self.db.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall():
            self.db.execute(f"DROP TRIGGER {name}")
        self.db.execute("DROP INDEX events_by_index")
        self.db.execute('CREATE INDEX events_by_index ON events (org, "index")')
        self.db.execute("PRAGMA ignore_check_constraints = ON")
        self.db.execute("PRAGMA foreign_keys = OFF")

    def rows(self, table: str, key: str, index: int) -> list[Any]:
        """Return the rows of the events from this index to the end of the next one."""
        ids = 'SELECT id FROM events WHERE org = ? AND "index" BETWEEN ? AND ?'
        return list(self.db.execute(f"SELECT * FROM {table} WHERE {key} IN ({ids})", ("main", index, index + 1)))

    def put_back(self, kept: dict[str, list[Any]]) -> None:
        for table, rows in kept.items():
            for row in rows:
                self.db.execute(f"INSERT OR REPLACE INTO {table} VALUES ({', '.join('?' * len(row))})", row)
        self.db.execute("DELETE FROM events WHERE id >= 1000000")


TAMPERS = {
    "delete": ['DELETE FROM events WHERE id = :id', "DELETE FROM bodies WHERE event = :id"],
    "swap": [
        'UPDATE events SET "index" = -1 WHERE id = :id',
        'UPDATE events SET "index" = :index WHERE id = :next',
        'UPDATE events SET "index" = :index + 1 WHERE id = :id',
    ],
    "duplicate": [
        'INSERT INTO events SELECT 1000000 + id, org, kind, at, "by", noun, thing, request, commitment, "index" + 1'
        " FROM events WHERE id = :id"
    ],
    "insert": [
        "INSERT INTO events SELECT 1000000 + id, org, kind, at, \"by\", noun, 'planted', request, commitment, \"index\""
        " FROM events WHERE id = :id"
    ],
    "change time": ["UPDATE events SET at = at + 1 WHERE id = :id"],
    "absurd time": ["UPDATE events SET at = 9223372036854775807 WHERE id = :id"],
    "move to another organisation": ["UPDATE events SET org = 'other' WHERE id = :id"],
    "another place": ['UPDATE events SET "index" = :index + 5000 WHERE id = :id'],
    "no place": ['UPDATE events SET "index" = NULL WHERE id = :id'],
    "an empty commitment": ["UPDATE events SET commitment = x'' WHERE id = :id"],
    "a long name": ["UPDATE events SET thing = hex(zeroblob(40000)) WHERE id = :id"],
    "salt": ["UPDATE bodies SET salt = zeroblob(32) WHERE event = :id"],
    "body": ["UPDATE bodies SET body = CAST(replace(body, 'note', 'nose') AS BLOB) WHERE event = :id"],
    "body is no text": ["UPDATE bodies SET body = CAST(x'ff' || body AS BLOB) WHERE event = :id"],
    "body gone": ["DELETE FROM bodies WHERE event = :id"],
} | {f"flip {column}": [f"UPDATE events SET {column} = CAST(:{at} AS {kind}) WHERE id = :id"]
     for at, (column, kind) in enumerate([(c, "BLOB" if c == "commitment" else "TEXT") for c in COLUMNS])}  # fmt: skip


async def bundles(rig, files: dict[str, bytes], index: int) -> dict[str, bytes]:
    """The export made again where the rows have changed: one bundle and its lines of bodies, or two."""
    made = dict(files)
    for tile in tiles(SIZE):
        if tile.level == 0 and tile.index in (index // WIDTH, (index + 1) // WIDTH):
            facts = await rig.log.read(rig.lane, tile.first, tile.end)
            made[entries_path(tile.index, tile.width)] = render_entries(export_log.entries_of(facts, tile))
            made[f"bodies/{tile.index}"] = b"".join(map(audit.render_body, facts))
    return made


class Pieces(Files):
    """Files whose bodies lie in one piece for each bundle."""

    def lines(self, path: str):
        for tile in tiles(SIZE):
            if tile.level == 0:
                yield from self.files[f"bodies/{tile.index}"].splitlines()


async def test_every_tamper_at_a_row_is_found_and_its_event_named(tmp_path):
    seed = random.randrange(2**32)
    draw = random.Random(seed)
    note(f"seed {seed}")
    patch = pytest.MonkeyPatch()
    # What is pure and asked the same thousands of times is worked out once.
    for module, name in (
        (audit, "check_bundle"), (audit, "parse_body"), (audit, "parse_leaf"), (audit, "leaf_hash"),
        (audit, "commitment"), (audit, "render_body"), (export_log, "render_leaf"),
    ):  # fmt: skip
        patch.setattr(module, name, lru_cache(20_000)(getattr(module, name)))
    tried = 0
    async with log_rig("sqlite", tmp_path) as rig:
        await rig.state(SIZE)
        await rig.seal()
        files = await rig.export()
        for at in range(0, SIZE, WIDTH):
            files = await bundles(rig, files, at)
        assert not verify(Pieces(files), rig.key).problems
        for _ in range(2):  # a turn in which nobody came
            await asyncio.sleep(0)
        assert not rig.store.commits.db.in_transaction, "the store's last group has ended"
        rows = Rows(rig)
        ids = dict(rows.db.execute("SELECT \"index\", id FROM events WHERE org = 'main'").fetchall())
        for index in range(SIZE):
            # A run without FULL draws four of the tampers at each event.
            names = list(TAMPERS) if trials(1, 0) else draw.sample(list(TAMPERS), 4)
            kept = {"events": rows.rows("events", "id", index), "bodies": rows.rows("bodies", "event", index)}
            texts = rows.db.execute(f"SELECT {', '.join(COLUMNS)} FROM events WHERE id = ?", (ids[index],)).fetchone()
            flips = {str(n): flip(value, draw) for n, value in enumerate(texts)}
            for name in names:
                if name in ("swap", "duplicate") and index + 1 == SIZE:
                    continue
                for statement in TAMPERS[name]:
                    values = {"id": ids[index], "next": ids.get(index + 1), "index": index, **flips}
                    rows.db.execute(statement, {k: v for k, v in values.items() if f":{k}" in statement})
                verdict = verify(Pieces(await bundles(rig, files, index)), rig.key)
                first = index + 1 if name == "duplicate" else index
                # Two rows at one place stand in the order of their numbers: it is the second that is too much.
                expected = {first, min(first + 1, SIZE - 1)} if name in ("insert", "duplicate") else {first}
                assert verdict.problems and verdict.first in expected, (seed, name, index, verdict.problems[:3])
                rows.put_back(kept)
                tried += 1
            if index % 50 == 0:
                assert not verify(Pieces(await bundles(rig, files, index)), rig.key).problems, "put back"
    patch.undo()
    note(f"{tried} tampers at the rows of {SIZE} events, all found, all named")


def flip(value: str | bytes, draw: random.Random) -> bytes:
    forged = bytearray(value.encode() if isinstance(value, str) else value)
    forged[draw.randrange(len(forged))] ^= 1 << draw.randrange(8)
    return bytes(forged)


async def test_an_honest_program_cannot_change_what_is_sealed(tmp_path):
    async with log_rig("sqlite", tmp_path) as rig:
        await rig.state(3)
        await rig.seal()
        db = rig.store.commits.db
        for statement in (
            'UPDATE events SET "index" = 7 WHERE id = 1', "UPDATE events SET kind = 'task.ended'", "DELETE FROM events",
            "DELETE FROM tiles", "UPDATE tiles SET hashes = zeroblob(96)", "UPDATE bodies SET body = x'00'",
        ):  # fmt: skip
            with pytest.raises(sqlite3.IntegrityError):
                db.execute(statement)
