"""Git, shown nothing of a repository but its objects: what it is asked, and what it answers, within bounds."""

import os
import resource
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from threading import Timer
from time import monotonic
from typing import IO

from taskbound.plugins.discoverers.history.repositories import COMMITS, Repository, Unreadable, starts_of

LISTED = 15.0  # seconds that the list of the files of HEAD may take
TOTAL = 1 << 30  # bytes of blobs of one repository; the newest come first
WHOLE = 4 << 20  # bytes of a blob
BLOBS = 500_000  # of one repository
LISTING = 256 << 20  # bytes of a list of refs, commits or changes that are read
MEMORY = 2 << 30  # bytes of address space of git
HEAD = 8000  # bytes in which a NUL says that it is no text, as git does
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


@dataclass(frozen=True, slots=True)
class Blob:
    oid: bytes
    commit: str
    path: str


@contextmanager
def own_directory(repository: Repository) -> "Iterator[tuple[Git, list[bytes]]]":
    """Make a directory of ours that has the repository's objects and nothing else of it."""
    program = shutil.which("git")
    if not program:
        raise Unreadable("git is not installed")
    starts, head = starts_of(repository.store)
    if not starts:
        reftable = os.path.isdir(os.path.join(repository.store, "reftable"))
        raise Unreadable("its refs are kept as reftable, which is not read" if reftable else "it has no commit")
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
        yield Git(program, own, head, elsewhere), starts


@dataclass(frozen=True, slots=True)
class Git:
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

    def blobs(self, starts: Sequence[bytes], until: float) -> tuple[list[Blob], list[str]]:
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
        found: dict[bytes, Blob] = {}
        for blob in _changed(changes):
            if blob.oid in found or len(found) < BLOBS:
                found[blob.oid] = blob  # its place stays, its commit is an older one
        return list(found.values()), told

    def tip(self) -> frozenset[bytes]:
        """Return the blobs of HEAD: of a bare repository they are what it has for files."""
        if not self.head:
            return frozenset()
        words = ("ls-tree", "-r", "-z", self.head.decode())
        listed, _ = self.listing(*words, given=b"", until=monotonic() + LISTED)
        return frozenset(one.split()[2] for one in listed.split(b"\0") if one.count(b" ") > 1)

    def contents(self, blobs: Sequence[Blob], until: float, told: list[str]) -> Iterator[tuple[Blob, bytes]]:
        """Yield the texts among blobs that are no larger than WHOLE, until TOTAL bytes or the time are spent."""
        ids = b"".join(one.oid + b"\n" for one in blobs)
        form = "--batch-check=%(objecttype) %(objectsize)"
        sizes, _ = self.listing("cat-file", form, "--buffer", given=ids, until=until)
        wanted: list[Blob] = []
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


def _changed(changes: bytes) -> Iterator[Blob]:
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
            yield Blob(words[2 * parents + 1], commit, path)
