"""Effort: what is done for one text at most, however dense it is. What costs more is read in part, and told."""

from dataclasses import dataclass

EVENTS = 500_000  # places that hyperscan names
LOOKS = 100_000  # of which so many are looked at closely
FINDS = 10_000  # credentials; each costs some tenths of a millisecond


@dataclass(slots=True)
class Effort:
    """What may still be done for a text and for all that is encoded in it."""

    events: int = EVENTS
    looks: int = LOOKS
    finds: int = FINDS

    @property
    def is_spent(self) -> bool:
        """Whether something was left out."""
        return self.events < 0 or self.looks < 0 or self.finds < 0
