"""Names of secrets: what the key under which a value stands says about it, and what a value must be to be believed."""

import re
from functools import lru_cache
from operator import ne
from unicodedata import category, normalize

from taskbound.posture.detection.exempt import WORDS, entropy, is_placeholder, is_public, is_random_uuid, is_reference
from taskbound.posture.detection.rules import gitleaks

PASSWORD, TOKEN, KEY, SETTING = "password", "token", "key", "setting"
LONGEST = 512  # characters of what counts as a secret because of its name

_SPACE = re.compile(r"\s")
_PARTS = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[0-9]+")
_PASSWORDS_ARE = (
    "password passwords passwd passwort pwd pass passphrase passcode pw psk requirepass masterauth storepass keypass "
    # As Europe's languages spell it, without accents, as names of settings are.
    "kennwort passe mdp senha contrasena contrasenya wachtwoord losenord adgangskode salasana haslo heslo jelszo "
    "parola parool geslo lozinka sifre motdepasse palavrapasse"
)
_TOKENS_ARE = (
    "accesskey accesstoken apikey apikeys apitoken authkey authorization authtoken bearer clientsecret cred "
    "credential credentials creds jwt pat privatekey secret secretkey secrets signingkey token tokens"
)
# What makes a "key" one that opens something.
_OPENING_ARE = (
    "access account admin aes api app application auth bot client connection consumer cookie crypto deploy "
    "dev developer encrypt encryption function hmac ingest ingestion integration jwt license master private "
    "rsa secret service session shared sign signing ssh storage subscription user webhook"
)
# Words after the secret's that make the name one of something else.
_ABOUT_ARE = (
    "age alg algorithm arn audience backend bits bucket budget button change check checker checksum class cls "
    "column config configuration confirm confirmation cost count counts curve decoder desc description digest "
    "dir directory disable disabled email embedding embeddings enable enabled encoder encoding endpoint endpoints "
    "engine env error exists expiration expire expired expires expiring expiry factory field fields file "
    "filename files fingerprint flow forgot form format func function generator grant group groups handler "
    "hash hashed header headers helper hint host id identifier ids index info input issuer kind label labels "
    "len length lifetime limit limiter limits link list manager map max md5 message metadata method min mode "
    "mount msg name names namespace ops optional options order ordering page pair parser path paths pattern "
    "per permission permissions placeholder policies policy position positions prefix price prompt provider "
    "rate ref reference regex region request required reset response ring role roles rotate rotation schema "
    "scope scopes selector server service services settings sha size source sources spec state status storage "
    "store strategy stream strength subject suffix table template text timeout title ttl type types uri url "
    "urls usage usages used user username util utils valid validation validator var variable variables version "
    "window zone"
)
# Words that make it none, wherever they stand.
_NONE_ARE = (
    "anon cache composite correlation crypted csrf dedup deduplication dummy encrypted example fake foreign hash "
    "hashed idempotency issuer lookup mock natural object partition placeholder primary pub public publishable "
    "routing row sample shard sort stub surrogate thumbprint translation xsrf"
)
_PASSWORDS, _TOKENS, _OPENING, _ABOUT, _NONE = (
    frozenset(one.split()) for one in (_PASSWORDS_ARE, _TOKENS_ARE, _OPENING_ARE, _ABOUT_ARE, _NONE_ARE)
)
# A token of one of these goes on with a list, or makes a request that is repeated one request: it opens nothing.
_GOING_ON_ARE = "client request resume retry sync"
_NEXT = frozenset({"continuation", "next", "page", "pagination", "paging"})  # where a list goes on, and nothing else
_MARKING_ARE = (
    "apt build commit etag fingerprint git gpg image map pgp rpm sha"  # keys that say which, or are checked with
)
_GOING_ON, _MARKING = frozenset(_GOING_ON_ARE.split()), frozenset(_MARKING_ARE.split())
_AUTH = frozenset({"auth", "xauth"})  # docker's and npm's "auth": "…"
_ENDINGS = ("password", "passwd", "passphrase", "secret", "token", "apikey", "secretkey", "accesskey", "privatekey")


def _without_accents(name: str) -> str:
    return normalize("NFKD", name.replace("\u0142", "l").replace("\u0131", "i")).encode("ascii", "ignore").decode()


