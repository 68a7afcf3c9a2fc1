"""The contract of `Checked` (ports.py): what says what a target lacks passes every test here.

A module that runs it imports `*` and gives the fixture `bare`: a target at which nothing was prepared,
with `check` (Checked), `administer(lack)` (runs its statement as the administrator), `state()` (what an
administrator sees of it), `issue()` (a real lease, made and taken back; raises where the target is not
fit), and `unreachable` (Checked, of a target that does not answer).
"""

import pytest

from taskbound.core.errors import TargetUnavailable
from taskbound.ports import Checked


async def test_each_statement_that_is_printed_is_what_was_lacking(bare):
    assert isinstance(bare.check, Checked)
    with pytest.raises(TargetUnavailable):
        await bare.issue()
    lacks = await bare.check.lacks()
    assert lacks and all(lack.what and lack.statement for lack in lacks)
    for lack in lacks:
        await bare.administer(lack)
    assert await bare.check.lacks() == []
    await bare.issue()


async def test_looking_changes_nothing(bare):
    before = await bare.state()
    await bare.check.lacks()
    assert await bare.state() == before


async def test_a_target_that_does_not_answer_is_said_to_be_unavailable(bare):
    with pytest.raises(TargetUnavailable):
        await bare.unreachable.lacks()
