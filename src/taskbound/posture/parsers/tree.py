"""Tree: nodes as a parser reads them, top down, within limits.

A node is in its place before what is below it is read: where reading stops, what was read until then stays. Limits
are of the whole file. An alias costs as many nodes as it stands for, so that who walks all scalars of a document
takes bounded time as well.
"""

from bisect import bisect_right
from collections.abc import Mapping
from itertools import accumulate

from taskbound.posture.document import Node, Scalar

MAX_BYTES = 8 << 20  # of a file; lock files and exports end below, what is larger is a dump
MAX_LINES = 250_000  # of a file; where they stand is looked up in a list of them
MAX_NODES = 250_000  # some 40 MB
MAX_DEPTH = 64  # real files stay below 20; also keeps who descends by recursion far from Python's limit


class Unreadable(Exception):
    """Reading cannot go on. Says why, never what stands there: it may be a credential."""

    def __init__(self, why: str, line: int) -> None:
        super().__init__(why)
        self.line = line


class Tree:
    """The roots of a document while it is read, and the first problem."""

    def __init__(self) -> None:
        self.roots: list[Node] = []
        self.problem: tuple[int, str] | None = None
        self._left = MAX_NODES
        self._open: list[_Open] = []

    def note(self, why: str, line: int) -> None:
        """A part could not be read, and reading goes on. The first one is told."""
        if self.problem is None:
            self.problem = line, why

    # --- from the top down, for grammars that nest ---------------------------------------------------

    @property
    def depth(self) -> int:
        """How many mappings and sequences are open."""
        return len(self._open)

    @property
    def waits_for_key(self) -> bool:
        """Whether a mapping is the innermost that is open, and what comes next in it is a key."""
        return bool(self._open) and (top := self._open[-1]).members is not None and top.key is None

    @property
    def has_key(self) -> bool:
        """Whether the innermost mapping waits for the value of a key."""
        return bool(self._open) and self._open[-1].key is not None

    def key(self, name: str, line: int) -> None:
        """What comes next is the value of this key."""
        self._open[-1].key, self._open[-1].line = name, line

    def add(self, value: Scalar | Node, line: int, last: int = 0, cost: int = 0) -> Node:
        """Put a scalar, or a node that is made already and costs as many more, where one is waited for.

        Raises Unreadable.
        """
        if isinstance(value, Node):
            node = value
        else:
            node, cost = Node(value, line, last if last > line else 0), cost + 1
        self._left -= cost
        if self._left < 0:
            raise too_many(line)
        top = self._open[-1] if self._open else None
        if top is None:
            self.roots.append(node)
        elif top.places is not None:
            top.places.append(node)
        elif top.members is not None and top.key is not None:
            if top.key in top.members:
                put(top.members, top.key, node)
            else:
                top.members[top.key] = node
            top.key = None
        return node

    def open_mapping(self, line: int) -> dict[str, Node]:
        """Begin a mapping and return its members. Raises Unreadable."""
        members: dict[str, Node] = {}
        self._begin(members, line).members = members
        return members

    def open_sequence(self, line: int) -> list[Node]:
        """Begin a sequence and return its places. Raises Unreadable."""
        places: list[Node] = []
        self._begin(places, line).places = places
        return places

    def close(self, line: int = 0) -> Node:
        """End the innermost mapping or sequence; a key that still waits has no value."""
        if self.has_key:
            self.add(None, line or self._open[-1].line)
        return self._open.pop().node

    @property
    def innermost(self) -> Node:
        """The innermost mapping or sequence that is open."""
        return self._open[-1].node

    def is_open(self, node: Node) -> bool:
        """Whether something below this node is being read."""
        return any(one.node is node for one in self._open)

    def unwind(self) -> None:
        """Leave everything that is open as it is."""
        self._open.clear()

    def _begin(self, value: "dict[str, Node] | list[Node]", line: int) -> "_Open":
        if len(self._open) >= MAX_DEPTH:
            raise Unreadable(f"nested more than {MAX_DEPTH} deep", line)
        node = self.node(value, self._open[-1].line if self.has_key else line)
        self.add(node, line)
        self._open.append(_Open(node))
        return self._open[-1]

    # --- one by one ----------------------------------------------------------------------------------

    def node(self, value: "Scalar | dict[str, Node] | list[Node]", line: int, last: int = 0) -> Node:
        """Return a node that has no place yet. Raises Unreadable where there are too many."""
        self.take(1, line)
        return Node(value, line, last if last > line else 0)

    def take(self, nodes: int, line: int) -> None:
        """Count nodes. Raises Unreadable where there are too many."""
        self._left -= nodes
        if self._left < 0:
            raise too_many(line)

    def adopt(self, other: "Tree") -> None:
        """Take over the roots of another. Raises Unreadable."""
        self.take(other.used, 1)
        self.roots += other.roots

    @property
    def used(self) -> int:
        """How many nodes were made."""
        return MAX_NODES - self._left

    @property
    def left(self) -> int:
        """How many nodes may still be made."""
        return self._left


class _Open:
    """A mapping or a sequence that is being read."""

    __slots__ = ("key", "line", "members", "node", "places")

    def __init__(self, node: Node) -> None:
        self.node = node
        self.members: dict[str, Node] | None = None
        self.places: list[Node] | None = None
        self.key: str | None = None
        self.line = node.line


def too_many(line: int) -> Unreadable:
    """Return what is raised where there are too many nodes."""
    return Unreadable(f"more than {MAX_NODES} values", line)


class Lines:
    """The line numbers of places in a text. Lines end with a line feed and nothing else, as for who counts bytes."""

    def __init__(self, text: str) -> None:
        self._starts = list(accumulate((len(line) + 1 for line in text.split("\n")), initial=0))

    def at(self, place: int) -> int:
        """Return the line, from 1, of a place in the text."""
        return bisect_right(self._starts, place)


def put(members: dict[str, Node], key: str, node: Node) -> None:
    """Put a member. Of a key that stands twice the last one counts; the earlier stays beside it, under its line."""
    if key in members:
        earlier = members.pop(key)
        name = f"{key} (line {earlier.line})"
        members[f"{name[:-1]}, {len(members)})" if name in members else name] = earlier  # their number only grows
    members[key] = node


def into(members: dict[str, Node], key: str, tree: Tree, line: int) -> dict[str, Node]:
    """Return the members of the mapping at this key, of a new one where there is none."""
    found = members.get(key)
    if found is None or not isinstance(found.value, dict):
        found = tree.node({}, line)
        put(members, key, found)
    assert isinstance(found.value, dict)
    return found.value


def number(spelled: str) -> int | float | None:
    """Return the number, if its usual spelling is this one: 010, 1.10 and 1e3 stay texts, and compare as such."""
    if len(spelled) > 24 or not spelled or spelled[-1] not in "0123456789":
        return None
    for kind in (int, float):
        try:
            found = kind(spelled)
        except ValueError:
            continue
        if str(found) == spelled:
            return found
    return None


def scalar(spelled: str) -> Scalar:
    """Return what a bare word is in JSON, HCL, TOML and YAML 1.2: a truth value, null, a number, else a text."""
    if spelled in _WORDS:
        return _WORDS[spelled]
    found = number(spelled)
    return spelled if found is None else found


_WORDS: Mapping[str, Scalar] = {"true": True, "false": False, "null": None}


def mended(text: str) -> str:
    """Return a text that can be encoded: halves of pairs that escapes left alone are replaced."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text
