"""Sightings: what is seen in one place, before anything is joined.

A credential is known by the keyed digest of its value, and by its last four characters; the value itself never
leaves the function that found it. What holds it, and how it lies there, is said by the reader of that format.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime

Mark = Callable[[str], str]  # HMAC-SHA-256 of a text under the local key, in hexadecimal


@dataclass(frozen=True, slots=True, order=True)
class Place:
    """A line of a file."""

    path: str  # relative to what was scanned, with "/"
    line: int  # 1-based


@dataclass(frozen=True, slots=True)
class Holder:
    """Who holds a credential, or runs with an identity.

    `kind`: agent (what a model drives: an MCP server, an agent's settings and instructions), pipeline (CI/CD),
    workload (what is deployed), infrastructure (Terraform and kin), person, file (nobody that we know).
    """

    kind: str
    name: str  # mcp:github@claims-agent, ci:deploy.yml@platform-infra, env:warehouse
    repository: str = ""
    environment: str = ""  # production, staging, development, test, research; "": not said


@dataclass(frozen=True, slots=True)
class Holding:
    """What a reader says of a part of a document: whatever credential stands below these keys is held so.

    The innermost holding whose keys lead to a value is the one that counts.
    """

    holder: Holder
    spot: str  # how it lies there: mcp-env, mcp-argument, mcp-header, mcp-url, agent-permission, … (rules.leaks.LEAKS)
    root: int  # which root of the document
    keys: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Credential:
    """A credential in one place."""

    mark: str  # keyed digest of the canonical value: of a URL with a password the password, of base64 what is inside
    kind: str  # github-pat, aws-access-key-id, postgres-password, private-key, … (detection)
    last4: str
    place: Place
    holder: Holder
    spot: str
    encoding: str = "plain"  # plain, base64, url, hex, json; nested ones with "+" between, outermost first
    name: str = ""  # the key under which it stands: DATABASE_URL
    target: str = ""  # what it opens, where that is seen beside it: db.prod.example.org:5432/pay
    login: str = ""  # whose it is there, said so too
    tail: str = ""  # keyed digest of the last eight characters: exports of tokens tell no more
    is_identifier: bool = False  # it opens nothing alone: an AWS access key id
    life: tuple[int, int] | None = None  # issued and expires, in Unix seconds, where it says so itself; 0: not said


@dataclass(frozen=True, slots=True)
class Principal:
    """An identity, or what an exported list says of one. `facts` are of the kinds that its reader documents."""

    id: str  # aws:user/svc-deployer, github-app:merge-helper, k8s-sa:pay-prod/ops-agent, person:a@b.example
    kind: str  # aws-iam-user, aws-iam-role, github-token, github-app, entra-app, k8s-service-account, person, …
    place: Place
    facts: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Use:
    """One time a credential was used, as a log says."""

    mark: str  # of the credential, or of its identifier
    principal: str
    at: datetime
    by: str  # agent, pipeline, person, workload; "": cannot be told
    place: Place
    address: str = ""
    more: tuple[Place, ...] = ()  # where else the log says so: an event may go over many lines
    client: str = ""  # the program that used it, by its name alone
    session: str = ""  # of a role that was taken: what whoever took it calls it, where that is not made by a machine


@dataclass(frozen=True, slots=True)
class Weakness:
    """Something that is wrong in one place, whatever else there is."""

    case: str  # docker-socket-mounted (cases.CASES)
    subject: str  # compose:mcp-gateway@billing-api
    place: Place
    says: str  # one sentence, for a person: what is there and why it matters here
    more: tuple[Place, ...] = ()


@dataclass(frozen=True, slots=True)
class Remark:
    """Something that one place says of a thing, and that means something only beside what others say.

    `topic` is one of those that its reader documents: ssh-key, owned, ends, right, consent, account, … No identity is
    made of it, and nothing in `facts` may be a value that could be a credential.
    """

    topic: str
    of: str  # what it is about: k8s-sa:pay-prod/ops-agent, aws:account/123456789012, ssh-key:jane@laptop
    place: Place
    facts: Mapping[str, object] = field(default_factory=dict)


Sighting = Credential | Principal | Use | Weakness | Remark
