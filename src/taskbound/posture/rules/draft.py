"""Draft: what a rule says before its finding has a number, an owner and an id. Words that all rules use."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from taskbound.posture.sighting import Credential, Place


@dataclass(frozen=True, slots=True)
class Draft:
    """`subjects` are what it is about, `key` what tells it from others of its case in the same files.

    `holds`: of what lies in the open a word for each credential, so that one more is not taken for one that is known.
    """

    case: str
    subjects: tuple[str, ...]
    says: str
    places: tuple[Place, ...]
    severity: str = ""  # "": that of the case
    owner: str = ""
    name: str = ""  # what the next step is typed with: a variable, a user
    holder: str = ""
    repository: str = ""
    kind: str = ""  # of the principal, where the next step depends on it
    key: str = ""
    holds: tuple[str, ...] = ()


def label(one: Credential) -> str:
    """Name a credential for a person: its kind and its last four characters, never more."""
    return f"{one.kind} …{one.last4}" if one.last4 else one.kind


def labels(of: Iterable[Credential]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(map(label, of)))


def held_of(of: Iterable[Credential]) -> tuple[str, ...]:
    """Name each credential by its kind and the key it stands under: what stays when its value is renewed."""
    first = {one.mark: one for one in sorted(of, key=lambda one: (one.place, one.kind, one.name))}
    return tuple(sorted(f"{one.kind} {one.name}".strip() for one in first.values()))


def listed(names: Sequence[str], most: int = 3) -> str:
    """Write names as a sentence has them: a, b and c; of many the first ones and how many more."""
    names = tuple(dict.fromkeys(names))
    if len(names) > most:
        return f"{', '.join(names[:most])} and {len(names) - most} more"
    return " and ".join(filter(None, (", ".join(names[:-1]), names[-1]))) if names else ""


def places_of(credentials: Iterable[Credential]) -> tuple[Place, ...]:
    return tuple(dict.fromkeys(one.place for one in credentials))
