"""Bindings: what a name says of the value that it is bound to, in configuration, code, XML and command lines."""

import re
from collections.abc import Iterator
from functools import lru_cache
from html import unescape as unescape_entities
from urllib.parse import unquote

from taskbound.posture.detection import exempt, target
from taskbound.posture.detection.decode import decodings, unescape
from taskbound.posture.detection.forms import AWS_SECRET
from taskbound.posture.detection.found import NAME, Found, text_of
from taskbound.posture.detection.names import (
    KEY,
    LONGEST,
    PASSWORD,
    TOKEN,
    is_believed,
    is_of_words,
    is_random,
    kind_of_name,
    words_of,
)
from taskbound.posture.detection.rules import gitleaks
from taskbound.posture.detection.structure import password_of_basic

# From a word for secrets: the rest of the name, what closes it, a type perhaps, what binds, the value's quote.
_ASSIGNED = re.compile(
    rb"""[\w.-]{0,50}(?:\\{0,3}["'\])]){0,3}(?:[ \t]value)?[ \t]{0,10}(?:\*\*)?"""
    rb"""(?:(?::[ \t]?[&A-Za-z_][\w.&' ]{0,20}|[Ss]tring)[ \t]{0,3}(?==[ \t]{0,3}["'`]))?"""
    rb"""(=>|::?=|\?[=?:]|\+=|={1,2}|\|\||:|>|,|\||(?:or|is)\b)(?:\*\*)?[ \t]{0,40}"""
    rb"""(?:[bfruBFRU]{0,2}(\\{0,3}["'`]))?"""
)
# A word in quotes behind the name alone, as build files, macros, SQL and setters have it; only brackets after it.
_TOLD = re.compile(
    rb"""[\w.-]{0,50}(?:[ \t]{1,20}|!?\([ \t]{0,4})(["'])[^"'\s]{6,200}\1"""
    rb"""(?=[ \t]{0,4}[;,)}\]]{0,4}[ \t]{0,4}(?:\r?$|\.|//|#|--))""",
    re.MULTILINE,
)
_ASKED_ARE = (
    "assert by check create decode decrypt delete encode encrypt expect fetch find for from generate get handle has "
    "hash is load lookup make mask matches new of on parse read remove require reset resolve test to validate verify"
)
_ASKED = frozenset(_ASKED_ARE.split())  # in a name: what is in the brackets is not what the name says
_ATTRIBUTE = re.compile(rb"""[\w.:-]{0,50}["']\s{1,4}value\s?=\s?(["'])""")
_ARGUMENT = re.compile(rb"""[\w-]{0,30}[ \t]{1,3}(["']?)""")
_BARE = re.compile(rb"""[^\s'"`;,<>&(){}\[\]|\\]{6,1000}""")
_ELEMENT = re.compile(rb"[^\s<>]{6,1000}(?=</)")  # of XML: only "<" ends it
_OF_CODE = (b"||", b"??", b"?:", b"or", b",")  # what binds words in quotes only
_RUN_NAME = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_.-"
_TAIL = re.compile(rb"[A-Za-z0-9_.-]{0,60}")
_LINE = 512
_CONTEXT = 80  # bytes of a name and what follows, which may say that it is about something else
# In prose a name goes on over a space: an API key opens something, a primary key nothing.
_QUALIFIER = re.compile(rb"(?<![\w$@.:-])([A-Za-z][A-Za-z0-9]{1,19}) \Z")
_OF_CODE_ARE = (
    "auto await case char const constexpr def export extern final fun func function global internal lateinit let "
    "local new override private protected public readonly return set static str string throw val var yield"
)
_DECLARING = frozenset(_OF_CODE_ARE.encode().split())
_AFTER_QUOTE = (b")", b"]", b"}", b",", b";", b" ", b":", b"")


def by_name(name: str, text: str, context: str = "") -> tuple[str, str, str] | None:
    """Return kind, canonical value and encoding of what stands under a name; None where it is no secret.

    A value that is base64 or hexadecimal of text is what it stands for, so that one password is one credential
    wherever it lies; of user:password (as in Docker's "auth") the password.
    """
    kind = kind_of_name(name)
    if not kind:
        return None
    value = (unescape_entities(text) if "&" in text else text).strip().strip("\"'")
    said = _SCHEME.match(value)
    if said and "auth" in name.lower():
        value = password_of_basic(said[2]) if said[1].lower() == "basic" else said[2]
        return ("authorization-bearer", value, "plain") if is_believed(TOKEN, value) else None
    # Shorter words decode to something by chance too often.
    is_whole = (len(value) >= 12 and len(value) % 4 == 0) or len(value) >= 24 or value.endswith("=")
    for encoding, plain in decodings(value.encode()) if is_whole else ():
        if encoding in ("base64", "hex"):
            inner = plain.decode().strip()
            if name.lower().rpartition(".")[2] in ("auth", "_auth") and ":" in inner:
                inner = password_of_basic(value)
            if exempt.is_placeholder(inner) or exempt.is_reference(inner):
                return None
            if is_believed(kind, inner):
                return ("password" if kind == PASSWORD else "generic-api-key", inner, encoding)
            if is_of_words(inner.replace(" ", "-").replace("+", "-")):
                return None
    if "%" in value and not is_believed(kind, unquote(value)):
        return None
    if "\\" in value and not is_believed(kind, unescape(value.encode()).decode()):
        return None
    if kind == PASSWORD and any(one.isspace() for one in value):
        return None
    if not is_believed(kind, value) or (context and _is_about_something_else(name, value, context)):
        return None
    if _AWS_NAME.search(name) and AWS_SECRET.fullmatch(value.encode()):
        return ("aws-secret-access-key", value, "plain")
    return ("password" if kind == PASSWORD else "generic-api-key", value, "plain")


