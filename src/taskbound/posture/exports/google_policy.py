"""Google Cloud: IAM policies of projects, folders and buckets (`gcloud projects get-iam-policy --format json`).

A binding says who has a role. Topic `right`, of the role: `names` (people who hold it by name), `what`.
"""

import re
from collections.abc import Iterator, Sequence

from taskbound.posture.document import Document, Node
from taskbound.posture.exports.rows import first, folded, words
from taskbound.posture.sighting import Mark, Place, Remark, Sighting, Weakness

_RULING = {
    "roles/owner": "iam-star-star",
    "roles/resourcemanager.organizationAdmin": "iam-star-star",
    "roles/iam.securityAdmin": "policy-that-can-raise-itself",
    "roles/resourcemanager.projectIamAdmin": "policy-that-can-raise-itself",
    "roles/editor": "whole-service-on-everything",
}
# Accounts that Google makes and runs itself.
_GOOGLES = re.compile(
    r"@(?:cloudservices|[\w-]*\.?gcp-sa-[\w-]+|container-engine-robot|serverless-robot-prod)\.|^service-\d+@|^\d+@cloudservices"
)


def read_policy(document: Document) -> Iterator[Sighting]:
    """Read a policy: who has roles, people and programs."""
    for root in document.roots:
        for answer in root.list or (root,):
            if not answer.items:  # a line of a log: there are many
                continue
            policy = answer.at("policy") or answer
            if policy.at("bindings").list and ("etag" in policy.items or "version" in policy.items):
                for binding in policy.at("bindings").list:
                    yield from _binding(document.path, binding.at("role"), binding.at("members").list)


def read_line(path: str, row: Node, mark: Mark) -> Iterator[Sighting]:
    """Read a line of a table of bindings, with one member or several."""
    members = folded(row)
    yield from _binding(path, first(members, *_ROLES), words(first(members, *_MEMBERS)))


def _binding(path: str, role: Node, members: Sequence[Node]) -> Iterator[Sighting]:
    for member in members:
        kind, _, name = member.text.partition(":")
        place = Place(path, member.line)
        if kind == "user":
            yield Remark("right", f"gcp:{role.text}", place, {"names": (name,), "what": role.text})
        elif kind == "serviceAccount" and (case := _RULING.get(role.text)) and not _GOOGLES.search(name):
            of = f"gcp-sa:{name}"
            yield Weakness(
                case,
                of,
                place,
                f"{of} has {role.text}: whoever holds its key has all of it.",
                (Place(path, role.line),),
            )


_ROLES = ("role", "bindingsrole")
_MEMBERS = ("member", "members", "bindingsmembers", "principal")
TABLES = (((frozenset(_ROLES), frozenset(_MEMBERS)), read_line),)
