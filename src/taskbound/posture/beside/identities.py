"""Identities of clouds as configuration names them, and the environments of places and names."""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from taskbound.posture.readers import words

PRODUCTION = "production"
OUTSIDE = frozenset({"staging", "development", "test", "research"})

GUID = re.compile(r"[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}", re.IGNORECASE)
_ROLE = re.compile(r"arn:aws[\w-]*:iam::(\d{12}):(?:role|user)/([\w+=,.@/-]+)")
_SECRET = re.compile(r"arn:aws[\w-]*:(?:secretsmanager|ssm):[\w-]+:(\d{12}):(?:secret:|parameter/)([\w+=,.@/-]+)")
_GOOGLE = re.compile(r"\b([a-z][\w-]{2,62})@([a-z][\w-]{2,62})\.iam\.gserviceaccount\.com")
_VAULT = re.compile(r"projects/([\w-]+)/secrets/([\w-]+)")


@dataclass(frozen=True, slots=True)
class Named:
    """An identity or a secret that a text names. `environment`: as its own name says."""

    id: str
    account: str  # aws:account/123456789012, gcp:project/pay-prod, "" where none is named
    environment: str


def named(text: str) -> Iterator[Named]:
    """Yield the identities and secrets of clouds that a text names."""
    if len(text) > 20_000:
        return
    for found in _ROLE.finditer(text):
        name = found[2].rpartition("/")[2]
        yield Named(f"aws:role/{name}", f"aws:account/{found[1]}", words.environment(name))
    for found in _SECRET.finditer(text):
        yield Named(f"aws:secret/{found[2]}", f"aws:account/{found[1]}", words.environment(found[2]))
    for found in _GOOGLE.finditer(text):
        yield Named(f"gcp-sa:{found[0]}", f"gcp:project/{found[2]}", words.environment(found[1], found[2]))
    for found in _VAULT.finditer(text):
        yield Named(f"gcp:secret/{found[2]}", f"gcp:project/{found[1]}", words.environment(found[2], found[1]))


def where(path: str, *said: str) -> str:
    """Return the environment of a place: what is said nearest to it counts, then the path from its end."""
    *folders, file = path.split("/")
    return words.environment(*said, file, *reversed(folders))
