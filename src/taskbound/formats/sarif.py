"""SARIF 2.1.0 (OASIS): results as code scanning reads them.

One primary place for a result and at most RELATED more, each with a line (3.27.12, 3.27.22). No snippet: what stands
on the line is what must not be copied. Lines are 1-based (3.30.5), a path is a relative URI (3.4.3, RFC 3986).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

SCHEMA = "https://json.schemastore.org/sarif-2.1.0.json"
ROOT = "%SRCROOT%"  # whoever reads the file knows what was scanned; where it lies is nobody's business
RELATED = 8
LEVELS = ("error", "warning", "note", "none")


@dataclass(frozen=True, slots=True)
class Rule:
    id: str
    title: str
    text: str
    help: str
    score: str  # security-severity, "0.0" to "10.0"
    tags: tuple[str, ...] = ("security",)


@dataclass(frozen=True, slots=True)
class Location:
    path: str
    line: int


@dataclass(frozen=True, slots=True)
class Result:
    rule: str
    level: str
    message: str
    place: Location
    related: tuple[Location, ...] = ()
    tags: tuple[str, ...] = ()
    fingerprints: Mapping[str, str] = field(default_factory=dict)
    baseline: str = ""  # new, unchanged; "": nothing to compare with
    suppressed: str = ""  # why, where it is


def render(
    tool: Mapping[str, str], rules: Sequence[Rule], results: Sequence[Result], notes: Sequence[tuple[str, str]] = ()
) -> dict[str, Any]:
    """Return a log of one run. `tool`: name, version, informationUri. `notes`: paths, and why they were not read."""
    index = {rule.id: place for place, rule in enumerate(rules)}
    told = [(f"not read: {why}", {"physicalLocation": _file(path)}) for path, why in notes]
    invocation = {
        "executionSuccessful": True,
        "toolExecutionNotifications": [
            {"level": "warning", "message": {"text": text}, "locations": [place]} for text, place in told
        ],
    }
    run = {
        "tool": {"driver": {**tool, "rules": [_rule(one) for one in rules]}},
        "invocations": [invocation],
        "columnKind": "unicodeCodePoints",
        "results": [_result(one, index[one.rule]) for one in results],
    }
    return {"$schema": SCHEMA, "version": "2.1.0", "runs": [run]}


def _rule(rule: Rule) -> dict[str, Any]:
    return {
        "id": rule.id,
        "shortDescription": {"text": rule.title},
        "fullDescription": {"text": rule.text},
        "help": {"text": rule.help},
        "properties": {"security-severity": rule.score, "tags": list(rule.tags)},
    }


def _result(result: Result, index: int) -> dict[str, Any]:
    about: dict[str, Any] = {
        "ruleId": result.rule,
        "ruleIndex": index,
        "level": result.level,
        "message": {"text": result.message},
        "locations": [{"physicalLocation": _place(result.place)}],
        "partialFingerprints": dict(result.fingerprints),
        "properties": {"tags": list(result.tags)},
    }
    if result.related:
        related = enumerate(result.related[:RELATED], start=1)
        about["relatedLocations"] = [{"id": number, "physicalLocation": _place(one)} for number, one in related]
    if result.baseline:
        about["baselineState"] = result.baseline
    if result.suppressed:
        about["suppressions"] = [{"kind": "external", "justification": result.suppressed}]
    return about


def _place(place: Location) -> dict[str, Any]:
    return {**_file(place.path), "region": {"startLine": max(place.line, 1)}}


def _file(path: str) -> dict[str, Any]:
    """Return a file as SARIF names it. A colon in the first segment would be read as a scheme (RFC 3986 4.2)."""
    if path.startswith("/"):
        return {"artifactLocation": {"uri": f"file://{quote(path)}"}}
    return {"artifactLocation": {"uri": quote(path, safe="/~!@+,=$&'()*;"), "uriBaseId": ROOT}}
