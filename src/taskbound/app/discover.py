"""Discovery without a world: who holds which credentials in files. Reads what is named, changes and sends nothing."""

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import date
from pathlib import Path
from time import monotonic

from taskbound.app.home import places_of
from taskbound.core.errors import InvalidRequest
from taskbound.plugins.discoverers.files import Files, Root
from taskbound.plugins.discoverers.files.walk import SKIPPED
from taskbound.plugins.discoverers.history import History
from taskbound.plugins.discoverers.tracked import is_untracked
from taskbound.posture.entries import Looked
from taskbound.posture.findings import Finding, find
from taskbound.posture.report import Gathered, Report, word
from taskbound.posture.seen import Scan
from taskbound.posture.sighting import Credential, Sighting
from taskbound.posture.standing import Suppression, judge, read_baseline, read_suppressions
from taskbound.posture.unlisted import unlisted

KEY_FILE, KEY_SIZE = "discover.key", 32  # bytes
SUPPRESSIONS = Path(".taskbound/suppressions.toml")  # in what is looked at, where no file is named
NAMED = 3  # PATHs that the first line names before it says how many more there are
LIMIT = 32 << 20  # bytes of a baseline or a suppressions file that was named
OWN_LIMIT = 64 << 10  # bytes of a suppressions file that was not: reading TOML takes time by the square of a line


@dataclass(frozen=True, slots=True)
class Discovery:
    """What is asked for."""

    as_of: date
    paths: tuple[Path, ...] = ()
    home: Path | None = None  # the home directory, where this person's own places are to be read
    export: Path | None = None
    postgres: tuple[str, ...] = ()  # addresses of servers that are asked about their logins, without passwords
    redis: tuple[str, ...] = ()
    history: bool = False  # also of the repositories below the paths
    baseline: Path | None = None
    suppress: Path | None = None
    but: tuple[Path, ...] = ()  # files that are left out: what this command itself writes
    state: Path | None = None  # the state directory, for the key
    tell: Callable[[Gathered], None] = field(default=lambda _: None)


def discover(asked: Discovery) -> Report:
    """Look at everything that was named, and return what is to be told. Raises InvalidRequest, OSError."""
    began = monotonic()
    baseline = read_baseline(str(asked.baseline), _read(asked.baseline)) if asked.baseline else None
    suppressions = _suppressions(asked)
    within = _within(asked)
    seen = gather(asked)
    findings = findings_of(asked, seen)
    standing = judge(findings, baseline, suppressions, asked.as_of)
    seconds = monotonic() - began
    if by_file := _names_files_alone(asked):
        standing = replace(standing, gone=(), idle=())  # they may be in any file that was not named
    return Report(_where(asked), asked.as_of, seen, standing, seconds, _again(asked), within, by_file)


def findings_of(asked: Discovery, seen: Gathered) -> list[Finding]:
    """Return what is wrong with what was seen, under the ids that everybody gets who looks at the same."""
    return find(seen.sightings, asked.as_of, _checkout(asked))


def gather(asked: Discovery, key: bytes | None = None) -> Gathered:
    """Look at everything that was named, and return what was seen. Raises InvalidRequest, OSError.

    `key`: that of the marks, for who compares them with others.
    """
    own = [one for one in (asked.baseline, asked.suppress, *asked.but) if one]
    seen = Gathered()
    roots, key = roots_of(asked), key or mark_key(asked.state)
    if asked.postgres or asked.redis:
        from taskbound.app.issuers import look, to_look_at

        for part in look(to_look_at(asked.postgres, asked.redis, os.environ)):
            seen.add(part)
            asked.tell(seen)
    for part in Files(roots, scanner, key, but=own).discover():
        seen.add(part)
        asked.tell(seen)
    seen.unread += unlisted(seen.sightings, [one.shown for one in roots if one.listed])
    found: dict[str, bool] = {}
    seen.sightings = [_on_this_machine(one, roots, found) for one in seen.sightings]
    if asked.history:
        present = [one for one in seen.sightings if isinstance(one, Credential)]
        folders = [(one.place, one.shown) for one in roots if one.repository is None and one.place.is_dir()]
        for part in History(folders, scanner, key, present).discover():
            seen.add(replace(part, known=seen.known))
            asked.tell(seen)
    return seen


def _on_this_machine(one: Sighting, roots: Sequence[Root], found: dict[str, bool]) -> Sighting:
    """Say of an environment file that its checkout of git does not have it: by git nobody else has it either.

    `found`: what is known of paths already.
    """
    if not (isinstance(one, Credential) and one.spot == "dotenv"):
        return one
    path = one.place.path
    if path not in found:
        at = next((root for root in roots if not root.shown or f"{path}/".startswith(f"{root.shown}/")), None)
        rest = path.removeprefix(at.shown).lstrip("/") if at else ""
        found[path] = at is not None and is_untracked(at.place / rest)
    return replace(one, spot="dotenv-local") if found[path] else one


def looked_at(asked: Discovery, seen: Gathered) -> Looked:
    """Return what was looked at, for who compares it with an earlier time."""
    from taskbound.app.issuers import to_look_at

    servers = to_look_at(asked.postgres, asked.redis, os.environ) if asked.postgres or asked.redis else []
    return Looked(
        roots=tuple((one.shown, os.path.abspath(one.place)) for one in roots_of(asked)),
        servers=tuple(one.name for one in servers),
        unread=frozenset(one.path for one in seen.unread),
        skipped=SKIPPED,
        history=asked.history,
    )


def scanner(key: bytes) -> Scan:
    """Return what scans a file. What it takes is imported where there is one to look at."""
    from taskbound.app import scanning

    return scanning.scanner(key)


