"""CloudTrail in its other shapes: LookupEvents, events inside events, the console's CSV, tables of Athena.

An event of a log file is read by `aws`; here its text or its columns become such an event. Sources: the CloudTrail
record contents, LookupEvents, EventBridge ("AWS API Call via CloudTrail"), Athena's "Query CloudTrail logs".
"""

import json
import re
from collections.abc import Iterator, Mapping

from taskbound.posture.document import NOTHING, Node
from taskbound.posture.exports import aws
from taskbound.posture.exports.rows import first, folded
from taskbound.posture.sighting import Mark, Sighting

_PAIR = re.compile(r"(\w+)=([^,{}\[\]]*)")
_INNER = ("CloudTrailEvent", "detail", "message", "@message", "_source", "cloudtrail")
EVENT = ("eventTime", "eventName", "userIdentity")


def read_lookup(path: str, row: Node, mark: Mark) -> Iterator[Sighting]:
    """Read an event that another one holds, as text or as it is."""
    for name in _INNER:
        inner = row.at(name)
        event = _parsed(inner) if inner.text else inner
        if all(member in event.items for member in EVENT):
            yield from aws.read_event(path, Node(event.value, inner.line or row.line), mark)
            return


def read_columns(path: str, row: Node, mark: Mark) -> Iterator[Sighting]:
    """Read a line of a table: `useridentity` as a struct of Athena, as JSON, as columns, or by the console's names."""
    columns = folded(row)
    who = columns.get("useridentity", NOTHING)
    told = _parsed(who) if who.text.lstrip().startswith("{") and '"' in who.text else NOTHING
    if not told.items:
        parts: dict[str, str] = {key.lower(): value.strip() for key, value in _PAIR.findall(who.text)}
        parts |= {
            name.removeprefix("useridentity"): node.text
            for name, node in columns.items()
            if name.startswith("useridentity") and name != "useridentity"
        }
        user = (
            parts.get("username")
            or parts.get("sessioncontextsessionissuerusername")
            or first(columns, "username", "user").text
        )
        key = parts.get("accesskeyid") or first(columns, "awsaccesskeyid", "accesskeyid", "awsaccesskey").text
        kind = parts.get("type") or ("IAMUser" if key.startswith("AKIA") or not key else "")
        told = _node(
            row,
            {
                "type": kind,
                "userName": user,
                "accessKeyId": key,
                "arn": parts.get("arn", ""),
                "accountId": parts.get("accountid", ""),
            },
        )
    event = {
        name: columns.get(name.lower(), NOTHING) for name in ("eventTime", "eventName", "sourceIPAddress", "userAgent")
    }
    yield from aws.read_event(path, Node({**event, "userIdentity": told}, row.line), mark)


def _node(row: Node, members: Mapping[str, str]) -> Node:
    return Node({name: Node(text, row.line) for name, text in members.items() if text}, row.line)


def _parsed(inner: Node) -> Node:
    """Return what a text of JSON holds; NOTHING where it is none."""
    try:
        return _of(json.loads(inner.text), inner.line)
    except (ValueError, RecursionError):
        return NOTHING


def _of(value: object, line: int) -> Node:
    """Return a value of JSON whose text stands on one line."""
    if isinstance(value, dict):
        return Node({key: _of(one, line) for key, one in value.items()}, line)
    if isinstance(value, list):
        return Node([_of(one, line) for one in value], line)
    return Node(value if isinstance(value, str | int | float | bool) else None, line)


READERS = (
    ((frozenset({"CloudTrailEvent"}), frozenset({"EventName", "EventTime", "EventId"})), read_lookup),
    ((frozenset({"detail"}), frozenset({"detail-type"})), read_lookup),
    ((frozenset({"_source"}),), read_lookup),
)
TABLES = (
    (
        (
            frozenset({"eventtime"}),
            frozenset({"eventname"}),
            frozenset(
                {
                    "useridentity",
                    "username",
                    "useridentityusername",
                    "useridentityarn",
                    "useridentityaccesskeyid",
                    "user",
                }
            ),
            frozenset({"useragent", "sourceipaddress"}),
        ),
        read_columns,
    ),
)
