"""Search: every secret in bytes, with its place. What is known is asked of hyperscan once, for all rules."""

import re
from base64 import b64encode
from binascii import unhexlify
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import lru_cache
from itertools import accumulate
from urllib.parse import unquote_to_bytes

import hyperscan

from taskbound.posture.detection.addresses import CLIENTS, address, authorization, client_argument, netrc, user_argument
from taskbound.posture.detection.bindings import argument, assigned, by_name
from taskbound.posture.detection.decode import DEEPEST, LARGEST, decodings, from_base64, is_text
from taskbound.posture.detection.decoders import DECODERS, given
from taskbound.posture.detection.effort import Effort
from taskbound.posture.detection.forms import PUBLIC, aws_secrets, by_rule, jwt, private_key
from taskbound.posture.detection.found import FORM, NAME, Finder, Found, text_of
from taskbound.posture.detection.rules import rules

# What is looked for in its encoded form, wherever it begins within the encoded text.
_MARKS_ARE = (
    "ghp_ gho_ ghs_ ghu_ ghr_ github_pat_ glpat- sk-ant- sk-proj- sk_live_ sk_test_ rk_live_ xoxb- xoxp- "
    "xapp- AKIA ASIA AIza ntn_ npm_ pypi- -----BEGIN eyJhbGci eyJ0eXAi hvs. shpat_ dop_v1_ whsec_ GOCSPX- "
    "postgres:// postgresql:// mysql:// mongodb redis:// rediss:// amqp:// amqps:// https:// password "
    'PASSWORD Password secret SECRET Secret token: TOKEN token= token": api_key API_KEY apiKey Bearer passwd'
)
_MARKS = _MARKS_ARE.split()
_RUN64 = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/-_="
_STEP = 256  # bytes by which the ends of a run are looked for first
_SEAM = 48 << 10  # bytes by which pieces overlap: three times the longest credential; divides by 3, 4 and 6
_RUN16 = b"0123456789abcdefABCDEF"
_RUN_URL = bytes(set(range(33, 127)) - set(b"\"'`<>&;,()[]{}|^"))


# What no URL has to encode (RFC 3986, 2.3): it hides what it says; and "://", and ':"'. hyperscan is asked for how it
# begins, and where that ends.
_HIDDEN = re.compile(rb"(?i)%(?:2[de]|3[0-9]|[46][1-9a-f]|[57][0-9a]|5f|7e|22%3a|3a%2f%2f)")
_ESCAPE, _ESCAPE_IS = r"%(?:2[2DEde]|3[0-9Aa]|[46][1-9A-Fa-f]|[57][0-9Aa]|5[Ff]|7[Ee])", 3