def words_of(name: str) -> list[str]:
    """Return the words that a name is made of, as it is written in whatever language."""
    return [one.lower() for one in _PARTS.findall(name if name.isascii() else _without_accents(name))]


# Punctuation that is typeset, and not typed into a field for passwords: dashes, quotes, ellipses, those of East Asia.
_SENTENCE = re.compile("[\u2010-\u2027\u3000-\u303f\uff00-\uff0f\uff1a-\uff20]")


def _in_ascii(value: str) -> str:
    """Return a value with a letter of ASCII for each letter of another alphabet: a word stays one."""
    return "".join(
        ""
        if category(one)[0] == "M"
        else _without_accents(one)
        or (chr(ord("A" if one.isupper() else "a") + ord(one) % 26) if one.isalpha() else one)
        for one in value
    )


@lru_cache(maxsize=65536)
def kind_of_name(name: str) -> str:
    """Return what the value under this key would be; "": no secret.

    PASSWORD, TOKEN, KEY (of something, perhaps), SETTING: a KEY that is named as variables of an environment are.
    """
    words = words_of(name)
    if not words or _NONE.intersection(words):
        return ""
    for place in reversed(range(len(words))):
        word, before = words[place], words[place - 1] if place else ""
        kind = ""
        if word == "pass" and not place and len(words) > 1:
            continue  # to pass something on
        if word in _PASSWORDS or word.endswith(("password", "passwd", "passphrase")):
            kind = PASSWORD
        elif word in ("token", "tokens") and before in _NEXT:
            return ""
        elif word in _TOKENS or word.endswith(_ENDINGS):
            kind = KEY if word in ("token", "tokens") and before in _GOING_ON else TOKEN
        elif word in ("key", "keys"):
            if before in ("site", "sitekey"):  # of a captcha: every page has it
                return ""
            is_setting = name.isupper() and before and _MARKING.isdisjoint(words)
            kind = TOKEN if before in _OPENING else SETTING if is_setting else KEY
        elif word in _AUTH and place == len(words) - 1:
            kind = TOKEN if len(words) == 1 else KEY
        if kind:
            return "" if _ABOUT.intersection(words[place + 1 :]) else kind
    return ""


_HEX = re.compile(r"[0-9a-fA-F]+")
# What a thing is found by in a cache: words, and the digest of what it was made from.
_QUALIFIED = re.compile(
    r"(?:[a-z][a-z0-9-]*\.)+[a-z]{2,}(?:/[A-Za-z.-]+\d{0,2})?"
)  # karpenter.k8s.aws/instance-category
_DIGEST = re.compile(r"(?:[A-Za-z][A-Za-z.]*[-_:/])*[0-9a-fA-F]+")
# Every byte as its class: small, capital, digit, other.
_CLASS = bytes(
    ord("l") if 97 <= one <= 122 else ord("u") if 65 <= one <= 90 else ord("d") if 48 <= one <= 57 else ord("-")
    for one in range(256)
)


def _classes(value: str) -> bytes:
    return value.encode("ascii", "replace").translate(_CLASS)


def _turns(classes: bytes) -> float:
    """Return the share of neighbours that are of different classes: high in what is random, low in what is written."""
    changes: int = sum(map(ne, classes, classes[1:]))
    return changes / max(1, len(classes) - 1)


# Words put together, as identifiers are: scram-sha-256, X25519PrivateKey, oauth2_token_type.
_WORDS = re.compile(
    r"(?:(?>[A-Z][a-z]+|[a-z]{3,}|[a-z]{1,2}(?=[_./:\\-])|[A-Z]{2,8}(?![a-z])|[A-Z](?![a-z])|\d{1,6}|[_./:\\-]))++"
)
_WORD = re.compile(r"[a-z]{3,}")
_NAME = re.compile(r"[A-Z][a-z]{2,}|[a-z]{3,}")
# What can be said aloud, as words can; of letters that a machine drew, most have no vowel for too long.
_SPOKEN = re.compile(r"(?i)[^aeiouy]{0,3}(?:[aeiouy]{1,3}[^aeiouy]{0,3})+")


def is_of_words(value: str) -> bool:
    """Say whether a value is made of words and short numbers, as identifiers are."""
    if not _WORDS.fullmatch(value):
        return False
    spoken = ([one for one in kind.findall(value) if _SPOKEN.fullmatch(one)] for kind in (_WORD, _NAME))
    plain, names = (2 * sum(map(len, parts)) for parts in spoken)
    return plain >= len(value) or names > len(value)


