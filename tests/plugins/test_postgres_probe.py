"""A dead PostgreSQL login is really presented: the server's own log shows it refused (INTERFACES 11, D21)."""

import asyncio
from dataclasses import replace

import asyncpg
import pytest

from taskbound import app
from taskbound.core.errors import StillLetIn, TargetUnavailable
from taskbound.core.identity import door
from taskbound.core.lease import Lease
from taskbound.core.receipt import parse_receipt
from taskbound.core.secret import Secret
from taskbound.core.task import Task
from taskbound.formats.note import verify_note
from taskbound.lanes import run_lanes
from taskbound.lanes.progress import Lanes
from taskbound.plugins.providers.memory import MemoryTarget
from taskbound.plugins.providers.postgres import held
from taskbound.steps.close_task import read_receipt
from taskbound.steps.end_task import end_task
from taskbound.steps.issue_lease import LeaseAsk, issue_lease
from taskbound.steps.open_task import open_task
from taskbound.steps.register_identity import RegistrationAsk, register_identity
from tests.contracts.probes import *  # noqa: F403
from tests.postgres.server import server  # noqa: F401
from tests.postgres.target import INSTANCE, at, new_lease, provider_at  # noqa: F401
from tests.rig import ALICE, PEOPLE, POLICY
from tests.shop.targets import TARGETS
from tests.stories.story import REFUND, claim_of


@pytest.fixture
async def target(at):  # noqa: F811
    async def lets_in(lease, secret):
        return await at.server.lets_in(lease.name, secret.reveal())

    at.instance, at.lets_in = INSTANCE, lets_in
    return at


def refusals(at, name):  # noqa: F811
    """What the server wrote of logins that it refused to this name."""
    return [line for line in at.server.log.read_text().splitlines() if f" {name} FATAL:" in line]


async def test_the_servers_log_shows_the_refused_login_and_the_answer_is_what_it_said(at):  # noqa: F811
    made = new_lease()
    secret = await at.provider.create(made)
    await at.provider.cut(made)
    assert refusals(at, made.name) == []
    answer = await at.provider.probe(made)
    (line,) = refusals(at, made.name)
    assert f'role "{made.name}" is not permitted to log in' in line
    with pytest.raises(asyncpg.InvalidAuthorizationSpecificationError) as said:
        await at.server.login(made.name, secret.reveal())
    assert answer == f"refused, SQLSTATE {said.value.sqlstate}" == "refused, SQLSTATE 28000"
    assert secret.reveal() not in at.server.log.read_text()


async def test_control_a_wrong_password_gets_another_answer(at):  # noqa: F811
    """28000 is said only to who has the right one: what was presented was the credential."""
    made = new_lease()
    await at.provider.create(made)
    await at.provider.cut(made)
    at.provider._held.keep(made, Secret("another password"))
    assert await at.provider.probe(made) == "refused, SQLSTATE 28P01"


async def test_a_login_that_was_opened_again_is_an_alarm(at):  # noqa: F811
    made = new_lease()
    await at.provider.create(made)
    await at.provider.cut(made)
    await at.superuser.execute(f"ALTER ROLE {made.name} LOGIN")
    with pytest.raises(StillLetIn, match="after it was cut"):
        await at.provider.probe(made)
    await at.provider.cut(made)
    assert await at.provider.probe(made) == "refused, SQLSTATE 28000"


async def test_a_target_that_does_not_answer_refused_nothing(at):  # noqa: F811
    made = new_lease()
    secret = await at.provider.create(made)
    await at.provider.cut(made)
    away = provider_at(replace(at.server, port=1), epoch="e2")
    away._held.keep(made, secret)
    with pytest.raises(TargetUnavailable) as trouble:
        await away.probe(made)
    assert not isinstance(trouble.value, StillLetIn) and secret.reveal() not in str(trouble.value)
    await away.close()
    assert await away.probe(made) is None, "closed, and still kept"


async def test_it_is_forgotten_by_itself_when_its_time_is_over(at, monkeypatch):  # noqa: F811
    monkeypatch.setattr(held, "KEPT", 2.0)
    made, other = new_lease(), new_lease()
    await at.provider.create(made)
    await at.provider.create(other)
    await at.provider.cut(made)
    await asyncio.sleep(1.0)
    await at.provider.cut(made)  # again: it prolongs nothing
    assert await at.provider.probe(made) is not None
    await asyncio.sleep(1.2)
    assert await at.provider.probe(made) is None
    assert list(at.provider._held._held) == [other.id], "the one that lives is still needed"


