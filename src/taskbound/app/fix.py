"""Fixing: what a finding is about is taken out of files, in an order in which nothing is lost.

The values are kept in their targets first, durably, then what undoes it all is written down, and only then are the
files replaced, each whole or not at all. Whatever fails before leaves every file as it was; what fails between two of
them puts the first ones back. Nothing that is written here but the targets' own files holds a value.
"""

import hashlib
import json
import os
import re
import stat
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from secrets import token_urlsafe
from typing import Any
from urllib.parse import unquote, urlsplit

from taskbound.app import targets
from taskbound.app.discover import Discovery, findings_of, gather, mark_key, mark_of, roots_of
from taskbound.app.places import login
from taskbound.core.errors import Conflict, InvalidRequest, NotFound
from taskbound.core.secret import Secret
from taskbound.plugins.discoverers.files import Root
from taskbound.ports import Issuer
from taskbound.posture.detection import Detector
from taskbound.posture.findings import Finding
from taskbound.posture.moved import ENDINGS, MOVABLE, Move, Moved, Names, credentials_of, diff, move, undone
from taskbound.posture.oidc import patched
from taskbound.posture.parsers import parse
from taskbound.posture.rules.draft import label
from taskbound.posture.rules.leaks import CLOUD
from taskbound.posture.sighting import Credential, Place, Sighting
from taskbound.posture.splice import LARGEST

RECORDS = "keys/fixes"  # of the state directory: what undoes each fix; no value stands there
JOURNAL = "fixes.jsonl"  # in the state directory: what was fixed and put back, by whom and when
WORKFLOW = re.compile(r"(?:^|/)\.(?:github|gitea|forgejo)/workflows/[^/]+\.ya?ml$")
# How a credential of a kind ends at its issuer, by the beginning of its kind.
ENDS: Mapping[str, str] = {
    "postgres-password": "taskbound fix {id} --kill --postgres postgresql://ADMIN@HOST/DATABASE",
    "redis-password": "taskbound fix {id} --kill --redis redis://ADMIN@HOST",
    "github-": "delete it: its owner's Settings, Developer settings, Personal access tokens",
    "aws-": "aws iam update-access-key --status Inactive --user-name … --access-key-id …, and delete it in two weeks",
    "gcp-": "gcloud iam service-accounts keys delete … --iam-account …",
    "azure-": "az ad app credential delete --id … --key-id …",
    "gitlab-": "glab api --method DELETE personal_access_tokens/…",
    "stripe-": "roll the key in the dashboard, under Developers, API keys",
    "slack-": "revoke it: auth.revoke of the Slack API",
}
SCHEMES = {"postgresql": "postgresql", "postgres": "postgresql", "redis": "redis", "rediss": "redis"}
ID = re.compile(r"[0-9a-f]{12}[0-9]*")


@dataclass(frozen=True, slots=True)
class Pipeline:
    """A workflow that would sign in by OIDC."""

    file: Path
    path: str
    before: bytes = field(repr=False)
    after: bytes = field(repr=False)
    steps: tuple[str, ...]  # what a person does for it, in order


@dataclass(frozen=True, slots=True)
class Fix:
    """What is to be done about a finding, before anything is."""

    finding: Finding
    files: tuple[tuple[Path, Moved], ...]
    names: Names = field(repr=False)
    elsewhere: tuple[Place, ...]  # where the same credentials lie beside it
    detector: Detector = field(repr=False)
    pipelines: tuple[Pipeline, ...] = ()  # written only on request
    steps: tuple[str, ...] = ()  # what nobody but a person can do, in order

    @property
    def targets(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(one.target for _, moved in self.files for one in moved.moves))

    def diff(self) -> Iterator[str]:
        for _, moved in self.files:
            yield from diff(moved.path, moved.before, moved.after, moved.hidden, self.detector)
        for one in self.pipelines:
            yield from diff(one.path, one.before, one.after, (), self.detector)


