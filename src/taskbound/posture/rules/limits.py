"""Limits: from how many days on something is a finding. The defaults, and where they come from."""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Limits:
    """All in days.

    Unused: CIS AWS Foundations asks for 45, NIST and most auditors for 90. Rotation: CIS asks for 90 days; a key of
    that age is common and its rotation a plan, one of a year is forgotten. Client secrets: Microsoft advises 180 and
    its portal gives 730 at most; certificates are renewed by machines and may be older.
    """

    unused: int = 90
    never_used: int = 30  # since a key was made: shorter ones may still be on their way to their first use
    rotated: int = 365
    long_unrotated: int = 730  # from here on critical
    token: int = 366  # from its making to the end that a token, or whoever wrote it down, says
    lifetime: Mapping[str, int] = field(
        default_factory=lambda: {"entra-client-secret": 730, "entra-certificate": 1095, "gcp-service-account-key": 730}
    )


LIMITS = Limits()
