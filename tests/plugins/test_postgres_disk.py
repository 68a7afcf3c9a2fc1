"""T1.9, the rest: a PostgreSQL on a full disk, and one that is a standby for a while, so that nothing can be written.

A server of its own, whose data lie on a small disk. What is due then is overdue and said to be so,
nothing new comes into being, and all of it is taken back within a minute after the server is well.
"""

import asyncio
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace

import asyncpg
import pytest

from taskbound.core.errors import TargetUnavailable
from taskbound.core.secret import Secret
from tests.notes import note
from tests.plugins.test_postgres_faults import OTHER, Bench
from tests.postgres import server as postgres
from tests.postgres.server import PASSWORD, Server
from tests.postgres.target import new_lease

SIZE = 160  # MiB of the disk: what a new server needs, and some
LEASES = 5


class Own:
    """A server on a small disk, that can be stopped and started."""

    def __init__(self, folder: Path) -> None:
        self.server: Server = postgres.made(folder)
        self.process = postgres.launched(self.server)
        postgres.prepare(self.server, self.process)

    def start(self) -> None:
        self.process = postgres.launched(self.server)
        postgres.answers(self.server, self.process)

    def stop(self) -> None:
        self.process.send_signal(signal.SIGINT)  # "fast"
        self.process.wait(20)

    @property
    def data(self) -> Path:
        return self.server.folder / "data"


@pytest.fixture(scope="module")
def own() -> Iterator[Own]:
    folder = Path(tempfile.mkdtemp(prefix="taskbound-"))
    disk = folder / "data"
    disk.mkdir(mode=0o700)
    mount = ["mount", "-t", "tmpfs", "-o", f"size={SIZE}m,mode=0700", "tmpfs", str(disk)]
    if not shutil.which("mount") or subprocess.run(mount, check=False, capture_output=True).returncode:
        shutil.rmtree(folder)
        pytest.skip("a small disk cannot be mounted here: it takes root")
    shutil.chown(disk, "nobody")
    try:
        made = Own(folder)
        yield made
        made.process.kill()
        made.process.wait(10)
    finally:
        subprocess.run(["umount", "--lazy", str(disk)], check=True)
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
async def bench(own):
    judge = await own.server.superuser()
    await judge.execute(OTHER)
    await judge.close()
    direct = SimpleNamespace(admin=lambda: own.server.admin)
    made = Bench(SimpleNamespace(server=own.server), direct, Secret(own.server.url("other_broker", PASSWORD)))
    yield made
    await made.stop()
    for provider in made.providers.values():
        await provider.close()
    judge = await own.server.superuser()
    await judge.execute("DROP OWNED BY other_broker; DROP ROLE other_broker")
    await judge.close()


async def disk_full(own: Own) -> Callable[[], None]:
    """The disk is full to its last byte, and the server needs a new file for its log: it stops, and stays away."""
    filler = own.data / "filler"
    with filler.open("wb", buffering=0) as file, suppress(OSError):
        while True:
            file.write(bytes(1 << 16))
    judge = await own.server.superuser()
    with suppress(asyncpg.PostgresError, OSError, asyncpg.InterfaceError):
        for _ in range(40):  # until the segments that lie ready are used up
            await judge.execute("SELECT pg_switch_wal(); CREATE TABLE IF NOT EXISTS x (n int); DROP TABLE x")
    judge.terminate()

    def mend() -> None:
        filler.unlink()
        with suppress(subprocess.TimeoutExpired):
            own.process.wait(1)
        if own.process.poll() is None:
            own.stop()
        own.start()

    return mend


async def standby(own: Own) -> Callable[[], None]:
    """The server is started again as a standby: everything can be read, nothing can be written."""
    own.stop()
    (own.data / "standby.signal").touch()
    shutil.chown(own.data / "standby.signal", "nobody")
    own.start()

    def mend() -> None:
        own.stop()
        (own.data / "standby.signal").unlink()
        own.start()

    return mend


@pytest.mark.parametrize("fault", [standby, disk_full], ids=lambda fault: fault.__name__)
async def test_what_cannot_be_written_is_overdue_and_taken_back_when_it_can_be(own, bench, fault):
    issued = await bench.issued("shopdb", LEASES)
    mend = await fault(own)
    new = new_lease(target="shopdb")
    with pytest.raises((TargetUnavailable, TimeoutError)):
        async with asyncio.timeout(5):
            await bench.providers["shopdb"].create(new)
    began = await bench.end(*(lease for lease, _ in issued))
    bench.ahead = timedelta(seconds=6)
    await bench.until(
        lambda: all("lease.overdue" in bench.said(lease) for lease, _ in issued), began + 10 - time.monotonic()
    )
    assert all(bench.state(lease) == "revoking" for lease, _ in issued), "said to be cut, and it was not"
    mend()  # in this thread: the server ends with the thread that started it
    took = await bench.until(lambda: all(bench.state(lease) == "revoked" for lease, _ in issued), 60)
    note(f"{fault.__name__}: {LEASES} leases revoked {took:.1f} s after the fault")
    judge = await own.server.superuser()
    assert await judge.fetch("SELECT rolname FROM pg_roles WHERE starts_with(rolname, 'tb_')") == []
    await judge.close()
    for lease, password in issued:
        assert bench.said(lease).count("lease.overdue") == 1
        assert not await own.server.lets_in(lease.name, password)
    with suppress(FileNotFoundError):
        os.unlink(own.data / "filler")
