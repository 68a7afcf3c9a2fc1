"""GitHub: settings, secrets and webhooks of an organisation, as its REST API answers."""

from collections.abc import Iterator
from urllib.parse import urlsplit

from taskbound.posture.document import Node
from taskbound.posture.sighting import Mark, Place, Remark, Sighting, Weakness


def read_workflow_permissions(path: str, row: Node, mark: Mark) -> Iterator[Sighting]:
    """Read what the token of a workflow may do where it says nothing (`actions/permissions/workflow`)."""
    said = row.at("default_workflow_permissions")
    if said.text == "write":
        says = "The token of every workflow that says nothing may write everything in its repository."
        yield Weakness("workflow-write-all", "github:default-workflow-permissions", Place(path, said.line), says)


def read_hook(path: str, row: Node, mark: Mark) -> Iterator[Sighting]:
    """Read a webhook of GitHub or GitLab: where to, and whether the way is checked."""
    url = row.at("config", "url") or row.at("url")
    host = _host(url.text)
    if row.at("active").text == "false" or not host:
        return
    of = f"webhook:{host}"
    unchecked = row.at("config", "insecure_ssl").text == "1" or row.at("enable_ssl_verification").text == "false"
    if unchecked or url.text.startswith("http:"):
        says = f"{of} is called without encryption, or nobody checks who answers there."
        yield Weakness("webhook-unchecked", of, Place(path, url.line), says)
    everything = next((one for one in row.at("events").list if one.text == "*"), None)
    yield Remark(
        "hook",
        of,
        Place(path, url.line),
        {"host": host, "everything": everything is not None, "secret": bool(row.at("config", "secret").text)},
    )


def _host(url: str) -> str:
    try:
        return urlsplit(url).hostname or ""
    except ValueError:
        return ""


READERS = (
    ((frozenset({"default_workflow_permissions"}),), read_workflow_permissions),
    ((frozenset({"config"}), frozenset({"events"}), frozenset({"active"})), read_hook),
    ((frozenset({"enable_ssl_verification"}), frozenset({"url"}), frozenset({"push_events"})), read_hook),
)