@dataclass(frozen=True, slots=True)
class Looked:
    """What was seen, with what compares it."""

    finding: Finding
    sightings: Sequence[Sighting]
    roots: Sequence[Root]
    detector: Detector


def look(asked: Discovery, id: str) -> Looked:
    """Look again, and return the finding of an id. Raises NotFound, InvalidRequest, OSError."""
    require_id(id)
    key = mark_key(asked.state)
    seen = gather(asked, key)
    sightings = seen.sightings
    finding = next((one for one in findings_of(asked, seen) if one.id == id), None)
    if finding is None:
        raise NotFound(f"there is no finding {id} here", hint="taskbound discover prints those that there are")
    return Looked(finding, sightings, roots_of(asked), Detector(partial(mark_of, key)))


def require_id(id: str) -> None:
    """Raises InvalidRequest for what is no id of a finding: it becomes a file's name."""
    if not ID.fullmatch(id):
        raise InvalidRequest("that is no id of a finding", hint="it is in the first line of a finding of discover")


def plan(looked: Looked, state: Path) -> Fix:
    """Return what can be done about a finding, and what else is to be. Changes nothing.

    Of a credential that a pipeline holds too, each holder's part is its own: what an agent or a service reads becomes a
    reference, a workflow signs in by OIDC where the issuer is a cloud, and all else is told. Raises Conflict where
    nothing can be done here, OSError.
    """
    finding = looked.finding
    about = credentials_of(finding, looked.sightings)
    movable = [one for one in about if one.spot in MOVABLE and "!/" not in one.place.path]
    is_shared = finding.case.startswith("credential-shared")
    rest = [one for one in about if one not in movable and not _is_workflow(one.place.path)]
    if rest and not is_shared:
        raise Conflict(f"{_at(rest[0])}: what reads this file finds no reference there", hint=finding.next)
    pipelines, steps = _pipelines(looked, about)
    files, names = _moved(looked, movable, state)
    if not files and not pipelines and not is_shared:
        hint = steps[0] if steps else finding.next
        raise Conflict("it is about no literal secret in a file that can be changed here", hint=hint)
    steps += [f"{_at(one)}: take it out by hand, {label(one)}" for one in rest]
    if is_shared:
        steps += _ended(finding, about)
    marks, paths = {one.mark for one in about}, {one.path for _, one in files} | {one.path for one in pipelines}
    elsewhere = [
        one.place
        for one in looked.sightings
        if isinstance(one, Credential) and one.mark in marks and one.place.path not in paths and one not in rest
    ]
    where = tuple(dict.fromkeys(elsewhere))
    return Fix(finding, tuple(files), names, where, looked.detector, tuple(pipelines), tuple(dict.fromkeys(steps)))


def _moved(looked: Looked, movable: Sequence[Credential], state: Path) -> tuple[list[tuple[Path, Moved]], Names]:
    known: dict[str, Secret | None] = dict.fromkeys((*targets.configured(state), *targets.folders(state)))
    known |= targets.kept(state)
    names, files = Names(known), list[tuple[Path, Moved]]()
    for path in dict.fromkeys(one.place.path for one in movable):
        real = real_path(looked.roots, path)
        data = read_file(real)
        if parse(path, data).format not in ENDINGS:
            raise Conflict(f"{path} is of a format in which nothing is changed", hint=looked.finding.next)
        here = [one for one in movable if one.place.path == path]
        files.append((real, move(path, data, here, looked.detector, names)))
    return files, names


