"""The contract of `Provider` (ports.py, D2–D6). Every provider passes every test here.

A module that runs it imports `*` and gives the fixture `target`, an object with `provider`, the
`clock` that the target goes by, and `async lets_in(lease, secret) -> bool`: a real login attempt.
"""

import asyncio
from dataclasses import replace
from datetime import timedelta

import pytest

from taskbound.core.errors import TargetUnavailable
from taskbound.core.lease import Recipe
from tests.contracts.store import lease, task


def fresh(target, id="l" + "a" * 20):
    made = lease(task(at=target.clock()), id)
    return replace(made, instance=target.instance)


async def test_what_is_created_is_let_in_and_named_after_its_lease(target):
    made = fresh(target)
    secret = await target.provider.create(made)
    assert await target.lets_in(made, secret)
    assert await target.provider.names() == {made.name}


async def test_what_is_cut_is_not_let_in(target):
    made = fresh(target)
    secret = await target.provider.create(made)
    await target.provider.cut(made)
    assert not await target.lets_in(made, secret)


async def test_what_is_clean_leaves_no_name(target):
    made, other = fresh(target), fresh(target, "l" + "b" * 20)
    await target.provider.create(made)
    secret = await target.provider.create(other)
    await target.provider.cut(made)
    await target.provider.clean(made)
    assert await target.provider.names() == {other.name}
    assert await target.lets_in(other, secret), "another lease was touched"


async def test_only_the_secret_that_was_given_lets_in(target):
    made, other = fresh(target), fresh(target, "l" + "b" * 20)
    secret, others = await target.provider.create(made), await target.provider.create(other)
    assert secret.reveal() != others.reveal()
    assert not await target.lets_in(made, others)
    assert not await target.lets_in(fresh(target, "l" + "c" * 20), secret), "a login that was never made"


async def test_what_is_cut_keeps_its_name_until_it_is_clean(target):
    made = fresh(target)
    await target.provider.create(made)
    await target.provider.cut(made)
    assert await target.provider.names() == {made.name}, "the sweep would not find it"


async def test_a_lease_without_a_recipe_is_taken_back_too(target):
    """An orphan: the sweep knows its name and nothing else (D10)."""
    made = fresh(target)
    secret = await target.provider.create(made)
    found = replace(made, task=None, grant="", recipe=Recipe({}, made.recipe.revocation_class))
    await target.provider.cut(found)
    assert not await target.lets_in(made, secret)
    await target.provider.clean(found)
    assert await target.provider.names() == set()


async def test_two_lanes_may_take_back_the_same_leases_at_once(target):
    many = [fresh(target, "l" + letter * 20) for letter in "abcdefgh"]
    secrets = await asyncio.gather(*(target.provider.create(one) for one in many))
    assert await target.provider.names() == {one.name for one in many}
    for verb in (target.provider.cut, target.provider.clean):
        both = await asyncio.gather(*(verb(one) for one in many * 2), return_exceptions=True)
        assert all(answer is None or isinstance(answer, TargetUnavailable) for answer in both)
        for one in many:  # who was in the other's way comes again
            await verb(one)
    for one, secret in zip(many, secrets, strict=True):
        assert not await target.lets_in(one, secret)
    assert await target.provider.names() == set()


async def test_taking_back_may_be_repeated_and_what_is_absent_is_success(target):
    made = fresh(target)
    for _ in range(2):
        await target.provider.cut(made)
        await target.provider.clean(made)
    await target.provider.create(made)
    for _ in range(2):
        await target.provider.cut(made)
    for _ in range(2):
        await target.provider.clean(made)
    assert await target.provider.names() == set()


async def test_the_target_refuses_a_create_after_its_deadline(target):
    made = replace(fresh(target), create_by=target.clock() - timedelta(seconds=1))
    with pytest.raises(TargetUnavailable):
        await target.provider.create(made)
    assert await target.provider.names() == set()


async def test_creating_again_leaves_one_name_and_the_newest_secret(target):
    made = fresh(target)
    await target.provider.create(made)
    secret = await target.provider.create(made)
    assert await target.lets_in(made, secret)
    assert await target.provider.names() == {made.name}


async def test_names_of_other_instances_are_not_ours(target):
    await target.plant("tb_zzzzzz_" + "a" * 20)
    await target.plant("postgres_tb_" + target.instance)
    assert await target.provider.names() == set()
