"""AWS: credential report, access keys, tags and CloudTrail, as the IAM and CloudTrail references write them."""

import csv
import re
from base64 import b64decode
from collections.abc import Iterable, Iterator, Mapping

from taskbound.posture.document import NOTHING, Document, Node
from taskbound.posture.exports.columns import HERE, NAMES, plain
from taskbound.posture.exports.rows import elsewhere, first, folded, moment, yes
from taskbound.posture.sighting import Mark, Place, Principal, Sighting, Use, Weakness

OWNER_TAGS = (  # the first counts
    *("owner", "owneremail", "ownedby", "ownername", "technicalowner", "serviceowner", "applicationowner", "contact"),
    *("maintainer", "responsible"),
)
NOBODY = frozenset({"", "-", "none", "n/a", "na", "null", "unknown", "tbd", "todo", "nobody"})
TEMPORARY = "ASIA"  # keys of a session that end by themselves
ROOT = "<root_account>"

# Who is behind a user agent, by what it says of itself. The first that fits counts.
AGENTS: tuple[tuple[str, re.Pattern[str]], ...] = (
    (
        "pipeline",
        re.compile(
            r"github[-_ ]?actions|gitlab|jenkins|circleci|buildkite|codebuild|codepipeline|bitbucket|teamcity|"
            r"travis|vsts|azure[-_ ]?(devops|pipelines)|drone|argo-?cd|tekton|spacelift|\bTFC\b|semaphore|concourse",
            re.IGNORECASE,
        ),
    ),
    (
        "agent",
        re.compile(
            r"langchain|langgraph|llama[-_]?index|crewai|autogen|autogpt|semantic[-_]kernel|pydantic[-_]ai|openai|"
            r"anthropic|claude|\bmcp\b|copilot|cursor|windsurf|aider|openhands|codex|strands|smolagents|dspy|haystack|"
            r"\b(llm|ai)[-_]?agent",
            re.IGNORECASE,
        ),
    ),
    # Agents of another kind run as services of a machine; `agent` alone says nothing of a model where they are meant.
    ("workload", re.compile(r"(ssm|cloudwatch|datadog|ecs|eks|node|otel|fluent\w*|vector)[-_ ]?agent", re.IGNORECASE)),
    ("agent", re.compile(r"\w[-_]agent\b|\bagent[-_/]", re.IGNORECASE)),
    (
        "person",
        re.compile(
            r"mozilla/|signin\.amazonaws|console\.amazonaws|aws-?console|cloudshell|os/(macos|darwin|windows)|"
            r"\b(darwin|windows)/|aws-toolkit|jetbrains|vscode|cyberduck|s3 ?browser|md/prompt#on|powershell",
            re.IGNORECASE,
        ),
    ),
    ("workload", re.compile(r"exec-env/(aws_(lambda|ecs)|ec2)|aws-internal|\.amazonaws\.com$", re.IGNORECASE)),
)


def read_report(path: str, row: Node, mark: Mark) -> Iterator[Sighting]:
    """Read a line of the credential report: a user and up to two keys, as far as there are columns for them.

    `N/A` for the last use of a key that exists: it was never used (or not since 2015).
    """
    columns = folded(row)
    name, place = first(columns, "user", "username").text, Place(path, row.line)
    arn = first(columns, "arn", "userarn").text
    identity = f"aws:root/{_account(arn)}" if name == ROOT else f"aws:user/{name}"
    facts: dict[str, object] = {"console": yes(columns.get("passwordenabled", NOTHING))}
    if created := moment(first(columns, "usercreationtime").text):
        facts["created"] = created
    if used := moment(first(columns, "passwordlastused").text):
        facts["console_used"] = used
    yield Principal(identity, "aws-root" if name == ROOT else "aws-iam-user", place, facts)
    for slot in ("1", "2"):
        rotated = moment(first(columns, f"accesskey{slot}lastrotated").text)
        active = yes(columns.get(f"accesskey{slot}active", NOTHING))
        if not (active or rotated):
            continue
        key: dict[str, object] = {"of": identity, "active": active, "created": rotated}
        last = columns.get(f"accesskey{slot}lastuseddate")
        if last and last.text.lower() not in ("no_information", "not_supported"):
            key["used"] = moment(last.text)
        yield Principal(f"aws-key:{name}/{slot}", "aws-access-key", place, key)