def _pipelines(looked: Looked, about: Sequence[Credential]) -> tuple[list[Pipeline], list[str]]:
    """Return the workflows that can sign in by OIDC, and what is to be done about the others."""
    found, steps = list[Pipeline](), list[str]()
    for path in dict.fromkeys(place.path for place in looked.finding.places if _is_workflow(place.path)):
        here = [one for one in looked.sightings if isinstance(one, Credential) and one.place.path == path]
        if looked.finding.case == "static-cloud-key-in-pipeline" or any(one.kind.startswith(CLOUD) for one in here):
            real = real_path(looked.roots, path)
            data = read_file(real)
            done = patched(path, data)
            found.append(Pipeline(real, path, data, done.after, done.steps))
            continue
        for one in (one for one in about if one.place.path == path):
            name = one.name or "CREDENTIAL"
            steps += [
                f"make a credential of its own for {one.holder.name} at its issuer, and: gh secret set {name}",
                f"{_at(one)}: write ${{{{ secrets.{name} }}}} in its place",
            ]
    return found, steps


def _is_workflow(path: str) -> bool:
    return WORKFLOW.search(path) is not None


def _at(one: Credential) -> str:
    return f"{one.place.path}:{one.place.line}"


def _ended(finding: Finding, about: Sequence[Credential]) -> Iterator[str]:
    """Yield how the old credential ends, once each of its holders has its own."""
    yield f"give each holder its own, then end the old one: {' and '.join(dict.fromkeys(map(label, about)))}"
    for kind in dict.fromkeys(one.kind for one in about):
        for beginning, how in ENDS.items():
            if kind.startswith(beginning):
                yield how.format(id=finding.id)
                break
        else:
            yield f"revoke it at its issuer ({kind}); what is a password is changed there"


def real_path(roots: Sequence[Root], path: str) -> Path:
    """Return where a path of a report is. Raises NotFound."""
    for root in sorted(roots, key=lambda one: -len(one.shown)):
        if path == root.shown or (not root.place.is_dir() and path == (root.shown or root.place.name)):
            return root.place
        if not root.shown or path.startswith(f"{root.shown}/"):
            return root.place / path.removeprefix(f"{root.shown}/" if root.shown else "")
    raise NotFound(f"{path} is not below what was named")


def read_file(file: Path) -> bytes:
    """Return a file that may be replaced. Raises Conflict, OSError."""
    about = file.lstat()
    if not stat.S_ISREG(about.st_mode):
        raise Conflict(f"{file} is no regular file", hint="name the file that it leads to")
    if about.st_nlink > 1:
        raise Conflict(f"{file} has another name (a hard link), which would keep the secret", hint="remove that first")
    if about.st_size > LARGEST:
        raise Conflict(f"{file} has more than {LARGEST >> 20} MiB")
    return file.read_bytes()


def apply(fix: Fix, state: Path, *, pipelines: bool = False) -> None:
    """Do it, with the pipelines where that is asked for. Raises Conflict where a file has changed meanwhile, OSError;
    then every file is as it was."""
    targets.require_private(state)
    written = fix.pipelines if pipelines else ()
    record = _record(fix.finding.id, fix.files, written, fix.detector)
    _set_aside(state, fix.finding.id)
    for name, value in fix.names.new.items():
        targets.put_new(state, name, value)
    targets.add(state, {name: fix.names.environments[name] for name in fix.targets})
    _write_record(state, fix.finding.id, record)
    every = [(file, moved.before, moved.after) for file, moved in fix.files]
    every += [(one.file, one.before, one.after) for one in written]
    named = [file for file, _, _ in every]
    journal(state, "fixing", fix.finding.id, named, secrets=False)
    replace_all(every)
    with suppress(OSError):  # it is done, and said to be begun
        journal(state, "fixed", fix.finding.id, named, secrets=False)


def replace_all(files: Sequence[tuple[Path, bytes, bytes]]) -> None:
    """Replace files, all of them or none. Raises Conflict, OSError."""
    done: list[tuple[Path, bytes, bytes]] = []
    try:
        for file, before, after in files:
            done.append((file, before, after))
            replace_file(file, before, after)
    except BaseException:
        for file, before, after in reversed(done):
            with suppress(OSError, Conflict):
                if file.read_bytes() == after:
                    replace_file(file, after, before)
        raise


