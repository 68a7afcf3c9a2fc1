"""Documents for the tests of readers, made from Python values: no parser is needed to say what a file holds."""

from collections.abc import Mapping, Sequence
from typing import Any

from taskbound.posture.document import Document, Node
from taskbound.posture.readers import Reading, read
from taskbound.posture.sighting import Holding, Principal, Weakness

FORMATS = {
    "yml": "yaml",
    "yaml": "yaml",
    "json": "json",
    "toml": "toml",
    "tf": "hcl",
    "tfvars": "hcl",
    "md": "markdown",
}


class _Lines:
    """Every key and every place of a list begins a line, as in a file that a machine wrote."""

    def __init__(self) -> None:
        self.line = 0

    def node(self, value: Any) -> Node:
        line = self.line
        if isinstance(value, Mapping):
            items = {}
            for key, one in value.items():
                self.line += 1
                items[key] = self.node(one)
            return Node(items, max(1, line))
        if isinstance(value, Sequence) and not isinstance(value, str):
            found = []
            for one in value:
                self.line += 1
                found.append(self.node(one))
            return Node(found, max(1, line))
        if isinstance(value, str):
            self.line += value.count("\n")
        return Node(value, max(1, line))


def document(path: str, *roots: Any, format: str = "") -> Document:
    lines = _Lines()
    return Document(path, format or FORMATS.get(path.rsplit(".", 1)[-1], "text"), tuple(map(lines.node, roots)))


def reading(path: str, *roots: Any, repository: str = "shop", format: str = "") -> Reading:
    return read(document(path, *roots, format=format), repository)


def weaknesses(found: Reading) -> list[Weakness]:
    return [one for one in found.sightings if isinstance(one, Weakness)]


def principals(found: Reading, kind: str) -> list[Principal]:
    return [one for one in found.sightings if isinstance(one, Principal) and one.kind == kind]


def cases(path: str, *roots: Any, repository: str = "shop", format: str = "") -> list[str]:
    """The cases of the weaknesses of a document, in order."""
    return [one.case for one in weaknesses(reading(path, *roots, repository=repository, format=format))]


def held(found: Reading, *keys: str, root: int = 0) -> Holding:
    """The innermost holding whose keys lead to a value."""
    leading = [one for one in found.holdings if one.root == root and one.keys == keys[: len(one.keys)]]
    return max(leading, key=lambda one: len(one.keys))
