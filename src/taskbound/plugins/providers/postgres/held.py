"""What the broker remembers of credentials that it gave out: in memory, until shortly after their end (D21).

Only so that a dead one can be presented once (INTERFACES 11). A timer forgets it, whoever else does not.
"""

import asyncio
from dataclasses import dataclass

from taskbound.core.lease import CREATE_WINDOW, Lease
from taskbound.core.secret import Secret

KEPT = 60.0  # seconds after the end


@dataclass(slots=True)
class _Held:
    secret: Secret
    timer: asyncio.TimerHandle
    ended: bool = False


class Held:
    """Credentials by lease. Used on one loop."""

    def __init__(self) -> None:
        self._held: dict[str, _Held] = {}

    def keep(self, lease: Lease, secret: Secret) -> None:
        """Remember what was made for a lease until 60 s after it expires, or was ended."""
        self.forget(lease)
        life = (lease.expires - lease.create_by + CREATE_WINDOW).total_seconds()
        self._held[lease.id] = _Held(secret, self._forget_in(max(life, 0.0) + KEPT, lease))

    def end(self, lease: Lease) -> None:
        """Note that the lease is being taken back; the first time counts."""
        held = self._held.get(lease.id)
        if held and not held.ended:
            held.timer.cancel()
            held.timer, held.ended = self._forget_in(KEPT, lease), True

    def of(self, lease: Lease) -> Secret | None:
        """Return the lease's credential; None when it is not kept any more."""
        held = self._held.get(lease.id)
        return held.secret if held else None

    def forget(self, lease: Lease) -> None:
        """Remember nothing of a lease."""
        if held := self._held.pop(lease.id, None):
            held.timer.cancel()

    def clear(self) -> None:
        """Remember nothing."""
        while self._held:
            self._held.popitem()[1].timer.cancel()

    def _forget_in(self, seconds: float, lease: Lease) -> asyncio.TimerHandle:
        return asyncio.get_running_loop().call_later(seconds, self.forget, lease)
