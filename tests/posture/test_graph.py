"""The graph: what an agent can reach, who else holds a credential, what breaks when it is rotated."""

from datetime import UTC, date, datetime

from taskbound.posture.graph import CREDENTIAL, HOLDER, IDENTITY, OWNER, TARGET, build, holders, reach, rotate
from taskbound.posture.sighting import Credential, Holder, Place, Principal, Sighting, Use, Weakness

DAY = date(2031, 5, 1)
AGENT = Holder("agent", "mcp:orders@shop", "shop")
PIPELINE = Holder("pipeline", "pipe:release.yml@shop", "shop", "production")


def held(mark: str, holder: Holder, path: str, line: int = 1, **more: object) -> Credential:
    return Credential(mark, "aws-access-token", mark[-4:], Place(path, line), holder, "config", **more)  # type: ignore[arg-type]


def world() -> list[Sighting]:
    return [
        held("key-0001", AGENT, "shop/.mcp.json", 4),
        held("key-0001", PIPELINE, "shop/release.yml", 9),
        held("pass-0002", AGENT, "shop/.mcp.json", 5, target="db.shop.example:5432/orders"),
        Principal("mcp:orders@shop", "mcp-server", Place("shop/.mcp.json", 3), {"repository": "shop"}),
        Principal("agent:helper@shop", "agent", Place("shop/AGENTS.md", 1), {"repository": "shop"}),
        Principal("pipe:build.yml@shop", "ci-workflow", Place("shop/build.yml", 1), {"repository": "shop"}),
        Principal("agent:other@blog", "agent", Place("blog/AGENTS.md", 1), {"repository": "blog"}),
        Principal(
            "aws-key:stock/1", "aws-access-key", Place("keys.csv", 2), {"of": "aws:user/stock", "mark": "key-0001"}
        ),
        Principal("aws:user/stock", "aws-iam-user", Place("keys.csv", 2), {"owner": "rosa@shop.example"}),
        Weakness("iam-star-star", "aws:user/stock", Place("shop/main.tf", 8), "All."),
        Use("key-0001", "aws:user/stock", datetime(2031, 4, 1, tzinfo=UTC), "person", Place("trail", 1), "192.0.2.1"),
        Use("key-0009", "aws:user/stock", datetime(2031, 4, 3, tzinfo=UTC), "agent", Place("trail", 3), "192.0.2.3"),
        Use("key-0001", "aws:user/stock", datetime(2031, 4, 2, tzinfo=UTC), "pipeline", Place("trail", 2), "192.0.2.2"),
    ]


def test_an_agent_reaches_what_its_servers_hold_and_what_that_opens() -> None:
    graph = build(world(), DAY)
    reached = reach(graph, *graph.named("agent:helper@shop"))
    assert [one.name for one in reached.of(HOLDER)] == ["mcp:orders@shop"]
    assert {one.name for one in reached.of(CREDENTIAL)} == {"key-0001", "pass-0002"}
    assert [one.name for one in reached.of(IDENTITY)] == ["aws:user/stock"]
    assert {one.name for one in reached.of(TARGET)} == {
        "db.shop.example:5432/orders",
        "everything in the cloud account",
    }
    (account,) = graph.named("everything in the cloud account")
    assert [one.name for one in reached.path(account)] == [
        "agent:helper@shop",
        "mcp:orders@shop",
        "key-0001",
        "aws:user/stock",
        "everything in the cloud account",
    ]


def test_an_agent_of_another_repository_reaches_nothing() -> None:
    graph = build(world(), DAY)
    assert reach(graph, *graph.named("agent:other@blog")).found == ()


def test_a_pipeline_starts_no_servers_of_its_repository() -> None:
    graph = build(world(), DAY)
    assert reach(graph, *graph.named("pipe:build.yml@shop")).found == ()


def test_a_person_reaches_what_they_own() -> None:
    graph = build(world(), DAY)
    (person,) = graph.named("rosa@shop.example", OWNER)
    assert [one.name for one in reach(graph, person).of(IDENTITY)] == ["aws:user/stock"]


def test_a_person_reaches_what_the_agents_that_they_own_hold() -> None:
    lee = Principal("lee", "owner", Place("shop/CODEOWNERS", 1), {"pattern": ".mcp.json", "owner": "lee@shop.example"})
    graph = build([*world(), lee], DAY)
    (person,) = graph.named("lee")
    assert graph.named("lee@shop.example") == (person,) and graph.named("le") == ()
    reached = reach(graph, person)
    assert [one.name for one in reached.of(HOLDER)] == ["mcp:orders@shop"]
    assert {one.name for one in reached.of(CREDENTIAL)} == {"key-0001", "pass-0002"}
    both = Principal("lee", "owner", Place("shop/CODEOWNERS", 1), {"pattern": ".mcp.json", "owner": "amy@shop.example"})
    graph = build([*world(), lee, both], DAY)
    assert graph.owner(*graph.named("mcp:orders@shop")) == "amy@shop.example, lee@shop.example"


def test_a_credential_is_named_by_its_last_four_and_has_all_its_holders() -> None:
    graph = build(world(), DAY)
    (credential,) = graph.named("…0001", CREDENTIAL)
    assert [(one.holder.name, one.places) for one in holders(graph, credential)] == [
        ("mcp:orders@shop", (Place("shop/.mcp.json", 4),)),
        ("pipe:release.yml@shop", (Place("shop/release.yml", 9),)),
    ]


def test_rotation_names_production_first_and_the_use_that_no_place_explains() -> None:
    graph = build(world(), DAY)
    answer = rotate(graph, *graph.named("0001", CREDENTIAL))
    assert [one.holder.name for one in answer.holders] == ["pipe:release.yml@shop", "mcp:orders@shop"]
    assert [one.name for one in answer.identities] == ["aws:user/stock"]
    assert [use.by for use in answer.uses] == ["pipeline", "person"]
    assert [use.address for use in answer.unseen] == ["192.0.2.1"]


def test_the_order_of_sightings_changes_nothing() -> None:
    assert build(reversed(world()), DAY) == build(world(), DAY)