def _in_base64(mark: str) -> Iterator[str]:
    """Yield the characters that `mark` becomes in base64, for each of the three places where it can begin."""
    for shift in range(3):
        made = b64encode(b"\0" * shift + mark.encode() + b"\0\0").decode()
        sure = made[-(-shift * 8 // 6) : (shift + len(mark)) * 8 // 6]
        if len(sure) >= 5:
            yield sure


def _around(data: bytes, start: int, end: int, run: bytes) -> tuple[int, int]:
    """Return where the run of some characters begins and ends that something stands in."""
    size = _STEP
    while start > 0:  # by steps that grow: what is gone over is at most some times what belongs to the run
        left = data[max(0, start - size) : start].rstrip(run)
        begins = max(0, start - size) + len(left)
        if left or not begins:
            start = begins
            break
        start, size = begins, size * 4
    size = _STEP
    while end < len(data):
        right = data[end : end + size]
        kept = len(right) - len(right.lstrip(run))
        end += kept
        if kept < len(right):
            break
        size *= 4
    return start, end


def _pieces(run: bytes) -> Iterator[bytes]:
    """Yield an encoded text in pieces that overlap, none larger than what is decoded at once."""
    for begin in range(0, max(1, len(run) - _SEAM), LARGEST - _SEAM):
        yield run[begin : begin + LARGEST]


def _plain_of(encoding: str, run: bytes) -> bytes:
    if encoding == "base64":
        return from_base64(run)
    if encoding == "hex":
        plain = unhexlify(run[: len(run) // 2 * 2])
        return plain if is_text(plain) else b""
    return unquote_to_bytes(run)


_NEXT_LINE = re.compile(rb"\r?\n[ \t]{0,40}([A-Za-z0-9+/]{1,80}={0,2})(?=\s|\Z)")


def _over_lines(data: bytes, start: int, end: int) -> int:
    """Return where base64 ends that a line of it goes on in: lines of one length, as `base64` breaks them."""
    size = end - start
    while 60 <= size <= 80 and (line := _NEXT_LINE.match(data, end)) and len(line[1]) <= size:
        end, size = line.end(), size if len(line[1]) == size else 0
    return end


def _decoded_there(data: bytes, start: int, end: int, depth: int, effort: Effort) -> Iterator[Found]:
    """Yield what a decoder is given that is a secret: by its form, or by the name that it is bound to."""
    told = given(data, start, end)
    if told is None:
        return
    first, last, name = told
    for encoding, plain in decodings(data[first:last]):
        if encoding not in ("base64", "hex"):
            continue
        inner = find(plain, effort, depth + 1)
        for one in inner:
            nested = encoding if one.encoding == "plain" else f"{encoding}+{one.encoding}"
            yield replace(one, start=first, end=last, encoding=nested)
        if not inner and name and (known := by_name(name, text_of(plain).strip())):
            yield Found(known[0], known[1], first, last, NAME, encoding)
        return


_RUNS = {"base64": _RUN64, "hex": _RUN16, "url": _RUN_URL}


def _decoded(data: bytes, anchors: Sequence[tuple[str, int, int]], depth: int, effort: Effort) -> Iterator[Found]:
    ends: dict[str, int] = {}
    for encoding, start, end in anchors:
        if end <= ends.get(encoding, -1) or (encoding == "url" and not _HIDDEN.match(data, start)):
            continue
        first, last = _around(data, start, end, _RUNS[encoding])
        if encoding == "base64":
            # The name before "=" is no part of what it binds.
            first = max(first, data.rfind(b"=", first, start) + 1)
            last = _over_lines(data, first, last)
        ends[encoding] = last
        for piece in _pieces(data[first:last]):
            plain = _plain_of(encoding, piece)
            if plain and plain != piece:
                for one in find(plain, effort, depth + 1):
                    inner = encoding if one.encoding == "plain" else f"{encoding}+{one.encoding}"
                    yield replace(one, start=first, end=last, encoding=inner)


_NAMES = (
    r"(?:passw|kennwort|senha|contrase|wachtwoord|heslo|haslo|passphrase|passcode|pass|pwd|\bpw|psk|secret|token|credential|creds|api|key|auth|bearer|jwt)"
    r"""[\w.-]{0,30}["'\\\])]{0,3}(?: value)?[ \t]{0,8}(?:[=>:,?+|*]{1,5}[ \t"'`\\]{0,40}[^\s"'`]{6}"""
    r"""|(?::[ \t]?[\w.&' ]{1,20}|[Ss]tring)[ \t]?=[ \t]?["']|["']?\s{1,2}value\s?=)"""
)
# What needs no sign between them: a word in quotes behind it, and prose. Of plainer words only.
_TOLD = (
    r"(?:passw|passphrase|kennwort|pwd|\bpw|secret|token|credential|(?:api|access|private|secret)_?key)[\w.-]{0,20}"
    r"""(?:[ \t(!]{1,6}["'][^\s"']{6,80}["']|["'\])]{0,3}[ \t](?:or|is)[ \t]{1,4}["'`]?[^\s"'`]{6})"""
)


@lru_cache(maxsize=1)
def _database() -> "tuple[hyperscan.Database, list[list[Finder] | str]]":
    """Compile what is looked for. Made once in a process, in some tens of milliseconds."""
    work: dict[tuple[str, str], list[Finder] | str] = {}

    def add(expression: str, flags: str, *finders: Finder) -> None:
        there = work.setdefault((expression, flags), [])
        assert not isinstance(there, str)
        there.extend(finders)

    for rule in rules():
        if rule.id not in PUBLIC:
            for expression, flags in rule.anchors:
                add(expression, flags, by_rule(rule))
    add(r"\bey[A-Za-z0-9_-]{17}", "", jwt)
    add(r"-----BEGIN[ A-Z0-9]{0,50}PRIVATE KEY(?: BLOCK)?-----", "", private_key)
    add(r":\\?/\\?/[^\s:@/]{0,64}:[^\s@]{1,128}@", "e", address)
    add(r"(?:bearer|basic|token|bot|api-?key)[ \t]{1,4}[\w=~@.+/-]{8}", "i", authorization)
    add(r"(?:-u|--user|--proxy-user)(?:[\"'],)?[ \t=]{0,3}[\"']?[\w.@+~-]{1,80}:[^\s]", "", user_argument)
    for one in CLIENTS:
        add(one, "", client_argument)
    add(r"\bmachine\s{1,8}[^\s]", "", netrc)
    add(_NAMES, "i", assigned)
    add(_TOLD, "i", assigned)
    add(r"--(?:[a-z-]{0,20}password|token|[a-z-]{0,20}-token|api-key|[a-z-]{0,20}secret)[ ]{1,3}[^\s-]", "", argument)
    for mark in _MARKS:
        work[mark.encode().hex(), "i"] = "hex"
        for made in _in_base64(mark):
            for one in (made, *_in_base64(made)):
                work[re.escape(one), ""] = "base64"
    work[r"\bZXlK[A-Za-z0-9]{20}", ""] = "base64"  # of a JWT, whichever member it begins with
    work[_ESCAPE, "e"] = "url"
    for one in DECODERS:
        work[one, ""] = "there"
    database = hyperscan.Database(mode=hyperscan.HS_MODE_BLOCK)
    # "e": where a match ends is enough.
    begins = hyperscan.HS_FLAG_SOM_LEFTMOST
    modes = {"": begins, "i": begins | hyperscan.HS_FLAG_CASELESS, "e": 0}
    database.compile(
        expressions=[one.encode() for one, _ in work],
        ids=list(range(len(work))),
        elements=len(work),
        flags=[modes[mode] for _, mode in work],
    )
    return database, list(work.values())


class Search:
    """What is found in bytes, while it is looked for: who ends it has what was found until then."""

    def __init__(self, effort: Effort) -> None:
        self._effort = effort
        self._found: list[Found] = []
        self._inside: list[Found] = []  # encoded

    def run(self, data: bytes, depth: int = 0) -> None:
        database, work = _database()
        effort, seen = self._effort, list[tuple[int, int, int]]()
        add, most = seen.append, effort.events

        def event(id: int, start: int, end: int, flags: int, context: object) -> bool:
            add((id, start, end))
            return len(seen) > most

        with suppress(hyperscan.ScanTerminated):
            database.scan(data, match_event_handler=event)
        effort.events -= len(seen)
        encoded: list[tuple[str, int, int]] = []
        last: set[tuple[int, int]] = set()
        for id, start, end in seen:
            finders = work[id]
            if isinstance(finders, str):
                encoded.append((finders, end - _ESCAPE_IS if finders == "url" else start, end))
            elif (id, start or end) not in last:
                last.add((id, start or end))
                effort.looks -= len(finders)
                if effort.looks < 0 or effort.finds < 0:
                    break
                before = len(self._found)
                for finder in finders:
                    self._found.extend(finder(data, start, end))
                effort.finds -= len(self._found) - before
        if self._found:
            self._found.extend(aws_secrets(data, tuple(self._found)))
        if encoded and depth < DEEPEST:
            runs = sorted((one for one in encoded if one[0] != "there"), key=lambda one: one[1])
            for one in _decoded(data, runs, depth, effort):
                self._inside.append(one)
            for encoding, start, end in encoded:
                if encoding == "there" and effort.looks > 0:
                    effort.looks -= 1
                    self._inside += _decoded_there(data, start, end, depth, effort)

    def found(self) -> list[Found]:
        """Return the secrets, in order, no two at one place: the more specific one counts."""
        return _one_a_place(self._found, self._inside) if self._found or self._inside else []


def find(data: bytes, effort: Effort, depth: int = 0) -> list[Found]:
    """Return the secrets in `data`, as far as the effort goes."""
    search = Search(effort)
    search.run(data, depth)
    return search.found()


def may_hold(values: Sequence[str], effort: Effort) -> set[int]:
    """Return the places of those in which `find` may find something: asked of hyperscan once."""
    if len(values) == 1:
        return {0}
    database, _ = _database()
    ends: set[int] = set()

    def event(id: int, start: int, end: int, flags: int, context: object) -> bool:
        ends.add(end)
        effort.events -= 1
        return effort.events < 0

    whole = "\n".join(values)
    data = whole.encode("utf-8", "surrogatepass")
    with suppress(hyperscan.ScanTerminated):
        database.scan(data, match_event_handler=event)
    if not ends:
        return set()
    is_plain = len(data) == len(whole)
    sizes = (len(one) if is_plain else len(one.encode("utf-8", "surrogatepass")) for one in values)
    starts = list(accumulate((size + 1 for size in sizes), initial=0))
    return {bisect_right(starts, end - 1) - 1 for end in ends}


def _one_a_place(found: Iterable[Found], inside: Iterable[Found]) -> list[Found]:
    kept: list[Found] = []
    starts: list[int] = []
    spans = {(one.start, one.end) for one in inside}
    answer = list(dict.fromkeys(inside))
    for start, end in sorted(spans):
        place = bisect_right(starts, start)
        starts.insert(place, start)
        kept.insert(place, Found("", "", start, end, FORM))
    for one in sorted(found, key=lambda one: (-one.rank, one.start - one.end, one.start, one.kind)):
        place = bisect_right(starts, one.start)
        before = kept[place - 1] if place else None
        after = kept[place] if place < len(kept) else None
        clash = before if before and before.end > one.start else after if after and after.start < one.end else None
        if clash is None:
            kept.insert(place, one)
            starts.insert(place, one.start)
        elif one.target and clash.kind and not clash.target:
            kept[place - 1 if clash is before else place] = replace(clash, target=one.target, login=one.login)
    return sorted([*(one for one in kept if one.kind), *answer], key=lambda one: (one.start, one.end))
