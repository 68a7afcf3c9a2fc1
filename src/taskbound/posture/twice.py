"""Twice: what bytes say wherever they lie is found out once. Copies are many: vendored code, charts, what tools wrote.

Kept are the document and the hits, of which neither knows the path; who holds them is asked for each path anew. Bytes
are known by their SHA-256, so that nobody can make others that pass for some that were found harmless. Most say
nothing: of those the digest alone is kept, in a table that processes may share, so that none looks at what another has.
"""

from collections.abc import Hashable, Iterable
from dataclasses import dataclass
from hashlib import sha256
from mmap import mmap

from taskbound.posture.anchors import NONE, Anchored
from taskbound.posture.document import Document, Node, TextLines
from taskbound.posture.located import Located

MOST_TEXTS = 50_000  # that said something and are remembered in one process, some 10 MB
DIGEST = 32  # bytes by which a text is known
PAIRS = 1 << 17  # places in the table of the others, each for the two digests that came last
TABLE = PAIRS * 2 * DIGEST  # its bytes
MOST_NODES = 100_000  # of their documents, some 20 MB
LARGEST = 20_000  # nodes of a document that is kept
HIT = 5  # what one takes, in nodes

Way = Hashable  # how bytes are read: all that is asked of a path before who holds them is
Key = bytes


@dataclass(frozen=True, slots=True)
class Said:
    """What bytes say, where they are read in one way."""

    document: Document | None  # of the path at which they were first; None where it is made of them in no time
    anchored: Anchored
    found: Located
    dead: frozenset[int] = frozenset()  # lines of which it is said that what stands there opens nothing

    @property
    def is_silent(self) -> bool:
        """Whether nobody has anything to say of them but who reads them by their path."""
        return not (self.document or self.found.hits) and self.anchored is NONE


_SAID_NOTHING = Said(None, NONE, Located(()))


class Twice:
    """What the texts said that were looked at last. `silent`: the table, TABLE bytes of 0 at first.

    Two processes may write a place of it at once: half of a digest is that of no text.
    """

    def __init__(self, silent: bytearray | mmap | None = None) -> None:
        self._said: dict[Key, tuple[Said, int]] = {}
        self._nodes = 0
        self._silent = bytearray(TABLE) if silent is None else silent

    @property
    def size(self) -> tuple[int, int]:
        """How many texts are remembered that said something, and what they take, in nodes."""
        return len(self._said), self._nodes

    def key(self, data: bytes, way: Way) -> Key:
        """Return what bytes are known by that are read in this way."""
        digest = sha256(data)
        digest.update(repr(way).encode(errors="surrogatepass"))
        return digest.digest()

    def get(self, key: Key) -> Said | None:
        at = _place(key)
        if key in (self._silent[at : at + DIGEST], self._silent[at + DIGEST : at + 2 * DIGEST]):
            return _SAID_NOTHING
        found = self._said.get(key)
        return found[0] if found else None

    def keep(self, key: Key, said: Said) -> None:
        """Remember what bytes said. What was remembered first is forgotten first."""
        if said.is_silent:
            at = _place(key)
            self._silent[at : at + 2 * DIGEST] = key + self._silent[at : at + DIGEST]
            return
        nodes = len(said.found.hits) * HIT + (_weigh(said.document.roots) if said.document else 0)
        if nodes > LARGEST:
            return
        self._said[key] = said, nodes
        self._nodes += nodes
        while len(self._said) > MOST_TEXTS or self._nodes > MOST_NODES:
            self._nodes -= self._said.pop(next(iter(self._said)))[1]


def _place(key: Key) -> int:
    return int.from_bytes(key[:4], "big") % PAIRS * 2 * DIGEST


def _weigh(roots: Iterable[Node]) -> int:
    """Return how many nodes there are, or may be once a text was asked for its lines; or some number above LARGEST."""
    nodes, waiting = 0, list(roots)
    while waiting and nodes <= LARGEST:
        value = waiting.pop().value
        if isinstance(value, TextLines):
            nodes += value.most
        elif isinstance(value, dict | list | tuple):
            below = value.values() if isinstance(value, dict) else value
            nodes += len(below)
            waiting += [one for one in below if type(one.value) is not str]
    return nodes
