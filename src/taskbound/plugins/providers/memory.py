"""The memory provider: a target that lives in this process; for tests and for trying out.

It keeps a real target's promises (tests/contracts/provider.py): it refuses to create after the
lease's create-deadline by its own clock, creating and taking back may be repeated, and it knows
who can still act with a credential. It polices its caller: cleaning before cutting is an error.
"""

import hashlib
import hmac
from collections.abc import Callable
from datetime import datetime, timedelta

from taskbound.core.errors import StillLetIn, TargetUnavailable
from taskbound.core.lease import Lease
from taskbound.core.secret import Secret

KEPT = timedelta(seconds=60)  # after the end, for the probe (D21)


class MemoryTarget:
    """A target with logins: name -> digest of the password, or None once it is cut."""

    def __init__(self) -> None:
        self.logins: dict[str, str | None] = {}

    def accepts(self, name: str, password: str) -> bool:
        """Whether somebody who presents this credential is let in."""
        known = self.logins.get(name)
        return known is not None and hmac.compare_digest(known, _digest(password))


class MemoryProvider:
    """Makes and takes back logins at a MemoryTarget."""

    def __init__(
        self, target: MemoryTarget, instance: str, clock: Callable[[], datetime], new_password: Callable[[], Secret]
    ) -> None:
        self._target, self._prefix = target, f"tb_{instance}_"
        self._clock, self._new_password = clock, new_password
        self._held: dict[str, tuple[Secret, datetime]] = {}  # by name, until when

    async def create(self, lease: Lease) -> Secret:
        if self._clock() > lease.create_by:
            raise TargetUnavailable(f"the target refuses to create {lease.name} after {lease.create_by:%H:%M:%S}")
        password = self._new_password()
        self._target.logins[lease.name] = _digest(password.reveal())
        self._held[lease.name] = password, lease.expires + KEPT
        return password

    async def cut(self, lease: Lease) -> None:
        if lease.name in self._held:
            secret, until = self._held[lease.name]
            self._held[lease.name] = secret, min(until, self._clock() + KEPT)
        if lease.name in self._target.logins:
            self._target.logins[lease.name] = None

    async def clean(self, lease: Lease) -> None:
        if self._target.logins.get(lease.name) is not None:
            raise RuntimeError(f"{lease.name} must be cut before it is cleaned")
        self._target.logins.pop(lease.name, None)
        self._held.pop(lease.name, None)

    async def probe(self, lease: Lease) -> str | None:
        secret, until = self._held.get(lease.name, (None, self._clock()))
        if secret is None or until < self._clock():
            return None
        if self._target.accepts(lease.name, secret.reveal()):
            raise StillLetIn(f"the target let {lease.name} in after it was cut")
        return "refused"

    async def names(self) -> set[str]:
        return {name for name in self._target.logins if name.startswith(self._prefix)}


def _digest(password: str) -> str:
    return hashlib.sha256(password.encode()).hexdigest()
