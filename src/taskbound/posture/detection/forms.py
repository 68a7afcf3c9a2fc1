"""Forms: tokens that an issuer made, known by how they look and by what they say about themselves."""

import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from functools import lru_cache
from urllib.parse import unquote

from taskbound.posture.detection import exempt
from taskbound.posture.detection.found import FORM, STRUCTURE, VENDOR, Finder, Found, text_of
from taskbound.posture.detection.names import PASSWORD, is_believed, is_random, is_spoken
from taskbound.posture.detection.rules import Rule, gitleaks
from taskbound.posture.detection.structure import github_checksum_holds, is_most_of_key, jwt_parts, pem_body

_AFTER = 2048  # bytes after an anchor in which a rule's expression has to match
_LONGEST_KEY = 1 << 15  # bytes of a PEM key
_NEAR = 400  # bytes between an AWS access key id and its secret

_CHECKED = frozenset({"github-pat", "github-oauth", "github-app-token", "github-refresh-token"})
_IDENTIFIERS = frozenset({"aws-access-token", "alibaba-access-key-id"})
# Public by design, or the name of an account: they open nothing, with a secret beside them or not.
_PUBLIC_ARE = (
    "adobe-client-id asana-client-id bitbucket-client-id discord-client-id flutterwave-public-key "
    "linkedin-client-id lob-pub-api-key looker-client-id mailgun-pub-key mapbox-api-token "
    "messagebird-client-id new-relic-user-api-id plaid-client-id sendbird-access-id sumologic-access-id"
)
PUBLIC = frozenset(_PUBLIC_ARE.split())


_AROUND = re.compile(rb"[^\s\"'<>`]{1,1200}")
_SIGNED = re.compile(r"(?:^|[?&;])(st|se)=([^&\s]{6,40})")


def _signed_life(data: bytes, start: int) -> tuple[int, int] | None:
    """Return since when and until when a shared access signature of Azure works: `st` and `se` of its URL or token."""
    begin = max(data.rfind(one, max(0, start - 1000), start) for one in (b'"', b"'", b" ", b"\n", b">", b"`")) + 1
    around = _AROUND.match(data, begin or max(0, start - 1000))
    said = dict(_SIGNED.findall(text_of(around[0]).replace("&amp;", "&"))) if around else {}
    ends = _moment(said.get("se", ""))
    return (_moment(said.get("st", "")), ends) if ends else None