@pytest.fixture
async def world(at):  # noqa: F811
    """A world whose shop database is the real one."""
    bare = app.in_memory(POLICY, TARGETS, {"shopdb": MemoryTarget()})
    provider = provider_at(at.server, instance=bare.instance, node="n9")
    world = replace(bare, providers={"shopdb": provider})
    for name, environment in PEOPLE:
        attestor, when = ("operator", {"uid": 1000}) if name == "human/alice" else ("unix", {"script": name})
        ask = RegistrationAsk(name, "human/alice", attestor, when, environment=environment)
        await register_identity(world, DOOR, DOOR, ask)
    yield world
    await provider.close()


DOOR = door("example.org", "door/gateway", "main")


async def closed(world, id):
    """The task, once the lanes closed it."""
    end, revoke, seal = (door("example.org", f"lane/{name}", "main") for name in ("end", "revoke", "seal"))
    lanes = Lanes(end, revoke, seal, jitter=lambda: 0.5)
    stopping = asyncio.Event()
    running = asyncio.create_task(run_lanes(world, lanes, stopping))
    try:
        async with asyncio.timeout(10):
            while True:
                async with world.store.transaction(DOOR) as tx:
                    if (task := await tx.get(Task, id)).state == "closed":
                        return task
                await asyncio.sleep(0.02)
    finally:
        stopping.set()
        await running


async def test_the_receipt_of_a_real_login_says_what_the_server_said(world, at):  # noqa: F811
    task, handle = await open_task(world, DOOR, ALICE, REFUND)
    lease, credential = await issue_lease(world, DOOR, claim_of(handle), LeaseAsk("shopdb/reader"))
    assert await at.server.lets_in(lease.name, credential.reveal())
    await end_task(world, DOOR, ALICE, task.id, "done")
    await closed(world, task.id)
    note, key = await read_receipt(world, DOOR, ALICE, task.id)
    receipt = parse_receipt(verify_note(note.encode(), [key]))
    (given,) = receipt["leases"]
    assert (given["id"], given["name"], given["target"]) == (lease.id, lease.name, "shopdb")
    probe = given["probe"]
    assert (probe["by"], probe["answer"], receipt["not_presented"]) == ("broker", "refused, SQLSTATE 28000", 0)
    assert receipt["ended_at"] <= given["cut_at"] <= probe["at"] <= given["clean_at"]
    said = refusals(at, lease.name)  # more than one where the machine was slow: what takes too long is done again
    assert said and all("is not permitted to log in" in line for line in said)
    assert not await at.exists(lease.name)
    assert credential.reveal() not in note


async def test_control_a_broker_that_was_started_anew_says_that_it_presented_nothing(world, at):  # noqa: F811
    task, handle = await open_task(world, DOOR, ALICE, REFUND)
    lease, _ = await issue_lease(world, DOOR, claim_of(handle), LeaseAsk("shopdb/reader"))
    world.providers["shopdb"]._held.clear()
    await end_task(world, DOOR, ALICE, task.id, "done")
    await closed(world, task.id)
    note, key = await read_receipt(world, DOOR, ALICE, task.id)
    receipt = parse_receipt(verify_note(note.encode(), [key]))
    assert receipt["leases"][0]["probe"] == {
        "answer": "not_presented: the broker held it no longer", "at": None, "by": None,
    }  # fmt: skip
    assert receipt["not_presented"] == 1 and refusals(at, lease.name) == []


async def test_an_accepted_login_is_found_and_the_lease_is_not_clean(world, at):  # noqa: F811
    task, handle = await open_task(world, DOOR, ALICE, REFUND)
    lease, _ = await issue_lease(world, DOOR, claim_of(handle), LeaseAsk("shopdb/reader"))
    provider = world.providers["shopdb"]
    cut = provider.cut
    opened: list[str] = []

    async def undone(one):
        await cut(one)
        if not opened:
            opened.append(one.id)
            await at.superuser.execute(f"ALTER ROLE {one.name} LOGIN")

    provider.cut = undone
    await end_task(world, DOOR, ALICE, task.id, "done")
    await closed(world, task.id)
    found = [event for event in world.store.events if event.kind == "finding.raised"]
    assert [(event.id, event.detail["finding"]) for event in found] == [(lease.id, "still_let_in")]
    async with world.store.transaction(DOOR) as tx:
        assert "28000" in (await tx.get(Lease, lease.id)).probe
