"""Google Cloud: keys of service accounts, as IAM lists them (`gcloud iam service-accounts keys list`)."""

import re
from collections.abc import Iterator, Mapping

from taskbound.posture.document import NOTHING, Node
from taskbound.posture.exports.rows import first, folded, moment, yes
from taskbound.posture.sighting import Mark, Place, Principal, Sighting

NAME = re.compile(r"(?://iam\.googleapis\.com/)?projects/[^/]+/serviceAccounts/([^/]+)/keys/([^/]+)")
NEVER = 9999  # the year that stands for no end


def read_key(path: str, row: Node, mark: Mark) -> Iterator[Sighting]:
    """Read a key that was given out. Keys that Google keeps and rotates (SYSTEM_MANAGED) leave nobody's hand."""
    told = NAME.fullmatch(row.at("name").text)
    if told:
        said = row.at("resource", "data") or row  # of Cloud Asset Inventory
        yield from _key(path, row.at("name").line, (told[1], told[2]), folded(said), mark)


def read_line(path: str, row: Node, mark: Mark) -> Iterator[Sighting]:
    """Read a line of a table of keys."""
    members = folded(row)
    account, id = first(members, *_ACCOUNTS).text.rpartition("/")[2], first(members, *_IDS)
    if account.endswith(".gserviceaccount.com"):
        yield from _key(path, id.line, (account, id.text.rpartition("/")[2]), members, mark)


def _key(path: str, line: int, names: tuple[str, str], members: Mapping[str, Node], mark: Mark) -> Iterator[Sighting]:
    account, id = names
    if first(members, "keytype", "managedby", "type").text in ("SYSTEM_MANAGED", "SYSTEM", "GOOGLE"):
        return
    place, ends = Place(path, line), moment(first(members, *_ENDS).text)
    facts: dict[str, object] = {
        "of": f"gcp-sa:{account}",
        "mark": mark(id),
        "active": not yes(members.get("disabled", NOTHING)),
        "created": moment(first(members, *_BEGINS).text),
        "expires": None if ends is None or ends.year >= NEVER else ends,
    }
    if used := next((members[one] for one in _USED if one in members), None):
        facts["used"] = moment(used.text)
    yield Principal(f"gcp-sa:{account}", "gcp-service-account", place)
    yield Principal(f"gcp-key:{account}/{id[-4:]}", "gcp-service-account-key", place, facts)


def read_activity(path: str, row: Node, mark: Mark) -> Iterator[Sighting]:
    """Read when a key was last used, as Policy Analyzer knows it."""
    name, used = row.at("fullResourceName"), moment(row.at("activity", "lastAuthenticatedTime").text)
    if (told := NAME.fullmatch(name.text)) and used:
        facts = {"of": f"gcp-sa:{told[1]}", "mark": mark(told[2]), "used": used}
        yield Principal(f"gcp-key:{told[1]}/{told[2][-4:]}", "gcp-service-account-key", Place(path, name.line), facts)


def read_account(path: str, row: Node, mark: Mark) -> Iterator[Sighting]:
    """Read a service account (`gcloud iam service-accounts list`)."""
    email = row.at("email")
    facts = {"suspended": True} if row.at("disabled").text == "true" else {}
    yield Principal(f"gcp-sa:{email.text}", "gcp-service-account", Place(path, email.line), facts)


_ACCOUNTS = ("serviceaccount", "serviceaccountemail", "accountemail", "email", "account")
_IDS = ("keyid", "key", "keyname", "name")
_USED = ("lastauthenticatedtime", "lastauthenticated", "lastused", "lastusedat", "lastusedon")
_BEGINS = ("validaftertime", "validafter", "created", "createdat", "createdon", "creationtime")
_ENDS = ("validbeforetime", "validbefore", "expires", "expiresat", "expireson", "expirationtime")
TABLES = (
    ((frozenset(_ACCOUNTS), frozenset(_IDS), frozenset(_BEGINS), frozenset({"keytype", "managedby"})), read_line),
    ((frozenset({"serviceaccount", "serviceaccountemail"}), frozenset({"keyid"}), frozenset(_BEGINS)), read_line),
)
READERS = (
    ((frozenset({"email"}), frozenset({"uniqueId"}), frozenset({"oauth2ClientId", "projectId"})), read_account),
    (
        (frozenset({"validAfterTime"}), frozenset({"validBeforeTime"}), frozenset({"keyType"}), frozenset({"name"})),
        read_key,
    ),
    ((frozenset({"activityType"}), frozenset({"fullResourceName"}), frozenset({"activity"})), read_activity),
    ((frozenset({"assetType"}), frozenset({"name"}), frozenset({"resource"})), read_key),
)
