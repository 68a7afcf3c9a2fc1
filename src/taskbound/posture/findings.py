"""Findings: everything that is wrong, from sightings alone, in one order that depends on nothing else."""

import hashlib
import re
import shlex
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import date
from functools import partial

from taskbound.posture.cases import CASES, SEVERITIES
from taskbound.posture.facts import text
from taskbound.posture.inventory import Inventory
from taskbound.posture.joined import grouped
from taskbound.posture.rules import (
    consents,
    crossing,
    human,
    issued,
    leaks,
    logins,
    offboarding,
    remains,
    reuse,
    sharing,
    standing,
    used,
)
from taskbound.posture.rules.draft import Draft
from taskbound.posture.sighting import Place, Sighting, Weakness

# Where anybody has a mailbox.
PUBLIC_MAIL = frozenset({"gmail.com", "outlook.com", "hotmail.com", "icloud.com", "proton.me", "gmx.de", "yahoo.com"})
PLACES = 9  # of a finding, at most: a report (SARIF) names one and eight beside it
RULES: tuple[Callable[[Inventory], Iterator[Draft]], ...] = (
    leaks.leaked,
    leaks.static_cloud_keys,
    sharing.shared,
    sharing.encoded,
    sharing.environments,
    issued.unused,
    issued.not_rotated,
    issued.endless,
    issued.lasting,
    issued.too_wide,
    issued.of_leavers,
    issued.personal,
    standing.of_leavers,
    standing.without_owner,
    standing.console_logins,
    standing.apps,
    standing.grants,
    standing.archived,
    used.by_people,
    used.by_many,
    used.from_many_places,
    *logins.RULES,
    *offboarding.RULES,
    *consents.RULES,
    *crossing.RULES,
    *reuse.RULES,
    *human.RULES,
    *remains.RULES,
)
# What is typed next where it is not what the case says, because somebody else issues it.
NEXT: Mapping[tuple[str, str], str] = {
    ("stale-access-key", "github-token"): "Let {owner} delete it (Settings, Developer settings, Tokens).",
    ("stale-access-key", "github-deploy-key"): "Delete it in the repository's settings, under deploy keys.",
    ("stale-access-key", "gitlab-token"): "Revoke it: glab api --method DELETE personal_access_tokens/{name}",
    ("never-used-access-key", "github-token"): "Let {owner} delete it (Settings, Developer settings, Tokens).",
    ("never-used-access-key", "github-deploy-key"): "Delete it in the repository's settings, under deploy keys.",
    ("never-used-access-key", "gitlab-token"): "Revoke it: glab api --method DELETE personal_access_tokens/{name}",
    ("stale-access-key", "api-token"): "Revoke it at its issuer; nobody has used it for long.",
    ("never-used-access-key", "api-token"): "Revoke it at its issuer: it was made for nothing.",
    ("stale-access-key", "gcp-service-account-key"): "Switch it off now, delete it in two weeks: "
    "gcloud iam service-accounts keys disable … --iam-account {name}",
    ("never-used-access-key", "gcp-service-account-key"): "Delete it: "
    "gcloud iam service-accounts keys delete … --iam-account {name}",
    ("stale-access-key", "account-password"): "Switch the account {name} off now, delete it in two weeks.",
    ("access-key-not-rotated", "account-password"): "Change the password of {name} and of all that use it, best by "
    "something that changes it by itself (a managed account, a secret store).",
    ("no-owner", "service-account"): "Find out who needs {name}, write them down in the list, or switch it off.",
    ("access-key-not-rotated", "gcp-service-account-key"): "Move its users to workload identity federation, then: "
    "gcloud iam service-accounts keys disable … --iam-account {name}",
    ("client-secret-until-2099", "gcp-service-account-key"): "Move its users to workload identity federation, then: "
    "gcloud iam service-accounts keys delete … --iam-account {name}",
    (
        "secret-in-config-file",
        "gcp-service-account-key",
    ): "Take {path} out, move its users to workload identity federation, "
    "then: gcloud iam service-accounts keys delete … --iam-account {name}",
    ("login-may-do-everything", "redis-user"): "Give it the commands and keys that it needs: "
    "ACL SETUSER {name} reset on '>…' '~PREFIX:*' +@read, then ACL SAVE.",
    ("no-owner", "entra-app"): "Find out who made them and its id (az ad app list --display-name {name}), then: "
    "az ad app owner add --id … --owner-object-id …",
}

# What is typed next for what lies where programs look for it by themselves: it cannot refer to another place.
AT_HOME: Mapping[str, str] = {
    "~/.ssh/": "Give it a passphrase, and lend it for an hour at a time: ssh-keygen -p -f {path}; ssh-add -t 1h {path}",
    "~/.aws/": "Sign in for a day instead: aws configure sso, then aws iam delete-access-key --access-key-id …",
    "~/.netrc": "Let a keyring answer instead (git config --global credential.helper libsecret), then revoke this one.",
    "~/.git-credentials": "Let a keyring answer instead, then revoke this one: "
    "git config --global credential.helper libsecret",
    "~/.config/gh/": "Let the keyring of the system have it: gh auth logout; gh auth login",
    "~/.npmrc": "Sign in for the day instead, then take it out of {path} and: npm token revoke …",
    "~/.kube/": "Sign in as who you are instead (exec: kubelogin, aws, gcloud or az), then revoke this one.",
    "~/.pgpass": "Lease it for a task instead (a target of taskbound.toml), then: ALTER ROLE … PASSWORD NULL",
    "~/.docker/": "Let a keyring answer instead (credsStore in {path}), then: docker logout; docker login",
    "~/.config/gcloud/": "Sign in as who you are instead: gcloud auth application-default revoke; gcloud auth login",
}


