"""T1.9, T1.16: whatever fails at a real PostgreSQL, what is due is taken back within a minute after it is well again.

The lanes run as they do in the server. One target is reached by way of a proxy that fails; the
other is the same server, reached by a broker of its own, and must not feel it.
"""

import asyncio
import time
from dataclasses import replace
from datetime import timedelta
from types import SimpleNamespace

import pytest

from taskbound.app import in_memory, new_password, now
from taskbound.core.errors import TargetUnavailable
from taskbound.core.event import Kind
from taskbound.core.identity import door
from taskbound.core.lease import fall_due
from taskbound.core.secret import Secret
from taskbound.core.thing import advance
from taskbound.lanes import run_lanes
from taskbound.lanes.progress import Lanes
from taskbound.plugins.providers.postgres import PostgresProvider, sql
from taskbound.store.memory import MemoryStore
from tests.notes import note
from tests.postgres.proxy import proxy_before
from tests.postgres.server import BROKER, PASSWORD, server  # noqa: F401
from tests.postgres.target import INSTANCE, at, new_lease  # noqa: F401
from tests.profile import trials
from tests.rig import POLICY
from tests.shop.targets import TARGETS

LEASES = trials(50, 10)
LASTS = trials(15, 1)  # seconds of each fault
BESIDE = trials(50, 8)  # leases at the other target, before and during the fault
LANE = door("example.org", "lane/revoke", "main")
OTHER = f"""
CREATE ROLE other_broker LOGIN CREATEROLE PASSWORD '{sql.scram_verifier(PASSWORD, b"salt of the tests")}';
GRANT pg_signal_backend TO other_broker;
GRANT shop_owner, shop_quarantine TO other_broker WITH INHERIT TRUE, SET TRUE;
GRANT shop_reader TO other_broker WITH ADMIN TRUE, INHERIT FALSE, SET FALSE;
"""


def provider_by(admin, node="n1"):
    return PostgresProvider(
        admin,
        owner="shop_owner",
        quarantine="shop_quarantine",
        instance=INSTANCE,
        node=node,
        epoch="e1",
        new_password=new_password,
    )


class Bench:
    """A world with both targets, and its lanes."""

    def __init__(self, at, proxy, other) -> None:  # noqa: F811
        self.at, self.proxy, self.ahead = at, proxy, timedelta()
        bare = in_memory(POLICY, TARGETS, {}, clock=lambda: now() + self.ahead)
        self.providers = {"shopdb": provider_by(proxy.admin()), "other": provider_by(other)}
        self.world = replace(bare, providers=self.providers, instance=INSTANCE)
        assert isinstance(bare.store, MemoryStore)
        self.store = bare.store
        self.start()

    def start(self) -> None:
        end, seal = (door("example.org", f"lane/{name}", "main") for name in ("end", "seal"))
        self.lanes = Lanes(end, LANE, seal, jitter=lambda: 0.5)
        self.stopping = asyncio.Event()
        self.running = asyncio.create_task(run_lanes(self.world, self.lanes, self.stopping))

    async def stop(self) -> None:
        self.stopping.set()
        await self.running

    async def restart(self, world) -> None:
        """Stop the lanes and start them in another world, as a broker does that is started again."""
        await self.stop()
        self.world = world
        self.start()

    async def issued(self, target: str, n: int):
        """Active leases at the target, and their passwords."""

        async def one():
            pending = new_lease(target=target)
            async with self.world.store.transaction(LANE) as tx:
                await tx.record(Kind.LEASE_REQUESTED, pending)
            password = await self.world.providers[target].create(pending)
            active = advance(pending, Kind.LEASE_ACTIVATED, activated=now(), due=pending.expires)
            async with self.world.store.transaction(LANE) as tx:
                await tx.record(Kind.LEASE_ACTIVATED, active)
            return active, password.reveal()

        return [await one() for _ in range(n)]

    async def end(self, *leases) -> float:
        async with self.world.store.transaction(LANE) as tx:
            for lease in leases:
                await tx.record(Kind.LEASE_FELL_DUE, fall_due(lease, tx.now), reason="done")
        self.lanes.progress.wake()
        return time.monotonic()

    def state(self, lease):
        return self.store.things[("main", "lease", lease.id)].state

    def said(self, lease) -> list[str]:
        return [str(event.kind) for event in self.store.events if event.id == lease.id]

    async def until(self, holds, within: float) -> float:
        started = time.monotonic()
        while not holds():
            assert time.monotonic() - started < within, f"not within {within} s"
            await asyncio.sleep(0.002)
        return time.monotonic() - started

    async def beside(self) -> list[float]:
        """Seconds from an end to the cut at the other target, one after the other."""
        took = []
        for lease, _ in await self.issued("other", BESIDE):
            await self.end(lease)
            took.append(await self.until(lambda: self.state(lease) in ("cut", "revoked"), 10))  # noqa: B023
        return sorted(took)


