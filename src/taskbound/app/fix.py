"""Fix: what can be done about a finding, and what else is to be. Nothing is changed here (app/fixed.py does that)."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from taskbound.app import targets
from taskbound.app.discover import Discovery, findings_of, gather, mark_key, roots_of
from taskbound.app.replace import read_file, real_path
from taskbound.app.scanning import mark_of
from taskbound.core.errors import Conflict, InvalidRequest, NotFound
from taskbound.core.secret import Secret
from taskbound.plugins.discoverers.files import Root
from taskbound.posture.detection import Detector
from taskbound.posture.findings import Finding
from taskbound.posture.moved import ENDINGS, MOVABLE, Moved, Names, credentials_of, diff, marks_of, move
from taskbound.posture.oidc import patched
from taskbound.posture.parsers import parse
from taskbound.posture.rules.draft import label
from taskbound.posture.rules.leaks import CLOUD
from taskbound.posture.sighting import Credential, Place, Sighting

WORKFLOW = re.compile(r"(?:^|/)\.(?:github|gitea|forgejo)/workflows/[^/]+\.ya?ml$")
# How a credential of a kind ends at its issuer, by the beginning of its kind.
ENDS: Mapping[str, str] = {
    "postgres-password": "taskbound fix {id} --kill --postgres postgresql://ADMIN@HOST/DATABASE",
    "redis-password": "taskbound fix {id} --kill --redis redis://ADMIN@HOST",
    "github-": "delete it: its owner's Settings, Developer settings, Personal access tokens",
    "aws-": "aws iam update-access-key --status Inactive --user-name … --access-key-id …, and delete it in two weeks",
    "gcp-": "gcloud iam service-accounts keys delete … --iam-account …",
    "azure-": "az ad app credential delete --id … --key-id …",
    "gitlab-": "glab api personal_access_tokens tells its id; then: glab api --method DELETE personal_access_tokens/…",
    "stripe-": "roll the key in the dashboard, under Developers, API keys",
    "slack-": "revoke it: auth.revoke of the Slack API",
}
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
        steps += _ended(finding, about, [one.target for _, moved in files for one in moved.moves])
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
    is_alone = looked.finding.case == "static-cloud-key-in-pipeline"
    for path in dict.fromkeys(place.path for place in looked.finding.places if _is_workflow(place.path)):
        here = [one for one in looked.sightings if isinstance(one, Credential) and one.place.path == path]
        still = {one.mark for one in about}
        if is_alone or any(one.kind.startswith(CLOUD) for one in here):
            real = real_path(looked.roots, path)
            data = read_file(real)
            try:
                done = patched(path, data)
            except Conflict as refused:
                if is_alone:
                    raise
                steps.append(f"{refused}: {refused.hint}")  # the other holders' parts can be done all the same
            else:
                found.append(Pipeline(real, path, data, done.after, done.steps))
                still = marks_of(path, done.after, looked.detector)  # a token of another issuer stays in it
        for one in (one for one in about if one.place.path == path and one.mark in still):
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


def _ended(finding: Finding, about: Sequence[Credential], targets: Sequence[str]) -> Iterator[str]:
    """Yield how the old credential ends, once each of its holders has its own."""
    yield f"make one for each holder, then end the old one: {' and '.join(dict.fromkeys(map(label, about)))}"
    for kind in dict.fromkeys(one.kind for one in about):
        for beginning, how in ENDS.items():
            if kind.startswith(beginning):
                yield how.format(id=finding.id)
                break
        else:
            yield f"revoke it at its issuer ({kind}); what is a password is changed there"
    # After it, and not before: what ends a login shows it to its server, as it stands in its target.
    yield from (f"then put the new one in: taskbound target put {name}" for name in dict.fromkeys(targets))
