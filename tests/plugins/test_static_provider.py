"""The static provider keeps the provider's contract as far as a value that stands can keep it.

"Let in" is here: the value is handed out by this lease. The value itself works on at its issuer after `cut`, which no
provider can change; the one test that is left out asks for a value of each lease's own.
"""

import asyncio
import os
from dataclasses import replace
from types import SimpleNamespace

import pytest

from taskbound.core.errors import TargetUnavailable
from taskbound.core.secret import Secret
from taskbound.plugins.providers import static
from taskbound.plugins.providers.static import VALUE, StaticProvider, put_value, read_value
from tests.contracts import provider as contract
from tests.contracts.store import Clock

CANARY = "standing-value-canary"
_LEFT_OUT = {"test_only_the_secret_that_was_given_lets_in"}  # there is one value
globals().update({
    name: test for name, test in vars(contract).items() if name.startswith("test_") and name not in _LEFT_OUT
})  # fmt: skip


@pytest.fixture
def target(tmp_path, monkeypatch):
    monkeypatch.setattr(static, "WAIT", 0.2)
    clock, folder, over = Clock(), tmp_path / "keys/static/github", set()
    put_value(folder, Secret(CANARY))
    real = StaticProvider(folder, "abcdef", clock)

    class Followed(StaticProvider):
        async def create(self, lease):
            over.discard(lease.name)
            return await super().create(lease)

        async def cut(self, lease):
            await super().cut(lease)
            over.add(lease.name)

    async def lets_in(lease, secret):
        given = lease.name in await real.names() and lease.name not in over
        return given and secret.reveal() == read_value(folder).reveal()

    async def plant(name):
        (folder / name).touch()

    provider = Followed(folder, "abcdef", clock)
    return SimpleNamespace(
        provider=provider, clock=clock, instance="abcdef", lets_in=lets_in, plant=plant, folder=folder
    )


def fresh(target, letter="a", task=None):
    made = contract.fresh(target, "l" + letter * 20)
    return replace(made, task=task or made.task)


async def test_one_task_at_a_time_has_it(target):
    mine, others = fresh(target), fresh(target, "b", task="t" + "z" * 20)
    assert (await target.provider.create(mine)).reveal() == CANARY
    with pytest.raises(TargetUnavailable, match="one task at a time"):
        await target.provider.create(others)
    assert await target.provider.names() == {mine.name}
    await target.provider.cut(mine)
    await target.provider.clean(mine)
    assert (await target.provider.create(others)).reveal() == CANARY


async def test_two_tasks_that_ask_at_once_do_not_both_get_it(target):
    asking = [fresh(target, letter, task="t" + letter * 20) for letter in "abcdefgh"]
    told = await asyncio.gather(*(target.provider.create(one) for one in asking), return_exceptions=True)
    assert sum(isinstance(one, Secret) for one in told) == 1
    assert len(await target.provider.names()) == 1


async def test_who_asks_while_it_is_taken_back_gets_it_then(target):
    mine = fresh(target)
    await target.provider.create(mine)
    asking = asyncio.create_task(target.provider.create(fresh(target, "b", task="t" + "z" * 20)))
    await asyncio.sleep(0.05)
    assert not asking.done()
    await target.provider.clean(mine)
    assert (await asking).reveal() == CANARY


async def test_who_has_it_is_known_to_the_next_process(target):
    await target.provider.create(fresh(target))
    again = StaticProvider(target.folder, "abcdef", target.clock)
    with pytest.raises(TargetUnavailable, match="one task at a time"):
        await again.create(fresh(target, "b", task="t" + "z" * 20))


async def test_a_value_that_others_may_read_is_not_given_out(target):
    (target.folder / VALUE).chmod(0o640)
    with pytest.raises(TargetUnavailable, match="may be read by others"):
        await target.provider.create(fresh(target))
    assert await target.provider.names() == set()


async def test_without_a_value_it_says_how_to_put_one_in(target):
    (target.folder / VALUE).unlink()
    with pytest.raises(TargetUnavailable) as refused:
        await target.provider.create(fresh(target))
    assert refused.value.hint == "taskbound target put github"


async def test_a_lease_of_another_instance_is_not_made(target):
    with pytest.raises(TargetUnavailable, match="of another instance"):
        await target.provider.create(replace(fresh(target), instance="zzzzzz"))


def test_only_its_owner_can_read_what_is_kept(target):
    modes = {path: os.stat(path).st_mode & 0o777 for path in (target.folder, target.folder / VALUE)}
    assert modes == {target.folder: 0o700, target.folder / VALUE: 0o600}
    put_value(target.folder, Secret("another"))
    assert read_value(target.folder).reveal() == "another"
    assert [one.name for one in target.folder.iterdir()] == [VALUE]
