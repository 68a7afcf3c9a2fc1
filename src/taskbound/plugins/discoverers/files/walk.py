"""The walk: regular files below what was named, in the order of their names, each with its repository.

Nothing is followed out of what was named. Which repository a file belongs to, in this order: the nearest folder above
it, within or above what was named, that holds `.git`; the folder that lies directly in one called `repos` or as in
COLLECTIONS; where what was named holds nothing but folders, none of them a collection, the first of them on the way;
else what was named.
"""

import os
import stat
from collections.abc import Iterator, Sequence, Set
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from taskbound.posture.seen import Unread

COLLECTIONS = frozenset({"repos", "repositories", "checkouts", "projects", "workspaces"})
# Never looked into: what git keeps, what others installed, what tools made. Environments of Python: pyvenv.cfg.
SKIPPED = frozenset(
    {".git", ".hg", ".svn", "node_modules", "bower_components", "__pycache__", "site-packages", ".tox", ".nox"}
    | {".mypy_cache", ".pytest_cache", ".ruff_cache", ".import_linter_cache", ".gradle", ".terraform"}
)


@dataclass(frozen=True, slots=True)
class Root:
    """Something that was named to be looked at: a folder or a file."""

    place: Path
    shown: str = ""  # what paths below it begin with: "", "repos/portal", "~/.aws"
    listed: bool = False  # a folder of exported lists
    repository: str | None = None  # None: as the rule above says


class File(NamedTuple):  # handed from process to process, as many as there are: a dataclass takes three times as long
    real: str
    path: str
    repository: str
    size: int
    listed: bool


class Repositories:
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
            if self.names.setdefault(shown_as(name), folder) == folder:
                return shown_as(name)
        return shown_as(folder)

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


def files_below(top: str, root: Root, others: Set[str], repositories: Repositories) -> Iterator[File]:
    """Yield the regular files below a root, in the order of their names, without following what leads elsewhere."""
    try:
        about = os.stat(top)
    except OSError as error:
        repositories.unread.append(Unread(shown_as(root.shown or str(root.place)), why_of(error)))
        return
    if not stat.S_ISDIR(about.st_mode):
        shown = shown_as(root.shown or str(root.place))
        if stat.S_ISREG(about.st_mode):
            name = repositories.of_file(top) if root.repository is None else root.repository
            yield File(top, shown, name, about.st_size, root.listed)
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
            repositories.unread.append(Unread(shown_as(shown or str(root.place)), why_of(error)))
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


def _of_top(top: str, entries: "Sequence[os.DirEntry[str]]", repositories: Repositories) -> tuple[str, bool, bool]:
    """Return the repository of what was named, whether folders below may be others, and whether each first one is."""
    if above := repositories.above(top):
        return repositories.name(above), False, False
    parts = Path(top).parts
    if collected := next((n + 1 for n, part in enumerate(parts[:-1]) if part in COLLECTIONS), None):
        return repositories.name(os.path.join(*parts[: collected + 1])), False, False
    own = shown_as(os.path.basename(top))
    if os.path.basename(top) in COLLECTIONS:
        return own, True, True
    are_folders = all(one.is_dir(follow_symlinks=False) and one.name not in COLLECTIONS for one in entries)
    return own, True, are_folders


def _file_of(
    entry: "os.DirEntry[str]", path: str, repository: str, listed: bool, top: str, repositories: Repositories
) -> File | None:
    """Return what an entry of a folder is to be read as; None for a folder, and for what is not read, which is told."""
    why = ""
    try:
        if entry.is_symlink():  # within what was named its target is seen where it lies
            target = os.path.realpath(entry.path)
            why = "" if target == top or target.startswith(top.rstrip("/") + "/") else "it leads out of what was named"
        elif entry.is_file(follow_symlinks=False):
            return File(entry.path, shown_as(path), repository, entry.stat(follow_symlinks=False).st_size, listed)
        elif not entry.is_dir(follow_symlinks=False):
            why = "it is no regular file"
    except OSError as error:
        why = why_of(error)
    if why:
        repositories.unread.append(Unread(shown_as(path), why))
    return None


def shown_as(path: str) -> str:
    """Return a path as text, whatever bytes it has."""
    return path if path.isascii() else os.fsencode(path).decode(errors="backslashreplace")


def why_of(error: OSError) -> str:
    vanished = isinstance(error, FileNotFoundError)
    return "it is not there" if vanished else (error.strerror or type(error).__name__).lower()
