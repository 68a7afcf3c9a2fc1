"""A token is what we signed, as we write it, and nothing else (T3.1, T3.8, D24)."""

import json
from base64 import urlsafe_b64decode
from dataclasses import replace
from pathlib import Path
from typing import Any

import jwt as pyjwt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from joserfc import jwt
from joserfc.jwk import ECKey

from taskbound.formats import jose
from taskbound.formats.jose import Compact, MalformedToken, verify_access_token
from tests.formats.forged import AUDIENCE, FIRST, GOOD, HEADER, ISSUER, OURS, PUBLIC, REFUSED, TEXT, TOKEN, claims, raw
from tests.profile import trials
from tests.prover import Prover, part

RFC = Path(__file__).parents[1] / "data" / "rfc"


def verified(text, issuer=ISSUER, audience=AUDIENCE):
    return verify_access_token(text, PUBLIC, issuer=issuer, audience=audience)


# --- what is published -----------------------------------------------------------------------------


def test_the_example_of_rfc_7515_verifies():
    example = json.loads((RFC / "rfc7515.json").read_text())
    jose.require_signature(Compact(example["jws"], {}, {}), jose.point_of(example["jwk"]))
    with pytest.raises(MalformedToken):
        jose.require_signature(Compact(example["jws"], {}, {}), PUBLIC)


def test_the_thumbprint_of_rfc_9449_is_ours():
    example = json.loads((RFC / "rfc9449.json").read_text())
    assert jose.thumbprint(jose.point_of(example["jwk"])) == example["jkt"]


def test_our_thumbprint_and_another_implementation_s_agree():
    for _ in range(50):
        other = Prover()
        assert jose.thumbprint(jose.point_of(other.jwk)) == other.jkt


# --- what we write ---------------------------------------------------------------------------------


def test_what_we_write_is_read_back_here_and_by_another_implementation():
    text = OURS.signed(HEADER, claims())
    assert verified(text) == TOKEN
    known = ECKey.import_key(jose.key_set(PUBLIC)["keys"][0])
    read = jwt.decode(text, known, algorithms=["ES256"])
    assert read.header == {"typ": "at+jwt", "alg": "ES256", "kid": OURS.jkt}
    assert read.claims == {
        "iss": ISSUER,
        "aud": AUDIENCE,
        "sub": "spiffe://example.org/human/alice",
        "client_id": "spiffe://example.org/agent/support",
        "act": {"sub": "spiffe://example.org/agent/support", "act": {"sub": "spiffe://example.org/agent/boss"}},
        "org": "main",
        "task": TOKEN.task,
        "jti": TOKEN.id,
        "iat": 1_800_000_000,
        "exp": 1_800_000_300,
        "cnf": {"jkt": TOKEN.jkt},
    }


def test_nobody_acts_for_who_works_for_nobody():
    assert verified(OURS.signed(HEADER, claims(act=None))) == replace(TOKEN, act=())


def test_a_key_set_has_public_halves_alone():
    (key,) = jose.key_set(PUBLIC)["keys"]
    assert key == {
        "kty": "EC", "crv": "P-256", "x": OURS.jwk["x"], "y": OURS.jwk["y"],
        "kid": OURS.jkt, "use": "sig", "alg": "ES256",
    }  # fmt: skip


# --- what is refused -------------------------------------------------------------------------------


@pytest.mark.parametrize("what", REFUSED)
def test_what_is_not_exactly_a_token_of_ours_is_refused(what):
    with pytest.raises(MalformedToken) as refusal:
        verified(REFUSED[what])
    assert len(str(refusal.value)) < 200 and refusal.value.__cause__ is None


def test_there_are_as_many_as_were_asked_for_and_each_is_another():
    assert len({*REFUSED.values()}) == len(REFUSED) >= 250


# --- two readers -----------------------------------------------------------------------------------

TEXTS = ("iss", "aud", "sub", "client_id", "org", "task", "jti")


def once(pairs):
    """Read a JSON object of which no member stands twice."""
    if len({name for name, _ in pairs}) < len(pairs):
        raise ValueError("twice")
    return dict(pairs)


def no_number(text):
    raise ValueError(text)


def is_one_elsewhere(text):
    """Whether another reader takes it for a token of ours: PyJWT, and our rules written down once more."""
    try:
        options: Any = {"strict_aud": True, "verify_exp": False, "verify_iat": False, "verify_nbf": False}
        key = OURS.key.as_pem(private=False)
        pyjwt.decode(text, key, algorithms=["ES256"], audience=AUDIENCE, issuer=ISSUER, options=options)
        first, second, third = (urlsafe_b64decode(one + "=" * (-len(one) % 4)) for one in text.split("."))
        if ".".join(part(one) for one in (first, second, third)) != text or len(text) > 8192:
            return False
        header, said = (
            json.loads(one.decode(), object_pairs_hook=once, parse_constant=no_number) for one in (first, second)
        )
        deep, at = 0, said
        while "act" in at:
            deep, at = deep + 1, at["act"]
            if not {"sub"} <= {*at} <= {"sub", "act"} or type(at["sub"]) is not str or not at["sub"]:
                return False
        return (
            header == {"alg": "ES256", "typ": "at+jwt", "kid": OURS.jkt}
            and {*said} - {"act"} == {*TEXTS, "iat", "exp", "cnf"}
            and deep <= 8
            and all(isinstance(said[name], str) and said[name].encode() for name in TEXTS)
            and all(type(said[name]) is int and said[name] >= 0 for name in ("iat", "exp"))
            and 0 < said["exp"] - said["iat"] <= 300
            and {*said["cnf"]} == {"jkt"}
            and isinstance(said["cnf"]["jkt"], str)
            and said["cnf"]["jkt"] != ""
        )
    except (pyjwt.PyJWTError, ValueError, TypeError, LookupError, AttributeError, RecursionError):
        return False