@dataclass(frozen=True, slots=True)
class Finding:
    """Something wrong, with its evidence."""

    case: str  # of cases.CASES
    subjects: tuple[str, ...]
    severity: str
    says: str  # one sentence: what is there
    places: tuple[Place, ...]  # the first is the primary one; at most PLACES
    owner: str  # "": nobody is known
    next: str  # the next command or step
    id: str  # the same in every run on the same things, whatever their checkout is called; made of no value
    holds: tuple[str, ...] = ()  # of what lies in the open: a word for each credential, the same after its renewal


def find(sightings: Iterable[Sighting], as_of: date, checkout: str = "") -> list[Finding]:
    """Return what is wrong on a day: most severe first, then by case and place.

    `checkout` is what the one folder is called that was looked at: a name that somebody else's copy does not have.
    """
    inventory = Inventory(sightings, as_of)
    drafts = [draft for rule in RULES for draft in rule(inventory)]
    drafts += _weak(inventory)
    known_by = partial(_base, checkout=checkout)
    found = [one for id, group in grouped(drafts, known_by).items() for one in _finished(inventory, id, group)]
    return sorted(found, key=lambda one: (SEVERITIES.index(one.severity), one.case, one.places, one.id))


def _weak(inventory: Inventory) -> Iterator[Draft]:
    """Yield what readers found wrong by itself; what they say of one thing in one file is one.

    What a file itself says is weak has the file for its subject: there each way to say so is one.
    """
    mine = frozenset({"static-cloud-key-in-pipeline"})
    own = _own_domains(inventory)
    private = {one.id.partition(":")[2] for one in inventory.by_kind.get("repository", ()) if one.facts.get("private")}
    weaknesses = (
        one
        for one in inventory.weaknesses
        if one.case in CASES
        and one.case not in mine
        and not (one.case == "agent-workflow-open-to-outsiders" and one.subject.rpartition("@")[2] in private)
        and not (one.case == "secret-sent-to-third-party-mcp" and _domain(inventory, one.subject) in own)
    )
    groups = grouped(weaknesses, lambda one: (one.case, one.subject, one.place.path, _way(one)))
    for (case, subject, _, way), group in groups.items():
        places = tuple(place for one in group for place in (one.place, *one.more))
        name = subject.partition("@")[0].rpartition(":")[2]
        yield Draft(case, (subject,), group[0].says, places, name=name, holder=subject, key=f"{way} {subject}".strip())


def _way(one: Weakness) -> str:
    """Return in which way a file says that it is weak: without its name, and without numbers and what is in brackets,
    which change; "" of what has another subject than the file."""
    named = one.subject.removeprefix(f"{one.case}:")
    said = one.says.removeprefix(named) if named != one.subject else ""
    return re.sub(r"\([^)]*\)|\d+", "", said).strip(" .")


def _own_domains(inventory: Inventory) -> frozenset[str]:
    """Return the domains in which the people of the list have their mail: those are the organisation's own."""
    mails = (person.id.rpartition("@")[2] for person in inventory.by_kind.get("person", ()))
    return frozenset(mails) - PUBLIC_MAIL


def _domain(inventory: Inventory, subject: str) -> str:
    return text(inventory.principals[subject], "domain") if subject in inventory.principals else ""


def _base(draft: Draft, checkout: str) -> str:
    """Return what a finding is known by: case, what it is about, files. Lines move, values change; these stay."""
    key = re.sub(rf"(@|^[a-z-]+:){re.escape(checkout)}$", r"\1.", draft.key) if checkout else draft.key
    parts = (draft.case, key, *sorted({place.path for place in draft.places}))
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:12]


def _finished(inventory: Inventory, id: str, drafts: list[Draft]) -> Iterator[Finding]:
    """Yield findings of drafts that are known by the same; the second and further ones are numbered by their places."""
    drafts.sort(key=lambda one: (one.places, one.subjects, one.says))
    for number, draft in enumerate(drafts):
        case = CASES[draft.case]
        primary = draft.places[0]
        owner = draft.owner or inventory.owner_of(primary)
        told = {
            "path": _word(primary.path),
            "line": primary.line,
            "lines": _lines(draft.places),
            "owner": owner or "its owner",
            "name": _word(draft.name or "NAME"),
            "holder": draft.holder or draft.subjects[0],
        }
        yield Finding(
            case=draft.case,
            subjects=draft.subjects,
            severity=draft.severity or case.severity,
            says=draft.says,
            places=tuple(dict.fromkeys(draft.places))[:PLACES],
            owner=owner,
            next=_next(draft, case.next).format(**told),
            id=f"{id}{number or ''}",
            holds=draft.holds,
        )


def _lines(places: tuple[Place, ...]) -> str:
    """Name the lines of the first file: line 3; lines 3, 7 and 9."""
    lines = [str(one) for one in sorted({place.line for place in places if place.path == places[0].path})]
    return f"line{'s' if len(lines) > 1 else ''} {' and '.join(filter(None, (', '.join(lines[:-1]), lines[-1])))}"


def _next(draft: Draft, usual: str) -> str:
    path = draft.places[0].path
    at_home = next((what for begins, what in AT_HOME.items() if path.startswith(begins)), "")
    return NEXT.get((draft.case, draft.kind)) or at_home * (draft.case in leaks.LEAKS.values()) or usual


def _word(text: str) -> str:
    """Return a text as one word of a shell and no option: it comes from a file, and a person will paste it."""
    if text.startswith("~/"):  # this person's own place: within quotes a shell would look for a folder of that name
        return f"~/{shlex.quote(text[2:])}"
    return shlex.quote(f"./{text}" if text.startswith("-") else text)
