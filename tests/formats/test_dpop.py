"""A proof is for one request, with one token, by one key (RFC 9449 4.3, T3.2, T3.8)."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from taskbound.formats import dpop
from taskbound.formats.dpop import Address, verify_proof
from taskbound.formats.jose import MalformedToken
from tests.prover import Prover

RFC = json.loads((Path(__file__).parents[1] / "data/rfc/rfc9449.json").read_text())
ME = Prover(lambda: 1_800_000_000)
URL = "https://api.example.org:8440/v1/tasks"
HERE = Address("https", {"api.example.org", "10.0.0.5", "*.agents.example.org", "[2001:db8::1]"}, 8440, "/v1/tasks")
TOKEN = "a.b.c"


def verified(text, method="POST", address=HERE, token: str | None = TOKEN):
    return verify_proof(text, method=method, address=address, token=token)


def test_the_example_of_rfc_9449_verifies():
    address = Address("https", {RFC["host"]}, 443, RFC["path"])
    proof = verify_proof(RFC["proof"], method=RFC["method"], address=address, token=RFC["token"])
    assert (proof.jkt, proof.id, proof.issued) == (RFC["jkt"], RFC["jti"], RFC["iat"])
    assert dpop.hash_of(RFC["token"]) == RFC["ath"]


def test_a_proof_with_a_token_and_one_without():
    assert verified(ME.proof("POST", URL, TOKEN, jti="x")) == dpop.Proof(ME.jkt, "x", 1_800_000_000)
    assert verified(ME.proof("POST", URL), token=None).jkt == ME.jkt


BAD: dict[str, dict[str, Any]] = {
    "another method": {"method": "GET"},
    "a method in lower case": {"method": "post"},
    "another token": {"token": "a.b.d"},
    "no ath": {"ath": None},
    "ath of nothing": {"ath": ""},
    "ath is a list": {"ath": [dpop.hash_of(TOKEN)]},
    "ath in hexadecimal": {"ath": "00" * 32},
    "no jti": {"jti": None},
    "an empty jti": {"jti": ""},
    "a long jti": {"jti": "x" * 257},
    "a jti that is a number": {"jti": 1},
    "no iat": {"iat": None},
    "an iat that is text": {"iat": "1800000000"},
    "an iat that is no whole number": {"iat": 1800000000.5},
    "an iat that is true": {"iat": True},
    "no htm": {"htm": None},
    "no htu": {"htu": None},
    "htu is a list": {"htu": [URL]},
}


@pytest.mark.parametrize("what", BAD)
def test_a_proof_of_something_else_is_refused(what):
    changes = {**BAD[what]}
    method, token = changes.pop("method", "POST"), changes.pop("token", TOKEN)
    with pytest.raises(MalformedToken):
        verified(ME.proof(method, URL, token, **changes))


def test_a_proof_with_a_token_is_none_without_it():
    with pytest.raises(MalformedToken):
        verified(ME.proof("POST", URL, TOKEN), token=None)


@pytest.mark.parametrize(
    "header",
    [
        {"typ": "JWT"},
        {"typ": "at+jwt"},
        {"typ": "DPOP+JWT"},
        {"typ": None},
        {"jwk": None},
        {"jwk": {**ME.jwk, "d": "AAAA"}},
        {"jwk": dict(ME.key.as_dict(private=True))},
        {"jwk": dict(Prover().jwk)},
        {"jwk": "x"},
        {"jku": "https://evil.example/"},
        {"x5c": ["AAAA"]},
        {"crit": ["jwk"]},
        {"alg": "none"},
        {"alg": "HS256"},
    ],
)
def test_the_header_says_what_it_must_and_no_more(header):
    claims = json.loads(_payload(ME.proof("POST", URL, TOKEN)))
    good = {"typ": "dpop+jwt", "alg": "ES256", "jwk": dict(ME.jwk)}
    from tests.formats.forged import raw

    assert verified(raw(json.dumps(good), json.dumps(claims), ME)).jkt == ME.jkt
    said = {name: value for name, value in {**good, **header}.items() if value is not None}
    with pytest.raises(MalformedToken):
        verified(raw(json.dumps(said), json.dumps(claims), ME))


def _payload(text):
    from taskbound.formats.jose import decode

    return decode(text.split(".")[1])


def test_a_kid_in_the_header_chooses_nothing():
    other = Prover()
    claims = json.loads(_payload(ME.proof("POST", URL, TOKEN)))
    jwk = {name: ME.jwk[name] for name in ("kty", "crv", "x", "y")}
    assert verified(ME.signed({"typ": "dpop+jwt", "jwk": jwk, "kid": other.jkt}, claims)).jkt == ME.jkt


# --- addresses (RFC 3986 6.2.2, 6.2.3) -------------------------------------------------------------

HERE_TOO = [
    "https://API.Example.ORG:8440/v1/tasks",
    "HTTPS://api.example.org:8440/v1/tasks",
    "https://api.example.org:08440/v1/tasks",
    "https://10.0.0.5:8440/v1/tasks",
    "https://one.agents.example.org:8440/v1/tasks",
    "https://[2001:DB8:0::1]:8440/v1/tasks",
    "https://api.example.org:8440/%761/tasks",
    "https://api.example.org:8440/v1/../v1/./tasks",
    "https://api.example.org:8440/x/../v1/tasks",
]
ELSEWHERE = [
    "http://api.example.org:8440/v1/tasks",
    "https://api.example.org/v1/tasks",
    "https://api.example.org:443/v1/tasks",
    "https://api.example.org:8441/v1/tasks",
    "https://api.example.org:8440/v1/tasks/",
    "https://api.example.org:8440/v1//tasks",
    "https://api.example.org:8440/V1/tasks",
    "https://api.example.org:8440/v1/tasks?x=1",
    "https://api.example.org:8440/v1/tasks#x",
    "https://api.example.org:8440/v1%2Ftasks",
    "https://api.example.org:8440/v1/tasks/..",
    "https://api.example.org:8440",
    "https://user@api.example.org:8440/v1/tasks",
    "https://evil.example:8440/v1/tasks",
    "https://api.example.org.evil.example:8440/v1/tasks",
    "https://api.example.org.:8440/v1/tasks",
    "https://agents.example.org:8440/v1/tasks",
    "https://one.two.agents.example.org:8440/v1/tasks",
    "https://*.agents.example.org:8440/v1/tasks",
    "https://api.example.org:8440\\@evil.example/v1/tasks",
    "https:///v1/tasks",
    "https://[::1]:8440/v1/tasks",
    "https://[2001:db8::1%25eth0]:8440/v1/tasks",
    "//api.example.org:8440/v1/tasks",
    "/v1/tasks",
    "ftp://api.example.org:8440/v1/tasks",
    " https://api.example.org:8440/v1/tasks",
    "https://api.example.org:8440/v1/tasks\n",
    "https://api.example.org:99999/v1/tasks",
]


@pytest.mark.parametrize("uri", HERE_TOO)
def test_one_address_has_more_than_one_spelling(uri):
    assert verified(ME.proof("POST", uri, TOKEN)).jkt == ME.jkt


@pytest.mark.parametrize("uri", ELSEWHERE)
def test_a_proof_for_another_address_is_refused(uri):
    with pytest.raises(MalformedToken):
        verified(ME.proof("POST", uri, TOKEN))


def test_a_default_port_may_be_left_out():
    for uri in ("https://a.example/", "https://a.example", "https://a.example:443/", "https://a.example:/"):
        assert dpop.is_at(uri, Address("https", {"a.example"}, 443, "/"))
    assert not dpop.is_at("http://a.example/", Address("https", {"a.example"}, 443, "/"))


@given(st.lists(st.sampled_from(["a", "B", "%41", "%2f", "%2F", ".", "..", "%2e", "~", "%7E", ""]), max_size=6))
def test_the_normal_form_of_a_path_is_its_own(segments):
    path = "/" + "/".join(segments)
    normal = dpop.normal_path(path)
    assert dpop.normal_path(normal) == normal and normal.startswith("/")
    assert not {".", ".."} & set(normal.split("/"))
