"""Files on a disk: walked, read and handed to what scans them, in two processes of their own.

Nothing is followed out of what was named, nothing but regular files is opened, and no file is held in memory whole
that is larger than WHOLE: it is read in windows that overlap. gz, zip and tar are looked into, within bounds. What
cannot be read is named in the summary and stops nothing: also a file that ends the process that reads it, or
that takes longer than it may. What is seen comes in the order of the walk, whichever process was faster.

Which repository a file belongs to, in this order: the nearest folder above it, within or above what was named, that
holds `.git`; the folder that lies directly in one called `repos` or as in COLLECTIONS; where what was named holds
nothing but folders, none of them a collection, the first of them on the way; else what was named.
"""

import codecs
import gzip
import io
import multiprocessing
import os
import signal
import stat
import tarfile
import threading
import zipfile
import zlib
from collections import deque
from collections.abc import Callable, Iterator, Sequence, Set
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from itertools import islice
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any, Protocol

from taskbound.posture.scan import Scan, moved
from taskbound.posture.seen import Seen, Unread
from taskbound.posture.sighting import Holder, Sighting

PROCESSES = 2
BATCH_FILES, BATCH_BYTES = 64, 4 << 20  # what a process is given at a time: a millisecond of handing over, no more
FEW_FILES, FEW_BYTES = 24, 1 << 20  # so little is done before another process has begun
AHEAD = 2000  # batches: how far the walk runs before what is read
WHOLE = 4 << 20  # bytes; what is larger is searched in windows of this size, without its structure
WHOLE_LISTED = 64 << 20  # bytes of an exported list: nothing can be said from a part of one
OVERLAP = 16 << 10  # bytes: the longest credential, a private key of RSA 8192 in PEM, has 13 KiB in a JSON string
HEAD = 8000  # bytes in which a NUL says that it is no text, as git does
FIRST = 256 << 10  # bytes read before anything is known: nearly every file is read by that alone
UNKNOWN = 1 << 20  # bytes read at most of what says that it has none (/proc)
UNPACKED, RATIO, FREE = 256 << 20, 200, 8 << 20  # bytes out of one file, and how many times its own size beyond FREE
MEMBERS, NESTED = 10_000, 3  # files in an archive, archives in one another
ZIPPED = 32 << 20  # bytes of a zip file within an archive, which has to be held in memory
PATIENCE, PER_MIB = 10.0, 3.0  # seconds that one text may take, and for each MiB of it
UNPACKING = 60.0  # seconds that all of an archive may take: each of its members may take PATIENCE
STUCK = 120.0  # seconds without an answer after which a process is ended; PATIENCE ends what Python can end
MEMORY = 2 << 30  # bytes of address space that a process may have: a bomb fails in it, not on the machine

COLLECTIONS = frozenset({"repos", "repositories", "checkouts", "projects", "workspaces"})
# Never looked into: what git keeps, what others installed, what tools made. Environments of Python: pyvenv.cfg.
SKIPPED = frozenset(
    {".git", ".hg", ".svn", "node_modules", "bower_components", "__pycache__", "site-packages", ".tox", ".nox"}
    | {".mypy_cache", ".pytest_cache", ".ruff_cache", ".import_linter_cache", ".gradle", ".terraform"}
)
NOT_UNPACKED = {
    b"BZh": "bzip2",
    b"\xfd7zXZ\x00": "xz",
    b"(\xb5/\xfd": "zstd",
    b"7z\xbc\xaf\x27\x1c": "7z",
    b"Rar!\x1a\x07": "rar",
}
BROKEN = (EOFError, zlib.error, gzip.BadGzipFile, tarfile.TarError, zipfile.BadZipFile, NotImplementedError)


@dataclass(frozen=True, slots=True)
class Root:
    """Something that was named to be looked at: a folder or a file."""

    place: Path
    shown: str = ""  # what paths below it begin with: "", "repos/portal", "~/.aws"
    listed: bool = False  # a folder of exported lists
    repository: str | None = None  # None: as the rule above says


class Bytes(Protocol):
    def read(self, size: int, /) -> bytes: ...


@dataclass(frozen=True, slots=True)
class _File:
    real: str
    path: str
    repository: str
    size: int
    listed: bool


@dataclass(slots=True)
class _Batch:
    files: list[_File] = field(default_factory=list)
    seen: Seen | None = None  # the answer
    is_out: bool = False  # it has its place among those that are yielded


