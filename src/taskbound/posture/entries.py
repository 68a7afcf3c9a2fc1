"""Entries: findings as a registry keeps them, and which of those it keeps are gone from all their places.

A report's paths begin where somebody pointed; an entry's are absolute, so that two scans can be compared. A finding is
missed only where this scan looked at each of its places, was able to read them, and saw none of its credentials
anywhere else: whatever it did not look at says nothing.
"""

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from taskbound.core.finding import MANY, NAME, TEXT, Issued
from taskbound.posture.catalogues.server import server
from taskbound.posture.facts import text
from taskbound.posture.findings import Finding
from taskbound.posture.inventory import KEYS
from taskbound.posture.rules.draft import label
from taskbound.posture.sighting import Credential, Principal, Sighting

HISTORY = re.compile(r"!/[0-9a-f]{10}:")  # a place in what git keeps of a repository
MARK = 16  # characters of a keyed digest, as reports print it
SERVERS = {"postgres": "postgresql", "redis": "redis"}  # kinds of credentials that servers issue
# Who makes credentials of a kind, by how its name begins; one is known for what it opens, not for who made it.
ISSUERS: tuple[tuple[tuple[str, ...], str], ...] = (
    (("aws-",), "AWS"),
    (("gcp-", "google-"), "Google Cloud"),
    (("azure-", "entra-"), "Microsoft Entra"),
    (("github-",), "GitHub"),
    (("gitlab-",), "GitLab"),
    (("slack-",), "Slack"),
    (("openai-",), "OpenAI"),
    (("anthropic-",), "Anthropic"),
    (("stripe-",), "Stripe"),
)


@dataclass(frozen=True, slots=True)
class Looked:
    """What a scan looked at. Paths are absolute; `roots` are those that were named, with what reports call each."""

    roots: tuple[tuple[str, str], ...]  # as shown, absolute
    servers: tuple[str, ...] = ()
    unread: frozenset[str] = frozenset()  # as shown: what could not be read, or not to its end
    skipped: frozenset[str] = frozenset()  # names of folders that are not looked into below a root
    history: bool = False

    def absolute(self, path: str) -> str:
        """Return a path of a report as it is on this machine; of a server its address."""
        if "://" in path:
            return path
        for shown, root in sorted(self.roots, key=lambda one: -len(one[0])):
            if not shown:
                return f"{root}/{path}"
            if path == shown or path.startswith((f"{shown}/", f"{shown}!/")):
                return root + path[len(shown) :]
        return path

    def covers(self, path: str) -> bool:
        """Whether an absolute path was looked at, to its end."""
        if "://" in path:
            return path in self.servers and path not in self.unread
        root = max((root for _, root in self.roots if _is_in(path, root)), key=len, default=None)
        if root is None or any(_is_in(path, self.absolute(one)) for one in self.unread):
            return False
        if HISTORY.search(path):
            return self.history
        return self.skipped.isdisjoint(path[len(root) :].split("/"))


def _is_in(path: str, above: str) -> bool:
    return path == above or path.startswith((f"{above.rstrip('/')}/", f"{above}!/"))


def entries(findings: Iterable[Finding], sightings: Iterable[Sighting], looked: Looked) -> list[dict[str, Any]]:
    """Return findings as `POST /v1/findings` takes them."""
    credentials = defaultdict[str, list[Credential]](list)
    keys: dict[str, Principal] = {}
    for one in sightings:
        if isinstance(one, Credential) and not one.is_identifier:
            credentials[one.place.path].append(one)
        elif isinstance(one, Principal) and one.kind in KEYS:
            keys[one.id] = one
    return [_entry(finding, tuple(_issued(finding, credentials, keys)), looked) for finding in findings]


def _entry(finding: Finding, issued: Sequence[Issued], looked: Looked) -> dict[str, Any]:
    all_issued = list(dict.fromkeys(issued))
    if len(all_issued) > MANY:  # what is not named would not be asked about: then it is never closed by itself
        all_issued[MANY - 1 :] = [Issued("", "more", f"{len(all_issued) - MANY + 1} more issuers")]
    return {
        "seen_as": finding.id,
        "case": finding.case,
        "severity": finding.severity,
        "says": _plain(finding.says, TEXT),
        "subjects": [_plain(one, NAME) for one in finding.subjects[:MANY]],
        "places": [{"path": _plain(looked.absolute(one.path), TEXT), "line": one.line} for one in finding.places],
        "issued": [
            {"mark": one.mark, "kind": one.kind, "issuer": _plain(one.issuer, NAME), "login": _plain(one.login, NAME)}
            for one in all_issued
        ],
        "owner": _plain(finding.owner, NAME),
        "next": _plain(finding.next, TEXT),
    }


def _plain(text: str, most: int) -> str:
    """Return a text as it can be kept: a file's name may be no Unicode, and a sentence longer than any is read."""
    return text.encode(errors="backslashreplace")[:most].decode(errors="ignore")


def _issued(
    finding: Finding, credentials: Mapping[str, Sequence[Credential]], keys: Mapping[str, Principal]
) -> Iterator[Issued]:
    """Yield the credentials that a finding is about: those in its places, and those of its files that it names."""
    for path in dict.fromkeys(place.path for place in finding.places):
        for one in credentials.get(path, ()):
            if one.place in finding.places or label(one) in finding.subjects:
                yield Issued(one.mark[:MARK], one.kind, issuer_of(one), one.login)
    for subject in finding.subjects:
        if key := keys.get(subject):
            yield Issued(text(key, "mark")[:MARK], key.kind, maker_of(key.kind), key.id)


def issuer_of(one: Credential) -> str:
    """Return where a credential dies: a server by its address, else the name of who makes such ones."""
    scheme = SERVERS.get(one.kind.partition("-")[0])
    where = server(one.target, one.kind) if scheme else ""
    return f"{scheme}://{where}" if where else maker_of(one.kind)


def maker_of(kind: str) -> str:
    return next((name for begins, name in ISSUERS if kind.startswith(begins)), f"who issued the {kind}")


def missed(
    known: Iterable[Mapping[str, Any]], ids: frozenset[str], sightings: Iterable[Sighting], looked: Looked
) -> list[str]:
    """Return the ids of findings of a registry that this scan looked for at each place and did not see.

    `known` as `GET /v1/findings` tells them; `ids` are those that it told of itself.
    """
    held = {one.mark[:MARK] for one in sightings if isinstance(one, Credential)}
    listed = {one.id for one in sightings if isinstance(one, Principal)}
    return [
        one["id"]
        for one in known
        if one["state"] in ("raised", "accepted")
        and one["id"] not in ids
        and all(looked.covers(place["path"]) for place in one["places"])
        and not any(it["mark"] in held or (it["login"] in listed and not it["mark"]) for it in one["issued"])
    ]