def mark_key(state: Path | None) -> bytes:
    """Return the key of the marks: kept beside the keys of an installation, so that it is made there once.

    Without one, or where it cannot be read, it lives as long as this run.
    """
    keys = state / "keys" if state else None
    if keys and keys.is_dir():
        with suppress(OSError):
            return _kept_key(keys / KEY_FILE)
    return os.urandom(KEY_SIZE)


def _kept_key(file: Path) -> bytes:
    with suppress(FileNotFoundError):
        return _whole_key(file)
    fresh = file.with_name(f".{file.name}.{os.getpid()}")
    try:
        with open(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600), "wb") as new:
            new.write(os.urandom(KEY_SIZE))
            new.flush()
            os.fsync(new.fileno())
        with suppress(FileExistsError):  # another one was faster: its key is the key
            os.link(fresh, file)
    finally:
        fresh.unlink(missing_ok=True)
    return _whole_key(file)


def _whole_key(file: Path) -> bytes:
    key = file.read_bytes()
    if len(key) != KEY_SIZE:
        raise OSError(f"{file} is no key")
    return key


def roots_of(asked: Discovery) -> list[Root]:
    """Return what is looked at. Of one folder paths are relative to it; of several they begin as they were named."""
    beside = asked.export and not any(_is_within(asked.export, one) for one in asked.paths)
    alone = len(asked.paths) == 1 and asked.paths[0].is_dir() and not beside
    roots = [Root(path, "" if alone else _shown(path)) for path in asked.paths]
    for path in asked.paths:
        path.lstat()  # what was named and is not there is an error; what vanishes later is told
    if asked.home:
        roots += [Root(place, shown, repository="") for place, shown in places_of(asked.home)]
    if asked.export:
        if not asked.export.is_dir():
            raise InvalidRequest(f"{asked.export} is no folder of exported lists", hint="--export DIR")
        within = [one for one in asked.paths if _is_within(asked.export, one)]
        shown = _shown(asked.export)
        if within and alone:
            shown = os.path.relpath(os.path.realpath(asked.export), os.path.realpath(within[0]))
        roots.insert(0, Root(asked.export, "" if shown == "." else shown, listed=True, repository=""))
    return roots


def _shown(path: Path) -> str:
    """Return a path as it was named, without `./` and `..` where it lies below the working directory."""
    plain = os.path.normpath(path)
    inside = os.path.relpath(plain) if path.is_absolute() else plain
    return plain if inside.startswith("..") else "" if inside == "." else inside


def _is_here(path: Path) -> bool:
    return _is_within(path, Path("."))


def _is_within(inner: Path, outer: Path) -> bool:
    real = Path(os.path.realpath(inner))
    return real == Path(os.path.realpath(outer)) or Path(os.path.realpath(outer)) in real.parents


def _checkout(asked: Discovery) -> str:
    """Return what the folder is called, where one is looked at alone, or only files are named, from within it.

    So files of a commit are known by what all of the checkout is.
    """
    if _names_files_alone(asked):
        return Path(os.path.realpath(".")).name
    return Path(os.path.realpath(asked.paths[0])).name if len(asked.paths) == 1 else ""


def _names_files_alone(asked: Discovery) -> bool:
    return bool(asked.paths) and not (asked.home or asked.export or any(one.is_dir() for one in asked.paths))


def _where(asked: Discovery) -> str:
    paths = [str(one) for one in asked.paths]
    more = f" and {len(paths) - 2:,} more" if len(paths) > NAMED else ""
    named = [", ".join(paths[:2] if more else paths) + more] if paths else []
    named += (["~"] if asked.home else []) + ([str(asked.export)] if asked.export else [])
    return ", ".join((*named, *asked.postgres, *asked.redis))


def _again(asked: Discovery) -> str:
    """Return the words by which a command of a shell looks at the same files; "" where it is this folder alone."""
    named = () if asked.paths == (Path("."),) and not (asked.home or asked.export) else asked.paths
    words = [word(str(one)) for one in named] + (["--home"] if asked.home else [])
    words += ["--export", word(str(asked.export))] if asked.export else []
    return " ".join(words)


def _within(asked: Discovery) -> str:
    """Return the one folder that paths are relative to, where it is not this one."""
    roots = roots_of(asked) if len(asked.paths) == 1 else []
    alone = next((one.place for one in roots if not one.shown and one.place == asked.paths[0]), None)
    is_elsewhere = alone and alone.is_dir() and os.path.realpath(alone) != os.path.realpath(".")
    return _shown(alone) if alone and is_elsewhere else ""


def _suppressions(asked: Discovery) -> tuple[Suppression, ...]:
    """Return those of the file that was named, else of each folder that is looked at."""
    if asked.suppress:
        return read_suppressions(str(asked.suppress), _read(asked.suppress))
    return tuple(
        one for file in _own_suppressions(asked.paths) for one in read_suppressions(str(file), _read(file, OWN_LIMIT))
    )


def _own_suppressions(paths: Sequence[Path]) -> Iterator[Path]:
    """Yield those of each folder, and for files that are named those of the folder that they are named from."""
    folders = dict.fromkeys(path if path.is_dir() else Path(".") for path in paths if path.is_dir() or _is_here(path))
    for path in folders:
        file = path / SUPPRESSIONS
        if file.is_file() and _is_within(file, path):  # what a link leads to outside was not named
            yield file


def _read(file: Path, limit: int = LIMIT) -> bytes:
    with file.open("rb") as opened:
        data = opened.read(limit + 1)
    if len(data) > limit:
        raise InvalidRequest(f"{file} has more than {limit >> 10} KiB", code="invalid_config")
    return data