def _moment(text: str) -> int:
    """Return a time of a signature, ISO 8601 or Unix seconds, as seconds; 0 where it is none."""
    text = unquote(text)
    if re.fullmatch(r"\d{9,11}", text):
        return int(text)
    try:
        found = datetime.fromisoformat(text)
        return int((found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp())
    except (ValueError, OverflowError):
        return 0


_COUNTED = re.compile(r"(?<!\d)123456789")  # no issuer counts: rk_test_123456789


def by_rule(rule: Rule) -> Finder:
    rank = VENDOR if rule.named else FORM

    def finder(data: bytes, start: int, end: int) -> Iterator[Found]:
        # Some begin with what may stand before the secret.
        for first in (start, start - 1) if start and not rule.named else (start,):
            found = rule.compiled.match(data, first, start + _AFTER)
            if found:
                break
        if found:
            group = rule.group or next((one for one, text in enumerate(found.groups(), 1) if text), 0)
            value = text_of(found[group])
            if (
                exempt.entropy(value) < rule.entropy
                or exempt.is_made_up(value)
                or (is_spoken(value) and not rule.is_password)
                or _COUNTED.search(value)
                or _is_allowed(rule, value, text_of(found[0]))
            ):
                return
            if rule.is_password:
                if not is_believed(PASSWORD, value):
                    return
            elif rule.named and (
                exempt.is_placeholder(value) or exempt.entropy(value) < 2.5 or not any(one.isdigit() for one in value)
            ):
                return
            if rule.id in _CHECKED and not github_checksum_holds(value):
                return
            yield Found(
                rule.id,
                value,
                *found.span(group),
                STRUCTURE if rule.id in _CHECKED else rank,
                is_identifier=rule.id in _IDENTIFIERS,
                life=_signed_life(data, found.start(group)) if rule.id == "azure-sas-signature" else None,
            )

    return finder


def _is_allowed(rule: Rule, value: str, match: str) -> bool:
    return any(one.search(match if on == "match" else value) for on, one in (*rule.allowed, *_allowed_everywhere()))


@lru_cache(maxsize=1)
def _allowed_everywhere() -> "Sequence[tuple[str, re.Pattern[str]]]":
    return [("secret", re.compile(one)) for one in gitleaks()["allow"]["expressions"]]


_LAST = 253402300799  # the last second of the year 9999
_JWT = re.compile(rb"ey[A-Za-z0-9_-]{15,8000}\.ey[A-Za-z0-9_-]{15,16000}\.[A-Za-z0-9_-]{20,2000}")
# Of whom, for whom, from whom, until when: a token of which no claim says any of it opens nothing (RFC 7519, 4.1).
_SAYS_WHO = re.compile(
    r"(?i)^(?:iss|sub|aud|exp|nbf|iat|jti|azp|cid|sid|oid|tid|scp|amr|acr)$"
    r"|user|uid|name|mail|person|owner|client|account|tenant|org|team|group|role|scope|perm|right|grant|access|admin"
    r"|session|device|service|project|(?:^|[_.-])id$|Id$"
)
_EXAMPLE = re.compile(r"(?i)1234567890$|urn:example:|(?:https?://)?(?:[\w-]+\.)*example\.(?:com|org|net)(?:[:/]|$)")
_PEM_END = re.compile(rb"-----(?:END[ A-Z0-9]{0,50}PRIVATE KEY|(BEGIN) )")
_PEM_BODY = re.compile(rb"(?:[A-Za-z0-9+/=\s]|\\[nrt]){0,8192}")


def jwt(data: bytes, start: int, end: int) -> Iterator[Found]:
    found = _JWT.match(data, start)
    value = text_of(found[0]) if found else ""
    if found and not exempt.is_made_up(value):
        header, claims = jwt_parts(value)
        if _is_of_nobody(claims):
            return
        account = claims.get("iss") == "kubernetes/serviceaccount" or str(claims.get("sub", "")).startswith(
            "system:serviceaccount:"
        )
        if header:
            kind = "kubernetes-service-account-token" if account else "jwt"
            life = (_second(claims.get("iat")), _second(claims.get("exp"))) if claims else None
            yield Found(kind, value, *found.span(), STRUCTURE, life=life)


def _is_of_nobody(claims: Mapping[str, object]) -> bool:
    """Whether its claims say of nobody anything, or of a name that is kept for examples (RFC 2606, RFC 6963)."""
    return bool(claims) and (
        not any(_SAYS_WHO.search(one) for one in claims)
        or any(_EXAMPLE.match(str(claims.get(one, ""))) for one in ("iss", "aud", "sub"))
    )


def _second(claim: object) -> int:
    """Return a NumericDate (RFC 7519, section 2) as whole seconds; 0 where it is none, or beyond the year 9999."""
    return int(claim) if isinstance(claim, int | float) and 0 < claim < _LAST else 0


def private_key(data: bytes, start: int, end: int) -> Iterator[Found]:
    last = _PEM_END.search(data, end, end + _LONGEST_KEY)
    if last and not last[1]:
        body, stop = pem_body(text_of(data[end : last.start()])), last.end()
    else:  # its end is cut off; what is left may be enough
        rest = _PEM_BODY.match(data, end)
        body, stop = pem_body(text_of(rest[0])) if rest else "", rest.end() if rest else end
        body = body if is_most_of_key(body) else ""
    if body:
        yield Found("private-key", body, start, stop, STRUCTURE)


AWS_SECRET = re.compile(rb"(?<![A-Za-z0-9/+=_-])[A-Za-z0-9/+]{40}(?![A-Za-z0-9/+=_-])")


def aws_secrets(data: bytes, found: Sequence[Found]) -> Iterator[Found]:
    # A secret access key has no form of its own: it is known by the id beside it. Of many ids the surroundings overlap.
    seen = set[tuple[int, int]]()
    for one in found:
        if one.kind != "aws-access-token" or one.encoding != "plain":
            continue
        for secret in AWS_SECRET.finditer(data, max(0, one.start - _NEAR), one.end + _NEAR):
            if secret.span() in seen:
                continue
            seen.add(secret.span())
            value = text_of(secret[0])
            capitals, small = sum(one.isupper() for one in value), sum(one.islower() for one in value)
            if capitals >= 4 and small >= 4 and is_random(value, 4.3, 40) and not exempt.is_placeholder(value):
                yield Found("aws-secret-access-key", value, *secret.span(), FORM)