class _Unreadable(Exception):
    """Why a file was not read, or not to its end."""


class _TooSlow(Exception):
    """The alarm: this text has had its time."""


class Files:
    """The port Discoverer, given by folders and files."""

    def __init__(
        self, roots: Sequence[Root], begin: Callable[[bytes], Scan], key: bytes, *, but: Sequence[Path] = ()
    ) -> None:
        """`begin`: makes, in each process, what scans; a function of a module. `but`: files that are left out."""
        # Each place is looked at once: as the root that names it most closely, the first of two that are the same.
        self._roots = {os.path.realpath(root.place): root for root in reversed(roots)}
        self._begin, self._key = begin, key
        self._but = frozenset(os.path.realpath(one) for one in but)
        self._repositories = _Repositories()
        self._known = 0

    def discover(self) -> Iterator[Seen]:
        walk = self._batches()
        early = list(islice(walk, 2))
        if len(early) < 2 and all(_is_small(one) for one in early):
            scan = self._begin(self._key)
            yield from (replace(_look(one.files, scan), known=self._known) for one in early)
        else:
            yield from self._in_processes(deque(early), walk)
        yield Seen(
            unread=tuple(self._repositories.unread), repositories=tuple(self._repositories.names), known=self._known
        )

    def _in_processes(self, todo: "deque[_Batch]", walk: "Iterator[_Batch]") -> Iterator[Seen]:
        workers = [_Worker(self._begin, self._key) for _ in range(PROCESSES)]
        order: deque[_Batch] = deque()  # what was handed out and not yet yielded, as the walk had it
        more = True
        try:
            while more or todo or order:
                for worker in workers:
                    if worker.batch is None and todo and (todo[0].is_out or len(order) < AHEAD):
                        batch = todo.popleft()
                        if not batch.is_out:
                            batch.is_out = True
                            order.append(batch)
                        worker.give(batch)
                while order and order[0].seen is not None:
                    yield replace(order.popleft().seen or Seen(), known=self._known)
                busy = [worker for worker in workers if worker.batch]
                walking = more and len(todo) < AHEAD
                if walking:
                    batch_or_end = next(walk, None)
                    more = batch_or_end is not None
                    todo += [batch_or_end] if batch_or_end else []
                ready = wait([one.answers for one in busy], timeout=0 if walking else 1.0) if busy else []
                for worker in busy:
                    if worker.answers in ready or worker.is_stuck():
                        self._take(worker, todo, order)
        finally:
            for worker in workers:
                worker.end()

    def _take(self, worker: "_Worker", todo: "deque[_Batch]", order: "deque[_Batch]") -> None:
        """Take an answer. A process that died over several files leaves each of them to be tried by itself."""
        batch = worker.batch
        assert batch is not None
        seen = worker.answer()
        if seen is None:
            worker.restart()
            if len(batch.files) == 1:
                seen = Seen(unread=(Unread(batch.files[0].path, "it ended the process that read it"),), files=1)
            else:
                alone = [_Batch([one], is_out=True) for one in batch.files]
                place = next(n for n, one in enumerate(order) if one is batch)
                order.rotate(-place)
                order.popleft()
                order.extendleft(reversed(alone))
                order.rotate(place)
                todo.extendleft(reversed(alone))
        batch.seen = seen

    # --- the walk ------------------------------------------------------------------------------------

    def _batches(self) -> "Iterator[_Batch]":
        batch, size = _Batch(), 0
        for top, root in reversed(self._roots.items()):
            for file in _walk(top, root, self._roots.keys() - {top}, self._repositories):
                if self._but and os.path.realpath(file.real) in self._but:
                    continue
                batch.files.append(file)
                size += file.size
                self._known += 1
                if len(batch.files) >= BATCH_FILES or size >= BATCH_BYTES:
                    yield batch
                    batch, size = _Batch(), 0
        if batch.files:
            yield batch


def _is_small(batch: _Batch) -> bool:
    return len(batch.files) <= FEW_FILES and sum(one.size for one in batch.files) <= FEW_BYTES


