"""Audit logs of clusters, Google Cloud, forges, directories and databases: who acted as whom, and with what in hand.

A person behind a service shows in what the client says of itself: an interactive shell, a laptop, a browser.
Sources: Kubernetes audit.k8s.io/v1 Event; Cloud Audit Logs (AuditLog, RequestMetadata); GitHub's audit log; Entra's
sign-in logs; Okta's System Log; pg_stat_activity.
"""

import re
from collections.abc import Iterator
from datetime import UTC, datetime

from taskbound.posture.document import Node
from taskbound.posture.exports.rows import elsewhere, first, folded, moment
from taskbound.posture.sighting import Mark, Place, Sighting, Use

_LAPTOP = re.compile(
    r"\(darwin|darwin/|macintosh|mac ?os|\(windows|windows/|windows nt|mozilla/|\bk9s\b|\b(?:open|free)?lens\b"
    r"|headlamp|octant|interactive/true|vscode|jetbrains|intellij|postmanruntime|insomnia",
    re.IGNORECASE,
)
_SHELL = re.compile(r"^(?:kubectl|oc)[/ ]", re.IGNORECASE)
_HANDS_ON = re.compile(r"(?:[?&]|^)(?:tty|stdin)=true", re.IGNORECASE)
# Programs with which people look at databases.
_CLIENTS = re.compile(
    r"\bpsql\b|dbeaver|datagrip|pgadmin|tableplus|postico|navicat|heidisql|mysql workbench|mysqlworkbench"
    r"|dbvisualizer|sqlworkbench|azure data studio|sql server management|beekeeper"
    r"|\busql\b|\bpgcli\b|\bmycli\b|redisinsight"
    r"|mongodb compass|\bmongosh\b|toad",
    re.IGNORECASE,
)


def read_cluster(path: str, row: Node, mark: Mark) -> Iterator[Sighting]:
    """Read an event of a Kubernetes API server. Who is impersonated is not meant: then the log names the person."""
    user, agent = row.at("user", "username").text, row.at("userAgent").text
    when = moment(first(row.items, "requestReceivedTimestamp", "stageTimestamp", "timestamp").text)
    _, _, account = user.partition("system:serviceaccount:")
    if not account or when is None:
        return
    hands_on = _HANDS_ON.search(row.at("requestURI").text) or row.at("objectRef", "subresource").text in (
        "exec",
        "attach",
    )
    by = "person" if _LAPTOP.search(agent) or (_SHELL.search(agent) and hands_on) else "workload"
    address = next((one.text for one in row.at("sourceIPs").list), "")
    place = Place(path, row.line)
    more = elsewhere(path, place, row.at("user", "username"), row.at("userAgent"), row.at("requestURI"))
    yield Use("", f"k8s-sa:{account.replace(':', '/', 1)}", when, by, place, address, more)


def read_google(path: str, row: Node, mark: Mark) -> Iterator[Sighting]:
    """Read an entry of Cloud Audit Logs. Impersonation is not meant: there the log names who it was."""
    payload = row.at("protoPayload") or row.at("jsonPayload")
    who, request = payload.at("authenticationInfo"), payload.at("requestMetadata")
    email, agent = who.at("principalEmail").text, request.at("callerSuppliedUserAgent").text
    when = moment(first(row.items, "timestamp", "receiveTimestamp").text)
    if when is None or who.at("serviceAccountDelegationInfo").list:
        return
    if email.endswith(".gserviceaccount.com"):
        identity = f"gcp-sa:{email}"
    elif email.startswith("system:serviceaccount:"):
        identity = f"k8s-sa:{email.removeprefix('system:serviceaccount:').replace(':', '/', 1)}"
    else:
        return
    person = _LAPTOP.search(agent) and "interactive/false" not in agent.lower()
    place = Place(path, who.at("principalEmail").line or row.line)
    by = "person" if person else "workload"
    more = elsewhere(path, place, request.at("callerSuppliedUserAgent"), who.at("serviceAccountKeyName"))
    yield Use("", identity, when, by, place, request.at("callerIp").text, more)


