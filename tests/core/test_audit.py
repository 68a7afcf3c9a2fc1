"""Every tamper of an exported log is found, and named is the first event or the smallest range (T7.1)."""

import asyncio
import base64
import json
from dataclasses import replace
from datetime import timedelta
from functools import lru_cache

import pytest

from taskbound.core import audit
from taskbound.core.audit import Verdict, verify
from taskbound.core.event import Kind
from taskbound.core.leaf import parse_leaf, render_leaf
from taskbound.formats import canonical
from taskbound.formats.note import Signature, parse_note, render_note
from taskbound.formats.tlog import (
    HASH,
    WIDTH,
    Tile,
    Tree,
    entries_path,
    leaf_hash,
    parse_entries,
    render_entries,
    render_tile,
    root,
    tiles,
)
from taskbound.steps.erase_bodies import erase_bodies
from tests.logs import Files, log_rig
from tests.notes import note
from tests.profile import trials

SIZE = trials(2_000, 200)
ELSEWHERE = 20  # events in the log of another organisation


@pytest.fixture(scope="module")
def memory():
    """What is pure and asked the same thousands of times is worked out once."""
    patch = pytest.MonkeyPatch()
    for name in ("parse_leaf", "parse_body", "commitment", "leaf_hash", "tile_root"):
        patch.setattr(audit, name, lru_cache(None)(getattr(audit, name)))
    patch.setattr(audit, "check_bundle", lru_cache(64)(audit.check_bundle))
    yield
    patch.undo()