class _Repositories:
    """Names of repositories, each given to one folder: a second `api` is told with the folder that it lies in.

    What the walk could not read is kept here too.
    """

    def __init__(self) -> None:
        self.names: dict[str, str] = {}
        self.unread: list[Unread] = []
        self._above: dict[str, str] = {}

    def name(self, folder: str) -> str:
        short = os.path.basename(folder) or folder
        for name in (short, os.path.join(os.path.basename(os.path.dirname(folder)), short), folder):
            if self.names.setdefault(_shown(name), folder) == folder:
                return _shown(name)
        return _shown(folder)

    def above(self, folder: str) -> str:
        """Return the nearest folder at or above one that holds `.git`; "" where there is none."""
        if folder not in self._above:
            parent = os.path.dirname(folder)
            has = os.path.lexists(os.path.join(folder, ".git"))
            self._above[folder] = folder if has else self.above(parent) if parent != folder else ""
        return self._above[folder]

    def of_file(self, file: str) -> str:
        folder = os.path.dirname(file)
        parts = Path(folder).parts
        collected = next((n + 1 for n, part in enumerate(parts[:-1]) if part in COLLECTIONS), None)
        below = os.path.join(*parts[: collected + 1]) if collected else folder
        return self.name(self.above(folder) or below)


def _walk(top: str, root: Root, others: Set[str], repositories: _Repositories) -> Iterator[_File]:
    """Yield the regular files below a root, in the order of their names, without following what leads elsewhere."""
    try:
        about = os.stat(top)
    except OSError as error:
        repositories.unread.append(Unread(_shown(root.shown or str(root.place)), _why(error)))
        return
    if not stat.S_ISDIR(about.st_mode):
        shown = _shown(root.shown or str(root.place))
        if stat.S_ISREG(about.st_mode):
            name = repositories.of_file(top) if root.repository is None else root.repository
            yield _File(top, shown, name, about.st_size, root.listed)
        else:
            repositories.unread.append(Unread(shown, "it is no regular file"))
        return
    # (folder, its path as shown, its repository, whether a folder of another name may still be a repository)
    waiting = [(top, root.shown, root.repository, root.repository is None)]
    while waiting:
        folder, shown, repository, open_ = waiting.pop()
        try:
            with os.scandir(folder) as listing:
                entries = sorted((one for one in listing if one.path not in others), key=lambda one: one.name)
        except OSError as error:
            repositories.unread.append(Unread(_shown(shown or str(root.place)), _why(error)))
            continue
        names = {one.name for one in entries}
        if "pyvenv.cfg" in names and folder != top:
            continue
        folders = [one for one in entries if one.name not in SKIPPED and one.is_dir(follow_symlinks=False)]
        only_folders = False
        if root.repository is None:
            if ".git" in names:
                repository, open_ = repositories.name(folder), False
            elif folder == top:
                repository, open_, only_folders = _of_top(top, entries, repositories)
            elif open_ and os.path.basename(os.path.dirname(folder)) in COLLECTIONS:
                repository, open_ = repositories.name(folder), False
        for entry in entries:
            path = f"{shown}/{entry.name}" if shown else entry.name
            file = _file_of(entry, path, repository or "", root.listed, top, repositories)
            if file:
                yield file
        for entry in reversed(folders):
            path = f"{shown}/{entry.name}" if shown else entry.name
            own = repositories.name(entry.path) if only_folders else repository
            waiting.append((entry.path, path, own, open_))


def _of_top(top: str, entries: "Sequence[os.DirEntry[str]]", repositories: _Repositories) -> tuple[str, bool, bool]:
    """Return the repository of what was named, whether folders below may be others, and whether each first one is."""
    if above := repositories.above(top):
        return repositories.name(above), False, False
    parts = Path(top).parts
    if collected := next((n + 1 for n, part in enumerate(parts[:-1]) if part in COLLECTIONS), None):
        return repositories.name(os.path.join(*parts[: collected + 1])), False, False
    own = _shown(os.path.basename(top))
    if os.path.basename(top) in COLLECTIONS:
        return own, True, True
    are_folders = all(one.is_dir(follow_symlinks=False) and one.name not in COLLECTIONS for one in entries)
    return own, True, are_folders


def _file_of(
    entry: "os.DirEntry[str]", path: str, repository: str, listed: bool, top: str, repositories: _Repositories
) -> _File | None:
    """Return what an entry of a folder is to be read as; None for a folder, and for what is not read, which is told."""
    why = ""
    try:
        if entry.is_symlink():  # within what was named its target is seen where it lies
            target = os.path.realpath(entry.path)
            why = "" if target == top or target.startswith(top.rstrip("/") + "/") else "it leads out of what was named"
        elif entry.is_file(follow_symlinks=False):
            return _File(entry.path, _shown(path), repository, entry.stat(follow_symlinks=False).st_size, listed)
        elif not entry.is_dir(follow_symlinks=False):
            why = "it is no regular file"
    except OSError as error:
        why = _why(error)
    if why:
        repositories.unread.append(Unread(_shown(path), why))
    return None


