"""XML 1.0 without a document type: what a DOCTYPE declares is passed over, and no entity is looked up or expanded.

An element is a mapping below its name: attributes as "@name", elements by name (a sequence where one stands several
times), its text as "#text"; one that holds text alone is that text. The five entities of XML and characters by
number are what they stand for; others stay as they are spelled.
"""

import re
from collections.abc import Callable

from taskbound.posture.document import Node
from taskbound.posture.parsers.tree import MAX_DEPTH, Lines, Tree, Unreadable, mended, put

_NAME = r"[^\W\d][\w:.-]*+"
_TOKEN = re.compile(rf"([^<]++)|</({_NAME})\s*+>|<({_NAME})((?:[^<>\"']++|\"[^\"]*+\"|'[^']*+')*+)>")
_IS_TEXT, _ENDS, _TAG, _ATTRIBUTES = range(1, 5)  # its groups
_ATTRIBUTE = re.compile(rf"({_NAME})\s*+=\s*+(?:\"([^\"]*+)\"|'([^']*+)')")
_BEGINS = re.compile(r"<[^\W\d]")
_DECLARATION = re.compile(r"<![^\[>]*+(?:\[.*?\]\s*+)?>", re.DOTALL)
_BLOCKS = {"<!--": "-->", "<![CDATA[": "]]>", "<?": "?>"}
_ENTITY = re.compile(r"&(?:(lt|gt|amp|quot|apos)|#([0-9]{1,7})|#x([0-9A-Fa-f]{1,6}));")
_ENTITIES = {"lt": "<", "gt": ">", "amp": "&", "quot": '"', "apos": "'"}


class _Element:
    """An element that is being read."""

    __slots__ = ("line", "members", "name", "texts")

    def __init__(self, name: str, line: int) -> None:
        self.name, self.line = name, line
        self.members: dict[str, Node] = {}
        self.texts: list[tuple[str, int]] = []


def read_xml(text: str, tree: Tree) -> None:
    """Read elements until the end. Raises Unreadable."""
    line_of = Lines(text).at
    elements = [_Element("", 1)]
    try:
        _read(text, tree, elements, line_of)
    finally:  # what is open has what was read of it
        while len(elements) > 1:
            _close(elements)
        if elements[0].members:
            tree.roots.append(Node(elements[0].members, 1))


def _read(text: str, tree: Tree, elements: list[_Element], line_of: Callable[[int], int]) -> None:
    at = 0
    while at < len(text):
        if found := _TOKEN.match(text, at):
            if found.lastindex == _IS_TEXT:
                if not found[0].isspace():
                    elements[-1].texts.append((_plain(found[0]), line_of(at)))
            elif found.lastindex == _ENDS:
                _end(found[_ENDS], at, tree, elements, line_of)
            else:
                _open(found, tree, elements, line_of)
            at = found.end()
        elif block := next((sign for sign in _BLOCKS if text.startswith(sign, at)), None):
            end = text.find(_BLOCKS[block], at + len(block))
            if end < 0:
                raise Unreadable(f"a {block} does not end", line_of(at))
            if block == "<![CDATA[":
                elements[-1].texts.append((text[at + len(block) : end], line_of(at)))
            at = end + len(_BLOCKS[block])
        elif text.startswith("<!", at):
            if not (found := _DECLARATION.match(text, at)):
                raise Unreadable("a declaration does not end", line_of(at))
            at = found.end()
        elif _BEGINS.match(text, at):
            raise Unreadable("a tag does not end", line_of(at))
        else:
            elements[-1].texts.append(("<", line_of(at)))
            at += 1
    if len(elements) == 1 and not elements[0].members:
        raise Unreadable("no element", 1)
    if len(elements) > 1:
        raise Unreadable("the text ends within an element", elements[-1].line)


def _open(tag: re.Match[str], tree: Tree, elements: list[_Element], line_of: Callable[[int], int]) -> None:
    """Begin an element, with its attributes."""
    line = line_of(tag.start())
    if len(elements) > MAX_DEPTH:
        raise Unreadable(f"nested more than {MAX_DEPTH} deep", line)
    tree.take(2, line)  # itself and its text
    element = _Element(tag[_TAG], line)
    if "=" in tag[_ATTRIBUTES]:
        is_one_line = "\n" not in tag[_ATTRIBUTES]
        for attribute in _ATTRIBUTE.finditer(tag[_ATTRIBUTES]):
            spelled = attribute[attribute.lastindex or 1]
            if is_one_line:
                node = tree.node(_plain(spelled), line)
            else:
                begin = tag.start(_ATTRIBUTES) + attribute.start(attribute.lastindex or 1)
                node = tree.node(_plain(spelled), line_of(begin), line_of(begin + len(spelled)))
            put(element.members, f"@{attribute[1]}", node)
    elements.append(element)
    if tag[_ATTRIBUTES].endswith("/"):
        _close(elements)


def _end(name: str, at: int, tree: Tree, elements: list[_Element], line_of: Callable[[int], int]) -> None:
    """End the innermost element of a name, and those within it, which do not end."""
    if elements[-1].name != name or len(elements) == 1:
        if all(element.name != name for element in elements[1:]):
            tree.note("an element ends that is not open", line_of(at))
            return
        while elements[-1].name != name:
            tree.note("an element does not end", elements[-1].line)
            _close(elements)
    _close(elements)


def _close(elements: list[_Element]) -> None:
    """End the innermost element and put it into the one around it."""
    element = elements.pop()
    text = _text(element)
    node = text if text and not element.members else Node(element.members, element.line)
    if text and element.members:
        element.members["#text"] = text
    around = elements[-1].members
    there = around.get(element.name)
    if there is None:
        around[element.name] = node
    elif isinstance(there.value, list):
        there.value.append(node)
    else:
        around[element.name] = Node([there, node], there.line)


def _text(element: _Element) -> Node | None:
    """Return the text of an element without the space around it."""
    if not element.texts:
        return None
    parts = [part for part in element.texts if part[0].strip()]
    if not parts:
        return None
    text, line = parts[0][0].lstrip(), parts[0][1]
    line += parts[0][0][: len(parts[0][0]) - len(text)].count("\n")
    last = line + text.count("\n")
    pieces = [text]
    for part, begin in parts[1:]:  # between them stood elements or remarks, whose lines count
        pieces += "\n" * (begin - last), part
        last = begin + part.count("\n")
    whole = "".join(pieces).rstrip()
    return Node(whole, line, line + whole.count("\n") if "\n" in whole else 0)


def _plain(spelled: str) -> str:
    return mended(_ENTITY.sub(_character, spelled)) if "&" in spelled else spelled


def _character(entity: re.Match[str]) -> str:
    if entity[1]:
        return _ENTITIES[entity[1]]
    return chr(min(int(entity[2]) if entity[2] else int(entity[3], 16), 0x10FFFF))
