"""A SPIFFE ID is what SPIFFE-ID.md 2 says (vectors of the fact sheet)."""

import pytest

from taskbound.formats.spiffe import MalformedSpiffeId, make, parse


@pytest.mark.parametrize(
    ("text", "spelled"),
    [
        ("spiffe://example.org/payments/web-fe", "spiffe://example.org/payments/web-fe"),
        ("SPIFFE://Example.ORG/a", "spiffe://example.org/a"),
        ("spiffe://127.0.0.1/A_b.c-d", "spiffe://127.0.0.1/A_b.c-d"),
    ],
)
def test_an_id_is_spelled_one_way(text, spelled):
    assert str(parse(text)) == spelled
    assert parse(spelled) == parse(text)


@pytest.mark.parametrize(
    "text",
    [
        "spiffe://example.org", "spiffe://example.org/", "spiffe://example.org/a//b", "spiffe://example.org/a/../b",
        "spiffe://example.org/a/./b", "spiffe://example.org/a%20b", "spiffe://example.org:8443/a",
        "spiffe://u@example.org/a", "spiffe://example.org/a?x=1", "spiffe://example.org/a#f", "spiffe:///a",
        "spiffe://example.org/agent@v1", "spiffe://example.org/agent:v1", "https://example.org/a", "",
        "spiffe://example.org/a\n", "spiffe://exämple.org/a", "spiffe://example.org/" + "a" * 2048,
        "spiffe://" + "a" * 256 + "/a",
    ],
)  # fmt: skip
def test_anything_else_is_refused(text):
    with pytest.raises(MalformedSpiffeId):
        parse(text)


def test_a_trust_domain_is_made_in_lower_case():
    with pytest.raises(MalformedSpiffeId):
        make("Example.org", "agent/a")
