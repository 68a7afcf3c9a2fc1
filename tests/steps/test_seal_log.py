"""The log is sealed in one order, signed only over what was read again, and stops when it is broken (D19, T7.6)."""

from datetime import timedelta

import pytest

from taskbound.core.audit import verify
from taskbound.core.errors import Unavailable
from taskbound.core.leaf import render_leaf
from taskbound.formats.note import Signature, Unverified, parse_note, render_note, verify_note
from taskbound.formats.tlog import Tree, leaf_hash, parse_checkpoint, root
from taskbound.steps.erase_bodies import erase_bodies
from taskbound.steps.follow_log import follow_log
from taskbound.steps.seal_log import BATCH, seal_log
from tests.logs import Files, log_rig


@pytest.fixture(params=["memory", "sqlite"])
async def rig(request, tmp_path):
    async with log_rig(request.param, tmp_path) as rig:
        yield rig


async def test_a_checkpoint_covers_every_committed_event_and_is_in_both_places(rig):
    await rig.state(300)
    assert (await rig.seal()).size == 300
    await rig.state(5)
    sealed = await rig.seal()
    note = await rig.log.checkpoint(rig.lane)
    assert parse_checkpoint(verify_note(note, [rig.key])) == sealed
    assert note == await rig.checkpoints.newest("abcdef/main")
    facts = await rig.log.read(rig.lane, 0, 1_000)
    assert [fact.header.id for fact in facts] == [f"n{n}" for n in (*range(300), *range(5))]
    tree = Tree([leaf_hash(render_leaf(fact.header, index)) for index, fact in enumerate(facts)])
    assert (sealed.origin, sealed.size, sealed.root) == ("abcdef/main", 305, root(tree.node, 305))


async def test_nothing_new_signs_nothing_new(rig):
    assert (await rig.seal()).size == 0
    assert await rig.log.checkpoint(rig.lane) is None
    await rig.state(1)
    await rig.seal()
    note = await rig.log.checkpoint(rig.lane)
    await rig.seal()
    assert await rig.log.checkpoint(rig.lane) == note
    assert list(rig.seen()) == [1]


async def test_a_pass_is_bounded_and_passes_add_up(rig):
    await rig.state(BATCH + 1)
    assert (await seal_log(rig.world(), rig.lane)).size == BATCH
    assert (await seal_log(rig.world(), rig.lane)).size == BATCH + 1
    assert not verify(Files(await rig.export()), rig.key).problems


async def test_each_organisation_has_its_own_log(rig):
    await rig.state(2)
    await rig.state(3, rig.other)
    await rig.seal()
    await rig.seal(rig.other)
    assert (list(rig.seen()), list(rig.seen("other"))) == ([2], [3])
    with pytest.raises(Unverified):
        verify_note(await rig.log.checkpoint(rig.other), [rig.key])


@pytest.mark.parametrize("harm", ["longer", "root", "key", "organisation"])
async def test_nothing_is_signed_when_the_second_place_has_seen_something_else(rig, harm):
    await rig.state(3)
    await rig.seal()
    text, before = parse_note(await rig.log.checkpoint(rig.lane))[0], await rig.log.checkpoint(rig.lane)
    if harm == "longer":  # an old copy of the store was brought back
        text = text.replace("\n3\n", "\n9\n")
    elif harm == "root":
        text = text.replace("\n3\n", "\n2\n")
    elif harm == "organisation":
        text = text.replace("abcdef/main", "abcdef/other")
    signature = await rig.keys.sign("log" if harm != "key" else "another", text.encode())
    rig.checkpoints.kept["abcdef/main", 9] = render_note(text, [Signature(rig.key.name, rig.key.id, signature)])
    await rig.state(1)
    with pytest.raises(Unavailable) as refused:
        await seal_log(rig.world(), rig.lane)
    assert refused.value.code == "log_broken"
    assert ("has seen 9" in str(refused.value)) == (harm == "longer")
    assert await rig.log.checkpoint(rig.lane) == before
    await rig.state(1)  # what happens is recorded all the same


class Listening:
    def __init__(self, fails: int = 0) -> None:
        self.heard: list[int] = []
        self.fails = fails

    async def last(self) -> int:
        return self.heard[-1] if self.heard else -1

    async def send(self, facts) -> None:
        if self.fails:
            self.fails -= 1
            raise Unavailable("the sink is away")
        self.heard.extend(fact.index for fact in facts)


async def test_sinks_hear_every_sealed_event_in_order_and_nothing_unsealed(rig):
    sink = Listening()
    assert await follow_log(rig.world(), rig.lane, -1, [sink]) == -1
    await rig.state(600)
    await rig.seal()
    await rig.state(5)
    assert await follow_log(rig.world(), rig.lane, -1, [sink]) == 599
    assert sink.heard == list(range(600))
    await rig.seal()
    assert await follow_log(rig.world(), rig.lane, 599, [sink]) == 604
    assert sink.heard == list(range(605))
    assert await follow_log(rig.world(), rig.lane, 604, [sink]) == 604


async def test_a_sink_that_fails_gets_the_same_again(rig):
    await rig.state(10)
    await rig.seal()
    sink = Listening(fails=1)
    with pytest.raises(Unavailable):
        await follow_log(rig.world(), rig.lane, await sink.last(), [sink])
    await follow_log(rig.world(), rig.lane, await sink.last(), [sink])
    assert sink.heard == list(range(10))


async def test_an_erased_body_still_verifies(rig):
    await rig.state(700, who="alice@example.org")
    await rig.seal()
    before = verify(Files(await rig.export()), rig.key)
    rig.clock.advance(3600)
    await rig.state(10)
    await rig.seal()
    assert await erase_bodies(rig.world(), rig.lane, rig.lane, timedelta(minutes=30)) == 700
    await rig.seal()
    files = await rig.export()
    after = verify(Files(files), rig.key, earlier=None)
    assert (before.problems, after.problems) == ([], [])
    assert (before.erased, after.erased, after.size) == (0, 700, 711)
    assert not any(b"alice" in data for data in files.values())
    assert await erase_bodies(rig.world(), rig.lane, rig.lane, timedelta(minutes=30)) == 0
