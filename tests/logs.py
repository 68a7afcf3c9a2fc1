"""A world around one log, for tests of sealing, exporting and verifying: over the memory store, SQLite or PostgreSQL.

Every method of the log, the keys and the second place is a crossing of the rig's kind: it can
crash before or after its effect, and be told to answer something else.
"""

from collections.abc import Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from taskbound.core.event import Kind
from taskbound.core.identity import door, for_request
from taskbound.core.storm import Denials
from taskbound.formats.note import make_key, parse_note
from taskbound.formats.tlog import Checkpoint, parse_checkpoint
from taskbound.plugins.checkpoints.memory import MemoryCheckpoints
from taskbound.plugins.keys.memory import MemoryKeys
from taskbound.plugins.policies.files import PolicyFiles
from taskbound.ports import World
from taskbound.steps.export_log import export_log
from taskbound.steps.seal_log import seal_log
from taskbound.store.memory import MemoryStore
from taskbound.store.memory_log import MemoryLog
from taskbound.store.postgres.log import PostgresLog
from taskbound.store.sqlite import open_store
from taskbound.store.sqlite_log import SqliteLog
from tests.contracts.store import Clock
from tests.rig import Crossings

if TYPE_CHECKING:
    from tests.store.postgres_database import Database

INSTANCE = "abcdef"


class Counted:
    """A port whose every method is a crossing."""

    def __init__(self, name: str, port: Any, crossings: Crossings) -> None:
        self._name, self._port, self._crossings = name, port, crossings

    def __getattr__(self, method: str) -> Any:
        async def cross(*args: Any, **named: Any) -> Any:
            self._crossings.before(f"{self._name}.{method}")
            answer = await getattr(self._port, method)(*args, **named)
            self._crossings.done()
            return answer

        return cross


class Archive:
    """An export in a dictionary."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}

    async def write(self, path: str, data: bytes) -> None:
        self.files[path] = self.files.get(path, b"") + data


class Files:
    """The files of an export, as `verify` wants them."""

    def __init__(self, files: dict[str, bytes]) -> None:
        self.files = files

    def read(self, path: str) -> bytes | None:
        return self.files.get(path)

    def lines(self, path: str) -> Iterator[bytes]:
        return iter(self.files.get(path, b"").splitlines())


class LogRig:
    """A world, its log, and lanes for its organisations."""

    def __init__(self, store: Any, log: Any, clock: Clock) -> None:
        self.store, self.log, self.clock = store, log, clock
        self.keys, self.checkpoints = MemoryKeys(["log", "another"]), MemoryCheckpoints()
        self.lane, self.other = (door("example.org", "lane/seal", org) for org in ("main", "other"))
        self.key = make_key(f"{INSTANCE}/main", self.keys._keys["log"].public_key().public_bytes_raw())

    def world(self, crossings: Crossings | None = None) -> World:
        crossings = crossings or Crossings()
        return World(
            store=self.store,
            log=Counted("log", self.log, crossings),
            keys=Counted("keys", self.keys, crossings),
            checkpoints=Counted("checkpoints", self.checkpoints, crossings),
            policies=PolicyFiles(Path("none"), {}),
            providers={},
            issuers={},
            upstreams={},
            attestor=None,
            trust_domain="example.org",
            operator=None,
            instance=INSTANCE,
            node="",
            new_id=lambda kind: kind + "a" * 20,
            new_handle=None,  # type: ignore[arg-type]
            denials=Denials(),
        )

    async def state(self, n: int, lane: Any = None, **detail: object) -> None:
        lane = lane or self.lane
        for at in range(0, n, 100):
            async with self.store.transaction(for_request(lane, f"r{at}")) as tx:
                for id in range(at, min(n, at + 100)):
                    await tx.record(Kind.NODE_STARTED, id=f"n{id}", note="ünïcode", **detail)

    async def seal(self, lane: Any = None) -> Checkpoint:
        size = -1
        while (sealed := await seal_log(self.world(), lane or self.lane)).size > size:
            size = sealed.size
        return sealed

    async def export(self, lane: Any = None) -> dict[str, bytes]:
        archive = Archive()
        await export_log(self.world(), lane or self.lane, archive)
        return archive.files

    def seen(self, org: str = "main") -> dict[int, bytes]:
        """The root of each size that ever had a checkpoint in the second place."""
        return {
            size: parse_checkpoint(parse_note(note)[0]).root
            for (origin, size), note in self.checkpoints.kept.items()
            if origin == f"{INSTANCE}/{org}"
        }


@asynccontextmanager
async def log_rig(kind: str, path: Path, database: "Database | None" = None):
    """Give a rig over the memory store, over a new SQLite database, or over a PostgreSQL database that is emptied."""
    clock = Clock()
    if kind == "memory":
        memory = MemoryStore(clock)
        yield LogRig(memory, MemoryLog(memory), clock)
        return
    if kind == "postgres":
        assert database is not None
        await database.empty()
        shared = await database.open(clock)
        try:
            yield LogRig(shared, PostgresLog(shared), clock)
        finally:
            await shared.close()
        return
    store = open_store(path / "state" / "taskbound.db", clock, reserve=0)
    try:
        yield LogRig(store, SqliteLog(store), clock)
    finally:
        await store.close()
