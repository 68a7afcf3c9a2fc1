"""Walk: every mapping of a document, with the mappings that lead to it."""

from collections.abc import Iterator

from taskbound.posture.document import NOTHING, Document, Node

MOST = 200_000  # mappings of a document; nothing that a person wrote has as many
DEPTH = 60
NAMES = (
    "RoleName",
    "UserName",
    "GroupName",
    "PolicyName",
    "roleName",
    "name",
    "Name",
    "id",
    "display_name",
    "displayName",
)

Trail = tuple[tuple[str, Node], ...]  # the keys and mappings that lead to one, outermost first, itself last


def mappings(document: Document) -> Iterator[tuple[Node, Trail]]:
    """Yield each mapping, and what leads to it, itself included."""
    seen = 0
    for root in document.roots:
        waiting: list[tuple[str, Node, Trail]] = [("", root, ())]
        while waiting and seen < MOST:
            key, node, above = waiting.pop()
            if node.items:
                seen += 1
                inner = (*above, (key, node))
                yield node, inner
                if len(above) < DEPTH:
                    waiting += [(name, one, inner) for name, one in reversed(list(node.items.items()))]
            elif node.list and len(above) < DEPTH:
                waiting += [(key, one, above) for one in reversed(node.list)]


def folded(node: Node) -> dict[str, Node]:
    """The members of a mapping by their names without signs and case: implicit_flow_enabled, implicitFlowEnabled."""
    return {key.replace("_", "").replace("-", "").replace(".", "").lower(): one for key, one in node.items.items()}


def named(trail: Trail) -> str:
    """What a mapping is called: by a member that names it, or the key that leads to it, the nearest that does."""
    for key, one in reversed(trail):
        for name in NAMES:
            if (said := one.at(name).text) and "${" not in said:
                return said
        if (
            key
            and not key[0].isupper()
            and key not in ("statement", "policy", "permissions", "properties", "attributes", "inputs")
        ):
            return key
    return ""


def first(members: dict[str, Node], *names: str) -> Node:
    return next((members[name] for name in names if name in members), NOTHING)


def yes(node: Node) -> bool:
    return node.text.lower() in ("true", "yes", "on", "1")
