"""Whatever happens while the log is sealed: never two checkpoints of one size with different roots (T7.5, T7.6)."""

import asyncio
import random
from itertools import count

import pytest

from taskbound.core.audit import verify
from taskbound.core.errors import Conflict, Unavailable
from taskbound.core.leaf import render_leaf
from taskbound.formats.tlog import edge, grow, leaf_hash, parse_checkpoint
from taskbound.steps.seal_log import seal_log
from tests.logs import Counted, Files, log_rig
from tests.notes import note
from tests.profile import trials
from tests.rig import Crash, Crossings

FIRST, THEN = trials(300, 250), trials(300, 20)  # events; a tile of 256 is filled on the way


@pytest.fixture(params=["memory", "sqlite"])
def kind(request):
    return request.param


class Signed:
    """Remembers every root that was ever signed, by origin and size: what a leaked answer could show."""

    def __init__(self, keys) -> None:
        self._keys = keys
        self.roots: dict[tuple[str, int], set[bytes]] = {}

    async def sign(self, purpose, message):
        said = parse_checkpoint(message.decode())
        self.roots.setdefault((said.origin, said.size), set()).add(said.root)
        return await self._keys.sign(purpose, message)

    async def public(self):
        return await self._keys.public()

    def check(self) -> None:
        assert all(len(roots) == 1 for roots in self.roots.values()), self.roots


async def check(rig, events: int) -> None:
    """Everything acknowledged is sealed, verifies, and nothing else was ever signed."""
    assert (await rig.seal()).size == events
    verdict = verify(Files(await rig.export()), rig.key)
    assert (verdict.problems, verdict.size) == ([], events)
    rig.keys.check()
    assert rig.seen()[events]


@pytest.mark.parametrize("after", [False, True], ids=["not-done", "done-but-unanswered"])
async def test_a_crash_at_any_crossing_leaves_one_log(kind, after, tmp_path):
    for crossing in count(1):
        async with log_rig(kind, tmp_path / str(crossing)) as rig:
            rig.keys = Signed(rig.keys)
            await rig.state(FIRST)
            await rig.seal()
            await rig.state(THEN)
            crossings = Crossings(crash_at=crossing, after=after)
            try:
                await seal_log(rig.world(crossings), rig.lane)
                crashed = False
            except Crash:
                crashed = True
            await rig.state(7)
            await check(rig, FIRST + THEN + 7)
        if not crashed:
            break
    note(f"{crossing - 1} crossings: {', '.join(dict.fromkeys(crossings.names))}")
    assert crossing > 10


async def test_trouble_at_any_crossing_leaves_one_log(kind, tmp_path):
    """EIO at each: the store, the key or the second place is away once."""

    class Trouble(Crossings):
        def before(self, name):
            try:
                super().before(name)
            except Crash:
                raise Unavailable(f"{name} is away") from None

    for crossing in count(1):
        async with log_rig(kind, tmp_path / str(crossing)) as rig:
            rig.keys = Signed(rig.keys)
            await rig.state(300)
            try:
                await seal_log(rig.world(Trouble(crash_at=crossing)), rig.lane)
                failed = False
            except Unavailable:
                failed = True
            await check(rig, 300)
        if not failed:
            return


async def test_two_sealers_at_once_make_one_log(kind, tmp_path):
    """Interleaved at every crossing, in random order; a loser tries again."""
    seed = random.randrange(2**32)
    draw = random.Random(seed)
    note(f"seed {seed}")

    class Interleaved(Counted):
        def __getattr__(self, method):
            async def cross(*args, **named):
                for _ in range(draw.randrange(4)):
                    await asyncio.sleep(0)
                return await getattr(self._port, method)(*args, **named)

            return cross

    losses = 0
    for run in range(trials(200, 25)):
        async with log_rig(kind, tmp_path / str(run)) as rig:
            rig.keys = Signed(rig.keys)
            log, checkpoints, idle = rig.log, rig.checkpoints, Crossings()

            async def sealer(rig=rig) -> None:
                nonlocal losses
                for _ in range(4):
                    try:
                        await seal_log(rig.world(), rig.lane)
                    except Conflict:
                        losses += 1

            async def writer(rig=rig) -> None:
                for _ in range(5):
                    await rig.state(draw.randrange(60))
                    await asyncio.sleep(0)

            rig.log, rig.checkpoints = Interleaved("log", log, idle), Interleaved("checkpoints", checkpoints, idle)
            await asyncio.gather(sealer(), writer(), sealer())
            rig.log, rig.checkpoints = log, checkpoints
            await check(rig, len(await log.read(rig.lane, 0, 10_000)) + len(await log.unsealed(rig.lane, 10_000)))
    note(f"{losses} times one was first")
    assert losses > 0


def flipped(data: bytes, at: int) -> bytes:
    forged = bytearray(data)
    forged[at // 8] ^= 1 << at % 8
    return bytes(forged)


async def test_a_bit_that_flipped_before_signing_is_never_signed(tmp_path):
    """T7.6: in SQLite's rows, between storing and signing: header, commitment, salt, body, tile, old edge."""
    seed = random.randrange(2**32)
    draw = random.Random(seed)
    note(f"seed {seed}")
    columns = ["kind", '"by"', "noun", "thing", "request", "commitment"]
    places = [*(("events", column) for column in columns), ("bodies", "salt"), ("bodies", "body"), ("tiles", "hashes")]
    tried = 0
    async with log_rig("sqlite", tmp_path) as rig:
        await rig.state(300)
        await rig.seal()
        await rig.state(300)
        crossings = Crossings()
        await rig.log.extend(rig.lane, 300, *await _leaves(rig), after=await rig.log.checkpoint(rig.lane))
        before = await rig.log.checkpoint(rig.lane)
        db = rig.store.commits.db
        for (name,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall():
            db.execute(f"DROP TRIGGER {name}")
        db.execute("PRAGMA ignore_check_constraints = ON")
        for table, column in places * trials(40, 8):
            # Of tiles all that the signed roots stand on; a full one below them is for `audit verify`.
            where = {"events": "id > 300", "bodies": "event > 300", "tiles": "(level, tile) <> (0, 0)"}[table]
            rows = db.execute(f"SELECT rowid, {column} FROM {table} WHERE {where}").fetchall()
            row, value = draw.choice(rows)
            bits = value.encode() if isinstance(value, str) else value
            forged = flipped(bits, draw.randrange(8 * len(bits)))
            # CAST: the bytes as they are, also where they are no UTF-8
            kind = "TEXT" if isinstance(value, str) else "BLOB"
            db.execute(f"UPDATE {table} SET {column} = CAST(? AS {kind}) WHERE rowid = ?", (forged, row))
            with pytest.raises(Unavailable) as refused:
                await seal_log(rig.world(crossings), rig.lane)
            assert refused.value.code == "log_broken", (seed, table, column, row)
            assert await rig.log.checkpoint(rig.lane) == before
            db.execute(f"UPDATE {table} SET {column} = CAST(? AS {kind}) WHERE rowid = ?", (bits, row))
            tried += 1
        assert "keys.sign" not in crossings.names
        assert (await rig.seal()).size == 600  # whole again, it goes on
    note(f"{tried} flips, none signed")


async def _leaves(rig):
    """What the first half of a pass stores."""
    facts = await rig.log.unsealed(rig.lane, 1_000)
    leaves = [leaf_hash(render_leaf(fact.header, index)) for index, fact in enumerate(facts, 300)]
    old = {(tile.level, tile.index): await rig.log.tile(rig.lane, tile.level, tile.index) for tile in edge(300)}
    return facts, grow(old, 300, leaves)