def is_one(text):
    try:
        return verified(text) is not None
    except MalformedToken:
        return False


def test_two_readers_refuse_the_same_tokens_and_take_the_same():
    assert [what for what, text in REFUSED.items() if is_one_elsewhere(text)] == []
    head, body, signature = GOOD.split(".")
    s = int.from_bytes(jose.decode(signature)[32:], "big")
    other_s = (0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551 - s).to_bytes(32, "big")
    taken = [
        GOOD,
        OURS.signed(HEADER, claims(act=None)),
        OURS.signed(HEADER, claims(act=json.loads('{"sub":"x","act":' * 7 + '{"sub":"x"}' + "}" * 7))),
        OURS.signed(HEADER, dict(reversed(claims().items()))),
        OURS.signed(HEADER, json.dumps(claims(), indent=2)),
        OURS.signed(HEADER, claims(exp=TOKEN.issued + 1)),
        raw(FIRST, TEXT.replace("main", "\\u006dain")),
        f"{head}.{body}.{part(jose.decode(signature)[:32] + other_s)}",  # as good: no token is its text
    ]
    assert [(is_one(text), is_one_elsewhere(text)) for text in taken] == [(True, True)] * len(taken)


VALUES: list[Any] = [
    None, "", "x", 0, 1, -1, 1.0, True, [], {}, AUDIENCE, ISSUER, [AUDIENCE], TOKEN.issued, TOKEN.expires,
    TOKEN.issued + 300.0,
    {"sub": "x"}, {"sub": "x", "act": {"sub": "y"}}, {"jkt": "x"}, {"jkt": 1}, "at+jwt", "JWT", OURS.jkt, "ES256",
]  # fmt: skip
EDITS = st.dictionaries(st.sampled_from([*claims(), "scope", "nbf"]), st.sampled_from(VALUES), max_size=2)
HEADS = st.dictionaries(st.sampled_from(["typ", "kid", "jku", "crit", "cty"]), st.sampled_from(VALUES), max_size=1)


@settings(max_examples=trials(3_000, 600), deadline=None)
@given(EDITS, HEADS)
def test_two_readers_agree_on_any_token_that_we_signed(edits, heads):
    text = raw(json.dumps(json.loads(FIRST) | heads), json.dumps({**claims(), **edits}))
    assert is_one(text) == is_one_elsewhere(text)


def test_control_the_same_token_untouched_is_accepted():
    assert verified(GOOD) == TOKEN
    assert verified(raw(FIRST, TEXT)) == TOKEN


@given(st.integers(0, len(GOOD) - 1), st.sampled_from("AZaz09-_."))
def test_a_token_with_any_character_changed_is_refused(place, character):
    changed = GOOD[:place] + character + GOOD[place + 1 :]
    if changed != GOOD:
        with pytest.raises(MalformedToken):
            verified(changed)


@given(st.binary(max_size=300) | st.text(max_size=300))
def test_bytes_and_text_of_any_kind_are_refused_as_malformed(data):
    text = data.decode("latin-1") if isinstance(data, bytes) else data
    for one in (text, f"{part(text.encode(errors='replace'))}.{part(b'{}')}.AAAA"):
        with pytest.raises(MalformedToken):
            verified(one)


# --- keys ------------------------------------------------------------------------------------------

PLAIN = {"kty": "EC", "crv": "P-256", "x": OURS.jwk["x"], "y": OURS.jwk["y"]}


@pytest.mark.parametrize(
    "jwk",
    [
        {**PLAIN, "d": OURS.key.as_dict(private=True)["d"]},
        {**PLAIN, "k": "AAAA"},
        {**PLAIN, "x5u": "https://evil.example"},
        {**PLAIN, "kty": "oct"},
        {**PLAIN, "kty": "RSA"},
        {**PLAIN, "kty": "OKP"},
        {**PLAIN, "crv": "P-384"},
        {**PLAIN, "crv": "secp256k1"},
        {**PLAIN, "alg": "HS256"},
        {**PLAIN, "use": "enc"},
        {**PLAIN, "x": PLAIN["x"] + "A"},
        {**PLAIN, "x": PLAIN["x"][:-1]},
        {**PLAIN, "x": PLAIN["x"] + "="},
        {**PLAIN, "x": part(bytes(31))},
        {**PLAIN, "x": part(b"\x00" + jose.decode(PLAIN["x"]))},
        {**PLAIN, "y": 1},
        {**PLAIN, "y": None},
        {"kty": "EC"},
        [],
        "x",
        None,
    ],
)
def test_what_is_no_public_p256_key_is_refused(jwk):
    with pytest.raises(MalformedToken):
        jose.point_of(jwk)


def test_a_point_off_the_curve_verifies_nothing():
    off = jose.point_of({**PLAIN, "x": PLAIN["y"], "y": PLAIN["x"]})
    with pytest.raises(MalformedToken):
        jose.require_signature(Compact(GOOD, {}, {}), off)
    with pytest.raises(MalformedToken):
        jose.require_signature(Compact(GOOD, {}, {}), b"\x04" + bytes(64))
