"""What the log costs beside its events: sealing, exporting, and `taskbound audit verify` by a stranger (T7.8)."""

import asyncio
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from time import perf_counter

from bench.durable import opened
from bench.figures import Figure
from taskbound import app
from taskbound.core.identity import door
from taskbound.steps.seal_log import seal_log

EVENTS = 50_000
VERIFY = "import sys; from taskbound.cli import main; sys.exit(main(['audit', 'verify', sys.argv[1], '--json']))"


def measure(events: int = EVENTS) -> list[Figure]:
    """Return the figures of a log with so many events; that of a million is a multiple of them."""
    with tempfile.TemporaryDirectory() as folder:
        size, sealing, exporting = asyncio.run(_exported(events, Path(folder)))
        start = perf_counter()
        verify = [sys.executable, "-c", VERIFY, f"{folder}/export"]
        done = subprocess.run(verify, capture_output=True, text=True, check=True)
        verifying = perf_counter() - start
    if json.loads(done.stdout)["size"] != size:
        raise RuntimeError("not the whole log was verified")
    million, of = verifying / size * 1e6, f"a log of {size:,} events"
    said = f"{verifying:.1f} s; a million {million:,.0f} s"
    return [
        Figure(f"sealing / exporting {of}", f"{size / sealing:,.0f} / {size / exporting:,.0f} per s"),
        Figure(f"audit verify of {of}", said, "a million ≤ 120 s", million <= 120),
    ]


async def _exported(events: int, folder: Path) -> tuple[int, float, float]:
    """Make a log and export it; return its size, and the seconds that sealing and exporting took."""
    async with opened(folder) as site:
        await site.open_tasks(events)
        lane, size, start = door("example.org", "lane/seal", "main"), -1, perf_counter()
        while (sealed := await seal_log(site.world, lane)).size > size:
            size = sealed.size
        sealing, start = perf_counter() - start, perf_counter()
        await app.audit_export(site.world, "main", folder / "export")
        return size, sealing, perf_counter() - start