def replace_file(file: Path, before: bytes, after: bytes) -> None:
    """Put other bytes in the place of a file's, whole or not at all, under its name, mode and owner.

    Raises Conflict where it is not what it was, OSError.
    """
    about = file.lstat()
    with targets.replacing(file) as new:
        new.write(after)
        new.flush()
        if (about.st_uid, about.st_gid) != (os.geteuid(), os.fstat(new.fileno()).st_gid):
            os.fchown(new.fileno(), about.st_uid, about.st_gid)
        for name in os.listxattr(file):
            os.setxattr(new.fileno(), name, os.getxattr(file, name))
        os.fchmod(new.fileno(), stat.S_IMODE(about.st_mode))
        os.fsync(new.fileno())
        if read_file(file) != before:
            raise Conflict(f"{file} has changed meanwhile", hint="try again")


# --- putting back ----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Undo:
    """What puts back what a fix has changed."""

    id: str
    files: tuple[tuple[Path, bytes, bytes], ...] = field(repr=False)  # now, and as it was
    has_secrets: bool


def plan_undo(state: Path, id: str) -> Undo:
    """Return what puts a fix back. Changes nothing. Raises NotFound, Conflict, OSError."""
    require_id(id)
    try:
        record = json.loads((state / RECORDS / f"{id}.json").read_bytes())
    except FileNotFoundError:
        raise NotFound(f"nothing is written down about a fix of {id}", hint="its id is that of the finding") from None
    files = []
    for one in record["files"]:
        file = Path(one["file"])
        now = read_file(file)
        if _digest(now) == one["before"]:  # the fix was cut off before it, or it was put back by hand
            continue
        if _digest(now) != one["after"]:
            raise Conflict(f"{file} has changed since it was fixed", hint="a later fix of it is put back first")
        if one.get("is_kept") is False:
            raise Conflict(f"{file} held a literal secret, which was kept nowhere", hint=f"git checkout -- {file}")
        before = (
            one["text"].encode()
            if "text" in one
            else undone(now, [Move(**each) for each in one["moves"]], partial(_value, state))
        )
        if _digest(before) != one["before"]:
            raise Conflict(f"the values of {file} are no longer those that stood there", hint="taskbound target list")
        files.append((file, now, before))
    return Undo(id, tuple(files), any(one.get("moves") for one in record["files"]))


def undo(planned: Undo, state: Path) -> None:
    """Put back what was fixed, and write down that it was. Raises Conflict, OSError; then every file is as it was."""
    # Before, and not after it: a literal secret never comes back unrecorded.
    journal(state, "put back", planned.id, [file for file, _, _ in planned.files], secrets=planned.has_secrets)
    replace_all(planned.files)
    (state / RECORDS / f"{planned.id}.json").unlink(missing_ok=True)


def _value(state: Path, name: str) -> str:
    value = targets.value_of(state, name)
    if value is None:
        raise Conflict(f"the target {name} has no value any more", hint=f"taskbound target put {name}")
    return value.reveal()


def _record(
    id: str, files: Sequence[tuple[Path, Moved]], pipelines: Sequence[Pipeline], detector: Detector
) -> Mapping[str, Any]:
    told: list[dict[str, Any]] = []
    for file, moved in files:
        moves = [{"at": one.at, "target": one.target, "spelling": one.spelling, "new": one.new} for one in moved.moves]
        told.append({**_about(file, moved.before, moved.after), "moves": moves})
    for one in pipelines:
        has_secret = any(not hit.is_identifier for hit in detector.in_text(one.before))
        kept: dict[str, Any] = {"is_kept": False} if has_secret else {"text": one.before.decode()}
        told.append({**_about(one.file, one.before, one.after), **kept})
    return {"finding": id, "files": told}