def is_spoken(value: str) -> bool:
    """Say whether a value is a name that begins as tokens of some issuer do: nk-block-header-…, BSA_DEFAULT_…

    Words are most of it, and are longer than what letters drawn at random happen to say.
    """
    if _SPACE.search(value):  # a phrase
        return False
    parts = _NAME.findall(value.lower() if value.isupper() and "_" in value else value)
    sizes = [len(one) for one in parts if _SPOKEN.fullmatch(one)]
    return 5 * sum(sizes) >= max(4 * sum(map(str.isalnum, value)), 23 * len(sizes))


_PHRASE = re.compile(r"[A-Za-z]{3,10}([-_+])[A-Za-z]{3,10}(?:\1[A-Za-z]{3,10}){2,6}")
_JOINING_ARE = (
    "after again against also and are because been before between both but can cannot contains could did does down "
    "each enough from had has have into its least longer may might more most must not other same shall should "
    "still than that them then there these they too until upon very was were while will with without would wrong your"
)


@lru_cache(maxsize=1)
def _common() -> frozenset[str]:
    """Return the words of which names in code, labels and sentences are made."""
    return frozenset((*WORDS, *(one.strip("-._") for one in gitleaks()["generic"]["words"]), *_JOINING_ARE.split()))


def is_phrase(value: str) -> bool:
    """Say whether a value is words drawn at random, as people are told to take for a password: four or more."""
    words = _WORD.findall(value.lower())
    return (
        bool(_PHRASE.fullmatch(value))
        and len(set(words)) == len(words)
        and not any(one in _common() or one.rstrip("s") in _common() for one in words)
    )


def _is_made_by_a_person(value: str) -> bool:
    """Say whether words are put together as rules for passwords ask for: both cases, digits, a sign of no name."""
    classes = _classes(value)
    signs = sum(not (one.isalnum() or one in "_/:\\") for one in value)
    return len(value) >= 10 and classes.count(b"d") >= 2 and b"l" in classes and b"u" in classes and 0 < signs < 4


def is_random(value: str, bits: float = 3.5, least: int = 16) -> bool:
    """Say whether `value` was made by a machine: long, of letters and digits (or of cases mixed at random), dense."""
    if len(value) < least or _SPACE.search(value):
        return False
    classes = _classes(value)
    digits = classes.count(b"d")
    if _HEX.fullmatch(value):
        return bool(digits) and digits < len(value) and entropy(value) >= 3.0
    letters = len(classes) - digits - classes.count(b"-")
    turns = _turns(classes)
    if not letters or (not digits and not (len(value) >= 20 and turns > 0.4)):
        return False
    return turns > (0.15 if len(value) >= 32 else 0.25) and entropy(value) >= bits * min(1.0, len(value) / 20)


def is_believed(kind: str, value: str) -> bool:
    """Say whether a value under a name of that kind is a secret, rather than a word, a reference or an example."""
    if not value.isascii():
        if _SENTENCE.search(value):
            return False
        value = _in_ascii(value)
    if (
        not 6 <= len(value) <= LONGEST
        or (is_of_words(value) and not (kind == PASSWORD and (_is_made_by_a_person(value) or is_phrase(value))))
        or is_reference(value)
        or is_placeholder(value)
    ):
        return False
    if is_public(value):
        return kind != KEY and is_random_uuid(value)
    if kind == PASSWORD:
        if _SPACE.search(value):
            return False
        if is_random(value, 3.0, 12) or is_phrase(value):
            return True
        classes = _classes(value)
        several = len(set(classes))
        return (
            len(value) >= 8
            and entropy(value) >= 2.5
            and (
                (several >= 3 and (b"d" in classes or b"-" in classes))
                or (several == 2 and b"d" in classes and _turns(classes) > 0.2)
            )
        )
    if kind == TOKEN:
        return is_random(value, 3.0, 12)
    if kind == SETTING and len(value) >= 32 and _HEX.fullmatch(value):
        return is_random(value)
    return is_random(value, 3.6, 20) and not _DIGEST.fullmatch(value) and not _QUALIFIED.fullmatch(value)
