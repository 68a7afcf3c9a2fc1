"""AWS: credential report, access keys, tags and CloudTrail, as the IAM and CloudTrail references write them."""

import re
from collections.abc import Iterable, Iterator, Mapping

from taskbound.posture.document import Document, Node
from taskbound.posture.exports.rows import elsewhere, first, folded, moment, yes
from taskbound.posture.sighting import Mark, Place, Principal, Sighting, Use

OWNER_TAGS = ("owner", "owneremail", "ownedby", "contact", "maintainer", "responsible")  # the first counts
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
    """Read a line of the credential report: a user and up to two keys.

    `N/A` for the last use of a key that exists: it was never used (or not since 2015).
    """
    name, place = row.at("user").text, Place(path, row.line)
    identity = f"aws:root/{_account(row.at('arn').text)}" if name == ROOT else f"aws:user/{name}"
    facts: dict[str, object] = {"console": yes(row.at("password_enabled"))}
    if created := moment(row.at("user_creation_time").text):
        facts["created"] = created
    if used := moment(row.at("password_last_used").text):
        facts["console_used"] = used
    yield Principal(identity, "aws-root" if name == ROOT else "aws-iam-user", place, facts)
    for slot in ("1", "2"):
        rotated = moment(row.at(f"access_key_{slot}_last_rotated").text)
        active = yes(row.at(f"access_key_{slot}_active"))
        if not (active or rotated):
            continue
        key: dict[str, object] = {"of": identity, "active": active, "created": rotated}
        last = row.at(f"access_key_{slot}_last_used_date").text
        if last.lower() not in ("no_information", "not_supported"):
            key["used"] = moment(last)
        yield Principal(f"aws-key:{name}/{slot}", "aws-access-key", place, key)


def read_key(path: str, row: Node, mark: Mark) -> Iterator[Sighting]:
    """Read an access key of a list: ListAccessKeys, or the same as a table."""
    members = folded(row)
    name, key = first(members, "username", "user").text, first(members, "accesskeyid")
    facts: dict[str, object] = {
        "of": f"aws:user/{name}",
        "mark": mark(key.text),
        "active": first(members, "status").text.lower() == "active",
    }
    if created := moment(first(members, "createdate", "created", "createdat").text):
        facts["created"] = created
    if used := first(members, "lastuseddate", "lastused", "lastusedat"):
        facts["used"] = moment(used.text)
    yield Principal(f"aws-key:{name}/{key.text[-4:]}", "aws-access-key", Place(path, key.line), facts)


def read_user(path: str, row: Node, mark: Mark) -> Iterator[Sighting]:
    """Read a user or a tagged resource: ListUsers, GetAccountAuthorizationDetails, GetResources."""
    tags = _tags(row.at("Tags"))
    name = row.at("UserName").text or row.at("ResourceARN").text or row.at("Arn").text
    if identity := _identity(name):
        yield from _tagged(identity, tags, Place(path, row.line))


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


def read_event(path: str, row: Node, mark: Mark) -> Iterator[Sighting]:
    """Read an event of CloudTrail. A key of a session is not told apart: it ends by itself."""
    who, at = row.at("userIdentity"), moment(row.at("eventTime").text)
    if at is None or not (identity := _acting(who)):
        return
    key, address = who.at("accessKeyId").text, row.at("sourceIPAddress").text
    agent = row.at("userAgent").text
    by = next((kind for kind, told in AGENTS if told.search(agent)), "")
    if row.at("eventName").text == "ConsoleLogin":
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
    return re.sub(r"[^a-z0-9]", "", tag.lower())


READERS = (
    ((frozenset({"user"}), frozenset({"arn"}), frozenset({"access_key_1_active"})), read_report),
    ((frozenset({"eventTime"}), frozenset({"eventName"}), frozenset({"userIdentity"})), read_event),
    ((frozenset({"Tags"}), frozenset({"UserName", "ResourceARN"})), read_user),
)
TABLES = (((frozenset({"accesskeyid"}), frozenset({"user", "username"}), frozenset({"status"})), read_key),)