def _about(file: Path, before: bytes, after: bytes) -> dict[str, str]:
    return {"file": str(file.absolute()), "before": _digest(before), "after": _digest(after)}


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _set_aside(state: Path, id: str) -> None:
    """Keep what puts back an earlier fix of the same finding under another name."""
    file = state / RECORDS / f"{id}.json"
    if file.exists():
        file.replace(file.with_suffix(f".{datetime.now(UTC):%Y%m%dT%H%M%S}.json"))


def _write_record(state: Path, id: str, record: Mapping[str, Any]) -> None:
    folder = state / RECORDS
    for one in (folder.parent, folder):
        one.mkdir(mode=0o700, exist_ok=True)
    targets.write_whole(folder / f"{id}.json", json.dumps(record, indent=1).encode(), 0o600)


def journal(state: Path, what: str, finding: str, files: Sequence[Path], *, secrets: bool) -> None:
    """Write down, durably, what was done, by whom and when. Raises OSError."""
    at = datetime.now(UTC).isoformat(timespec="seconds")
    named = [str(file.absolute()) for file in files]
    line = {"at": at, "by": login(), "what": what, "finding": finding, "files": named, "with_secrets": secrets}
    number = os.open(state / JOURNAL, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    with open(number, "ab") as file:
        file.write(json.dumps(line).encode() + b"\n")
        file.flush()
        os.fsync(file.fileno())


# --- the old credential ----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Login:
    """A login of a server, as a value that was taken out of a file says it."""

    target: str
    scheme: str  # postgresql, redis
    name: str
    password: Secret


def logins(state: Path, id: str) -> tuple[Login, ...]:
    """Return the logins at PostgreSQL and Redis that a fix took out of files. Raises NotFound, Conflict."""
    require_id(id)
    try:
        record = json.loads((state / RECORDS / f"{id}.json").read_bytes())
    except FileNotFoundError:
        raise NotFound(f"nothing is written down about a fix of {id}", hint=f"taskbound fix {id}") from None
    names = dict.fromkeys(move["target"] for one in record["files"] for move in one.get("moves", ()))
    found = [login for name in names if (login := _login(name, _value(state, name)))]
    if not found:
        raise Conflict("no login of PostgreSQL or Redis was taken out by it", hint="end it at its issuer by hand")
    return tuple(found)


def _login(target: str, text: str) -> Login | None:
    with suppress(ValueError):
        parts = urlsplit(text)
        scheme = SCHEMES.get(parts.scheme.partition("+")[0], "")
        if scheme and parts.username and parts.password:
            return Login(target, scheme, unquote(parts.username), Secret(unquote(parts.password)))
    return None


async def end_login(issuer: Issuer, login: Login) -> str:
    """End a login at the server that takes it, and say how that was seen. Raises Conflict, Unavailable.

    It is really presented, before and after it: a server that does not know it, or gives no answer, is left alone, and
    so is one that lets in whoever comes (`trust`, `nopass`): it may have a login of that name that is another one.
    """
    before = await issuer.probe(login.name, login.password)
    if before == "unknown":
        raise Conflict(f"the server gave no answer about {login.name}: nothing was changed", hint="can it be reached?")
    if before == "dead":
        return f"{login.name} is dead already: the server refuses it with the password that stood in the file"
    if login.scheme == "redis" and login.name == "default":
        raise Conflict("the login default is that of everybody who names none", hint="change its password by hand")
    if await issuer.probe(login.name, Secret(token_urlsafe())) == "alive":
        raise Conflict(
            f"the server lets {login.name} in with whatever password, so it may be another one: nothing was changed",
            hint="ask the server that the file names, or end it there by hand",
        )
    await issuer.kill(login.name)
    after = await issuer.probe(login.name, login.password)
    if after != "dead":
        raise Conflict(f"{login.name} was ended, and the server still lets it in, or gives no answer: {after}")
    return f"{login.name} is dead: it was let in before, and is refused now, with the password that stood in the file"
