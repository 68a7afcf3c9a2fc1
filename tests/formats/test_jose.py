"""A token is what we signed, as we write it, and nothing else (T3.1, T3.8, D24)."""

import hmac
import json
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from joserfc import jws, jwt
from joserfc.jwk import ECKey, RSAKey

from taskbound.formats import jose
from taskbound.formats.jose import AccessToken, Compact, MalformedToken, verify_access_token
from tests.prover import Prover, part

RFC = Path(__file__).parents[1] / "data" / "rfc"
ISSUER, AUDIENCE = "https://example.org", "https://example.org/abcdef"
OURS = Prover()
PUBLIC = jose.point_of({name: OURS.jwk[name] for name in ("kty", "crv", "x", "y")})
TOKEN = AccessToken(
    issuer=ISSUER,
    audience=AUDIENCE,
    subject="spiffe://example.org/human/alice",
    actor="spiffe://example.org/agent/support",
    act=("spiffe://example.org/agent/support", "spiffe://example.org/agent/boss"),
    org="main",
    task="t" + "a" * 20,
    id="j" + "a" * 20,
    issued=1_800_000_000,
    expires=1_800_000_300,
    jkt="0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I",
)
HEADER = {"typ": "at+jwt", "kid": OURS.jkt}


def claims(**changes):
    """The claims of TOKEN as they stand on the wire, with changes; None leaves one out."""
    text = jose.signing_input(TOKEN, PUBLIC).decode().split(".")[1]
    said = {**json.loads(jose.decode(text)), **changes}
    return {name: value for name, value in said.items() if value is not None}


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

_PEM = OURS.key.as_pem(private=False)


def hs256(secret, header=HEADER):
    """A token under a shared secret, which everybody has: our public key (the confusion of algorithms)."""
    signed = f"{part({'alg': 'HS256', **header})}.{part(claims())}"
    return f"{signed}.{part(hmac.digest(secret, signed.encode(), sha256))}"


def with_alg(alg, signature=b""):
    return f"{part({**HEADER, 'alg': alg})}.{part(claims())}.{part(signature) or 'AA'}"


def raw(header, payload, key=OURS):
    """A signed token of texts as they are: what no library writes."""
    from cryptography.hazmat.primitives.asymmetric.ec import ECDSA
    from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
    from cryptography.hazmat.primitives.hashes import SHA256

    signed = f"{part(header)}.{part(payload)}"
    r, s = decode_dss_signature(key.key.private_key.sign(signed.encode(), ECDSA(SHA256())))
    return f"{signed}.{part(r.to_bytes(32, 'big') + s.to_bytes(32, 'big'))}"


