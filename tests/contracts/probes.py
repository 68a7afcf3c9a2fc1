"""The contract of `Probes` (ports.py, INTERFACES 11): a provider that presents dead credentials passes every test here.

A module that runs it imports `*` and gives the fixture `target` of tests/contracts/provider.py.
"""

import pytest

from taskbound.core.errors import StillLetIn
from taskbound.ports import Probes
from tests.contracts.provider import fresh


async def test_a_credential_that_was_cut_is_presented_and_refused_until_it_is_clean(target):
    presents: object = target.provider
    assert isinstance(presents, Probes)
    made = fresh(target)
    secret = await target.provider.create(made)
    await target.provider.cut(made)
    first = await target.provider.probe(made)
    assert first is not None and first.startswith("refused")
    assert await target.provider.probe(made) == first, "a cleaning that failed is tried again, and the probe with it"
    assert secret.reveal() not in first
    await target.provider.clean(made)
    assert await target.provider.probe(made) is None, "it is kept though nobody needs it"


async def test_control_a_credential_that_lives_is_an_alarm_and_not_a_refusal(target):
    made = fresh(target)
    secret = await target.provider.create(made)
    with pytest.raises(StillLetIn) as alarm:
        await target.provider.probe(made)
    assert secret.reveal() not in str(alarm.value)
    await target.provider.cut(made)
    assert await target.provider.probe(made) is not None


async def test_what_was_never_made_here_is_not_presented(target):
    made = fresh(target)
    assert await target.provider.probe(made) is None
    await target.provider.cut(made)
    assert await target.provider.probe(made) is None


async def test_of_two_that_were_made_for_a_lease_the_one_that_counts_is_presented(target):
    made = fresh(target)
    await target.provider.create(made)
    secret = await target.provider.create(made)
    assert await target.lets_in(made, secret)
    with pytest.raises(StillLetIn):
        await target.provider.probe(made)


async def test_one_leases_credential_is_not_anothers(target):
    made, other = fresh(target), fresh(target, "l" + "b" * 20)
    await target.provider.create(made)
    await target.provider.create(other)
    await target.provider.cut(made)
    await target.provider.clean(made)
    with pytest.raises(StillLetIn):
        await target.provider.probe(other)
