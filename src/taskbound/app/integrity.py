"""Is what is stored what the log says? The log first, then every row (SECURITY-DESIGN G7, T7.4)."""

from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

from taskbound.app.world import open_shared, open_state
from taskbound.core.audit import LINE, Verdict, verify
from taskbound.core.identity import door
from taskbound.core.secret import Secret
from taskbound.formats.note import make_key
from taskbound.plugins.archives.directory import DirectoryArchive
from taskbound.ports import World
from taskbound.steps.export_log import export_log
from taskbound.store.postgres import snapshot
from taskbound.store.rebuilt import Comparison, compare, compare_rows
from taskbound.store.sqlite import SqliteStore

ORG = "main"


class _Files:
    """The files of an export, as `verify` reads them."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def read(self, path: str) -> bytes | None:
        file = self._directory / path
        return file.read_bytes() if file.is_file() else None

    def lines(self, path: str) -> Iterator[bytes]:
        if (self._directory / path).is_file():
            with (self._directory / path).open("rb") as file:
                while line := file.readline(LINE):
                    yield line.removesuffix(b"\n")


async def integrity(state: Path, second: Path, database: Secret | None = None) -> tuple[Verdict | None, Comparison]:
    """Return what of the log does not verify (None: nothing was ever sealed), and what the rows say otherwise.

    Nothing is sealed for it: what was committed since the last checkpoint is compared, but nobody vouches
    for it yet. A `database` that nodes share is read as it is at one moment, whatever they do. Raises Unavailable,
    also while another process works on the state directory, where that holds the log.
    """
    if database is not None:
        async with open_shared(database, state, second) as shared:
            if shared is None:
                return None, Comparison()
            verdict = await _verdict(shared, state)
        async with snapshot(database) as select:
            return verdict, await compare_rows(select, ORG)
    async with open_state(state, second) as world:
        verdict = await _verdict(world, state)
        assert isinstance(world.store, SqliteStore)
        return verdict, await compare(world.store, door(world.trust_domain, "lane/doctor", ORG))


async def _verdict(world: World, state: Path) -> Verdict | None:
    lane, origin = door(world.trust_domain, "lane/seal", ORG), f"{world.instance}/{ORG}"
    if await world.log.checkpoint(lane) is None:
        return None
    key = make_key(origin, (await world.keys.public())["log"])
    with TemporaryDirectory(dir=state, prefix=".doctor-") as folder:  # 0700, as everything there
        await export_log(world, lane, DirectoryArchive(Path(folder)))
        return verify(_Files(Path(folder)), key, await world.checkpoints.newest(origin))