@pytest.fixture
async def bench(at):  # noqa: F811
    await at.superuser.execute(OTHER)
    async with proxy_before(at.server) as proxy:
        made = Bench(at, proxy, Secret(at.server.url("other_broker", PASSWORD)))
        yield made
        await made.stop()
        for provider in made.providers.values():
            await provider.close()
    await at.superuser.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'other_broker'")
    await at.superuser.execute("DROP OWNED BY other_broker; DROP ROLE other_broker")


async def down(bench, leases):
    await bench.proxy.down()
    return bench.proxy.up


async def hangs(bench, leases):
    bench.proxy.hang()
    return bench.proxy.up


async def resets_in_a_statement(bench, leases):
    bench.proxy.cut_off = b"NOLOGIN"
    return bench.proxy.up


async def resets_in_the_cleaning(bench, leases):
    bench.proxy.cut_off = b"DROP ROLE"
    return bench.proxy.up


async def password_rotated(bench, leases):
    judge = bench.at.superuser
    await judge.execute(f"ALTER ROLE {BROKER} PASSWORD '{sql.scram_verifier('another', b'salt')}'")
    await judge.fetch("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = $1", BROKER)

    async def restore():
        await judge.execute(f"ALTER ROLE {BROKER} PASSWORD '{sql.scram_verifier(PASSWORD, b'salt of the tests')}'")

    return restore


async def configuration_deleted(bench, leases):
    """The target stands in no configuration any more: `up` was started again without it, and then with it."""
    without = {"other": bench.providers["other"]}
    await bench.restart(replace(bench.world, providers=without))
    return lambda: bench.restart(replace(bench.world, providers=bench.providers))


async def roles_dropped_by_hand(bench, leases):
    for lease in leases:
        await bench.at.superuser.execute(f"DROP OWNED BY {lease.name}; DROP ROLE {lease.name}")
    return bench.proxy.up


FELT = (down, hangs, resets_in_a_statement, password_rotated)  # the target lets nothing be done
ALARMS = (*FELT, configuration_deleted)  # in these nothing can be cut
FAULTS = (*ALARMS, resets_in_the_cleaning, roles_dropped_by_hand)


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.__name__)
async def test_what_is_due_is_taken_back_when_the_fault_is_over_and_no_other_target_feels_it(bench, fault):
    calm = await bench.beside()
    issued = await bench.issued("shopdb", LEASES)
    leases = [lease for lease, _ in issued]
    mend = await fault(bench, leases)
    began = await bench.end(*leases)
    busy = await bench.beside()
    if fault in ALARMS:
        # The store's clock goes on by itself only in the full profile: five seconds are five seconds.
        if LASTS < 6:
            bench.ahead = timedelta(seconds=6)
        await bench.until(
            lambda: all("lease.overdue" in bench.said(lease) for lease in leases), began + 10 - time.monotonic()
        )
        assert all(bench.state(lease) == "revoking" for lease in leases)
    elif fault is resets_in_the_cleaning:
        await bench.until(lambda: all(bench.state(lease) == "cut" for lease in leases), 10)
    await asyncio.sleep(max(0.0, began + LASTS - time.monotonic()))
    await mend()
    took = await bench.until(lambda: all(bench.state(lease) == "revoked" for lease in leases), 60)
    half, last = len(calm) // 2, -1
    note(
        f"{fault.__name__}: {len(leases)} leases revoked {took:.1f} s after the fault;"
        f" end to cut beside it p50 {calm[half] * 1000:.0f} → {busy[half] * 1000:.0f} ms,"
        f" p99 {calm[last] * 1000:.0f} → {busy[last] * 1000:.0f} ms"
    )
    assert busy[half] <= 0.1 and busy[last] <= 2
    for lease, password in issued:
        assert not await bench.at.exists(lease.name) and not await bench.at.server.lets_in(lease.name, password)
        assert bench.said(lease)[-2:] == ["lease.cut", "lease.revoked"]
        assert bench.said(lease).count("lease.overdue") == (fault in ALARMS)
    assert bench.lanes.progress.orphans_found == 0


