"""What every reader works with: the notes it takes of one document, and what they become."""

import posixpath
import re
from collections.abc import Mapping
from dataclasses import dataclass

from taskbound.posture.document import Document, Node
from taskbound.posture.readers import words
from taskbound.posture.sighting import Holder, Holding, Place, Principal, Sighting, Weakness

_LIVE = re.compile(r"(?<=[._-])live(?=(?:\.\w+)?$)", re.I)


@dataclass(frozen=True, slots=True)
class Reading:
    """What a document says: who holds what stands in it, and what is seen without looking for credentials."""

    holdings: tuple[Holding, ...] = ()
    sightings: tuple[Sighting, ...] = ()


class Notes:
    """The notes of one reader on one document. Nothing that goes in may hold a value that could be a credential."""

    def __init__(self, document: Document, repository: str) -> None:
        self.document = document
        self.repository = repository
        self.file = posixpath.basename(document.path)
        self.holdings: dict[tuple[int, tuple[str, ...]], Holding] = {}
        self.sightings: list[Sighting] = []

    def named(self, name: str) -> str:
        """`name@repository`; the name alone where there is no repository (a person's home)."""
        return f"{name}@{self.repository}" if self.repository else name

    def environment(self, *said: str) -> str:
        """What is said nearest to the thing counts, then the path from its end, then the repository's name.

        In the name of an agent's settings "local" says who reads them, not where anything runs; at the end of a file's
        name `live` says production.
        """
        *folders, file = self.document.path.split("/")
        file = file.replace("settings.local", "settings").replace("CLAUDE.local", "CLAUDE")
        file = _LIVE.sub("production", file)
        return words.environment(*said, file, *reversed(folders), self.repository)

    def holder(self, kind: str, name: str, *said: str) -> Holder:
        return Holder(kind, self.named(name), self.repository, self.environment(*said))

    def hold(self, holder: Holder, spot: str, root: int, *keys: str) -> None:
        """Say who holds what stands below these keys; what is said later of the same keys counts."""
        self.holdings[root, keys] = Holding(holder, spot, root, keys)

    def hold_all(self, holder: Holder, spot: str) -> None:
        for root in range(len(self.document.roots)):
            self.hold(holder, spot, root)

    def place(self, at: Node | int) -> Place:
        return Place(self.document.path, max(1, at if isinstance(at, int) else at.line))

    def principal(self, id: str, kind: str, at: Node | int, **facts: object) -> None:
        """Note an identity; `repository` is a fact of each."""
        told: Mapping[str, object] = {"repository": self.repository} | {
            k: v for k, v in facts.items() if v or v is False
        }
        self.sightings.append(Principal(id, kind, self.place(at), told))

    def weakness(self, case: str, subject: str, at: Node | int, says: str, *more: Node | int) -> None:
        """Note a weakness once; places that say nothing new are left out."""
        place = self.place(at)
        others = tuple(dict.fromkeys(one for one in map(self.place, more) if one != place))
        found = Weakness(case, subject, place, says, others)
        if found not in self.sightings:
            self.sightings.append(found)

    def reading(self) -> Reading:
        return Reading(tuple(self.holdings.values()), tuple(self.sightings))


def each(node: Node) -> tuple[Node, ...]:
    """A block that may stand once or many times, as a tuple; empty where it is missing."""
    if node.list:
        return tuple(node.list)
    return (node,) if node else ()


def texts(node: Node) -> tuple[Node, ...]:
    """The texts of a scalar or of a list of scalars, without empty ones."""
    return tuple(one for one in each(node) if one.text)


def lines(document: Document) -> tuple[Node, ...]:
    """The lines of a text document, however its parser gives them: a sequence, or one scalar with line ends."""
    found: list[Node] = []
    for root in document.roots:
        for one in each(root):
            found += [Node(text, one.line + n) for n, text in enumerate(one.text.split("\n"))]
    return tuple(found)