def read_answer(path: str, row: Node, mark: Mark) -> Iterator[Sighting]:
    """Read the credential report as the API answers it: the table is one text in base64, and all of it is one line."""
    line = row.at("Content").line
    try:
        table = csv.DictReader(b64decode(row.at("Content").text, validate=True).decode().splitlines())
        for told in table:
            members = {name: Node(text, line) for name, text in told.items() if name and isinstance(text, str)}
            if "user" in members and "arn" in members:
                yield from read_report(path, Node(members, line), mark)
    except (ValueError, csv.Error):
        return


def read_key(path: str, row: Node, mark: Mark) -> Iterator[Sighting]:
    """Read an access key of a list: ListAccessKeys, or the same as a table. Whose it is is a user, if no list tells."""
    members = folded(row)
    name, key = first(members, *_KEYS_USERS).text, first(members, *_KEY_IDS)
    status = first(members, *_KEYS_STATUS)
    facts: dict[str, object] = {
        "of": f"aws:user/{name}",
        "mark": mark(key.text),
        "active": plain(status.text) in HERE or yes(status),
    }
    if created := moment(first(members, "createdate", "created", "createdat", "createdon", "creationdate").text):
        facts["created"] = created
    members = {**members, **folded(row.at("AccessKeyLastUsed"))}
    used = next((members[one] for one in _KEYS_USED if one in members), NOTHING)
    if used.text and (idle := _days(used.text)) is not None:
        facts["idle"] = idle
    elif used.text:
        facts["used"] = moment(used.text)
    if (age := _days(first(members, "accesskeyage", "keyage", "agedays", "agedays", "age").text)) is not None:
        facts["age"] = age
    if (
        idle := _days(first(members, "lastuseddaysago", "daysunused", "idledays", "dayssincelastuse").text)
    ) is not None:
        facts["idle"] = idle
    if name != ROOT:
        yield Principal(f"aws:user/{name}", "aws-iam-user", Place(path, key.line))
    yield Principal(f"aws-key:{name}/{key.text[-4:]}", "aws-access-key", Place(path, key.line), facts)


def read_keys(path: str, row: Node, mark: Mark) -> Iterator[Sighting]:
    """Read a user with a list of keys of its own."""
    members = folded(row)
    name = first(members, *_KEYS_USERS, "name")
    for number, one in enumerate(members["accesskeys"].list, 1):
        key = folded(one)
        id = first(key, *_KEY_IDS, "id", "keyid") or Node(f"{name.text}/{number}", one.line)
        status = first(key, *_KEYS_STATUS) or Node("active", one.line)
        made = first(key, "createdate", "created", "createdat", "createdon", "lastrotated", "rotated")
        entry = {**one.items, "user": name, "access_key_id": id, "status": status, "created": made}
        yield from read_key(path, Node(entry, one.line), mark)


def _days(text: str) -> int | None:
    """Return how many days are meant: "400", "400 days", "400 days ago"; None for everything else."""
    told = re.fullmatch(r"(\d{1,5})(?: days?(?: ago)?)?", text.strip())
    return int(told[1]) if told else None


def read_unused(path: str, row: Node, mark: Mark) -> Iterator[Sighting]:
    """Read what IAM Access Analyzer found of a key: since when nobody uses it, or in a list that nobody does."""
    identity, said = _identity(row.at("resource").text), row.at("findingType")
    if said.text != "UnusedIAMUserAccessKey" or not identity or row.at("status").text != "ACTIVE":
        return
    details = [found for one in row.at("findingDetails").list if (found := one.at("unusedIamUserAccessKeyDetails"))]
    for key in details:
        id, used = key.at("accessKeyId"), moment(key.at("lastAccessed").text)
        facts = {"of": identity, "mark": mark(id.text), "active": True, "used": used}
        yield Principal(
            f"aws-key:{identity.rpartition('/')[2]}/{id.text[-4:]}", "aws-access-key", Place(path, id.line), facts
        )
    if not details:
        says = f"A key of {identity} is used by nobody, as IAM Access Analyzer says."
        yield Weakness("stale-access-key", identity, Place(path, row.at("resource").line), says)


def read_user(path: str, row: Node, mark: Mark) -> Iterator[Sighting]:
    """Read a user or a tagged resource: ListUsers, GetAccountAuthorizationDetails, GetResources."""
    name = row.at("UserName").text or row.at("ResourceARN").text or row.at("Arn").text
    identity, place = _identity(name), Place(path, row.line)
    if not identity:
        return
    if "Tags" in row.items:
        yield from _tagged(identity, _tags(row.at("Tags")), place)
    if "UserId" in row.items:
        made, used = moment(row.at("CreateDate").text), moment(row.at("PasswordLastUsed").text)
        facts = {"created": made} | ({"console": True, "console_used": used} if used else {})
        yield Principal(identity, "aws-iam-user", place, {name: said for name, said in facts.items() if said})