async def test_control_the_faults_are_felt(bench):
    (lease, password), *_ = await bench.issued("shopdb", 1)
    for fault in FELT:
        mend = await fault(bench, [lease])
        if fault is not resets_in_a_statement:  # which is one of cutting
            new = new_lease(target="shopdb")
            with pytest.raises((TargetUnavailable, TimeoutError)):
                async with asyncio.timeout(2):
                    await bench.world.providers["shopdb"].create(new)
            assert not await bench.at.exists(new.name), fault
        with pytest.raises((TargetUnavailable, TimeoutError)):
            async with asyncio.timeout(2):
                await bench.world.providers["shopdb"].cut(lease)
        assert await bench.at.server.lets_in(lease.name, password), fault
        await mend()
    await bench.world.providers["shopdb"].cut(lease)


# T1.16: the server has done it, and its answer is lost


ROUNDS = trials(20, 1)


async def lost(proxy, act):
    """Do it again and again, losing another answer each time, until every one was lost; yield after each."""
    for answer in range(1, 100):
        proxy.lose, before = answer, proxy.lost
        provider, failed = provider_by(proxy.admin(), node="n2"), False
        try:
            await act(provider)
        except TargetUnavailable:
            failed = True
        finally:
            await provider.close()
        was_lost, proxy.lose = proxy.lost > before, 0
        yield SimpleNamespace(answer=answer, was_lost=was_lost, failed=failed)
        if not was_lost:
            return
    pytest.fail("there is no end of answers")


async def test_a_lost_answer_to_creating_leaves_one_login_that_a_retry_makes_usable(at):  # noqa: F811
    async with proxy_before(at.server) as proxy:
        outcomes = []
        for _ in range(ROUNDS):
            made = new_lease()
            async for one in lost(proxy, lambda provider: provider.create(made)):  # noqa: B023
                exists = await at.exists(made.name)
                outcomes.append((one.was_lost, one.failed, exists))
                assert one.failed == one.was_lost, "a lost answer is never taken for a yes"
                password = await at.provider.create(made)
                assert await at.server.lets_in(made.name, password.reveal())
                await at.provider.cut(made)
                await at.provider.clean(made)
                assert not await at.exists(made.name)
                made = new_lease()
        lost_yes = outcomes.count((True, True, True))
        note(f"{len(outcomes)} tries: {outcomes.count((True, True, False))} lost before, {lost_yes} after the commit")
        assert lost_yes == ROUNDS, "the answer to COMMIT, once a round"


