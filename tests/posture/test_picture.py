"""The picture: one file that runs what its policy names by digest, loads nothing, and holds no value."""

import json
import re
from base64 import b64encode
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import taskbound.app
from taskbound.app.graph import CYTOSCAPE, picture
from taskbound.posture.graph import CREDENTIAL, build
from taskbound.posture.picture import MOST, as_html
from taskbound.posture.sighting import Principal
from tests.posture.test_graph import AGENT, DAY, held, world

VENDOR = Path(taskbound.app.__file__).parent / "vendor"
EVIL = "</script><script>alert(1)</script>"


def data(page: str) -> dict[str, list[dict[str, object]]]:
    (found,) = re.findall(r'<script type="application/json" id="graph">(.*?)</script>', page, re.DOTALL)
    told: dict[str, list[dict[str, object]]] = json.loads(found)
    return told


def test_what_is_vendored_is_what_was_written_down() -> None:
    sums = dict(line.split()[::-1] for line in (VENDOR / "SHA256SUMS").read_text().splitlines())
    assert sums == {one: sha256((VENDOR / one).read_bytes()).hexdigest() for one in sums}
    assert {*sums, "SHA256SUMS"} == {one.name for one in VENDOR.iterdir()} and Path(CYTOSCAPE).name in sums


def test_only_what_the_policy_names_by_digest_runs() -> None:
    page = picture(build(world(), DAY), "All")
    policy = page.split('http-equiv="Content-Security-Policy" content="')[1].split('"')[0]
    run = re.findall(r"<script>(.*?)</script>", page, re.DOTALL)
    digests = [b64encode(sha256(one.encode()).digest()).decode() for one in run]
    assert len(run) == 2 and re.findall(r"'sha256-([^']+)'", policy) == digests
    assert policy.startswith("default-src 'none'; ") and "unsafe-inline'" not in policy.split("style-src")[0]
    assert not re.findall(r"""(?:src|href)\s*=\s*["']""", page.replace(run[0], ""))


def test_a_name_from_a_file_neither_ends_its_element_nor_runs() -> None:
    sightings = [*world(), held("m-9999", replace(AGENT, name=EVIL), f"{EVIL}.json")]
    page = as_html(build(sightings, DAY), "1;", EVIL)
    assert "<script>alert" not in page and page.count("<script") == 3
    assert EVIL in {one["label"] for one in data(page)["things"]}


def test_each_edge_says_file_and_line_and_no_mark_is_whole() -> None:
    mark = "c0ffee" * 10 + "0001"
    page = as_html(build([held(mark, AGENT, "shop/.mcp.json", 4)], DAY), "1;", "All")
    told = data(page)
    assert [(one["says"], one["at"]) for one in told["edges"]] == [("holds", ["shop/.mcp.json:4"])]
    assert mark not in page


def test_of_one_thing_only_what_is_around_it_is_drawn() -> None:
    graph = build([*world(), held("other-7777", replace(AGENT, name="mcp:x@blog"), "blog/x", 1)], DAY)
    (credential,) = graph.named("0001", CREDENTIAL)
    drawn = {one["label"] for one in data(as_html(graph, "1;", "One", credential))["things"]}
    assert {"aws-access-token …0001", "rosa@shop.example", "everything in the cloud account"} < {
        *drawn,
        "rosa@shop.example",
    }
    assert not {"mcp:x@blog", "db.shop.example:5432/orders", "agent:other@blog"} & drawn


def test_of_many_things_those_are_drawn_that_most_hold_and_the_rest_is_counted() -> None:
    alone = [held(f"alone-{n:04}", replace(AGENT, name=f"a{n}"), f"f{n}") for n in range(MOST)]
    page = as_html(build([*alone, *world()], DAY), "1;", "All")
    labels = [one["label"] for one in data(page)["things"]]
    assert len(labels) == MOST and "aws-access-token …0001" in labels
    assert re.search(rf"{MOST} of \d+ things are drawn", page)


def test_nothing_seen_is_said() -> None:
    assert "Nothing was seen" in as_html(
        build([Principal("person:a@b.example", "person", held("m", AGENT, "x").place)], DAY), "1;", ""
    )
