"""Units: the places of one credential, put together; an access key's id and the secret beside it are one."""

import re
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from taskbound.posture.joined import grouped
from taskbound.posture.sighting import Credential

PAIRED = 12  # lines between an access key's id and its secret in one file, at most


@dataclass(frozen=True, slots=True)
class Unit:
    """One credential with all its places; an access key's id and its secret are one."""

    credentials: tuple[Credential, ...]  # in order of places

    @property
    def marks(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(one.mark for one in self.credentials))

    @property
    def secrets(self) -> tuple[Credential, ...]:
        return tuple(one for one in self.credentials if not one.is_identifier)


def units_of(credentials: Sequence[Credential]) -> tuple[Unit, ...]:
    """Put places of one credential together, and an access key's id with the secret beside it."""
    parent: dict[str, str] = {}

    def root(mark: str) -> str:
        while parent.setdefault(mark, mark) != mark:
            parent[mark] = parent[parent[mark]]
            mark = parent[mark]
        return mark

    for pair in _pairs(credentials):
        parent[root(pair[0])] = root(pair[1])
    groups = grouped(credentials, lambda one: root(one.mark))
    return tuple(Unit(tuple(group)) for group in groups.values())


def _pairs(credentials: Sequence[Credential]) -> Iterator[tuple[str, str]]:
    """Yield the marks of each identifier and of the secret that it goes with: the nearest one in file and holder."""
    for group in grouped(credentials, lambda one: (one.place.path, one.holder.name)).values():
        secrets: dict[int, Credential] = {}  # the first of each line
        for one in group:
            if not one.is_identifier and _is_aws(one):
                secrets.setdefault(one.place.line, one)
        lines = sorted(secrets)
        for id in (one for one in group if one.is_identifier):
            at = bisect_left(lines, id.place.line)
            beside = [
                (abs(line - id.place.line), line < id.place.line, line) for line in lines[max(0, at - 1) : at + 1]
            ]
            if beside and min(beside)[0] <= PAIRED:
                yield id.mark, secrets[min(beside)[2]].mark


def _is_aws(secret: Credential) -> bool:
    named = re.search(r"secret.*key|aws.*secret", secret.name, re.IGNORECASE)
    return "aws" in secret.kind or (secret.kind.startswith("generic") and named is not None)