def read_tags(document: Document) -> Iterator[Sighting]:
    """Read tags as `{user: {tag: value}}`. Told by this alone: every member is such a table, and most name an owner."""
    if document.format not in ("json", "yaml") or len(document.roots) != 1 or not (users := document.roots[0].items):
        return
    tables = [_tags(node) for node in users.values()]
    owned = [table for table in tables if not set(OWNER_TAGS).isdisjoint(map(_folded, table))]
    if any(node.text for node in users.values()) or not owned or len(owned) * 2 < len(tables):
        return
    if any(tag.items or tag.list for table in tables for tag in table.values()):
        return
    yield Principal("owners:aws-iam-user", "owner-list", Place(document.path, document.roots[0].line))
    for name, node in users.items():
        yield from _tagged(_identity(name), _tags(node), Place(document.path, node.line), listed=False)


def read_tag(path: str, row: Node, mark: Mark) -> Iterator[Sighting]:
    """Read one tag of a table that has a line for each, or an identity of one that has a column for the owner."""
    members = folded(row)
    resource, kind = first(members, *RESOURCES, *_ANY), first(members, "resourcetype", "type", "kind").text.lower()
    named = bool(first(members, *RESOURCES).text)  # a column that only identities have
    told = _IDENTITY_KIND.fullmatch(kind)
    is_identity = bool(told and (named or told[1])) if kind else named
    if not (identity := _identity(resource.text)) or not (resource.text.startswith("arn:") or is_identity):
        return
    if kind.removesuffix("s").endswith("role") and not resource.text.startswith("arn:"):
        identity = f"aws:role/{resource.text}"
    key, value = first(members, *TAG_KEYS), first(members, *TAG_VALUES)
    tags = {key.text: value} if key else {name.removeprefix("tag"): node for name, node in members.items()}
    listed = not set(OWNER_TAGS).isdisjoint(map(_folded, tags))
    yield from _tagged(identity, tags, Place(path, resource.line), listed=listed)


def _tags(node: Node) -> Mapping[str, Node]:
    """Return tags, as a table or as AWS lists them: [{"Key": …, "Value": …}]."""
    return node.items or {tag.at("Key").text: tag.at("Value") for tag in node.list if tag.at("Key").text}


def _tagged(identity: str, tags: Mapping[str, Node], place: Place, *, listed: bool = True) -> Iterator[Sighting]:
    if listed:
        yield Principal("owners:aws-iam-user", "owner-list", Place(place.path, 1))
    owners = {_folded(key): node.text for key, node in tags.items()}
    owner = next((owners[tag] for tag in OWNER_TAGS if owners.get(tag, "").strip().lower() not in NOBODY), "")
    kind = "aws-iam-role" if identity.startswith("aws:role/") else "aws-iam-user"
    yield Principal(identity, kind, place, {"owner": owner} if owner else {})


_CONSOLES = ("console.amazonaws.com", "signin.amazonaws.com")  # they sign with what a session gave them


def read_event(path: str, row: Node, mark: Mark) -> Iterator[Sighting]:
    """Read an event of CloudTrail. A key of a session is not told apart: it ends by itself."""
    who, at = row.at("userIdentity"), moment(row.at("eventTime").text)
    if at is None or not (identity := _acting(who)):
        return
    key, address = who.at("accessKeyId").text, row.at("sourceIPAddress").text
    agent = row.at("userAgent").text
    by = next((kind for kind, told in AGENTS if told.search(agent)), "")
    if row.at("eventName").text == "ConsoleLogin" or agent in _CONSOLES:
        key, by = "", "person"
    elif address.endswith(".amazonaws.com"):
        by = "workload"  # a service of AWS, on behalf of who is named
    place = Place(path, row.line)
    more = elsewhere(path, place, who.at("accessKeyId"), who.at("userName"), row.at("userAgent"), row.at("eventName"))
    yield Use(mark(key) if key and not key.startswith(TEMPORARY) else "", identity, at, by, place, address, more,
              agent.partition("/")[0].strip().lower()[:40], _session(who))  # fmt: skip


def newest(seen: Iterable[Sighting]) -> Iterator[Sighting]:
    """Keep of each key, user and address the last use: a log may hold millions."""
    last: dict[tuple[str, ...], Use] = {}
    for one in seen:
        if not isinstance(one, Use):
            yield one
            continue
        known = last.get(which := (one.mark, one.principal, one.by, one.address, one.client, one.session))
        if known is None or one.at > known.at:
            last[which] = one
    yield from last.values()


