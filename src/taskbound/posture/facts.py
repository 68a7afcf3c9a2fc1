"""Facts: what is known of an identity or a remark, read as what it is; nothing where it is not said so."""

from collections.abc import Mapping
from datetime import datetime
from fnmatch import fnmatchcase

from taskbound.posture.sighting import Place, Principal, Remark


def text(one: Principal | Remark, fact: str) -> str:
    found = one.facts.get(fact)
    return found if isinstance(found, str) else ""


def moment(one: Principal | Remark, fact: str) -> datetime | None:
    found = one.facts.get(fact)
    return found if isinstance(found, datetime) else None


def texts(one: Principal | Remark, fact: str) -> tuple[str, ...]:
    found = one.facts.get(fact)
    return tuple(map(str, found)) if isinstance(found, tuple) else ()


def at(one: Principal | Remark, *members: str) -> tuple[Place, ...]:
    """Return the places of some of a principal's members, in order; of all whose name begins so where it ends in *."""
    offsets = one.facts.get("offsets")
    if not isinstance(offsets, Mapping):
        return ()
    return tuple(
        Place(one.place.path, one.place.line + offset)
        for member in members
        for name, offset in offsets.items()
        if fnmatchcase(name, member)
    )


def called(one: Principal) -> str:
    """Return what other lists call an identity: aws:user/etl and gcp-sa:etl@p.iam.gserviceaccount.com are etl."""
    return one.id.partition(":")[2].rpartition("/")[2].partition("@")[0].lower()
