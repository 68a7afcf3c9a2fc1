"""What the graph says when it is asked: steps with file and line, owners, and refusals that help."""

import json

import pytest

from taskbound.core.errors import Conflict, NotFound
from taskbound.posture.answers import QUESTIONS, one_named
from taskbound.posture.graph import Graph, build
from taskbound.posture.sighting import Place, Principal
from tests.posture.test_graph import AGENT, DAY, held, world


def asked(graph: Graph, question: str, name: str) -> list[str]:
    return list(QUESTIONS[question][0](graph, one_named(graph, name)))


def test_reach_tells_each_step_with_file_and_line() -> None:
    lines = asked(build(world(), DAY), "reach", "agent:helper@shop")
    assert lines[0] == "agent agent:helper@shop reaches 2 targets, 1 identity, 2 credentials, 1 holder"
    start = lines.index("  everything in the cloud account")
    assert lines[start + 1 : start + 5] == [
        "    agent:helper@shop starts mcp:orders@shop  shop/.mcp.json:3",
        "    mcp:orders@shop holds aws-access-token …0001  shop/.mcp.json:4",
        "    aws-access-token …0001 proves aws:user/stock  keys.csv:2",
        "    aws:user/stock may do everything in the cloud account  shop/main.tf:8",
    ]
    assert "  aws:user/stock, owner rosa@shop.example" in lines


def test_holders_are_told_with_places_and_the_owner_that_codeowners_names() -> None:
    owner = Principal(
        "lee", "owner", Place("shop/CODEOWNERS", 1), {"pattern": "release.yml", "owner": "lee@shop.example"}
    )
    assert asked(build([*world(), owner], DAY), "holders", "…0001")[1:] == [
        "  agent mcp:orders@shop  shop/.mcp.json:4",
        "  pipeline pipe:release.yml@shop (production), owner lee@shop.example  shop/release.yml:9",
    ]


def test_rotation_tells_what_breaks_and_the_use_that_no_file_explains() -> None:
    lines = asked(build(world(), DAY), "rotate", "0001")
    assert lines[1].startswith("  pipeline pipe:release.yml@shop (production)")
    assert "  it proves aws:user/stock, owner rosa@shop.example  keys.csv:2" in lines
    assert "  last used 2031-04-02 by pipeline at 192.0.2.2  trail:2" in lines
    assert "  last used 2031-04-01 by person at 192.0.2.1; NO FILE EXPLAINS IT: a copy was not found  trail:1" in lines
    assert asked(build(world(), DAY), "rotate", "0002")[-1].startswith("  no log that was read tells")


def test_of_an_agent_each_of_its_credentials_is_told() -> None:
    graph = build(world(), DAY)
    assert asked(graph, "holders", "mcp:orders@shop")[0] == "agent mcp:orders@shop has 2 credentials"
    told = QUESTIONS["rotate"][1](graph, one_named(graph, "mcp:orders@shop"))
    assert [one["label"] for one in told["credentials"]] == ["aws-access-token …0001", "aws-access-token …0002"]
    assert json.loads(json.dumps(told)) == told


def test_a_credential_is_named_by_label_ending_and_id_and_by_its_access_key() -> None:
    mark = "0123456789abcdef" * 4
    key = held("fedcba98" * 8, AGENT, "f", 2, is_identifier=True)
    secret = held(mark, AGENT, "f", 3)
    graph = build([key, secret], DAY)
    names = ("aws-access-token …cdef", "…cdef", "cdef", mark[:16], "fedcba98fedcba98", "ba98")
    assert len({one_named(graph, name) for name in names}) == 1


def test_a_name_that_is_not_one_thing_is_refused_with_those_meant_or_near() -> None:
    graph = build([*world(), held("pass-0001", AGENT, "x", 1)], DAY)
    with pytest.raises(Conflict, match=r"^that could be 2 things: aws-access-token …0001 \(key-0001\), .*pass-0001"):
        one_named(graph, "0001")
    with pytest.raises(NotFound, match=r"^nothing that was seen has that name$") as refused:
        one_named(graph, "orders@shp")
    assert refused.value.hint == "nearest: mcp:orders@shop"


def test_json_names_every_step() -> None:
    graph = build(world(), DAY)
    told = QUESTIONS["reach"][1](graph, one_named(graph, "agent:helper@shop"))
    assert told["reaches"][0] == {
        "kind": "holder", "name": "mcp:orders@shop", "label": "mcp:orders@shop", "role": "agent", "environment": "",
        "owner": "", "from": "agent:helper@shop", "step": "starts", "places": [{"path": "shop/.mcp.json", "line": 3}],
    }  # fmt: skip