def _shown(path: str) -> str:
    """Return a path as text, whatever bytes it has."""
    return os.fsencode(path).decode(errors="backslashreplace")


def _why(error: OSError) -> str:
    vanished = isinstance(error, FileNotFoundError)
    return "it is not there" if vanished else (error.strerror or type(error).__name__).lower()


# --- processes -------------------------------------------------------------------------------------


class _Worker:
    """One process that scans. It has one batch in hand, so that neither side ever waits for the other to read."""

    # Not forked from here: what threads hold here would be held for ever there.
    _context = multiprocessing.get_context("forkserver")

    def __init__(self, begin: Callable[[bytes], Scan], key: bytes) -> None:
        self._begin, self._key = begin, key
        self.batch: _Batch | None = None
        self._context.set_forkserver_preload([begin.__module__])
        self._start()

    def _start(self) -> None:
        self.answers, theirs = self._context.Pipe()
        self._process = self._context.Process(target=_work, args=(theirs, self._begin, self._key), daemon=True)
        self._process.start()
        theirs.close()  # so that its death is the end of what we read

    def give(self, batch: _Batch) -> None:
        self.batch = batch
        self._until = _moment() + STUCK + sum(one.size for one in batch.files) / (1 << 20) * PER_MIB
        with suppress(OSError):  # it has died, which is seen when its answer is taken
            self.answers.send(batch.files)

    def is_stuck(self) -> bool:
        return _moment() > self._until

    def answer(self) -> Seen | None:
        """Return what it saw in its batch; None where it died over it, or is stuck in it."""
        self.batch = None
        try:
            return self.answers.recv() if self.answers.poll() else None
        except (OSError, EOFError):
            return None

    def restart(self) -> None:
        self.end()
        self._start()

    def end(self) -> None:
        self._process.kill()
        self._process.join()
        self.answers.close()


def _moment() -> float:
    from time import monotonic

    return monotonic()


