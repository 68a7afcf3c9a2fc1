"""What all pipelines share: static keys of clouds, and commands that run an agent unasked."""

import re
from collections.abc import Iterable, Mapping

from taskbound.posture.document import Node
from taskbound.posture.readers import unsafe, words
from taskbound.posture.readers.reading import Notes

# Names of variables and inputs whose value opens a cloud for as long as nobody changes it -> the cloud.
CLOUD_KEYS: Mapping[str, str] = {
    "aws_access_key_id": "AWS",
    "aws_secret_access_key": "AWS",
    "tf_var_aws_access_key": "AWS",
    "tf_var_aws_secret_key": "AWS",
    "aws_access_key": "AWS",
    "aws_secret_key": "AWS",
    "azure_credentials": "Azure",
    "azure_client_secret": "Azure",
    "arm_client_secret": "Azure",
    "google_credentials": "Google Cloud",
    "google_application_credentials_json": "Google Cloud",
    "gcp_sa_key": "Google Cloud",
    "gcloud_service_key": "Google Cloud",
    "gcp_credentials": "Google Cloud",
    "gcp_service_account_key": "Google Cloud",
    "credentials_json": "Google Cloud",
    "service_account_key": "Google Cloud",
    "alicloud_secret_key": "Alibaba Cloud",
    "oci_private_key": "Oracle Cloud",
}
# Inputs that mean this for one action only.
CLOUD_INPUTS: Mapping[str, tuple[str, ...]] = {
    "azure/login": ("creds",),
    "azure/webapps-deploy": ("publish-profile",),
    "google-github-actions/setup-gcloud": ("service_account_key",),
}
_ACCESS_KEY = re.compile(r"AKIA[A-Z2-7]{16}")
_STANDING = re.compile(r"\bsecrets[.\[]|\bvars[.\[]|\$\(\w+\)|^\$\{?\w+\}?$|<<\s*(?:parameters|pipeline)")
_TEMPORARY = ("aws_session_token", "aws-session-token", "tf_var_aws_session_token")


def cloud_keys(notes: Notes, subject: str, variables: Node, inputs: Iterable[str] = ()) -> None:
    """Note the first of a block's static keys of each cloud; the others of that cloud are further places.

    No static key: one with a session token beside it, one that another step made, one for a stand-in for a cloud
    (a word like `test`, an endpoint of its own), and a documented example.
    """
    below = {name: node for name, node in variables.items.items() if node.text}
    known = {name.lower().replace("-", "_") for name in below}
    if known & {one.replace("-", "_") for one in _TEMPORARY} or any(name.endswith("endpoint_url") for name in known):
        return
    found: dict[str, list[Node]] = {}
    for name, node in below.items():
        cloud = CLOUD_KEYS.get(name.lower().replace("-", "_")) or ("a cloud" if name in inputs else "")
        if cloud and _is_standing(node.text):
            found.setdefault(cloud, []).append(node)
    for cloud, nodes in found.items():
        says = f"{subject} signs in at {cloud} with a key that never ends: what reads it once can use it from anywhere."
        notes.weakness("static-cloud-key-in-pipeline", subject, nodes[0], says, *nodes[1:])


def _is_standing(text: str) -> bool:
    if _STANDING.search(text):
        return True
    if words.is_reference(text):
        return False
    if text.endswith(("EXAMPLE", "EXAMPLEKEY")):
        return False
    return bool(_ACCESS_KEY.fullmatch(text)) or len(text) >= 32


def unasked(notes: Notes, subject: str, commands: Iterable[Node]) -> None:
    """Note each option among commands with which an agent acts without being asked."""
    for command in commands:
        for at, flag in unsafe.flags(command):
            says = f"{subject} runs an agent with {flag}: what it reads can make it do anything that this place may do."
            notes.weakness("agent-runs-without-permission-checks", subject, at, says)