def read_forge(path: str, row: Node, mark: Mark) -> Iterator[Sighting]:
    """Read an event of GitHub's audit log: an actor with a browser in hand."""
    agent, actor = row.at("user_agent").text, row.at("actor").text
    when = _moment(first(row.items, "@timestamp", "created_at", "timestamp").text)
    if when is None or not actor:
        return
    is_bot = row.at("actor_is_bot").text == "true" or actor.endswith("[bot]")
    by = "person" if _LAPTOP.search(agent) or row.at("action").text == "user.login" else ""
    identity = f"github-app:{actor.removesuffix('[bot]')}" if is_bot else f"github-user:{actor}"
    place = Place(path, row.at("actor").line or row.line)
    more = elsewhere(path, place, row.at("user_agent"), row.at("action"))
    yield Use("", identity, when, by, place, row.at("actor_ip").text, more)


def read_sign_in(path: str, row: Node, mark: Mark) -> Iterator[Sighting]:
    """Read a sign-in of Entra ID (`auditLogs/signIns`, or the portal's CSV): interactive ones are a person's."""
    members = folded(row)
    name = first(members, "userprincipalname", "username")
    when = moment(first(members, "createddatetime", "dateutc", "date").text)
    if when is None or not name.text:
        return
    told = (
        first(members, "clientappused", "clientapp"),
        row.at("deviceDetail", "browser"),
        first(members, "browser", "useragent"),
    )
    client = " ".join(one.text for one in told)
    interactive = first(members, "isinteractive").text.lower() != "false"
    by = (
        "person"
        if interactive
        and re.search(r"browser|mobile apps and desktop|mozilla|chrome|edge|safari|firefox", client, re.IGNORECASE)
        else ""
    )
    yield Use("", f"entra-user:{name.text.lower()}", when, by, Place(path, name.line), first(members, "ipaddress").text)


def read_okta(path: str, row: Node, mark: Mark) -> Iterator[Sighting]:
    """Read an event of Okta's System Log: a session of a browser."""
    name, agent = row.at("actor", "alternateId"), row.at("client", "userAgent", "rawUserAgent").text
    when = moment(row.at("published").text)
    if when is None or not name.text or not row.at("eventType").text.startswith("user."):
        return
    by = (
        "person"
        if re.search("mozilla/", agent, re.IGNORECASE) and row.at("outcome", "result").text in ("", "SUCCESS")
        else ""
    )
    yield Use(
        "", f"okta-user:{name.text.lower()}", when, by, Place(path, name.line), row.at("client", "ipAddress").text
    )


def read_session(path: str, row: Node, mark: Mark) -> Iterator[Sighting]:
    """Read a session of a database (pg_stat_activity and kin as a table): a person's client, a service's login."""
    members = folded(row)
    user, client = (
        first(members, "usename", "username", "user", "login"),
        first(members, "applicationname", "program", "programname"),
    )
    when = moment(first(members, "backendstart", "querystart", "logtime", "logintime", "timestamp").text)
    if when is None or not user.text:
        return
    address = first(members, "clientaddr", "connectionfrom", "host", "clientip").text.partition("/")[0]
    by = "person" if _CLIENTS.search(client.text) and address not in ("127.0.0.1", "::1", "[local]") else ""
    yield Use("", f"database:{user.text}", when, by, Place(path, user.line), address)


def _moment(text: str) -> datetime | None:
    """Return a moment, also of milliseconds since 1970, as GitHub's audit log counts them."""
    if re.fullmatch(r"1\d{12}", text):
        return datetime.fromtimestamp(int(text) // 1000, UTC)
    return moment(text)


READERS = (
    ((frozenset({"auditID"}), frozenset({"user"}), frozenset({"verb"})), read_cluster),
    ((frozenset({"protoPayload"}), frozenset({"timestamp", "receiveTimestamp"})), read_google),
    ((frozenset({"action"}), frozenset({"actor"}), frozenset({"user_agent"})), read_forge),
    ((frozenset({"eventType"}), frozenset({"actor"}), frozenset({"client"}), frozenset({"published"})), read_okta),
)
TABLES = (
    (
        (
            frozenset({"userprincipalname", "username"}),
            frozenset({"createddatetime", "dateutc", "date"}),
            frozenset({"clientappused", "clientapp"}),
        ),
        read_sign_in,
    ),
    (
        (
            frozenset({"usename", "username", "user"}),
            frozenset({"applicationname", "programname"}),
            frozenset({"backendstart", "querystart", "logtime", "logintime", "timestamp"}),
        ),
        read_session,
    ),
)
