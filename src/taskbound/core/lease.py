"""Lease: our record of one credential at one target, written before the credential exists (D1).

It belongs to a task and ends with it. Its name at the target is a function of its id, so that
recovery needs no memory (D2); what is needed to take it back travels with it (D8).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import ClassVar

from taskbound.core.event import Kind
from taskbound.core.thing import Lifecycle, advance

CREATE_WINDOW = timedelta(seconds=5)  # the target must refuse to create after this (D3)
SETTLE = timedelta(seconds=2)  # a target's own clock and last commits; recovery concludes only after it (D3)
STUCK = timedelta(minutes=5)  # after `due`: then its target gets no new credentials (D9)
LATE = {"revoking": timedelta(seconds=5), "cut": STUCK}  # after `due`, by state: then it is overdue (S3)
STANDING = "standing"  # it was there before the lease and lives on after it: the lease ends its delivery alone
CLASSES = ("cut now", "needs its value", "gateway only", "dies of age", STANDING)  # INTERFACES 11, and the last


@dataclass(frozen=True, slots=True)
class Recipe:
    """What the target was asked for, frozen with the lease, so that a later change of configuration does not
    change what is undone (D8). A target that is no longer configured at all still waits for its return."""

    grant: Mapping[str, tuple[str, ...]]  # what the target grant gives, e.g. {"member_of": ("shop_reader",)}
    revocation_class: str


@dataclass(frozen=True, slots=True)
class Lease:
    """Our record of one credential at one target."""

    LIFECYCLE: ClassVar[Lifecycle] = {
        "":         {Kind.LEASE_REQUESTED: "pending", Kind.LEASE_FELL_DUE: "revoking"},  # the second adopts an orphan
        "pending":  {Kind.LEASE_ACTIVATED: "active", Kind.LEASE_FELL_DUE: "revoking"},
        "active":   {Kind.LEASE_RENEWED: "active", Kind.LEASE_FELL_DUE: "revoking"},
        "revoking": {Kind.LEASE_CUT: "cut", Kind.LEASE_OVERDUE: "revoking"},
        "cut":      {Kind.LEASE_REVOKED: "revoked", Kind.LEASE_OVERDUE: "cut"},
        "revoked":  {Kind.LEASE_FELL_DUE: "revoking"},  # the sweep saw its name again: a late create, a restored target
    }  # fmt: skip
    INDEXED: ClassVar[tuple[str, ...]] = ("task", "target", "state")

    id: str
    org: str
    instance: str
    task: str | None  # None: an orphan that the sweep adopted
    target: str
    grant: str
    recipe: Recipe
    expires: datetime
    create_by: datetime
    due: datetime | None  # the next moment at which something must happen; None once revoked
    activated: datetime | None = None  # None: nobody holds it; cut waits for create_by + settle
    overdue: datetime | None = None  # when it was said that taking it back is late (S3)
    cut: datetime | None = None  # when it was stated that the holder can no longer act
    cleaned: datetime | None = None  # when it was stated that no trace is left
    probe: str = ""  # what became of presenting the dead credential, as JSON (core.receipt); "" before that
    state: str = ""

    @property
    def name(self) -> str:
        """The name at the target, exactly 30 characters (INTERFACES 1)."""
        return f"tb_{self.instance}_{self.id[1:]}"

    @property
    def may_be_cut_from(self) -> datetime | None:
        """The moment before which it must not be cut: an earlier cut could be followed by a late create (D5)."""
        return None if self.activated else self.create_by + SETTLE


def fall_due(lease: Lease, now: datetime) -> Lease:
    """Return the lease as it is once it must be taken back: at once, or when a late create is out of the question."""
    earliest = lease.may_be_cut_from
    return advance(lease, Kind.LEASE_FELL_DUE, due=now if earliest is None else max(now, earliest))


def orphan(id: str, org: str, instance: str, target: str, now: datetime) -> Lease:
    """Return the lease of a name that was found at a target and that nothing explains. It counts as held (D10)."""
    recipe = Recipe({}, CLASSES[0])
    return Lease(id, org, instance, None, target, "", recipe, now, now, due=now, activated=now)