GOOD = OURS.signed(HEADER, claims())
THEIRS = Prover()
_HEAD, _BODY, _SIGNATURE = GOOD.split(".")
_TEXT = json.dumps(claims())
_FIRST = json.dumps({"alg": "ES256", **HEADER})
NO_MOMENT: list[Any] = ["1800000000", 1_800_000_000.0, 1.8e9, -1, 10**15, 10**30, True, [1_800_000_000], {}]
NO_KEY: list[Any] = [{}, [], "x", {"jkt": 1}, {"jkt": ""}, {"jkt": TOKEN.jkt, "jwk": {}}]
REFUSED = {
    **{f"alg {alg}": with_alg(alg) for alg in ("none", "None", "nOnE", "", "ES256K", "ES384", "RS256", "es256")},
    **{f"alg {alg!r}": with_alg(alg) for alg in (None, 1, True, ["ES256"], {"ES256": 1})},
    "alg none, a good signature": with_alg("none", jose.decode(_SIGNATURE)),
    "no alg": raw(json.dumps(HEADER), _TEXT),
    "hs256 with our PEM": hs256(_PEM),
    "hs256 with our JWK": hs256(json.dumps(dict(OURS.jwk)).encode()),
    "hs256 with our point": hs256(PUBLIC),
    "their key": THEIRS.signed(HEADER, claims()),
    "their key and kid": THEIRS.signed({**HEADER, "kid": THEIRS.jkt}, claims()),
    "jwk in the header": THEIRS.signed({**HEADER, "jwk": dict(THEIRS.jwk)}, claims()),
    "jku": OURS.signed({**HEADER, "jku": "https://evil.example/keys"}, claims()),
    "x5u": OURS.signed({**HEADER, "x5u": "https://evil.example/cert"}, claims()),
    "x5c": OURS.signed({**HEADER, "x5c": ["AAAA"]}, claims()),
    "crit": raw(json.dumps({"alg": "ES256", **HEADER, "crit": ["exp"]}), _TEXT),
    "crit of what it has": raw(json.dumps({"alg": "ES256", **HEADER, "crit": ["kid"]}), _TEXT),
    "b64 false": raw(json.dumps({"alg": "ES256", **HEADER, "b64": False, "crit": ["b64"]}), _TEXT),
    "zip": OURS.signed({**HEADER, "zip": "DEF"}, claims()),
    "cty nested": OURS.signed({**HEADER, "cty": "JWT"}, claims()),
    "no kid": OURS.signed({"typ": "at+jwt"}, claims()),
    **{
        f"kid {kid!r}": raw(json.dumps({"alg": "ES256", "typ": "at+jwt", "kid": kid}), _TEXT)
        for kid in ("../../token.pem", "' OR 1=1 --", "", 0, None)
    },
    **{  # the key is new in each process, and a test is called the same in all of them
        f"kid {name}": raw(json.dumps({"alg": "ES256", "typ": "at+jwt", "kid": kid}), _TEXT)
        for name, kid in {
            "in a list": [OURS.jkt], "and a zero": OURS.jkt + "\x00", "in capitals": OURS.jkt.upper(),
        }.items()
    },
    "no typ": OURS.signed({"kid": OURS.jkt}, claims()),
    **{
        f"typ {typ!r}": raw(json.dumps({"alg": "ES256", "kid": OURS.jkt, "typ": typ}), _TEXT)
        for typ in ("JWT", "dpop+jwt", "AT+JWT", "application/at+jwt", "at+jwt ", ["at+jwt"], None)
    },
    **{f"without {name}": OURS.signed(HEADER, claims(**{name: None})) for name in claims() if name != "act"},
    **{
        f"aud {aud!r}": OURS.signed(HEADER, claims(aud=aud))
        for aud in (
            [AUDIENCE], [AUDIENCE, "https://evil.example"], AUDIENCE + "/", AUDIENCE[:-1], AUDIENCE.upper(), "",
            AUDIENCE + ".", " " + AUDIENCE, AUDIENCE.replace("c", "с"), {"aud": AUDIENCE}, ISSUER, 1,
        )
    },
    **{
        f"iss {iss!r}": OURS.signed(HEADER, claims(iss=iss))
        for iss in ("https://evil.example", ISSUER + "/", "http://example.org", [ISSUER], "https://example.org.")
    },
    **{
        f"{name} {value!r}": OURS.signed(HEADER, claims(**{name: value}))
        for name in ("iat", "exp")
        for value in NO_MOMENT
    },
    "exp is huge": raw(_FIRST, _TEXT.replace("1800000300", "1" * 5000)),
    "exp is infinite": raw(_FIRST, _TEXT.replace("1800000300", "Infinity")),
    "exp is 1e400": raw(_FIRST, _TEXT.replace("1800000300", "1e400")),
    "longer than 300 s": OURS.signed(HEADER, claims(exp=1_800_000_301)),
    "no life": OURS.signed(HEADER, claims(exp=1_800_000_000)),
    "a life that runs back": OURS.signed(HEADER, claims(exp=1_799_999_999)),
    **{f"cnf {cnf!r}": OURS.signed(HEADER, claims(cnf=cnf)) for cnf in NO_KEY},
    "act is no object": OURS.signed(HEADER, claims(act=["x"])),
    "act without sub": OURS.signed(HEADER, claims(act={"act": {"sub": "x"}})),
    "act with more": OURS.signed(HEADER, claims(act={"sub": "x", "iss": "y"})),
    "act too deep": OURS.signed(HEADER, claims(act=json.loads('{"sub":"x","act":' * 9 + '{"sub":"x"}' + "}" * 9))),
    "another claim": OURS.signed(HEADER, claims(scope="admin")),
    "nbf": OURS.signed(HEADER, claims(nbf=0)),
    "task is a list": OURS.signed(HEADER, claims(task=[TOKEN.task])),
    "a claim twice": raw(_FIRST, _TEXT[:-1] + ', "task": "tother"}'),
    "a member of the header twice": raw(_FIRST[:-1] + ', "alg": "none"}', _TEXT),
    "a lone surrogate": raw(_FIRST, _TEXT.replace("main", "\\ud800")),
    "not UTF-8": raw(_FIRST, _TEXT.encode().replace(b"main", b"\xff\xfe")),
    "BOM": raw(_FIRST, "\ufeff" + _TEXT),
    "UTF-16": raw(_FIRST, _TEXT.encode("utf-16")),
    "a list": OURS.signed(HEADER, json.dumps([claims()])),
    "a text": OURS.signed(HEADER, '"x"'),
    "nested deep": raw(_FIRST, '{"a":' * 500 + "1" + "}" * 500),
    "nested beyond the stack": raw(_FIRST, "[" * 3000),
    "a header of 1 MB": f"{'A' * (1 << 20)}.{_BODY}.{_SIGNATURE}",
    "more than 8 KiB": OURS.signed(HEADER, claims(task="t" * 9000)),
    "padded": f"{_HEAD}==.{_BODY}.{_SIGNATURE}",
    "whitespace": f"{_HEAD}.{_BODY} .{_SIGNATURE}",
    "newline": f"{GOOD}\n",
    "plain base64": f"{_HEAD}.{_BODY}.{'+/' + _SIGNATURE[2:]}",
    "four parts": f"{GOOD}.AAAA",
    "two parts": f"{_HEAD}.{_BODY}",
    "no signature": f"{_HEAD}.{_BODY}.",
    "five parts, encrypted": f"{_HEAD}.AAAA.AAAA.AAAA.AAAA",
    "a signature of zeros": f"{_HEAD}.{_BODY}.{part(bytes(64))}",
    "r is zero": f"{_HEAD}.{_BODY}.{part(bytes(32) + jose.decode(_SIGNATURE)[32:])}",
    "s is zero": f"{_HEAD}.{_BODY}.{part(jose.decode(_SIGNATURE)[:32] + bytes(32))}",
    "a short signature": f"{_HEAD}.{_BODY}.{part(jose.decode(_SIGNATURE)[:63])}",
    "a long signature": f"{_HEAD}.{_BODY}.{part(jose.decode(_SIGNATURE) + b'x')}",
    "a signature in DER": f"{_HEAD}.{_BODY}.{part(bytes.fromhex('3006020101020101'))}",
    "another's body": f"{_HEAD}.{part(claims(task='t' + 'b' * 20))}.{_SIGNATURE}",
    "idle bits": GOOD[:-1] + chr(ord(GOOD[-1]) + 1),
    "nothing": "",
    "dots": "..",
}  # fmt: skip


@pytest.mark.parametrize("what", REFUSED)
def test_what_is_not_exactly_a_token_of_ours_is_refused(what):
    with pytest.raises(MalformedToken) as refusal:
        verified(REFUSED[what])
    assert len(str(refusal.value)) < 200 and refusal.value.__cause__ is None


def test_a_token_under_another_family_of_keys_is_refused():
    rsa = RSAKey.generate_key(2048)
    text = jws.serialize_compact({"alg": "RS256", **HEADER}, json.dumps(claims()), rsa)
    with pytest.raises(MalformedToken):
        verified(text)


def test_control_the_same_token_untouched_is_accepted():
    assert verified(GOOD) == TOKEN
    assert verified(raw(_FIRST, _TEXT)) == TOKEN


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
