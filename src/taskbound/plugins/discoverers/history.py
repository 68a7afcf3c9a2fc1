"""The history of git repositories: credentials that were taken out of the files and can be had from every clone.

Of a repository git is shown nothing but its objects. Its own directory is a new one of ours that links to their
folders and has an empty configuration; what the repository says by `config`, hooks, attributes, filters, alternates
or a promisor is never read, so nothing of it is run, fetched or followed. Where its refs and reflogs point to is
read here, as text. That directory is ours, so that who owns the repository does not matter (safe.directory).

Each distinct blob is read once, by `git cat-file --batch`, and scanned in a process of its own. A commit is named
with what it brought in: the oldest one that has the blob.
"""

import multiprocessing
import os
import re
import resource
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from time import monotonic
from typing import IO

from taskbound.posture.scan import Scan
from taskbound.posture.seen import Seen, Unread
from taskbound.posture.sighting import Credential, Holder, Place

SPOT = "git-history"
PROCESSES = 2
PATIENCE = 300.0  # seconds that one repository may take
SCANNING = 15.0  # seconds that one blob may take
TOTAL = 1 << 30  # bytes of blobs of one repository; the newest come first
WHOLE = 4 << 20  # bytes of a blob
COMMITS, BLOBS = 200_000, 500_000  # of one repository
LISTING = 256 << 20  # bytes of a list of refs, commits or changes that are read
BATCH_BLOBS, BATCH_BYTES = 256, 4 << 20
MEMORY = 2 << 30  # bytes of address space of git, and of a process that scans
HEAD = 8000  # bytes in which a NUL says that it is no text, as git does
SHORT = 10  # digits of a commit
REFS = 64 << 20  # bytes of a file of refs or of a reflog that are read
DEPTH = 64  # folders in one another
# Never looked into for repositories: what others installed, what tools made.
SKIPPED = frozenset({"node_modules", "site-packages", "__pycache__", ".tox", ".nox", ".terraform", ".gradle"})
OID = re.compile(rb"\b(?:[0-9a-f]{64}|[0-9a-f]{40})\b")
CONFIG = """[core]
repositoryformatversion = 1
bare = true
bigFileThreshold = 16m
packedGitWindowSize = 32m
packedGitLimit = 256m
commitGraph = false
[extensions]
objectFormat = {form}
"""


@dataclass(slots=True)
class _Repository:
    """One store of objects, with every checkout of it that was found."""

    store: str  # the directory that git keeps everything in
    shown: str  # as paths name it: portal/.git, portal.git
    name: str
    checkouts: list[str] = field(default_factory=list)  # what paths of its files begin with; none: it is a bare one


@dataclass(frozen=True, slots=True)
class _Blob:
    oid: bytes
    commit: str
    path: str


class _Unreadable(Exception):
    """Why a repository was not read, or not to its end."""


class History:
    """The port Discoverer, given by the histories of the repositories below some folders.

    `present`: credentials that files hold. What lies in a checkout's files is told there, and not here again.
    """

    def __init__(
        self,
        roots: Sequence[tuple[Path, str]],
        begin: Callable[[bytes], Scan],
        key: bytes,
        present: Iterable[Credential] = (),
    ) -> None:
        """`roots`: folders, with what paths below each begin with. `begin`: makes, in a process, what scans."""
        self._roots, self._begin, self._key = roots, begin, key
        self._present = tuple(present)

    def discover(self) -> Iterator[Seen]:
        unread: list[Unread] = []
        for repository in _found(self._roots, unread):
            try:
                yield from self._look(repository)
            except _Unreadable as error:
                unread.append(Unread(repository.shown, str(error)))
            except (OSError, ValueError, subprocess.SubprocessError) as error:
                unread.append(Unread(repository.shown, f"its history cannot be read ({type(error).__name__})"))
        yield Seen(unread=tuple(unread))

    def _look(self, repository: _Repository) -> Iterator[Seen]:
        known = {one.mark for one in self._present if any(_is_below(one.place.path, at) for at in repository.checkouts)}
        until = monotonic() + PATIENCE
        with _own_directory(repository) as (git, starts):
            blobs, told = git.blobs(starts, until)
            tip = git.tip() if not repository.checkouts else frozenset()
            with _Scanners(self._begin, self._key) as scanners:
                found: dict[
                    str, tuple[_Blob, Credential]
                ] = {}  # by mark: the oldest place, the tip's before all others
                for batch in _batches(git.contents(blobs, until, told)):
                    seen, lost = scanners.look(batch, repository.name)
                    for blob, one in seen:
                        if one.mark not in known and not (one.mark in found and found[one.mark][0].oid in tip):
                            found[one.mark] = blob, one
                    yield Seen(
                        unread=tuple(Unread(_shown(repository, blob), why) for blob, why in lost),
                        size=sum(len(data) for _, data in batch),
                    )
        yield Seen(
            sightings=tuple(_placed(blob, one, repository, blob.oid in tip) for blob, one in found.values()),
            unread=tuple(Unread(repository.shown, why) for why in told),
        )


