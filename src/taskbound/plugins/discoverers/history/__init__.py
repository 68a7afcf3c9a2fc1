"""The history of git repositories: credentials that were taken out of the files and can be had from every clone.

Of a repository git is shown nothing but its objects. Its own directory is a new one of ours that links to their
folders and has an empty configuration; what the repository says by `config`, hooks, attributes, filters, alternates
or a promisor is never read, so nothing of it is run, fetched or followed. Where its refs and reflogs point to is
read here, as text. That directory is ours, so that who owns the repository does not matter (safe.directory).

Each distinct blob is read once, by `git cat-file --batch`, and scanned in a process of its own. A commit is named
with what it brought in: the oldest one that has the blob.
"""

import subprocess
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from time import monotonic

from taskbound.plugins.discoverers.history.git import Blob, own_directory
from taskbound.plugins.discoverers.history.repositories import Repository, Unreadable, repositories_below
from taskbound.plugins.discoverers.history.scanners import Scanners
from taskbound.posture.seen import Scan, Seen, Unread
from taskbound.posture.sighting import Credential, Holder, Place

SPOT = "git-history"
PATIENCE = 300.0  # seconds that one repository may take
BATCH_BLOBS, BATCH_BYTES = 256, 4 << 20
SHORT = 10  # digits of a commit


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
        for repository in repositories_below(self._roots, unread):
            try:
                yield from self._look(repository)
            except Unreadable as error:
                unread.append(Unread(repository.shown, str(error)))
            except (OSError, ValueError, subprocess.SubprocessError) as error:
                unread.append(Unread(repository.shown, f"its history cannot be read ({type(error).__name__})"))
        yield Seen(unread=tuple(unread))

    def _look(self, repository: Repository) -> Iterator[Seen]:
        known = {one.mark for one in self._present if any(_is_below(one.place.path, at) for at in repository.checkouts)}
        until = monotonic() + PATIENCE
        with own_directory(repository) as (git, starts):
            blobs, told = git.blobs(starts, until)
            tip = git.tip() if not repository.checkouts else frozenset()
            with Scanners(self._begin, self._key) as scanners:
                found: dict[str, tuple[Blob, Credential]] = {}  # by mark: the oldest place, the tip's before all others
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


def _placed(blob: Blob, one: Credential, repository: Repository, is_tip: bool) -> Credential:
    """Return a credential at its place: of a bare repository what its HEAD has as a file's, else as the history's."""
    one = replace(one, place=Place(_shown(repository, blob), one.place.line))
    holder = Holder("file", f"history:{repository.name}", repository.name)
    return one if is_tip else replace(one, holder=holder, spot=SPOT)


def _shown(repository: Repository, blob: Blob) -> str:
    return f"{repository.shown}!/{blob.commit[:SHORT]}:{blob.path}"


def _is_below(path: str, folder: str) -> bool:
    return not folder or path == folder or path.startswith(f"{folder}/")


def _batches(of: Iterable[tuple[Blob, bytes]]) -> Iterator[list[tuple[Blob, bytes]]]:
    batch: list[tuple[Blob, bytes]] = []
    for one in of:
        batch.append(one)
        if len(batch) >= BATCH_BLOBS or sum(len(data) for _, data in batch) >= BATCH_BYTES:
            yield batch
            batch = []
    if batch:
        yield batch
