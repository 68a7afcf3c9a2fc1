"""The tree is RFC 6962's, tiles and checkpoints are C2SP's (vectors of the fact sheet); proofs keep T7.2."""

import hashlib
import random
from functools import partial

import pytest
from hypothesis import given
from hypothesis import strategies as st

from taskbound.formats.note import MalformedNote
from taskbound.formats.tlog import (
    EMPTY,
    HASH,
    WIDTH,
    Checkpoint,
    MalformedTile,
    Tile,
    Tree,
    consistency_proof,
    edge,
    entries_path,
    grow,
    inclusion_proof,
    leaf_hash,
    node_hash,
    parse_checkpoint,
    parse_entries,
    render_entries,
    render_tile,
    root,
    tile_hashes,
    tile_node,
    tile_root,
    tiles,
    verify_consistency,
    verify_inclusion,
)
from tests.notes import note

LEAVES = ["", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f"]
ROOTS = [
    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
]
A, B, C = (
    "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
)
INDEX_0 = [
    "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
    "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
    "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4",
]
INCLUSIONS = [
    (5, 8, ["bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b", A, B]),
    (0, 8, INDEX_0),
    (2, 3, [C]),
]
CONSISTENCIES = [
    (6, 8, ["0ebc5d3437fbe2db158b9f126a1d118e308181031d0a949f8dededebc558ef6a", A, B]),
    (1, 8, INDEX_0),
]
PUBLISHED = Tree([leaf_hash(bytes.fromhex(leaf)) for leaf in LEAVES])


def naive_root(leaves: list[bytes]) -> bytes:
    """RFC 6962 2.1, word by word."""
    if not leaves:
        return hashlib.sha256(b"").digest()
    if len(leaves) == 1:
        return hashlib.sha256(b"\x00" + leaves[0]).digest()
    k = 1
    while 2 * k < len(leaves):
        k *= 2
    return hashlib.sha256(b"\x01" + naive_root(leaves[:k]) + naive_root(leaves[k:])).digest()


def grown(size: int) -> Tree:
    return Tree([leaf_hash(b"leaf %d" % at) for at in range(size)])


@pytest.mark.parametrize("size", range(9))
def test_roots_are_the_published_ones(size):
    assert root(PUBLISHED.node, size).hex() == ROOTS[size]


@pytest.mark.parametrize(("index", "size", "proof"), INCLUSIONS)
def test_inclusion_proofs_are_the_published_ones(index, size, proof):
    made = inclusion_proof(PUBLISHED.node, index, size)
    assert [step.hex() for step in made] == proof
    assert verify_inclusion(PUBLISHED.node(0, index), index, size, made, bytes.fromhex(ROOTS[size]))


@pytest.mark.parametrize(("old", "new", "proof"), CONSISTENCIES)
def test_consistency_proofs_are_the_published_ones(old, new, proof):
    made = consistency_proof(PUBLISHED.node, old, new)
    assert [step.hex() for step in made] == proof
    assert verify_consistency(old, new, bytes.fromhex(ROOTS[old]), bytes.fromhex(ROOTS[new]), made)


@given(st.lists(st.binary(max_size=8), max_size=40))
def test_the_root_is_the_rfcs_formula(leaves):
    assert root(Tree([leaf_hash(leaf) for leaf in leaves]).node, len(leaves)) == naive_root(leaves)


def test_every_proof_between_two_sizes_is_accepted():
    """T7.2: all pairs of 200 sizes, consistency and inclusion."""
    sizes, tree = 200, grown(200)
    roots = [root(tree.node, size) for size in range(201)]
    pairs = 0
    for new in range(sizes + 1):
        for old in range(new + 1):
            proof = consistency_proof(tree.node, old, new)
            assert verify_consistency(old, new, roots[old], roots[new], proof), (old, new)
            pairs += 1
        for index in range(new):
            assert verify_inclusion(tree.node(0, index), index, new, inclusion_proof(tree.node, index, new), roots[new])
            pairs += 1
    note(f"{pairs} proofs between {sizes + 1} sizes, all accepted")


def forge(proof: list[bytes], draw: random.Random, strangers: list[bytes]) -> list[bytes]:
    """Return another proof: a bit flipped, a step left out, put in, swapped, replaced or of another length."""
    forged = list(proof)
    at = draw.randrange(len(forged)) if forged else 0
    match (
        draw.choice(["flip", "truncate", "remove", "insert", "append", "swap", "replace", "shorten"]) if forged else 0
    ):
        case "flip":
            step = bytearray(forged[at])
            step[draw.randrange(HASH)] ^= 1 << draw.randrange(8)
            forged[at] = bytes(step)
        case "truncate":
            forged = forged[: draw.randrange(len(forged))]
        case "remove":
            del forged[at]
        case "swap":
            other = draw.randrange(len(forged))
            forged[at], forged[other] = forged[other], forged[at]
        case "replace":
            forged[at] = draw.choice(strangers)
        case "shorten":
            forged[at] = forged[at][:-1]
        case "insert":
            forged.insert(at, draw.choice([*strangers, *forged]))
        case _:
            forged.append(draw.choice(strangers))
    return forged


def test_no_forged_proof_is_accepted():
    """T7.2: forged, truncated and extended proofs, and true ones for another size, index or root."""
    seed = random.randrange(2**32)
    draw, tree = random.Random(seed), grown(200)
    roots = [root(tree.node, size) for size in range(201)]
    strangers = [hashlib.sha256(b"%d" % n).digest() for n in range(8)] + roots[:20] + tree.levels[0][:20]
    tried = 0
    while tried < 10_000:
        new = draw.randint(2, 200)
        old, index = draw.randint(1, new - 1), draw.randrange(new)
        extends, includes = consistency_proof(tree.node, old, new), inclusion_proof(tree.node, index, new)
        leaf = tree.node(0, index)
        if (bad := forge(extends, draw, strangers)) != extends:
            assert not verify_consistency(old, new, roots[old], roots[new], bad), (seed, old, new)
            tried += 1
        if (bad := forge(includes, draw, strangers)) != includes:
            assert not verify_inclusion(leaf, index, new, bad, roots[new]), (seed, index, new)
            tried += 1
        # The race of Rekor's pull request 956: a true proof, of another size than the one asked.
        size = draw.randint(1, 200)
        if size != new and index < size:
            assert not verify_inclusion(leaf, index, size, includes, roots[size]), (seed, index, new, size)
            tried += 1
        if size != new and old <= size:
            assert not verify_consistency(old, size, roots[old], roots[size], extends), (seed, old, new, size)
            tried += 1
        other = draw.randrange(new)
        if other != index:
            assert not verify_inclusion(leaf, other, new, includes, roots[new]), (seed, index, other, new)
            assert not verify_inclusion(tree.node(0, other), index, new, includes, roots[new])
            assert not verify_inclusion(leaf, index, new, includes, strangers[0])
            assert not verify_consistency(old, new, strangers[0], roots[new], extends)
            assert not verify_consistency(old, new, roots[old], strangers[0], extends)
            tried += 5
    note(f"seed {seed}: {tried} forged proofs, none accepted")


@pytest.mark.parametrize(
    ("old", "new", "old_root", "new_root", "proof", "holds"),
    [
        (0, 0, EMPTY, EMPTY, [], True), (0, 0, EMPTY, b"x" * 32, [], False), (0, 5, EMPTY, b"x" * 32, [], True),
        (0, 5, b"y" * 32, b"x" * 32, [], False), (0, 5, EMPTY, b"x" * 32, [EMPTY], False),
        (5, 5, b"x" * 32, b"x" * 32, [], True), (5, 5, b"x" * 32, b"y" * 32, [], False),
        (5, 5, b"x" * 32, b"x" * 32, [EMPTY], False), (6, 5, b"x" * 32, b"x" * 32, [], False),
        (3, 5, b"x" * 32, b"x" * 32, [], False), (-1, 5, b"x" * 32, b"x" * 32, [], False),
    ],
)  # fmt: skip
def test_consistency_at_its_edges(old, new, old_root, new_root, proof, holds):
    assert verify_consistency(old, new, old_root, new_root, proof) == holds


def test_proofs_of_what_is_not_there_are_not_made():
    for index, size in ((0, 0), (3, 3), (-1, 3)):
        with pytest.raises(ValueError):
            inclusion_proof(PUBLISHED.node, index, size)
        assert not verify_inclusion(EMPTY, index, size, [], EMPTY)
    with pytest.raises(ValueError):
        consistency_proof(PUBLISHED.node, 5, 3)


# --- tiles


@pytest.mark.parametrize(
    ("path", "tile"),
    [
        ("tile/0/000", Tile(0, 0)), ("tile/1/067", Tile(1, 67)), ("tile/0/x001/x234/067", Tile(0, 1234067)),
        ("tile/0/x001/000.p/112", Tile(0, 1000, 112)), ("tile/2/000.p/1", Tile(2, 0, 1)),
        ("tile/63/999.p/255", Tile(63, 999, 255)),
    ],
)  # fmt: skip
def test_paths_are_those_of_the_standard(path, tile):
    assert tile.path == path
    assert entries_path(tile.index, tile.width) == path.replace(f"tile/{tile.level}/", "tile/entries/")


def test_a_log_of_70000_has_the_tiles_of_the_standard():
    made = list(tiles(70_000))
    assert [t for t in made if t.level == 0] == [*(Tile(0, n) for n in range(273)), Tile(0, 273, 112)]
    assert [t for t in made if t.level == 1] == [Tile(1, 0), Tile(1, 1, 17)]
    assert [t for t in made if t.level == 2] == [Tile(2, 0, 1)]
    assert len(made) == 277
    assert list(tiles(256)) == [Tile(0, 0), Tile(1, 0, 1)]
    assert list(tiles(0)) == []


@given(st.integers(0, 140_000), st.integers(0, 3_000))
def test_growing_adds_the_tiles_that_were_not_there(since, more):
    before = set(tiles(since))
    assert set(tiles(since + more, since=since)) == set(tiles(since + more)) - before


def test_the_tree_seen_through_tiles_is_the_tree():
    tree = grown(1_300)
    kept = {(tile.level, tile.index): render_tile(tree.node, tile) for tile in tiles(tree.size)}
    node = tile_node(lambda level, index: kept[level, index])
    for level, row in enumerate(tree.levels):
        assert [node(level, index) for index in range(len(row))] == row
    assert root(node, 1_300) == root(tree.node, 1_300)
    assert tile_root(kept[0, 2]) == tree.node(8, 2)
    assert tile_hashes(kept[0, 5]) == tree.levels[0][1_280:]
    assert (Tile(1, 0, 5).first, Tile(1, 0, 5).end) == (0, 1_280)
    with pytest.raises(MalformedTile):
        node(0, 1_300)


def _of(kept, level, index):
    return kept[level, index]


@pytest.mark.parametrize("steps", [[1_300], [1, 255, 1, 600], [256, 256, 256], [100] * 7, [70_000]])
def test_a_log_grows_from_its_edge(steps):
    tree, size = grown(sum(steps)), 0
    kept: dict[tuple[int, int], bytes] = {}
    for step in steps:
        old = {(tile.level, tile.index): kept[tile.level, tile.index] for tile in edge(size)}
        kept.update(grow(old, size, tree.levels[0][size : size + step]))
        size += step
        assert kept == {(tile.level, tile.index): render_tile(tree.node, tile) for tile in tiles(size)}
        last = {(tile.level, tile.index): kept[tile.level, tile.index] for tile in edge(size)}
        node = tile_node(partial(_of, last))
        assert root(node, size) == root(tree.node, size)


@given(st.lists(st.binary(max_size=300), max_size=WIDTH))
def test_a_bundle_gives_back_its_entries(entries):
    bundle = render_entries(entries)
    assert parse_entries(bundle) == entries
    if entries:
        with pytest.raises(MalformedTile):
            parse_entries(bundle + b"\x00")


def test_an_entry_has_at_most_65535_bytes():
    assert parse_entries(render_entries([b"x" * 65_535, b""])) == [b"x" * 65_535, b""]
    with pytest.raises(MalformedTile):
        render_entries([b"x" * 65_536])
    with pytest.raises(MalformedTile):
        parse_entries(b"\x00\x05abc")


# --- checkpoints

TEXT = "example.com/behind-the-sofa\n20852163\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n"


def test_the_published_checkpoint_is_read():
    read = parse_checkpoint(TEXT)
    assert (read.origin, read.size, read.root[:2]) == ("example.com/behind-the-sofa", 20_852_163, b"\x0a\xc5")
    assert str(read) == TEXT
    assert parse_checkpoint(TEXT + "an extension\n") == read


@given(st.integers(0, 2**63 - 1), st.binary(min_size=32, max_size=32))
def test_a_checkpoint_gives_back_what_it_says(size, hashed):
    assert parse_checkpoint(str(Checkpoint("abcdef/main", size, hashed))) == Checkpoint("abcdef/main", size, hashed)


@pytest.mark.parametrize(
    "text",
    [
        "", "\n", "a\n1\n", TEXT[:-1], TEXT.replace("20852163", "020852163"), TEXT.replace("20852163", "-1"),
        TEXT.replace("20852163", "+1"), TEXT.replace("20852163", "١"), TEXT.replace("20852163", "1e3"),
        TEXT.replace("20852163", " 1"), TEXT.replace("q2I=", "q2J="), TEXT.replace("q2I=", "q2I"),
        TEXT.replace("CsUY", ""), "\n" + TEXT, TEXT + "\n", TEXT.replace("\nCs", "\n\nCs"),
    ],
)  # fmt: skip
def test_anything_else_is_no_checkpoint(text):
    with pytest.raises(MalformedNote):
        parse_checkpoint(text)


def test_leaves_and_nodes_are_apart():
    assert leaf_hash(EMPTY + EMPTY) != node_hash(EMPTY, EMPTY)
