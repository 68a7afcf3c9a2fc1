"""Storm: equal denials within a second, which stand in the log as one call and one count (INTERFACES 8 and 9).

Equal is what the same one asks in the same task, of the same tool with the same canonical
arguments, and is denied for the same code under the same policy. The first is recorded like any
denial; who asks again within its second is answered with that call. How many they were is stated
once, after the second. This is memory of one process: after a crash the count of the last second
may be lost, the first denial never. Permits do not come here.

What was shown as a proof and refused makes storms too: equal is what one door refuses of one sort for the
same code and reason. Whoever floods a door chooses what they show, so nothing of it stands in a reason, and of
more than REASONS at once the rest are one: the log grows by a bounded number of events a second and sort.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from taskbound.core.call import Call
from taskbound.core.identity import Identity
from taskbound.formats import canonical

SECOND = timedelta(seconds=1)
REASONS = 16  # of one sort and code that are told apart at once
MOST = 4_096  # storms kept at once; what comes beyond is recorded one by one

Key = tuple[str | None, ...]


def key_of(call: Call, by: Identity, arguments: Mapping[str, Any]) -> Key | None:
    """Return what makes a denied call equal to another; None for arguments that have no canonical form."""
    try:
        asked = canonical.digest(arguments)
    except canonical.Malformed:
        return None
    return call.org, call.task, by.spiffe_id, call.action, call.resource, asked, call.code, call.policy


@dataclass(frozen=True, slots=True)
class Refusal:
    """What was shown as a proof and refused, by its sort alone: nothing of it is kept (S6)."""

    id: str  # of the request
    org: str
    at: datetime
    shown: str  # "a task handle"
    code: str
    reason: str


def _key_of(refusal: Refusal, by: Identity) -> Key:
    return refusal.org, by.spiffe_id, refusal.shown, refusal.code, refusal.reason


@dataclass(slots=True)
class Storm:
    """A recorded denial, and how many equal ones followed within its second; `until` is the last of them."""

    first: Call | Refusal
    by: Identity
    until: datetime
    count: int = 0

    def covers(self, moment: datetime) -> bool:
        return moment < self.first.at + SECOND


class Denials:
    """The storms of this moment, and the counts that are not stated yet. Bounded."""

    def __init__(self, most: int = MOST) -> None:
        self._most = most
        self._storms: dict[Key, Storm] = {}
        self._over: list[Storm] = []
        self._noting: dict[Key, int] = {}

    def __len__(self) -> int:
        return len(self._storms) + len(self._over)

    def repeated(self, key: Key | None, at: datetime) -> Call | None:
        """Return the recorded call that a denial at this moment repeats, and count it; None: it is to be recorded."""
        storm = self._counted(key, at) if key is not None else None
        return storm.first if storm is not None and isinstance(storm.first, Call) else None

    @contextmanager
    def noting(self, by: Identity, shown: str, code: str, reason: str) -> Iterator[bool]:
        """Say whether a refusal is to be noted in the block. One that comes while its equal is, is counted with that.

        So a flood waits for the store once, and holds one of its connections.
        """
        key = by.org, by.spiffe_id, shown, code, reason
        if key in self._noting:
            self._noting[key] += 1
            yield False
            return
        self._noting[key] = 0
        try:
            yield True
        finally:
            meanwhile = self._noting.pop(key)
            if (storm := self._storms.get(self._sort_of(key))) is not None:
                storm.count += meanwhile

    def is_first(self, refusal: Refusal, by: Identity) -> bool:
        """Whether a refusal is to be recorded; one that equals another within its second is counted.

        From the first on, before it is durable: no answer names it, and of a hundred at once one is recorded.
        There are few sorts and reasons, so that there is room for each.
        """
        key = self._sort_of(_key_of(refusal, by))
        if self._counted(key, refusal.at) is not None:
            return False
        self._end(key)
        self._storms[key] = Storm(refusal, by, refusal.at)
        return True

    def lost(self, refusal: Refusal, by: Identity) -> None:
        """A refusal that is a first could not be recorded: the next one is, and what was counted is not."""
        key = self._sort_of(_key_of(refusal, by))
        storm = self._storms.get(key)
        if storm is not None and storm.first is refusal:
            del self._storms[key]

    def _sort_of(self, key: Key) -> Key:
        """Return the key, or where as many reasons are told apart already the one for all others."""
        if key in self._storms or sum(known[:-1] == key[:-1] for known in self._storms) < REASONS:
            return key
        return (*key[:-1], None)

    def _counted(self, key: Key, at: datetime) -> Storm | None:
        """Return the storm that covers this moment, with one more in it; None without one."""
        storm = self._storms.get(key)
        if storm is None or not storm.covers(at):
            return None
        storm.count += 1
        storm.until = max(storm.until, at)
        return storm

    def _end(self, key: Key) -> None:
        before = self._storms.pop(key, None)
        if before is not None and before.count:
            self._over.append(before)

    def recorded(self, key: Key | None, call: Call, by: Identity) -> None:
        """A denial is durably recorded: those that repeat it within its second are counted, where there is room."""
        if key is None:
            return
        before = self._storms.get(key)
        if before is not None and before.covers(call.at):  # two were recorded at once: one of them counts
            return
        self._end(key)
        if len(self) < self._most:
            self._storms[key] = Storm(call, by, call.at)

    def over(self, org: str, now: datetime | None) -> Sequence[Storm]:
        """Return the storms of an organisation whose second is over, as far as there is something to count.

        All of them where `now` is None, those of calls first. They are returned again until they are `stated`.
        """
        for key, storm in list(self._storms.items()):
            if now is None or not storm.covers(now):
                self._end(key)
        found = [storm for storm in self._over if storm.first.org == org]
        return sorted(found, key=lambda storm: isinstance(storm.first, Refusal))

    def stated(self, storms: Sequence[Storm]) -> None:
        """The counts of these stand in the log."""
        self._over = [storm for storm in self._over if not any(storm is one for one in storms)]