def _work(batches: "Connection[Any, Any]", begin: Callable[[bytes], Scan], key: bytes) -> None:
    """Answer batches until nobody asks."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # who asked ends us
    with suppress(ImportError, ValueError, OSError):
        import resource

        hard = resource.getrlimit(resource.RLIMIT_AS)[1]
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, hard))
    scan = begin(key)
    while True:
        try:
            files = batches.recv()
        except (EOFError, OSError):
            return
        batches.send(_look(files, scan))


# --- reading ---------------------------------------------------------------------------------------


@dataclass(slots=True)
class _Look:
    """What is seen in some files, while they are read."""

    scan: Scan
    is_heard: bool  # the alarm
    sightings: list[Sighting] = field(default_factory=list)
    holders: dict[Holder, None] = field(default_factory=dict)
    unread: list[Unread] = field(default_factory=list)
    skipped: int = 0
    size: int = 0


def _look(files: Sequence[_File], scan: Scan) -> Seen:
    with _listening() as is_heard:
        look = _Look(scan, is_heard)
        for file in files:
            try:
                _look_at(file, look)
            except OSError as error:
                look.unread.append(Unread(file.path, _why(error)))
            except _Unreadable as error:
                look.unread.append(Unread(file.path, str(error)))
            except Exception as error:  # what it says may quote the file
                look.unread.append(Unread(file.path, f"reading it failed ({type(error).__name__})"))
    return Seen(
        sightings=tuple(look.sightings),
        holders=tuple(look.holders),
        unread=tuple(look.unread),
        files=len(files) - look.skipped,
        skipped=look.skipped,
        size=look.size,
    )


def _look_at(file: _File, look: _Look) -> None:
    # What became something else since the walk must not block, be followed, or be a terminal.
    number = os.open(file.real, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    with open(number, "rb", buffering=0) as opened:
        about = os.fstat(number)
        if not stat.S_ISREG(about.st_mode):
            raise _Unreadable("it is no regular file")
        # A file that grows while it is read ends where it ended.
        stream = _Bounded(opened, about.st_size or UNKNOWN)
        budget = _Budget(min(UNPACKED, FREE + RATIO * about.st_size))
        if not _text(stream, file.path, file, look, budget, 0):
            look.skipped += 1


def _text(stream: "_Bounded | _Unpacked", path: str, file: _File, look: _Look, budget: "_Budget", depth: int) -> bool:
    """Look at a text, or into an archive; return whether it was one."""
    head = stream.peek(HEAD)
    kind = next((name for magic, name in NOT_UNPACKED.items() if head.startswith(magic)), "")
    if kind:
        raise _Unreadable(f"{kind} is not unpacked")
    unpack = _gz if head[:2] == b"\x1f\x8b" else _zip if head[:4] == b"PK\x03\x04" else _tar if _is_tar(head) else None
    if unpack:
        if depth >= NESTED:
            raise _Unreadable(f"archives in one another are looked into {NESTED} levels deep")
        try:
            unpack(stream, path, file, look, budget, depth + 1)
        except BROKEN as error:
            raise _Unreadable(_broken(error)) from None
        return True
    if head[:2] in (b"\xff\xfe", b"\xfe\xff"):
        stream = _Unpacked(_Utf8(stream), budget)
    elif b"\x00" in head:
        return False
    limit = WHOLE_LISTED if file.listed else WHOLE
    for data, lines, whole in _windows(stream, limit):
        look.size += len(data)
        _scan(data, lines, whole, path, file.repository, look)
    return True


def _scan(data: bytes, lines: int, whole: bool, path: str, repository: str, look: _Look) -> None:
    name = path[:-3] if path.lower().endswith(".gz") else path  # what is inside decides how it is parsed
    with _alarm(PATIENCE + PER_MIB * len(data) / (1 << 20), look.is_heard):
        scanned = look.scan(name, data, repository, whole)
    if lines or name != path:
        scanned = moved(scanned, path, lines)
    # Where windows overlap the same is seen twice.
    recent = set(map(repr, look.sightings[-256:])) if lines else set()
    look.sightings += [one for one in scanned.sightings if not recent or repr(one) not in recent]
    look.holders.update(dict.fromkeys(scanned.holders))
    if scanned.problem and (not look.unread or look.unread[-1] != Unread(path, scanned.problem)):
        look.unread.append(Unread(path, scanned.problem))


@contextmanager
def _listening() -> Iterator[bool]:
    """Make the alarm raise _TooSlow. Yield whether it can: only the main thread of a process is interrupted."""

    def ring(*_: object) -> None:
        raise _TooSlow

    if threading.current_thread() is not threading.main_thread():
        yield False
        return
    before = signal.signal(signal.SIGALRM, ring)
    try:
        yield True
    finally:
        signal.signal(signal.SIGALRM, before)


@contextmanager
def _alarm(seconds: float, is_heard: bool) -> Iterator[None]:
    """Ring in what takes longer, and again as long after that: what caught the first one goes on."""
    if not is_heard:
        yield
        return
    signal.setitimer(signal.ITIMER_REAL, seconds, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)


def _windows(stream: Bytes, limit: int) -> Iterator[tuple[bytes, int, bool]]:
    """Yield a text in windows: the bytes, how many lines precede them, and whether they are all there is.

    A window ends with a line where one ends in its second half, and the next one begins up to OVERLAP bytes before
    that, with a line.
    """
    data = _read(stream, limit + 1)
    if len(data) <= limit:
        if data:
            yield data, 0, True
        return
    lines = 0
    while True:
        more = _read(stream, WHOLE)
        end = data.rfind(b"\n") + 1 if more else len(data)
        end = end if end > len(data) // 2 else len(data)
        yield data[:end], lines, False
        if not more:
            return
        start = max(0, end - OVERLAP)
        start = data.find(b"\n", start, end - 1) + 1 or start
        lines += data.count(b"\n", 0, start)
        data = data[start:] + more


def _read(stream: Bytes, size: int) -> bytes:
    parts: list[bytes] = []
    while size > 0 and (part := stream.read(min(size, 1 << 20))):
        parts.append(part)
        size -= len(part)
    return parts[0] if len(parts) == 1 else b"".join(parts)


# --- archives --------------------------------------------------------------------------------------


class _Budget:
    """How many bytes may still come out of one file, and until when."""

    def __init__(self, left: int) -> None:
        self._left, self._until = left, _moment() + UNPACKING

    @property
    def is_spent(self) -> bool:
        return self._left < 0 or _moment() > self._until

    def spend(self, size: int) -> None:
        self._left -= size
        if self._left < 0:
            raise _Unreadable("it unpacks to more than is looked at")
        if self.is_spent:
            raise _Unreadable(f"what is in it takes longer than {UNPACKING:.0f} s")


class _Bounded:
    """A stream up to a number of bytes, whose beginning can be looked at first."""

    def __init__(self, stream: Bytes, size: int) -> None:
        self._stream, self._left, self._head = stream, size, b""

    def peek(self, size: int) -> bytes:
        if not self._head:
            self._head = self._take(FIRST)
        return self._head[:size]

    def read(self, size: int, /) -> bytes:
        if self._head:
            data, self._head = self._head[:size], self._head[size:]
            return data
        return self._take(size)

    def _take(self, size: int) -> bytes:
        if not self._left:
            return b""
        data = self._stream.read(min(size, self._left))
        self._left -= len(data)
        return data


class _Unpacked(_Bounded):
    """What comes out of an archive."""

    def __init__(self, stream: Bytes, budget: _Budget) -> None:
        super().__init__(stream, UNPACKED + 1)
        self._budget = budget

    def _take(self, size: int) -> bytes:
        data = super()._take(size)
        self._budget.spend(len(data))
        return data


class _Utf8:
    """UTF-16 as UTF-8, so that lines are lines."""

    def __init__(self, stream: Bytes) -> None:
        self._stream = stream
        self._decoder = codecs.getincrementaldecoder("utf-16")(errors="replace")

    def read(self, size: int, /) -> bytes:
        while data := self._stream.read(max(size, 4)):
            if text := self._decoder.decode(data):
                return text.encode(errors="replace")
        return self._decoder.decode(b"", final=True).encode(errors="replace")


def _is_tar(head: bytes) -> bool:
    return head[257:262] == b"ustar"


def _gz(stream: Bytes, path: str, file: _File, look: _Look, budget: _Budget, depth: int) -> None:
    with gzip.GzipFile(fileobj=_Whole(stream)) as inner:
        if not _text(_Unpacked(inner, budget), path, file, look, budget, depth):
            raise _Unreadable("no text is packed in it")


def _tar(stream: Bytes, path: str, file: _File, look: _Look, budget: _Budget, depth: int) -> None:
    with tarfile.open(fileobj=_Whole(stream), mode="r|") as archive:
        for count, member in enumerate(archive):
            if count >= MEMBERS:
                raise _Unreadable(f"of its files {MEMBERS} were looked at")
            inner = archive.extractfile(member) if member.isreg() else None
            if inner:
                _member(_Unpacked(inner, budget), f"{path}!/{member.name}", file, look, budget, depth)


def _zip(stream: Bytes, path: str, file: _File, look: _Look, budget: _Budget, depth: int) -> None:
    data = _read(stream, ZIPPED + 1)
    if len(data) > ZIPPED:
        raise _Unreadable(f"a zip file is looked into up to {ZIPPED >> 20} MiB")
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        for count, member in enumerate(archive.infolist()):
            if count >= MEMBERS:
                raise _Unreadable(f"of its files {MEMBERS} were looked at")
            if member.is_dir():
                continue
            where = f"{path}!/{member.filename}"
            if member.flag_bits & 1:
                look.unread.append(Unread(_shown(where), "it is encrypted"))
                continue
            try:
                with archive.open(member) as inner:
                    _member(_Unpacked(inner, budget), where, file, look, budget, depth)
            except BROKEN as error:  # its members do not depend on one another, as those of a stream do
                look.unread.append(Unread(_shown(where), _broken(error)))


def _broken(error: Exception) -> str:
    return f"it cannot be unpacked to its end ({type(error).__name__})"


def _member(stream: "_Unpacked", where: str, file: _File, look: _Look, budget: _Budget, depth: int) -> None:
    """Look at one file of an archive. What is wrong with it alone stops none of the others."""
    try:
        _text(stream, _shown(where), file, look, budget, depth)
    except _Unreadable as error:
        if budget.is_spent:
            raise
        look.unread.append(Unread(_shown(where), str(error)))


class _Whole(io.RawIOBase):
    """A stream as a file object: what gzip and tarfile ask for."""

    def __init__(self, stream: Bytes) -> None:
        self._stream = stream

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1, /) -> bytes:
        return self._stream.read(size if size >= 0 else 1 << 20)