def _acting(who: Node) -> str:
    """Return the identity that acts: of a session the role that it is of."""
    issuer = who.at("sessionContext", "sessionIssuer")
    if who.at("type").text == "IAMUser" or (who.at("userName").text and not issuer):
        return f"aws:user/{who.at('userName').text}" if who.at("userName").text else _identity(who.at("arn").text)
    if issuer.at("userName").text:
        return f"aws:{'role' if issuer.at('type').text == 'Role' else 'user'}/{issuer.at('userName').text}"
    return f"aws:root/{who.at('accountId').text}" if who.at("type").text == "Root" else ""


# Names that SDKs, machines and services give the sessions of a role.
_MADE = re.compile(
    r"(?:botocore|aws|boto3|credential|assume|default|terraform|session|github|gitlab|circleci|buildkite|eks|ecs|lambda"
    r"|i)[-_]?\S*|\S*\d{6,}\S*|[0-9a-f-]{12,}|\S*session\S*",
    re.IGNORECASE,
)


def _session(who: Node) -> str:
    """Return what a person may have called the session of a role; "" where a program did, or single sign-on."""
    arn = who.at("arn").text
    if ":assumed-role/" not in arn or "AWSReservedSSO_" in arn:
        return ""
    name = arn.rpartition("/")[2]
    return "" if _MADE.fullmatch(name) else name[:64].lower()


def _identity(name: str) -> str:
    """Return the id of a user or a role by its name or ARN (arn:aws:iam::1:user/path/name)."""
    if not name.startswith("arn:"):
        return f"aws:user/{name}" if name else ""
    told = re.fullmatch(r"arn:[\w-]+:iam::\d*:(user|role)/(?:.*/)?([^/]+)", name)
    return f"aws:{told[1]}/{told[2]}" if told else ""


def _account(arn: str) -> str:
    parts = arn.split(":")
    return parts[4] if len(parts) > 4 else ""


def _folded(tag: str) -> str:
    return NAMES.get(plain(tag), plain(tag))


# Tables of tags: whose a tag is, what it is called, what it says.
RESOURCES = ("resourcearn", "arn", "username", "iamuser", "rolename")
_ANY = ("resource", "resourceid", "resourcename", "identity", "name")  # an identity where a type or an ARN says so
TAG_KEYS = ("tagkey", "key", "tagname")
TAG_VALUES = ("tagvalue", "value")
_IDENTITY_KIND = re.compile(r"((?:aws)?[\W_]*iam[\W_]*|aws[\W_]*)?(?:user|role)s?")
READERS = (
    ((frozenset({"Content"}), frozenset({"ReportFormat"})), read_answer),
    ((frozenset({"eventTime"}), frozenset({"eventName"}), frozenset({"userIdentity"})), read_event),
    ((frozenset({"Tags"}), frozenset({"UserName", "ResourceARN"})), read_user),
    ((frozenset({"UserName"}), frozenset({"UserId"}), frozenset({"Arn"}), frozenset({"CreateDate"})), read_user),
    ((frozenset({"findingType"}), frozenset({"resource"}), frozenset({"analyzedAt", "findingDetails"})), read_unused),
)
_KEY_IDS = ("accesskeyid", "accesskey")
_KEYS_USERS = ("username", "user", "iamuser", "iamusername", "login")
_KEYS_STATUS = ("status", "active", "enabled", "isactive", "state")
_KEYS_USED = ("lastuseddate", "lastused", "lastusedat", "lastusedon", "accesskeylastuseddate")
_SLOTS = frozenset({"accesskey1active", "accesskey1lastrotated", "accesskey2active"})
_BESIDE_OWNER = frozenset(
    {"resourcetype", "costcenter", "createdate", "team", "environment", "env", "purpose", "accountid", "account"}
)
OWNED = frozenset((*OWNER_TAGS, *(f"tag{name}" for name in OWNER_TAGS)))
TABLES = (
    ((frozenset({"user", "username"}), frozenset({"arn", "userarn"}), _SLOTS), read_report),
    ((frozenset(_KEY_IDS), frozenset(_KEYS_USERS), frozenset(_KEYS_STATUS)), read_key),
    ((frozenset({"accesskeys"}), frozenset((*_KEYS_USERS, "name"))), read_keys),
    ((frozenset((*RESOURCES, *_ANY)) - {"name"}, frozenset(TAG_KEYS), frozenset(TAG_VALUES)), read_tag),
)
# After all that has more of its own: lists of many things have an owner.
OWNERS = (
    ((frozenset({"resourcearn", "arn", "iamuser"}), OWNED), read_tag),
    ((frozenset({"username", "rolename"}), OWNED, _BESIDE_OWNER), read_tag),
)
