"""Canonical JSON (RFC 8785), strict parsing, and digests over length-prefixed parts.

One strict parser for everything that comes from outside (B2): duplicate member names, NaN and
Infinity, lone surrogates and nesting beyond the limit are refused, so two readers of one text
can never see two values. What is hashed or signed is always the canonical form.
"""

import hashlib
import json
from typing import Any, NoReturn

import msgspec
import rfc8785

MAX_DEPTH = 64  # deeper than any message of ours; keeps a hostile text from exhausting the stack


class Malformed(ValueError):
    """The text is not JSON as RFC 8259 and I-JSON (RFC 7493) have it; says where."""


def _members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        seen: set[str] = set()
        twice = next(name for name, _ in pairs if name in seen or seen.add(name))  # type: ignore[func-returns-value]
        raise Malformed(f"member {twice[:64]!r} stands twice in one object")  # RFC 7493 2.3
    return members


def _constant(name: str) -> NoReturn:
    raise Malformed(f"{name} is not a JSON number")  # RFC 8259 6


def _float(text: str) -> float:
    value = float(text)
    if value in (float("inf"), float("-inf")):
        raise Malformed("a number is too large for a double")  # RFC 7493 2.2
    return value


_decode = json.JSONDecoder(object_pairs_hook=_members, parse_constant=_constant, parse_float=_float).decode
_read, _write = msgspec.json.Decoder().decode, msgspec.json.Encoder().encode
_ANOTHER = object()


def _depth(value: Any) -> int:
    deepest, level = 0, [value]
    while level:
        deepest += 1
        below: list[Any] = []
        for item in level:
            if isinstance(item, dict):
                below.extend(item.values())
            elif isinstance(item, list):
                below.extend(item)
        level = below
    return deepest


def parse(text: bytes | str, *, limit: int = 1 << 20) -> Any:
    """Return the JSON value of a text of at most `limit` bytes. Raises Malformed."""
    if len(text) > limit:
        raise Malformed(f"the text has {len(text)} bytes, at most {limit} are read")
    try:
        raw = text.encode() if isinstance(text, str) else text
        value = _unspaced(raw)
        if value is _ANOTHER:
            value = _strict(raw.decode())
    except Malformed:
        raise
    except RecursionError:
        raise Malformed("the text is nested too deep") from None
    except UnicodeError:
        raise Malformed("the text is not UTF-8") from None
    except json.JSONDecodeError as error:
        raise Malformed(f"not JSON at line {error.lineno} column {error.colno}") from None
    except ValueError:  # int() is quadratic in the digits: it reads 4,300
        raise Malformed("an integer has too many digits") from None
    if raw.count(b"[") + raw.count(b"{") > MAX_DEPTH and _depth(value) > MAX_DEPTH:
        raise Malformed(f"the text is nested deeper than {MAX_DEPTH}")
    return value


def _strict(text: str) -> Any:
    """Return the value of a text however it is spelled. Raises what `parse` makes a Malformed of."""
    value = _decode(text)
    if "\\u" in text:  # UTF-8 has no surrogates: only an escape can bring a lone one
        json.dumps(value, ensure_ascii=False).encode()  # which has no UTF-8 form (RFC 7493 2.1)
    return value


def _unspaced(raw: bytes) -> Any:
    """Return the value of a text that is, to the byte, what its value is written as; _ANOTHER for any other text.

    Most programs write so. It has no second reading: a name given twice, a lone surrogate, NaN are never written.
    """
    try:
        value = _read(raw)
        return value if _write(value) == raw else _ANOTHER
    except (ValueError, RecursionError):
        return _ANOTHER


def render(value: Any) -> bytes:
    """Return the canonical JSON (RFC 8785) of a value made of JSON types. Raises Malformed."""
    try:
        return rfc8785.dumps(value)
    except (rfc8785.CanonicalizationError, UnicodeError, RecursionError) as error:
        raise Malformed(f"no canonical form: {type(error).__name__}") from None


def digest(value: Any) -> str:
    """Return the SHA-256 of the value's canonical JSON, as 64 hexadecimal digits."""
    return hashlib.sha256(render(value)).hexdigest()


def digest_parts(*parts: bytes) -> str:
    """Return the SHA-256 over parts, each prefixed by its length, as 64 hexadecimal digits.

    The prefix (8 bytes, big-endian) keeps ("ab", "c") and ("a", "bc") apart (D17).
    """
    sha = hashlib.sha256()
    for part in parts:
        sha.update(len(part).to_bytes(8, "big"))
        sha.update(part)
    return sha.hexdigest()
