"""The contract of `Checkpoints` (ports.py): a second place. Every one passes every test here.

A module that runs it imports `*` and gives the fixture `place`.
"""

import pytest

from taskbound.core.errors import Unavailable


async def test_the_newest_is_the_largest_whatever_came_last(place):
    assert await place.newest("abcdef/main") is None
    for size in (9, 10, 2):
        await place.put("abcdef/main", size, b"checkpoint %d" % size)
    assert await place.newest("abcdef/main") == b"checkpoint 10"
    assert await place.newest("abcdef/other") is None
    assert await place.newest("abcdef") is None


async def test_putting_may_be_repeated_and_another_of_its_size_is_refused(place):
    for _ in range(2):
        await place.put("abcdef/main", 7, b"one")
    with pytest.raises(Unavailable) as refused:
        await place.put("abcdef/main", 7, b"another")
    assert refused.value.code == "log_broken"
    assert await place.newest("abcdef/main") == b"one"
