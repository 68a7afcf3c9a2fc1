"""From four fifths on it is said that the disk fills up: once, before nothing is permitted (INTERFACES 2)."""

import asyncio
import os
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
from structlog.testing import capture_logs

from taskbound.app import disk, up
from taskbound.core.identity import door
from taskbound.lanes.progress import Lanes

TOTAL = 1000  # blocks
OPENER = door("example.org", "lane/test", "main")


@pytest.fixture
def used(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[float | OSError]]:
    """What a disk answers at each look, the share that is used or an error; the last one then stays."""
    answers: list[float | OSError] = [0.5]

    def statvfs(_: Path) -> SimpleNamespace:
        now = answers.pop(0) if len(answers) > 1 else answers[0]
        if isinstance(now, OSError):
            raise now
        # A tenth is kept for root: it is free, and not for us.
        left = TOTAL - round(TOTAL * now)
        kept = TOTAL // 10
        return SimpleNamespace(f_bavail=left, f_bfree=left + kept, f_blocks=TOTAL + kept, f_frsize=4096)

    monkeypatch.setattr(os, "statvfs", statvfs)
    yield answers


async def said(used: list[float | OSError], *answers: float | OSError) -> list[str]:
    """Return what the log says while a disk answers so, look after look."""
    used[:] = answers
    with capture_logs() as log:
        looking = asyncio.create_task(disk.watch(Path("/state"), every=0.001))
        while len(used) > 1:  # noqa: ASYNC110 - the disk has no event for it
            await asyncio.sleep(0.001)
        await asyncio.sleep(0.01)  # it stays as it is for some looks more
        looking.cancel()
    return [f"{line['log_level']} {line['event']} {line.get('used', '')}".strip() for line in log]


@pytest.mark.parametrize(("answers", "expected"), [
    ((0.5, 0.799), []),
    ((0.5, 0.79, 0.8), ["warning disk_nearly_full 80%"]),
    ((0.81,), ["warning disk_nearly_full 81%"]),
    ((0.81, 0.9, 0.99, 1.0), ["warning disk_nearly_full 81%"]),
    ((0.81, 0.5, 0.6, 0.95), [
        "warning disk_nearly_full 81%", "info disk_has_room 50%", "warning disk_nearly_full 95%",
    ]),
    ((0.81, OSError(5, "Input/output error"), 0.9), ["warning disk_nearly_full 81%", "warning disk_not_read"]),
], ids=["below", "at-80", "at-the-start", "once", "each-crossing", "cannot-be-read"])  # fmt: skip
async def test_each_crossing_is_said_once(used, answers, expected):
    assert await said(used, *answers) == expected


async def test_control_without_its_memory_it_is_said_each_time(used, monkeypatch):
    look = disk._look
    monkeypatch.setattr(disk, "_look", lambda state, _: look(state, False))
    assert len(await said(used, 0.81, 0.9, 0.99)) >= 3


def test_the_metrics_say_how_full_it_is(used):
    used[:] = [0.75]
    found = up._measures(Lanes(OPENER, OPENER, OPENER, float), Path("/state"))
    assert found["disk_used_ratio"] == 0.75 and found["disk_free_bytes"] == 250 * 4096
