"""Google Cloud: keys of service accounts, as IAM lists them (`gcloud iam service-accounts keys list`)."""

import re
from collections.abc import Iterator

from taskbound.posture.document import Node
from taskbound.posture.exports.rows import moment
from taskbound.posture.sighting import Mark, Place, Principal, Sighting

NAME = re.compile(r"projects/[^/]+/serviceAccounts/([^/]+)/keys/([^/]+)")
NEVER = 9999  # the year that stands for no end


def read_key(path: str, row: Node, mark: Mark) -> Iterator[Sighting]:
    """Read a key that was given out. Keys that Google keeps and rotates (SYSTEM_MANAGED) leave nobody's hand."""
    told = NAME.fullmatch(row.at("name").text)
    if told is None or row.at("keyType").text == "SYSTEM_MANAGED":
        return
    place, ends = Place(path, row.at("name").line), moment(row.at("validBeforeTime").text)
    facts: dict[str, object] = {
        "of": f"gcp-sa:{told[1]}",
        "mark": mark(told[2]),
        "active": row.at("disabled").text != "true",
        "created": moment(row.at("validAfterTime").text),
        "expires": None if ends is None or ends.year >= NEVER else ends,
    }
    yield Principal(f"gcp-sa:{told[1]}", "gcp-service-account", place)
    yield Principal(f"gcp-key:{told[1]}/{told[2][-4:]}", "gcp-service-account-key", place, facts)


def read_account(path: str, row: Node, mark: Mark) -> Iterator[Sighting]:
    """Read a service account (`gcloud iam service-accounts list`)."""
    email = row.at("email")
    facts = {"suspended": True} if row.at("disabled").text == "true" else {}
    yield Principal(f"gcp-sa:{email.text}", "gcp-service-account", Place(path, email.line), facts)


READERS = (
    ((frozenset({"email"}), frozenset({"uniqueId"}), frozenset({"oauth2ClientId", "projectId"})), read_account),
    (
        (frozenset({"validAfterTime"}), frozenset({"validBeforeTime"}), frozenset({"keyType"}), frozenset({"name"})),
        read_key,
    ),
)
