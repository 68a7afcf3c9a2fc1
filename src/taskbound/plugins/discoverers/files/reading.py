"""Reading: what is seen in some files. What cannot be read, or not to its end, is told and stops nothing."""

import os
import stat
from collections.abc import Sequence
from dataclasses import dataclass, field

from taskbound.plugins.discoverers.files import archives, streams
from taskbound.plugins.discoverers.files.alarm import listening, ring_in
from taskbound.plugins.discoverers.files.streams import Bounded, Budget, Unpacked, Unreadable, Utf8, windows
from taskbound.plugins.discoverers.files.walk import File, shown_as, why_of
from taskbound.posture.seen import NOTHING, Scan, Seen, Unread, moved
from taskbound.posture.sighting import Holder, Sighting

WHOLE_LISTED = 64 << 20  # bytes of an exported list: nothing can be said from a part of one
HEAD = 8000  # bytes in which a NUL says that it is no text, as git does
UNKNOWN = 1 << 20  # bytes read at most of what says that it has none (/proc)
NESTED = 3  # archives in one another
PATIENCE, PER_MIB = 10.0, 3.0  # seconds that one text may take, and for each MiB of it


Placed = tuple[int, File]  # a file, and its place among those that it was found with


@dataclass(slots=True)
class Look:
    """What is seen in a file, while it is read."""

    scan: Scan
    is_heard: bool  # the alarm
    sightings: list[Sighting] = field(default_factory=list)
    holders: dict[Holder, None] = field(default_factory=dict)
    unread: list[Unread] = field(default_factory=list)
    size: int = 0
    is_skipped: bool = False


def look_into(files: Sequence[Placed], scan: Scan) -> list[tuple[int, Seen]]:
    """Return what is seen in each file in which something is, by its place; the counts of all of them stand first."""
    told, size, skipped = list[tuple[int, Seen]](), 0, 0
    with listening() as is_heard:
        for place, file in files:
            look = Look(scan, is_heard)
            try:
                _look_at(file, look)
            except OSError as error:
                look.unread.append(Unread(file.path, why_of(error)))
            except Unreadable as error:
                look.unread.append(Unread(file.path, str(error)))
            except Exception as error:  # what it says may quote the file
                look.unread.append(Unread(file.path, f"reading it failed ({type(error).__name__})"))
            size, skipped = size + look.size, skipped + look.is_skipped
            if look.sightings or look.holders or look.unread:
                told.append((place, Seen(tuple(look.sightings), tuple(look.holders), tuple(look.unread))))
    return [(-1, Seen(files=len(files) - skipped, skipped=skipped, size=size)), *told]


def _look_at(file: File, look: Look) -> None:
    # What became something else since the walk must not block, be followed, or be a terminal.
    number = os.open(file.real, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    with open(number, "rb", buffering=0) as opened:
        about = os.fstat(number)
        if not stat.S_ISREG(about.st_mode):
            raise Unreadable("it is no regular file")
        # A file that grows while it is read ends where it ended.
        stream = Bounded(opened, about.st_size or UNKNOWN)
        budget = Budget(min(streams.UNPACKED, streams.FREE + streams.RATIO * about.st_size))
        if not _text(stream, file.path, file, look, budget, 0):
            look.is_skipped = True


def _text(stream: "Bounded | Unpacked", path: str, file: File, look: Look, budget: "Budget", depth: int) -> bool:
    """Look at a text, or into an archive; return whether it was one."""
    head = stream.peek(HEAD)
    if unpack := archives.unpacker(head):
        if depth >= NESTED:
            raise Unreadable(f"archives in one another are looked into {NESTED} levels deep")

        def read(inner: Unpacked, where: str) -> bool:
            return _text(inner, shown_as(where), file, look, budget, depth + 1)

        def tell(where: str, why: str) -> None:
            look.unread.append(Unread(shown_as(where), why))

        try:
            unpack(stream, path, budget, read, tell)
        except archives.BROKEN as error:
            raise Unreadable(archives.broken(error)) from None
        return True
    if head[:2] in (b"\xff\xfe", b"\xfe\xff"):
        stream = Unpacked(Utf8(stream), budget)
    elif b"\x00" in head:
        return False
    if stream.has_ended and head:
        _scan(stream.read(streams.FIRST), 0, True, path, file.repository, look)
        return True
    limit = WHOLE_LISTED if file.listed else streams.WHOLE
    for data, lines, whole in windows(stream, limit):
        _scan(data, lines, whole, path, file.repository, look)
    return True


def _scan(data: bytes, lines: int, whole: bool, path: str, repository: str, look: Look) -> None:
    look.size += len(data)
    name = path[:-3] if path.lower().endswith(".gz") else path  # what is inside decides how it is parsed
    if look.is_heard:
        ring_in(PATIENCE + PER_MIB * len(data) / (1 << 20))
    try:
        scanned = look.scan(name, data, repository, whole)
    finally:
        if look.is_heard:
            ring_in(0)
    if scanned is NOTHING:
        return
    if lines or name != path:
        scanned = moved(scanned, path, lines)
    # Where windows overlap the same is seen twice.
    recent = set(map(repr, look.sightings[-256:])) if lines else set()
    look.sightings += [one for one in scanned.sightings if not recent or repr(one) not in recent]
    look.holders.update(dict.fromkeys(scanned.holders))
    if scanned.problem and (not look.unread or look.unread[-1] != Unread(path, scanned.problem)):
        look.unread.append(Unread(path, scanned.problem))