# A struct or an object beside it says so: PubKey{ID: "1", Key: "…"}, {"public_key": {"key": "…"}}.
_PUBLIC = re.compile(rb"(?i)pub(?:lic)?[-_ ]?key[\w\"']{0,20}[ ]?[:=]{0,2}[ ]?[({][^\n)}]{0,60}$")
# The key of a search service that reads an index alone stands in every page that has its search field (DocSearch).
_SEARCH = re.compile(rb"""(?i)\b(?:index_?name|search_?only)\b""")
_SCHEME = re.compile(r"(?i)(bearer|token|basic|apikey)\s{1,4}(\S+)\Z")
_AWS_NAME = re.compile(r"(?i)aws|secret_?access|amazon")


@lru_cache(maxsize=1)
def _other_names() -> "re.Pattern[str]":
    return re.compile(
        "|".join(f"(?:{one})" for one in gitleaks()["generic"]["expressions"]).replace("(?:(?i)", "(?i:", 1)
    )


@lru_cache(maxsize=1)
def _other_words() -> tuple[str, ...]:
    return tuple(gitleaks()["generic"]["words"])


def _is_about_something_else(name: str, value: str, context: str) -> bool:
    # gitleaks' lists for its generic rule: names that only sound like it, and words that no issuer would use.
    if _other_names().search(context[:_CONTEXT]) and "authorization" not in name.lower():
        return True
    return kind_of_name(name) != PASSWORD and not is_random(value, 3.9, 24) and exempt.has_word(value, _other_words())


def _bound(data: bytes, begin: int, start: int, name: str) -> tuple[int, bytes, bytes] | None:
    """Return where the value of a name begins, its quote, and what binds it; None where nothing is bound to it."""
    if found := _ASSIGNED.match(data, start):
        return found.end(), found[2] or b"", found[1]
    if found := _ATTRIBUTE.match(data, start):
        return found.end(), found[1], b""
    if found := _TOLD.match(data, start):
        words = words_of(name)
        is_asked = not _ASKED.isdisjoint(words) or (b"(" in found[0] and kind_of_name(name) == KEY)
        return None if is_asked or not kind_of_name(words[-1]) else (found.start(1) + 1, found[1], b"")
    if data[begin : begin + 2] == b"--" and (found := _ARGUMENT.match(data, start)):
        return found.end(), found[1], b""
    return None


def assigned(data: bytes, start: int, end: int) -> Iterator[Found]:
    before = data[max(0, start - 60) : start]
    begin = start - (len(before) - len(before.rstrip(_RUN_NAME)))
    tail = _TAIL.match(data, start)
    last = tail.end() if tail else end
    if data[begin:last].lower() in (b"key", b"token"):
        word = _QUALIFIER.search(data[max(0, begin - 24) : begin])
        begin -= len(word[0]) if word and word[1].lower() not in _DECLARING else 0
    name = text_of(data[begin:last])
    kind = kind_of_name(name)
    if name.lower() in ("apikey", "api_key") and _SEARCH.search(data, max(0, begin - 120), end + 200):
        return
    if not kind or (kind == KEY and _PUBLIC.search(data, max(0, begin - 100), begin)):
        return
    bound = _bound(data, begin, start, name)
    if not bound:
        return
    place, quote, operator = bound
    if quote:
        stop = data.find(quote, place, place + 4096)
        if stop < 0:
            return
        raw = data[place:stop]
        # A quote that closes what was said before opens nothing.
        if b"\n" in raw or raw[:1] in _AFTER_QUOTE:
            return
    else:
        bare = (operator == b">" and _ELEMENT.match(data, place)) or _BARE.match(data, place)
        # Without quotes, what goes on as code is code; and a list of words is no binding.
        if (
            not bare
            or operator in _OF_CODE
            or (bare.end() < len(data) and data[bare.end() : bare.end() + 1] in b"([{|")
        ):
            return
        # Between colons it is a part of what has a name in many parts: arn:aws:secretsmanager:…:secret:…
        if operator == b":" and data[begin - 1 : begin] == b":" and data[place - 1 : place] == b":":
            return
        raw = bare[0].rstrip(b".:")
        # ${NAME:-value} is what a shell takes where nothing is set, ${NAME:?text} what it says then.
        if data[begin - 2 : begin] == b"${" and raw[:1] in (b"-", b"?", b"+"):
            if raw[:1] == b"?":
                return
            raw, place = raw[1:], place + 1
    if operator == b"|" and data[data.rfind(b"\n", 0, begin) + 1 : begin].lstrip(b" \t")[:1] != b"|":
        return  # a cell of a table, not of a type or a pipe
    if operator == b"," and not (quote and data[begin - 1 : begin] in (b"'", b'"') and begin):
        return
    last = place + len(raw)
    if len(raw) > LONGEST:
        return
    line = text_of(data[max(0, begin - _LINE) : last + _LINE])
    ends = data.find(b"\n", last, begin + _CONTEXT)  # the next line is about itself
    known = by_name(name.lstrip("-."), text_of(raw), text_of(data[begin : ends if ends >= 0 else begin + _CONTEXT]))
    if known:
        kind, value, encoding = known
        here = line[line.rfind("\n", 0, line.find(name)) + 1 :] if name in line else line
        yield Found(kind, value, place, last, NAME, encoding, *target.of_connection(here.partition("\n")[0]))


def argument(data: bytes, start: int, end: int) -> Iterator[Found]:
    word = start + 2
    found = _ARGUMENT.match(data, word)
    if found:
        yield from assigned(data, word, end)
