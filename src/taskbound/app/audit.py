"""The verbs on the log that need a world: export, erase, tail."""

from datetime import timedelta
from pathlib import Path

from taskbound.core.identity import Identity, door
from taskbound.plugins.archives.directory import DirectoryArchive
from taskbound.plugins.sinks.file import FileSink
from taskbound.ports import Sink, World
from taskbound.steps.erase_bodies import erase_bodies, erase_body
from taskbound.steps.export_log import export_log
from taskbound.steps.follow_log import follow_log
from taskbound.steps.seal_log import seal_log


async def audit_export(world: World, org: str, directory: Path) -> int:
    """Seal what is committed and export the log; return how many events that are."""
    lane = await _sealed(world, org)
    return await export_log(world, lane, DirectoryArchive(directory))


async def audit_erase(world: World, org: str, which: timedelta | int, of: str = "") -> int:
    """Erase the bodies of events that are older, all or of a class, or of the one event with an index.

    Returns how many, once the facts that say so are sealed. Raises Conflict where the one event has no body.
    """
    lane, by = await _sealed(world, org), door(world.trust_domain, "door/command", org)
    if isinstance(which, int):
        await erase_body(world, lane, by, which)
        erased = 1
    else:
        erased = await erase_bodies(world, lane, by, which, of)
    await _sealed(world, org)
    return erased


async def audit_has_second_place(world: World, org: str) -> bool:
    """Whether the second place has seen this log. A log that was never sealed has nothing to be seen."""
    if await world.log.checkpoint(door(world.trust_domain, "lane/seal", org)) is None:
        return True
    return await world.checkpoints.newest(f"{world.instance}/{org}") is not None


def file_sink(path: Path) -> Sink:
    """Return a file as a sink of sealed events."""
    return FileSink(path)


async def audit_tail(world: World, org: str, sink: Sink | Path) -> None:
    """Seal what is committed, and send to the sink, or append to the file, what it does not have yet."""
    lane = await _sealed(world, org)
    sink = file_sink(sink) if isinstance(sink, Path) else sink
    await follow_log(world, lane, await sink.last(), [sink])


async def _sealed(world: World, org: str) -> Identity:
    """Seal everything that is committed; return the lane that did."""
    lane, size = door(world.trust_domain, "lane/seal", org), -1
    while (sealed := await seal_log(world, lane)).size > size:
        size = sealed.size
    return lane
