"""What the lanes share: who they are, how far they are, how long they wait after trouble, and what they say of it."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from taskbound.core.errors import TaskboundError
from taskbound.core.identity import Identity
from taskbound.ports import Sink

# Seconds, by the monotonic clock; which deadline has passed is for the store's clock to say.
LOOK = 0.25  # between two looks for what is due: the second line, the first is `wake`
RETRY = 50.0  # at most, from the begin of one try of a lease or sink to the next: with the try itself below a minute
PROBE = 10.0  # at most, between two tries at a target that fails


@dataclass(slots=True)
class Progress:
    """How far the lanes are, for /metrics and /readyz; and the bell that wakes who takes back."""

    due: int = 0  # leases that are to be cut
    cut: int = 0  # leases that are cut and to be cleaned
    overdue: int = 0  # leases that are taken back late
    orphans_found: int = 0
    sealed: int = 0  # events under the newest checkpoint
    sealed_at: int = 0  # when all was last found sealed, and shown in both places; seconds since 1970; 0: not yet
    followed: dict[int, int] = field(default_factory=dict)  # by the number of the sink: the last index it has
    failures: dict[str, int] = field(default_factory=dict)  # by target: cuts, cleanings and sweeps that failed
    failing: set[str] = field(default_factory=set)  # targets that are only probed
    lane_failures: dict[str, int] = field(default_factory=dict)  # by lane
    bell: asyncio.Event = field(default_factory=asyncio.Event)

    def wake(self) -> None:
        """Something ended: look for what is due now. Doors call it after an end."""
        self.bell.set()


@dataclass(frozen=True, slots=True)
class Lanes:
    """Who the lanes are, and what they work with."""

    end: Identity
    revoke: Identity
    seal: Identity
    jitter: Callable[[], float]  # from 0 to below 1, so that what failed together is not tried again together
    sinks: Sequence[Sink] = ()
    progress: Progress = field(default_factory=Progress)

    def pause(self, failed: int, most: float) -> float:
        """Return the seconds to wait after so many failures in a row: 1, doubled each time, less up to a quarter."""
        return min(most, float(2 ** min(max(failed, 1) - 1, 16))) * (1 - self.jitter() / 4)


def why(error: BaseException) -> dict[str, str]:
    """Return what may be said of an error: our own sentences, and of others the type, for their text is foreign."""
    if isinstance(error, BaseExceptionGroup):
        return {"error": ", ".join(sorted({type(one).__name__ for one in error.exceptions}))}
    message = {"message": str(error)} if isinstance(error, TaskboundError) else {}
    return {"error": type(error).__name__, **message}
