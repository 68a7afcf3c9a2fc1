"""Repositories: which there are below some folders, and from which commits their histories begin. Read as text."""

import os
import re
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

from taskbound.posture.seen import Unread

COMMITS = 200_000  # of one repository
REFS = 64 << 20  # bytes of a file of refs or of a reflog that are read
DEPTH = 64  # folders in one another
# Never looked into for repositories: what others installed, what tools made.
SKIPPED = frozenset({"node_modules", "site-packages", "__pycache__", ".tox", ".nox", ".terraform", ".gradle"})
OID = re.compile(rb"\b(?:[0-9a-f]{64}|[0-9a-f]{40})\b")


@dataclass(slots=True)
class Repository:
    """One store of objects, with every checkout of it that was found."""

    store: str  # the directory that git keeps everything in
    shown: str  # as paths name it: portal/.git, portal.git
    name: str
    checkouts: list[str] = field(default_factory=list)  # what paths of its files begin with; none: it is a bare one


class Unreadable(Exception):
    """Why a repository was not read, or not to its end."""


def repositories_below(roots: Sequence[tuple[Path, str]], unread: list[Unread]) -> list[Repository]:
    """Return the repositories below some folders, each once, in the order of the walk."""
    found: dict[str, Repository] = {}
    for root, start in roots:
        waiting = [(os.path.realpath(root), start, 0)]
        while waiting:
            folder, shown, depth = waiting.pop()
            try:
                with os.scandir(folder) as listing:
                    entries = {one.name: one for one in sorted(listing, key=lambda one: one.name)}
                bare = {"HEAD", "objects", "refs"} <= entries.keys()
                store = folder if bare else _store(folder) if ".git" in entries else ""
            except (OSError, Unreadable) as error:
                if isinstance(error, Unreadable):
                    unread.append(Unread(text_of(f"{shown}/.git" if shown else ".git"), str(error)))
                continue  # what cannot be listed is told by who reads the files
            if store:
                at = text_of(shown if bare else f"{shown}/.git" if shown else ".git") or os.path.basename(folder)
                name = text_of(os.path.basename(folder))
                one = found.setdefault(store, Repository(store, at, name.removesuffix(".git") or name))
                if not bare:
                    one.checkouts.append(text_of(shown))
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
        raise Unreadable("it is a link")
    if not os.path.isdir(own):
        text = read_up_to(own, 4096)
        if not text.startswith(b"gitdir:"):
            raise Unreadable("it is neither a repository nor says where one is")
        own = os.path.join(folder, os.fsdecode(text.removeprefix(b"gitdir:").strip()))
    common = os.path.join(own, "commondir")
    if os.path.isfile(common):
        own = os.path.join(own, os.fsdecode(read_up_to(common, 4096).strip()))
    store = os.path.realpath(own)
    if not os.path.isdir(os.path.join(store, "objects")):
        raise Unreadable("it is no repository, or its objects are not there")
    return store


def text_of(path: str) -> str:
    return os.fsencode(path).decode(errors="backslashreplace")


def read_up_to(file: str, limit: int) -> bytes:
    number = os.open(file, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    with open(number, "rb") as opened:
        return opened.read(limit) if os.path.isfile(file) else b""


def starts_of(store: str) -> tuple[list[bytes], bytes]:
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
            text = read_up_to(file, REFS)
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
        head = read_up_to(os.path.join(store, "HEAD"), 4096).strip()
    head = heads.get(head.removeprefix(b"ref:").strip(), b"") if head.startswith(b"ref:") else head
    return list(islice(found, COMMITS)), head