def _placed(blob: _Blob, one: Credential, repository: _Repository, is_tip: bool) -> Credential:
    """Return a credential at its place: of a bare repository what its HEAD has as a file's, else as the history's."""
    one = replace(one, place=Place(_shown(repository, blob), one.place.line))
    holder = Holder("file", f"history:{repository.name}", repository.name)
    return one if is_tip else replace(one, holder=holder, spot=SPOT)


def _shown(repository: _Repository, blob: _Blob) -> str:
    return f"{repository.shown}!/{blob.commit[:SHORT]}:{blob.path}"


def _is_below(path: str, folder: str) -> bool:
    return not folder or path == folder or path.startswith(f"{folder}/")


# --- which repositories there are ------------------------------------------------------------------


def _found(roots: Sequence[tuple[Path, str]], unread: list[Unread]) -> list[_Repository]:
    """Return the repositories below some folders, each once, in the order of the walk."""
    found: dict[str, _Repository] = {}
    for root, start in roots:
        waiting = [(os.path.realpath(root), start, 0)]
        while waiting:
            folder, shown, depth = waiting.pop()
            try:
                with os.scandir(folder) as listing:
                    entries = {one.name: one for one in sorted(listing, key=lambda one: one.name)}
                bare = {"HEAD", "objects", "refs"} <= entries.keys()
                store = folder if bare else _store(folder) if ".git" in entries else ""
            except (OSError, _Unreadable) as error:
                if isinstance(error, _Unreadable):
                    unread.append(Unread(_text(f"{shown}/.git" if shown else ".git"), str(error)))
                continue  # what cannot be listed is told by who reads the files
            if store:
                at = _text(shown if bare else f"{shown}/.git" if shown else ".git") or os.path.basename(folder)
                name = _text(os.path.basename(folder))
                one = found.setdefault(store, _Repository(store, at, name.removesuffix(".git") or name))
                if not bare:
                    one.checkouts.append(_text(shown))
            if bare or depth >= DEPTH:
                continue
            waiting += [
                (one.path, f"{shown}/{one.name}" if shown else one.name, depth + 1)
                for one in reversed(entries.values())
                if one.name not in SKIPPED and one.name != ".git" and one.is_dir(follow_symlinks=False)
            ]
    return list(found.values())


def _store(folder: str) -> str:
    """Return where the objects of a checkout are: `.git`, or for a worktree or submodule where that file says."""
    own = os.path.join(folder, ".git")
    if os.path.islink(own):
        raise _Unreadable("it is a link")
    if not os.path.isdir(own):
        text = _read(own, 4096)
        if not text.startswith(b"gitdir:"):
            raise _Unreadable("it is neither a repository nor says where one is")
        own = os.path.join(folder, os.fsdecode(text.removeprefix(b"gitdir:").strip()))
    common = os.path.join(own, "commondir")
    if os.path.isfile(common):
        own = os.path.join(own, os.fsdecode(_read(common, 4096).strip()))
    store = os.path.realpath(own)
    if not os.path.isdir(os.path.join(store, "objects")):
        raise _Unreadable("it is no repository, or its objects are not there")
    return store


def _text(path: str) -> str:
    return os.fsencode(path).decode(errors="backslashreplace")


