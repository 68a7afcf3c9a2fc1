"""Settings: which identity of a cloud a configuration of one environment names.

`.env.staging`, `values-dev.yaml`, `envs/qa/terraform.tfvars`, task definitions: the environment is that of the file or
of its folder. A member counts whose name says that the identity is taken, not one that lets somebody in (`members`).

Topic `uses` (see cluster).
"""

import re
from collections.abc import Iterator

from taskbound.posture.beside.cluster import uses
from taskbound.posture.beside.identities import where
from taskbound.posture.document import Document
from taskbound.posture.sighting import Remark

WORDS = (b":role/", b".iam.gserviceaccount.com")
_TAKEN = re.compile(r"role|service_?-?account|impersonat|assume", re.IGNORECASE)
_LET_IN = re.compile(
    r"principal|trust|allow|member|identifiers|bound_|subject|grant|reader|writer|federated", re.IGNORECASE
)
# Pipelines and manifests have readers of their own; a person's profiles are no environment's.
_OTHERS = re.compile(
    r"(?:^|/)\.(?:github|gitea|forgejo|circleci|aws|kube)/|gitlab-ci|-pipelines?\.ya?ml$|(?:^|/)exports?/"
)


def read(document: Document, data: bytes, repository: str) -> Iterator[Remark]:
    """Yield each identity that a configuration of an environment takes."""
    environment = where(document.path)
    if not environment or _OTHERS.search(document.path):
        return
    holder = f"{document.path.rpartition('/')[2]}@{repository}" if repository else document.path
    for root in document.roots:
        if root.at("apiVersion").text and root.at("kind").text:
            continue
        for keys, node in root.scalars():
            named = " ".join(key for key in keys if not key.isdigit())
            if _TAKEN.search(named) and not _LET_IN.search(named):
                yield from uses(document, node, holder, environment, "setting")