@pytest.mark.parametrize("method", ["cut", "clean"])
async def test_a_lost_answer_to_taking_back_leaves_nothing_after_a_retry(at, method):  # noqa: F811
    async def ready():
        """A lease that made a table, and its password; cut, when it is to be cleaned."""
        made = new_lease("shop_writer")
        password = (await at.provider.create(made)).reveal()
        session = await at.server.login(made.name, password)
        await session.execute("CREATE TABLE public.made_by_a_lease (id int)")
        session.terminate()
        if method == "clean":
            await at.provider.cut(made)
        return made, password

    async def taken_back(made, password):
        await at.provider.cut(made)
        await at.provider.clean(made)
        assert not await at.exists(made.name) and not await at.server.lets_in(made.name, password)
        assert await at.sessions(made.name) == 0
        await at.superuser.execute("DROP TABLE public.made_by_a_lease")

    async with proxy_before(at.server) as proxy:
        tries = done = 0
        for _ in range(ROUNDS):
            made, password = await ready()
            async for one in lost(proxy, lambda provider: getattr(provider, method)(made)):  # noqa: B023
                assert one.failed == one.was_lost, "a lost answer is never taken for a yes"
                is_done = not await (
                    at.server.lets_in(made.name, password) if method == "cut" else at.exists(made.name)
                )
                tries, done = tries + 1, done + (one.was_lost and is_done)
                await taken_back(made, password)  # what was done is done again
                made, password = await ready()
            await taken_back(made, password)
        note(f"{method}: {tries} tries, each with another answer lost, {done} of them after it was done")
        assert done >= ROUNDS


async def test_lanes_get_done_what_loses_its_answers(bench):
    """Every seventh answer is lost, for as long as it takes."""
    issued = await bench.issued("shopdb", LEASES)
    stop = asyncio.Event()

    async def losing():
        while not stop.is_set():
            if bench.proxy.lose == 0:
                bench.proxy.lose = 7
            await asyncio.sleep(0.001)

    loser = asyncio.create_task(losing())
    await bench.end(*(lease for lease, _ in issued))
    try:
        await bench.until(lambda: bench.proxy.lost >= 10, 60)
    finally:
        stop.set()
        await loser
    bench.proxy.lose = 0
    took = await bench.until(lambda: all(bench.state(lease) == "revoked" for lease, _ in issued), 60)
    note(f"{bench.proxy.lost} answers lost, all revoked {took:.1f} s later")
    for lease, password in issued:
        assert bench.said(lease).count("lease.cut") == bench.said(lease).count("lease.revoked") == 1
        assert not await bench.at.exists(lease.name) and not await bench.at.server.lets_in(lease.name, password)


# Where a lease's login works


@pytest.mark.parametrize(
    ("url", "host", "port", "database"),
    [
        ("postgresql://u:topsecret@db.example:6432/shop", "db.example", 6432, "shop"),
        ("postgres://u:topsecret@db.example", "db.example", 5432, "u"),
        ("postgresql://u:topsecret@[::1]:5433/shop?sslmode=require", "::1", 5433, "shop"),
        ("postgresql://u:topsecret@[::1]/shop", "::1", 5432, "shop"),
        ("postgresql://u:topsecret@%2Fvar%2Frun%2Fpostgresql/shop", "/var/run/postgresql", 5432, "shop"),
        ("postgresql://u:topsecret@/shop?host=/run/pg&port=5434", "/run/pg", 5434, "shop"),
        ("postgresql:///shop?host=/run/pg&user=u&password=topsecret", "/run/pg", 5432, "shop"),
        ("postgresql://u:topsecret@a.example:1,b.example:2/caf%C3%A9", "a.example", 1, "café"),
    ],
)
async def test_the_address_of_a_lease_is_its_targets_and_no_secret(url, host, port, database):
    made = new_lease()
    given = provider_by(Secret(url)).address(made)
    assert given == {"host": host, "port": port, "database": database, "user": made.name}


@pytest.mark.parametrize("url", ["postgresql://u:topsecret", "postgresql://u:topsecret@[::1/x", "http://u:p@h:x/y"])
async def test_what_is_no_address_says_nothing_of_the_login(url):
    with pytest.raises(TargetUnavailable) as refused:
        provider_by(Secret(url)).address(new_lease())
    assert "topsecret" not in str(refused.value) and refused.value.__cause__ is None