def _read(file: str, limit: int) -> bytes:
    number = os.open(file, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    with open(number, "rb") as opened:
        return opened.read(limit) if os.path.isfile(file) else b""


# --- what git is asked -----------------------------------------------------------------------------


@contextmanager
def _own_directory(repository: _Repository) -> "Iterator[tuple[_Git, list[bytes]]]":
    """Make a directory of ours that has the repository's objects and nothing else of it."""
    program = shutil.which("git")
    if not program:
        raise _Unreadable("git is not installed")
    starts, head = _starts(repository.store)
    if not starts:
        reftable = os.path.isdir(os.path.join(repository.store, "reftable"))
        raise _Unreadable("its refs are kept as reftable, which is not read" if reftable else "it has no commit")
    with tempfile.TemporaryDirectory(prefix="taskbound-history-") as own:
        long = len(starts[0]) == 64
        Path(own, "config").write_text(CONFIG.format(form="sha256" if long else "sha1"))
        Path(own, "HEAD").write_text("ref: refs/heads/none\n")
        for made in ("refs", "objects"):
            Path(own, made).mkdir()
        # Not `objects` itself: in its `info` it may name alternates, which were not named to us.
        objects = os.path.join(repository.store, "objects")
        for part in ("pack", *(f"{number:02x}" for number in range(256))):
            there = os.path.join(objects, part)
            if os.path.isdir(there) and not os.path.islink(there):
                os.symlink(there, os.path.join(own, "objects", part))
        elsewhere = os.path.exists(os.path.join(objects, "info", "alternates"))
        yield _Git(program, own, head, elsewhere), starts


def _starts(store: str) -> tuple[list[bytes], bytes]:
    """Return every commit that a ref, a worktree or a reflog names, and what HEAD does. All of it read as text."""
    files = [os.path.join(store, "packed-refs")]
    files += [os.path.join(store, one) for one in sorted(os.listdir(store)) if one.endswith("HEAD")]
    for part in ("refs", "logs", "worktrees"):
        for folder, _, names in os.walk(os.path.join(store, part)):
            files += [os.path.join(folder, one) for one in sorted(names) if one not in ("index", "commondir", "gitdir")]
    found: dict[bytes, None] = {}
    heads: dict[bytes, bytes] = {}  # by name
    for file in files:
        with suppress(OSError):
            text = _read(file, REFS)
            # In a reflog, what follows the second id of a line is a message.
            for line in text.splitlines():
                ids = OID.findall(line[:130])
                found.update(dict.fromkeys(one for one in ids[:2] if one.strip(b"0")))
                if file.endswith("packed-refs") and ids and b" " in line:
                    heads[line.partition(b" ")[2].strip()] = ids[0]
            if f"{os.sep}logs{os.sep}" not in file and (ids := OID.findall(text[:65])):
                heads[os.fsencode(os.path.relpath(file, store))] = ids[0]
    head = b""
    with suppress(OSError):
        head = _read(os.path.join(store, "HEAD"), 4096).strip()
    head = heads.get(head.removeprefix(b"ref:").strip(), b"") if head.startswith(b"ref:") else head
    return list(islice(found, COMMITS)), head


@dataclass(frozen=True, slots=True)
class _Git:
    """Git in a directory of ours. Arguments are fixed; ids go in by standard input."""

    program: str
    directory: str
    head: bytes
    elsewhere: bool  # a part of the objects lies in another repository

    def start(self, *words: str, given: IO[bytes]) -> "subprocess.Popen[bytes]":
        environment = {
            "GIT_DIR": self.directory,
            "GIT_CONFIG_NOSYSTEM": "1",
            "GIT_CONFIG_GLOBAL": os.devnull,
            "GIT_ATTR_NOSYSTEM": "1",
            "GIT_NO_REPLACE_OBJECTS": "1",
            "GIT_NO_LAZY_FETCH": "1",
            "GIT_ALLOW_PROTOCOL": "none",
            "GIT_TERMINAL_PROMPT": "0",
            "GIT_OPTIONAL_LOCKS": "0",
            "HOME": self.directory,
            "PATH": "",
            "LC_ALL": "C",
        }
        process = subprocess.Popen(
            [self.program, "--no-pager", *words],
            stdin=given,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            cwd=self.directory,
            env=environment,
        )
        with suppress(OSError, ValueError):
            resource.prlimit(process.pid, resource.RLIMIT_AS, (MEMORY, MEMORY))
        return process

    def listing(self, *words: str, given: bytes, until: float) -> tuple[bytes, bool]:
        """Return what git answers, and whether that is all of it."""
        with tempfile.TemporaryFile() as asked, tempfile.TemporaryFile() as answer:
            asked.write(given)
            asked.seek(0)
            process = self.start(*words, given=asked)
            whole = _drained(process, answer, until)
            answer.seek(0)
            return answer.read(), whole

    def blobs(self, starts: Sequence[bytes], until: float) -> tuple[list[_Blob], list[str]]:
        """Return each blob once, the newest first, with the oldest commit that has it; and what was not read."""
        told = ["a part of its objects lies in another repository (alternates), which is not looked into"]
        told = told if self.elsewhere else []
        asked = ("rev-list", "--stdin", "--ignore-missing", f"--max-count={COMMITS}")
        given = b"".join(one + b"\n" for one in starts)
        commits, whole = self.listing(*asked, "--topo-order", given=given, until=until)
        if not whole:  # in this order nothing is said before all is read; in the other what there is until it breaks
            commits, _ = self.listing(*asked, given=given, until=until)
        words = ("diff-tree", "--stdin", "--root", "-r", "-c", "--raw", "--no-renames", "--no-abbrev", "-z")
        changes, all_ = self.listing(*words, given=commits, until=until)
        if not (whole and all_):
            told.append("its history is broken or too large, and was read as far as it goes")
        elif commits.count(b"\n") >= COMMITS:
            told.append(f"of its commits the newest {COMMITS:,} were read")
        found: dict[bytes, _Blob] = {}
        for blob in _changed(changes):
            if blob.oid in found or len(found) < BLOBS:
                found[blob.oid] = blob  # its place stays, its commit is an older one
        return list(found.values()), told

    def tip(self) -> frozenset[bytes]:
        """Return the blobs of HEAD: of a bare repository they are what it has for files."""
        if not self.head:
            return frozenset()
        words = ("ls-tree", "-r", "-z", self.head.decode())
        listed, _ = self.listing(*words, given=b"", until=monotonic() + SCANNING)
        return frozenset(one.split()[2] for one in listed.split(b"\0") if one.count(b" ") > 1)

    def contents(self, blobs: Sequence[_Blob], until: float, told: list[str]) -> Iterator[tuple[_Blob, bytes]]:
        """Yield the texts among blobs that are no larger than WHOLE, until TOTAL bytes or the time are spent."""
        ids = b"".join(one.oid + b"\n" for one in blobs)
        form = "--batch-check=%(objecttype) %(objectsize)"
        sizes, _ = self.listing("cat-file", form, "--buffer", given=ids, until=until)
        wanted: list[_Blob] = []
        left, large, missing = TOTAL, 0, 0
        for blob, line in zip(blobs, sizes.split(b"\n"), strict=False):
            kind, _, size = line.partition(b" ")
            missing += kind != b"blob"
            if kind == b"blob" and int(size) > WHOLE:
                large += 1
            elif kind == b"blob" and left - int(size) >= 0:
                left -= int(size)
                wanted.append(blob)
        told += [f"{large} of its blobs are larger than {WHOLE >> 20} MiB"] if large else []
        told += [f"{missing} of its blobs are not there"] if missing else []
        if len(wanted) + large + missing < len(blobs):
            told.append("it has more than is looked at")
        with tempfile.TemporaryFile() as asked:
            asked.write(b"".join(one.oid + b"\n" for one in wanted))
            asked.seek(0)
            process = self.start("cat-file", "--batch", "--buffer", given=asked)
            assert process.stdout is not None
            # What git reads from may block (a pipe among its packs): then only its end ends our waiting.
            with process.stdout, _ended(process, until):
                for blob in wanted:
                    about = process.stdout.readline().split()
                    if len(about) != 3 or monotonic() > until:
                        told.append("not all of its blobs could be read in time")
                        return
                    data = process.stdout.read(int(about[2]) + 1)[:-1]
                    if data and b"\0" not in data[:HEAD]:
                        yield blob, data


@contextmanager
def _ended(process: "subprocess.Popen[bytes]", until: float) -> Iterator[None]:
    from threading import Timer

    timer = Timer(max(0.0, until - monotonic()), process.kill)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
        process.kill()
        process.wait()


def _drained(process: "subprocess.Popen[bytes]", answer: IO[bytes], until: float) -> bool:
    """Keep what a process says, up to LISTING bytes; return whether it has said all and ended well."""
    assert process.stdout is not None
    left = LISTING
    with process.stdout, _ended(process, until):
        while left > 0 and (part := process.stdout.read(min(left, 1 << 20))):
            answer.write(part)
            left -= len(part)
        return left > 0 and process.wait() == 0


def _changed(changes: bytes) -> Iterator[_Blob]:
    """Yield the files that commits brought in: `git diff-tree --raw -z`, that of a merge (-c) with several sources."""
    commit = ""
    fields = iter(changes.split(b"\0"))
    for one in fields:
        if not one.startswith(b":"):
            commit = one.decode(errors="replace").strip() or commit
            continue
        parents = len(one) - len(one.lstrip(b":"))
        words = one.lstrip(b":").split(b" ")
        path = next(fields, b"").decode(errors="backslashreplace")
        if len(words) > 2 * parents + 1 and words[parents].startswith(b"100"):
            yield _Blob(words[2 * parents + 1], commit, path)


# --- scanning --------------------------------------------------------------------------------------


def _batches(of: Iterable[tuple[_Blob, bytes]]) -> Iterator[list[tuple[_Blob, bytes]]]:
    batch: list[tuple[_Blob, bytes]] = []
    for one in of:
        batch.append(one)
        if len(batch) >= BATCH_BLOBS or sum(len(data) for _, data in batch) >= BATCH_BYTES:
            yield batch
            batch = []
    if batch:
        yield batch


Found = tuple[list[tuple[_Blob, Credential]], list[tuple[_Blob, str]]]


class _Scanners:
    """Processes that scan. One that a blob has ended is replaced, and its blobs are tried one by one."""

    def __init__(self, begin: Callable[[bytes], Scan], key: bytes) -> None:
        self._begin, self._key = begin, key

    def __enter__(self) -> "_Scanners":
        self._start()
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown(wait=True, cancel_futures=True)

    def _start(self) -> None:
        context = multiprocessing.get_context("forkserver")
        self._pool = ProcessPoolExecutor(PROCESSES, context, _ready, (self._begin, self._key))

    def look(self, batch: Sequence[tuple[_Blob, bytes]], repository: str) -> Found:
        half = (len(batch) + 1) // 2
        parts = [list(batch[:half]), list(batch[half:])]
        try:
            results = list(self._pool.map(_scanned, parts, [repository] * 2))
        except BrokenProcessPool:
            self._start()
            if len(batch) == 1:
                return [], [(batch[0][0], "it ended the process that read it")]
            results = [self.look([one], repository) for one in batch]
        return [one for seen, _ in results for one in seen], [one for _, lost in results for one in lost]


_scan: list[Scan] = []  # of this process


def _ready(begin: Callable[[bytes], Scan], key: bytes) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # who asked ends us

    def ring(*_: object) -> None:
        raise TimeoutError

    signal.signal(signal.SIGALRM, ring)
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, resource.getrlimit(resource.RLIMIT_AS)[1]))
    _scan[:] = [begin(key)]


def _scanned(blobs: Sequence[tuple[_Blob, bytes]], repository: str) -> Found:
    seen: list[tuple[_Blob, Credential]] = []
    lost: list[tuple[_Blob, str]] = []
    for blob, data in blobs:
        signal.setitimer(signal.ITIMER_REAL, SCANNING, SCANNING)
        try:
            found = _scan[0](blob.path, data, repository, True)
            seen += [(blob, one) for one in found.sightings if isinstance(one, Credential)]
        except Exception as error:  # what it says may quote the blob
            lost.append((blob, f"reading it failed ({type(error).__name__})"))
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
    return seen, lost
