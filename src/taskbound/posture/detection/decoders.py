"""Decoders: texts that a script or a program decodes where they stand, as `echo … | base64 -d` and `b64decode("…")`."""

import re

# What hyperscan looks for: where one ends with a bracket, its argument follows.
DECODERS = (
    r"\bbase64[ \t]{1,3}(?:-{1,2}[diD]|--decode)",
    r"\bopenssl[ \t]{1,3}(?:enc[ \t]{1,3})?-?base64[ \t]",
    r"\bxxd[ \t]{1,3}-(?:r|p)",
    r"(?:b64decode|[Ff]rom_?[Bb]ase64(?:[Ss]tring)?|base64_decode|urlsafe_decode64|decode64|fromhex|unhexlify|hex2bin"
    r"|atob|Buffer\.from|DecodeString|\.decode|FromHexString|decodeHex)\(",
)
FAR = 12000  # bytes of a line that are looked at before a decoder
_TEXT = rb"([\"'`]?)([A-Za-z0-9+/_-]{12,8000}={0,2})\1"
_PIPED = re.compile(
    rb"(?:echo|printf|print|Write-Output)[ \t]+(?:-\w+[ \t]+)*(?:[\"']?%s(?:\\n)?[\"']?[ \t]+)?"
    + _TEXT
    + rb"[ \t]*\|[ \t]*(?:sudo[ \t]+)?$"
)
_FED = re.compile(rb"[^\n|;<]{0,60}<<<[ \t]*" + _TEXT)
_CALLED = re.compile(rb"\s{0,20}[rbfu]?" + _TEXT)
_BOUND = re.compile(rb"([A-Za-z_][\w.-]{2,60})[\"']?(?:,[ \t]*\w+)?[ \t]*(?::=|=|:)[ \t]*[^\n=]{0,60}$")


def given(data: bytes, start: int, end: int) -> tuple[int, int, str] | None:
    """Return where the text stands that a decoder is given, and the name that the result is bound to, "" for none."""
    begin = max(data.rfind(b"\n", 0, start) + 1, start - FAR)
    if data[end - 1 : end] == b"(":
        found = _CALLED.match(data, end)
        first, last = found.span(2) if found else (0, 0)
        before = data[begin:start]
    elif found := _FED.match(data, end):
        first, last = found.span(2)
        before = data[begin:start]
    elif found := _PIPED.search(data[begin:start]):
        first, last = (begin + one for one in found.span(2))
        before = data[begin : begin + found.start()]
    if not found:
        return None
    name = _BOUND.search(before[-160:])
    return first, last, name[1].decode() if name else ""