class Log:
    """One exported log, and the ways to tamper with a copy of it."""

    def __init__(self, files: dict[str, bytes], elsewhere, key, earlier, sign) -> None:
        self.files, self.elsewhere, self.key, self.earlier, self.sign = files, elsewhere, key, earlier, sign
        self.leaves = [leaf for at in range(0, SIZE, WIDTH) for leaf in parse_entries(files[bundle(at)])]
        self.lines = files["bodies.jsonl"].splitlines()

    def with_leaves(self, leaves: list[bytes], first: int = 0) -> dict[str, bytes]:
        """The export with other entries, cut into its bundles; what is too much stands in the last."""
        files: dict[str, bytes] = dict(self.files)
        for at in range(first // WIDTH * WIDTH, SIZE, WIDTH):
            last = at + WIDTH >= SIZE
            files[bundle(at)] = render_entries(leaves[at:] if last else leaves[at : at + WIDTH])
            if len(leaves) == SIZE and at > first:  # nothing has moved, and a swap reaches one bundle further at most
                break
        return files

    def with_tile_too(self, index: int, leaf: bytes) -> dict[str, bytes]:
        """The export with another event whose hash stands in its level-0 tile."""
        leaves = list(self.leaves)
        leaves[index] = leaf
        files, path = self.with_leaves(leaves, index), Tile(0, index // WIDTH, width(index)).path
        at = index % WIDTH * HASH
        files[path] = files[path][:at] + leaf_hash(leaf) + files[path][at + HASH :]
        return files

    def with_line(self, index: int, *lines: bytes) -> dict[str, bytes]:
        told = [*self.lines[:index], *lines, *self.lines[index + 1 :]]
        return self.files | {"bodies.jsonl": b"".join(line + b"\n" for line in told)}

    def verify(self, files: dict[str, bytes], earlier: bytes | None = None) -> Verdict:
        return verify(Files(files), self.key, earlier)


def width(index: int) -> int:
    return min(WIDTH, SIZE - index // WIDTH * WIDTH)


def bundle(index: int) -> str:
    return entries_path(index // WIDTH, width(index))


@pytest.fixture(scope="module")
def log(tmp_path_factory):
    return asyncio.run(make_log(tmp_path_factory.mktemp("log")))


async def make_log(path) -> Log:
    async with log_rig("memory", path) as rig:
        await rig.state(SIZE // 2)
        await rig.seal()
        earlier = await rig.log.checkpoint(rig.lane)
        await rig.state(SIZE - SIZE // 2)
        await rig.seal()
        await rig.state(ELSEWHERE, rig.other)
        await rig.seal(rig.other)
        files, elsewhere = await rig.export(), await rig.export(rig.other)

        def sign(text: str) -> bytes:
            signature = rig.keys._keys["log"].sign(text.encode())
            return render_note(text, [Signature(rig.key.name, rig.key.id, signature)])

        return Log(files, elsewhere, rig.key, earlier, sign)


def test_control_the_log_verifies(log):
    verdict = log.verify(log.files, log.earlier)
    assert (verdict.problems, verdict.size, verdict.origin, verdict.erased) == ([], SIZE, "abcdef/main", 0)
    assert verify(Files(log.files)).problems == [], "with the key of the export"


# --- the events


def forged_leaves(leaf: bytes) -> dict[str, bytes]:
    """Return the leaf with each class of its bytes altered."""
    said = json.loads(leaf)
    flips: dict[str, bytes] = {}
    for name, value in said.items():
        spelled = json.dumps(value, ensure_ascii=False).encode()
        at = leaf.index(b'"%s":' % name.encode()) + len(name) + 3
        byte = at + (len(spelled) - 1) // 2
        flips[f"value of {name}"] = leaf[:byte] + bytes([leaf[byte] ^ 1]) + leaf[byte + 1 :]
        flips[f"name of {name}"] = leaf.replace(b'"%s":' % name.encode(), b'"%s":' % (name[:-1] + "~").encode())
    flips["a brace"] = b"[" + leaf[1:]
    flips["a space more"] = leaf[:-1] + b" }"
    flips["another order"] = json.dumps(dict(reversed(said.items())), separators=(",", ":")).encode()
    return flips


def tampers(log, index):
    """Yield what is done at an event, the export then, and the first event that differs from its level-0 tile."""
    leaf = log.leaves[index]
    place, header = parse_leaf(leaf)
    yield "delete", log.with_leaves(log.leaves[:index] + log.leaves[index + 1 :], index), index
    yield "empty", log.with_leaves([*log.leaves[:index], b"", *log.leaves[index + 1 :]], index), index
    if index + 1 < SIZE:
        swapped = [*log.leaves[:index], log.leaves[index + 1], leaf, *log.leaves[index + 2 :]]
        yield "swap with neighbour", log.with_leaves(swapped, index), index
    duplicated = [*log.leaves[: index + 1], *log.leaves[index:]]
    yield "duplicate", log.with_leaves(duplicated, index), min(index + 1, SIZE - 1)
    new = render_leaf(replace(header, id="planted"), place)
    yield "insert", log.with_leaves([*log.leaves[:index], new, *log.leaves[index:]], index), index
    later = render_leaf(replace(header, at=header.at + timedelta(microseconds=1)), place)
    foreign = parse_entries(log.elsewhere[entries_path(0, ELSEWHERE)])[index % ELSEWHERE]
    others = {"change time": later, "from another organisation": foreign}
    others |= {f"flip: {name}": forged for name, forged in forged_leaves(leaf).items()}
    for name, forged in others.items():
        yield name, log.with_leaves([*log.leaves[:index], forged, *log.leaves[index + 1 :]], index), index


def test_every_tamper_at_an_event_is_found_and_the_event_is_named(log, memory):
    tried = 0
    for index in range(SIZE):
        for name, files, first in tampers(log, index):
            verdict = log.verify(files)
            assert verdict.problems, (name, index)
            assert verdict.first == first, (name, index, verdict.problems[:3])
            tried += 1
    note(f"{tried} tampers at {SIZE} events, all found, all named")


def test_what_is_altered_together_with_its_tile_is_found_and_the_smallest_range_named(log, memory):
    """The hash of a full tile stands one level up: its 256 events. What is at the edge only the root contradicts."""
    tried = 0
    for index in range(SIZE):
        place, header = parse_leaf(log.leaves[index])
        forged = render_leaf(replace(header, at=header.at + timedelta(days=1)), place)
        verdict = log.verify(log.with_tile_too(index, forged))
        start = index // WIDTH * WIDTH
        expected = (start, start + WIDTH - 1) if start + WIDTH <= SIZE else (0, SIZE - 1)
        assert [(p.first, p.last) for p in verdict.problems] == [expected], index
        tried += 1
    note(f"{tried} events altered with their tiles, all found")


def test_a_checkpoint_that_was_kept_makes_the_range_at_the_edge_smaller(log, memory):
    for index in (SIZE - 1, SIZE // WIDTH * WIDTH):
        place, header = parse_leaf(log.leaves[index])
        files = log.with_tile_too(index, render_leaf(replace(header, id="forged"), place))
        verdict = log.verify(files, log.earlier)
        if index >= SIZE // 2:
            assert [(p.first, p.last) for p in verdict.problems] == [(SIZE // 2, SIZE - 1)]
        assert verdict.problems


def rewritten(log, index: int, size: int, leaf: bytes | None = None) -> dict[str, bytes]:
    """The operator's own hand: another event, all tiles made again, signed with the real key."""
    place, header = parse_leaf(log.leaves[index])
    leaf = leaf or render_leaf(replace(header, id="rewritten"), place)
    leaves = [*log.leaves[:index], leaf, *log.leaves[index + 1 :]][:size]
    tree = Tree([leaf_hash(leaf) for leaf in leaves])
    files = {"vkey": log.files["vkey"]}
    for tile in tiles(size):
        files[tile.path] = render_tile(tree.node, tile)
        if tile.level == 0:
            files[entries_path(tile.index, tile.width)] = render_entries(leaves[tile.first : tile.end])
    files["bodies.jsonl"] = b"".join(line + b"\n" for line in log.lines[:size])
    text = f"abcdef/main\n{size}\n{base64.b64encode(root(tree.node, size)).decode()}\n"
    return files | {"checkpoint": log.sign(text)}


def test_a_history_rewritten_with_the_real_key_is_found_by_whoever_kept_a_checkpoint(log):
    for index in (0, SIZE // 2 - 1):
        files = rewritten(log, index, SIZE)
        assert not log.verify(files).problems, "nobody without an earlier checkpoint can see it: not provable"
        (problem,) = log.verify(files, log.earlier).problems
        assert (problem.first, problem.last) == (0, SIZE // 2 - 1)
    assert not log.verify(rewritten(log, SIZE - 1, SIZE), log.earlier).problems, "behind the checkpoint that was kept"


def test_what_is_sealed_at_a_place_that_is_not_its_own_is_found(log):
    """Only the signer could do it: tiles and root are right, and the leaf is of another place."""
    place, header = parse_leaf(log.leaves[9])
    for leaf in (render_leaf(header, place + 1), render_leaf(replace(header, org="other"), place), b"no leaf"):
        (problem,) = log.verify(rewritten(log, 9, SIZE, leaf)).problems
        assert (problem.first, problem.last) == (9, 9)


def test_a_log_that_was_cut_is_found_by_whoever_kept_a_checkpoint(log):
    cut = SIZE // 4
    (problem,) = log.verify(rewritten(log, 0, cut), log.earlier).problems
    assert (problem.first, problem.last) == (cut, SIZE // 2 - 1)


# --- tiles, checkpoint, key


def test_every_flip_in_a_tile_is_found(log, memory):
    for tile in tiles(SIZE):
        for at in range(0, tile.width * HASH, 1 if tile.level else 7):
            data = log.files[tile.path]
            forged = data[:at] + bytes([data[at] ^ 0x10]) + data[at + 1 :]
            verdict = log.verify(log.files | {tile.path: forged})
            first = tile.first + (at // HASH << 8 * tile.level)
            assert verdict.problems and (tile.level or verdict.first == first), (tile, at)


def test_a_file_that_is_missing_or_cut_is_found(log):
    for path in log.files:
        if path == "vkey":
            continue
        without = {name: data for name, data in log.files.items() if name != path}
        assert log.verify(without).problems, path
        for kept in (0, 1, len(log.files[path]) // 2, len(log.files[path]) - 1):
            verdict = log.verify(without | {path: log.files[path][:kept]})
            # without its last newline, a line of bodies is still a line
            assert verdict.problems or path == "bodies.jsonl", (path, kept)
        assert log.verify(log.files | {path: log.files[path] + b"\x00"}).problems, path


def test_every_flip_in_the_checkpoint_is_found(log, memory):
    note = log.files["checkpoint"]
    for at in range(len(note)):
        forged = note[:at] + bytes([note[at] ^ 1]) + note[at + 1 :]
        assert log.verify(log.files | {"checkpoint": forged}).problems, at


def test_a_checkpoint_of_another_key_organisation_or_size_is_found(log):
    text = parse_note(log.files["checkpoint"])[0]
    assert log.verify(log.elsewhere).problems, "another organisation's log, rightly signed"
    assert log.verify(log.files | {"checkpoint": log.elsewhere["checkpoint"]}).problems
    for size in (SIZE - 1, SIZE + 1, 0):
        forged = log.sign(text.replace(f"\n{SIZE}\n", f"\n{size}\n"))
        assert log.verify(log.files | {"checkpoint": forged}).problems, size
    stranger = log.sign(text.replace("abcdef/main", "fedcba/main"))
    assert [p.first for p in log.verify(log.files | {"checkpoint": stranger}).problems] == [None]
    assert verify(Files(log.files | {"vkey": b""})).problems
    assert verify(Files(log.files | {"vkey": log.elsewhere["vkey"]})).problems
    assert log.verify(log.files, b"no checkpoint").problems
    assert log.verify(log.files, log.elsewhere["checkpoint"]).problems


def test_a_checkpoint_that_claims_to_be_endless_is_answered_at_once(log):
    text = parse_note(log.files["checkpoint"])[0]
    endless = log.sign(text.replace(f"\n{SIZE}\n", f"\n{10**18}\n"))
    assert log.verify(log.files | {"checkpoint": endless}).problems


# --- bodies


def test_every_tamper_at_a_body_is_found_and_its_event_named(log, memory):
    tried = 0
    for index in range(SIZE):
        line = json.loads(log.lines[index])
        changed = {
            "body": line | {"body": line["body"].replace("ü", "u")},
            "salt": line | {"salt": ("0" if line["salt"][0] != "0" else "1") + line["salt"][1:]},
            "index": line | {"index": SIZE + 5},
        }
        told: dict[str, tuple[bytes, ...]] = {name: (canonical.render(value),) for name, value in changed.items()}
        told["spelled otherwise"] = (json.dumps(line).encode(),)
        told |= {"absent": (), "twice": (log.lines[index],) * 2}
        if index + 1 < SIZE:
            told["the neighbour's"] = (log.lines[index + 1],)
        for name, lines in told.items():
            verdict = log.verify(log.with_line(index, *lines))
            assert verdict.problems, (name, index)
            named = {p.first for p in verdict.problems}
            assert index in named, (name, index, verdict.problems[:3])
            tried += 1
    note(f"{tried} tampers at {SIZE} bodies, all found, all named")


@pytest.mark.parametrize("line", [b"", b"{}", b"[]", b"null", b"x", b'{"index":"0","salt":"","body":""}', b"\xff"])
def test_a_line_that_is_no_body_is_found(log, line):
    assert log.verify(log.with_line(7, log.lines[7], line)).problems


async def test_an_absent_body_is_in_order_only_if_a_later_fact_names_it(tmp_path):
    async with log_rig("memory", tmp_path) as rig:
        await rig.state(400)
        await rig.seal()
        rig.clock.advance(60)
        assert await erase_bodies(rig.world(), rig.lane, rig.lane, timedelta(seconds=30)) == 400
        await rig.state(3)
        await rig.seal()
        files = await rig.export()
        verdict = verify(Files(files), rig.key)
        assert (verdict.problems, verdict.erased, verdict.size) == ([], 400, 404)
        lines = files["bodies.jsonl"].splitlines(keepends=True)
        assert [json.loads(line)["index"] for line in lines] == [400, 401, 402, 403]
        for gone in range(4):  # the fact that names the others, too, may not lose its own body unnamed
            left = b"".join(lines[:gone] + lines[gone + 1 :])
            verdict = verify(Files(files | {"bodies.jsonl": left}), rig.key)
            assert [(p.first, p.last) for p in verdict.problems] == [(400 + gone, 400 + gone)]


async def test_a_fact_cannot_erase_what_comes_after_it(tmp_path):
    async with log_rig("memory", tmp_path) as rig:
        async with rig.store.transaction(rig.lane) as tx:
            await tx.record(Kind.BODY_ERASED, id="0-5")
        await rig.state(3)
        await rig.seal()
        files = await rig.export()
        assert not verify(Files(files), rig.key).problems
        verdict = verify(Files(files | {"bodies.jsonl": b""}), rig.key)
        assert [p.first for p in verdict.problems] == [0, 1, 2, 3]
