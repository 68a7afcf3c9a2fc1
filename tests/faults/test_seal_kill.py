"""kill -9 while events are recorded and sealed: one log, nothing acknowledged is lost (T7.5)."""

import asyncio
import random
import subprocess
import sys
import time
from pathlib import Path

from taskbound import app
from taskbound.core.audit import verify
from taskbound.core.identity import door
from taskbound.formats.note import make_key
from taskbound.steps.export_log import export_log
from taskbound.steps.seal_log import seal_log
from tests.logs import Archive, Files
from tests.notes import note
from tests.profile import trials

CHILD = """
import asyncio, sys
from pathlib import Path
from taskbound import app
from taskbound.core.event import Kind
from taskbound.core.identity import door
from taskbound.steps.seal_log import seal_log

async def record(world, lane):
    while True:
        async with world.store.transaction(lane) as tx:
            for _ in range(7):
                await tx.record(Kind.NODE_STARTED, id="n")
        print(flush=True)  # acknowledged

async def seal(world, lane):
    while True:
        await seal_log(world, lane)
        await asyncio.sleep(0)

async def main():
    async with app.open_state(Path(sys.argv[1]), Path(sys.argv[2])) as world:
        lane = door("example.org", "lane/seal", "main")
        await asyncio.gather(record(world, lane), seal(world, lane))

asyncio.run(main())
"""


async def sealed(state: Path, second: Path) -> tuple[int, dict[str, bytes], str]:
    async with app.open_state(state, second) as world:
        lane = door("example.org", "lane/seal", "main")
        size = -1
        while (checkpoint := await seal_log(world, lane)).size > size:
            size = checkpoint.size
        archive = Archive()
        await export_log(world, lane, archive)
        return size, archive.files, str(make_key(checkpoint.origin, (await world.keys.public())["log"]))


def test_a_killed_sealer_leaves_one_log_that_goes_on(tmp_path):
    seed = random.randrange(2**32)
    draw = random.Random(seed)
    state, second, acknowledged = tmp_path / "state", tmp_path / "second", 0
    for _ in range(trials(40, 8)):
        with subprocess.Popen(
            [sys.executable, "-c", CHILD, str(state), str(second)], stdout=subprocess.PIPE, stderr=subprocess.PIPE
        ) as child:
            assert child.stdout and child.stderr
            assert child.stdout.readline() == b"\n", child.stderr.read()
            time.sleep(draw.random() * 0.2)
            child.kill()
            acknowledged += 7 * (1 + child.stdout.read().count(b"\n"))
            assert child.stderr.read() == b""
        size, files, key = asyncio.run(sealed(state, second))
        assert size >= acknowledged, (seed, size, acknowledged)
        assert files["vkey"].decode().strip() == key
        acknowledged = size
    kept = [path for path in second.rglob("*") if path.name.isdecimal()]
    assert len(kept) > trials(40, 8)
    for path in kept:  # every checkpoint that was ever signed is a beginning of the log as it is now
        verdict = verify(Files(files), earlier=path.read_bytes())
        assert verdict.problems == [], (seed, path.name)
    note(f"seed {seed}: {size} events, {len(kept)} checkpoints, all of one log")
