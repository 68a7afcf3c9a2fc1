"""Accounts of clouds and the environment that each is for, wherever somebody has written them side by side.

`dev = "123456789012"` in variables, `[profile prod]` with `sso_account_id`, a provider's `alias` and
`allowed_account_ids`, lists of accounts with names (AWS Organizations, Control Tower), subscriptions of Azure.

Topic `account`, of `aws:account/<id>` or `azure:subscription/<id>`: `environment`.
"""

import re
from collections.abc import Iterator

from taskbound.posture.document import Document, Node
from taskbound.posture.readers import words
from taskbound.posture.sighting import Place, Remark

WORDS = (b"ccount", b"ACCOUNT", b"ubscription", b"SUBSCRIPTION")
_SOME = re.compile(rb"\d{12}")
_SOME_OF_AZURE = re.compile(rb"-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-")
_AWS = re.compile(r"\d{12}")
_ARN = re.compile(r"arn:aws[\w-]*:iam::(\d{12}):")
_AZURE = re.compile(r"[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}", re.IGNORECASE)
_ID_KEY = re.compile(r"(?:^|_|-)(?:id|ids|arn|number)$|account|subscription|[a-z]Ids?$", re.IGNORECASE)
# Beside an id, these say what it is for; the first that names an environment counts.
_BESIDE = (
    "environment",
    "env",
    "stage",
    "alias",
    "name",
    "Name",
    "displayName",
    "account_name",
    "accountName",
    "Email",
)


def read(document: Document, data: bytes, repository: str) -> Iterator[Remark]:
    """Yield each account of which the document says what it is for."""
    if not _SOME.search(data) and not (b"ubscription" in data and _SOME_OF_AZURE.search(data)):
        return
    for root in document.roots:
        waiting: list[tuple[tuple[str, ...], Node]] = [((), root)]
        while waiting:
            keys, node = waiting.pop()
            yield from _members(document, keys, node)
            waiting += [((*keys, key), one) for key, one in node.items.items() if one.items or one.list]
            waiting += [(keys, one) for one in node.list if one.items or one.list]


def _members(document: Document, keys: tuple[str, ...], node: Node) -> Iterator[Remark]:
    for key, one in node.items.items():
        if (account := _account(key)) and (swapped := words.environment(one.text)):  # "123456789012": "dev"
            yield Remark("account", account, Place(document.path, one.line), {"environment": swapped})
        for said in one.list or (one,):
            account = _account(said.text)
            if not account and document.format == "ini" and (arn := _ARN.match(said.text)):
                account = f"aws:account/{arn[1]}"
            if account:
                environment = words.environment(key) or _named(node, key) or words.environment(*reversed(keys))
                if environment or _ID_KEY.search(key) or _ID_KEY.search(keys[-1] if keys else ""):
                    yield Remark("account", account, Place(document.path, said.line), {"environment": environment})


def _named(node: Node, key: str) -> str:
    """Return the environment that is said beside an id."""
    return words.environment(*(node.at(name).text for name in _BESIDE)) if _ID_KEY.search(key) else ""


def _account(text: str) -> str:
    if len(text) not in (12, 36):
        return ""
    if _AWS.fullmatch(text):
        return f"aws:account/{text}"
    return f"azure:subscription/{text.lower()}" if _AZURE.fullmatch(text) else ""
