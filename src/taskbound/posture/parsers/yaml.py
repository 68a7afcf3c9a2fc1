"""YAML (1.2.2), read from the events of libyaml: its composer descends in C without a limit, and expands aliases.

A file has a root a document. Keys are texts as they stand there (GitHub's `on` stays "on"); truth values, null and
numbers are those of the core schema (10.3), where their spelling is the usual one: an image's tag 1.10 is no number.
Tags say nothing but for the short forms of CloudFormation, which are what their long forms are: `!Ref a` is
{"Ref": "a"}, so that a reference is never taken for what it refers to. `<<` brings the members of others.

Templates (Helm, Jinja) are no YAML: their lines that are nothing but actions are passed over, other actions are
texts. After what cannot be read, reading goes on with the next document.
"""

import re
from collections.abc import Mapping, Sequence

import yaml

from taskbound.posture.document import Node, Scalar
from taskbound.posture.parsers.tree import MAX_DEPTH, Tree, Unreadable, number

MAX_RESUMED = 100  # documents of a file after one that cannot be read; each costs a copy of what is left

# What libyaml refuses to read at all, and what it takes for the end of a line and nobody else does.
_UNREADABLE = re.compile("[^\t\n\x20-\x7e\xa0-\u2027\u202a-\ud7ff\ue000-\ufefe\uff00-\ufffd\U00010000-\U0010ffff]")
_DOCUMENT = re.compile(r"^---(?=\s|$)", re.MULTILINE)
# None within another: of many that do not end, each is looked through up to the next one alone.
_ACTION = re.compile(r"\{\{(?:(?!\{\{|\}\}).)*+\}\}|\{%(?:(?!\{%|%\}).)*+%\}|\{#(?:(?!\{#|#\}).)*+#\}", re.DOTALL)
_STAND_IN = re.compile("\ue000([0-9]+)\ue001")
_FUNCTIONS = (
    "And Base64 Cidr Equals FindInMap ForEach GetAtt GetAZs If ImportValue Join Length Not Or Select Split Sub"
    " ToJsonString Transform"
)
_INTRINSIC = {"!Ref": "Ref", "!Condition": "Condition"}
_INTRINSIC |= {f"!{name}": f"Fn::{name}" for name in _FUNCTIONS.split()}
_DIGITS = "0123456789"
_WORDS: Mapping[str, Scalar] = {
    spelled: value
    for name, value in (("", None), ("~", None), ("null", None), ("true", True), ("false", False))
    for spelled in (name, name.title(), name.upper())
}


def read_yaml(text: str, tree: Tree) -> None:
    """Read documents until the end. Raises Unreadable."""
    readable = _UNREADABLE.sub("\ufffd", text)
    if "{{" not in text and "{%" not in text:
        _read(readable, tree, ())
        return
    plain = Tree()
    try:
        reads = not _read(readable, plain, ()) and not plain.problem
    except Unreadable:
        reads = False
    if reads:
        tree.adopt(plain)
    else:
        actions: list[str] = []
        _read(_without_actions(readable, actions), tree, actions)


def _without_actions(text: str, actions: list[str]) -> str:
    """Return the text, line by line, with a stand-in for each action, and fill `actions` with what they stand for."""

    def stand_in(found: re.Match[str]) -> str:
        actions.append(found[0])
        return f"\ue000{len(actions) - 1}\ue001" + "\n" * found[0].count("\n")

    lines = _ACTION.sub(stand_in, text).split("\n")
    return "\n".join("" if "\ue000" in line and not _STAND_IN.sub("", line).strip() else line for line in lines)


def _read(text: str, tree: Tree, actions: Sequence[str]) -> bool:
    """Read documents until the end; return whether a key was no scalar, as {{ … }} is for YAML. Raises Unreadable."""
    is_odd, begin, line = False, 0, 0
    for _ in range(MAX_RESUMED):
        reading = _Reading(tree, line, actions)
        try:
            reading.read(text[begin:])
        except yaml.YAMLError as error:
            tree.unwind()
            mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
            tree.note(getattr(error, "problem", None) or "no YAML", line + (mark.line if mark else 0) + 1)
        else:
            return is_odd or reading.is_odd
        is_odd = is_odd or reading.is_odd
        for _ in range(reading.document - line):
            begin = text.index("\n", begin) + 1
        following = _DOCUMENT.search(text, begin + 1)
        if not following:
            return is_odd
        line = reading.document + text.count("\n", begin, following.start())
        begin = following.start()
    return is_odd


class _Reading:
    """Events on their way into a tree. Lines count from 0 here, as libyaml does."""

    def __init__(self, tree: Tree, line: int, actions: Sequence[str]) -> None:
        self.document = line  # the line on which the document that is read begins
        self.is_odd = False
        self._tree = tree
        self._base = self._end_line = line
        self._actions = actions
        self._anchors: dict[str, Node] = {}
        self._weights: dict[str, tuple[int, int]] = {}
        self._wrapped: list[bool] = []  # of what is open: whether its tag made a mapping around it
        self._within_key = 0  # how deep in a key that is no scalar

    def read(self, text: str) -> None:
        """Read until the end. Raises yaml.YAMLError, Unreadable."""
        self._end_line = self._base + text.count("\n") + 1
        parser = yaml.CSafeLoader(text)
        next_event, scalar = parser.get_event, yaml.ScalarEvent
        # One by one, the most frequent first: with `match` and yaml.parse it takes a quarter longer.
        while event := next_event():
            if isinstance(event, scalar):
                if not self._within_key:
                    self._scalar(event)
            elif isinstance(event, yaml.CollectionStartEvent):
                self._begin(event)
            elif isinstance(event, yaml.CollectionEndEvent):
                self._end(self._line(event))
            elif isinstance(event, yaml.DocumentStartEvent):
                self.document = self._line(event) - 1
                self._anchors.clear()
                self._weights.clear()
            elif isinstance(event, yaml.AliasEvent):
                if not self._within_key:
                    self._alias(event)
            elif isinstance(event, yaml.StreamEndEvent):
                break

    def _line(self, event: yaml.Event) -> int:
        """Return the line, from 1, on which an event begins; what is missing at the end is on the last one."""
        line = self._base + 1 + (event.start_mark.line if event.start_mark else 0)
        return line if line < self._end_line else self._end_line

    def _begin(self, event: yaml.CollectionStartEvent) -> None:
        line = self._line(event)
        if self._within_key or self._tree.waits_for_key:
            self.is_odd = True
            self._within_key += 1
            if self._within_key > MAX_DEPTH:  # what libyaml takes for one more key costs it all that are open
                raise Unreadable(f"nested more than {MAX_DEPTH} deep", line)
            return
        self._wrapped.append(self._wrap(event.tag, line))
        opens = self._tree.open_mapping if isinstance(event, yaml.MappingStartEvent) else self._tree.open_sequence
        opens(line)
        if event.anchor:
            self._anchor(event.anchor, self._tree.innermost)

    def _end(self, line: int) -> None:
        if self._within_key:
            self._within_key -= 1
            if not self._within_key:
                self._tree.key("?", line)
            return
        node = self._tree.close(line)
        if isinstance(node.value, dict) and "<<" in node.value:
            _merge(node.value)
        if self._wrapped.pop():
            self._tree.close(line)

    def _scalar(self, event: yaml.ScalarEvent) -> None:
        tree, text, tag, anchor, style = self._tree, event.value, event.tag, event.anchor, event.style
        line = self._line(event)
        if self._actions:
            text = self._restored(text)
        if tree.waits_for_key:
            if anchor:
                self._anchor(anchor, tree.node(text, line))
            tree.key(text, line)
            return
        last = min(self._base + event.end_mark.line + 1, self._end_line) if event.end_mark else line
        if style in ("|", ">"):  # its text begins below the sign, and it ends where something else begins
            line, last = min(line + 1, self._end_line), last - 1
        is_word = not style and (not tag or tag.startswith("tag:yaml.org,2002:"))
        value = _plain(text) if is_word and tag != "tag:yaml.org,2002:str" else text
        is_wrapped = tag is not None and self._wrap(tag, line)
        node = tree.add(value, line, last)
        if is_wrapped:
            tree.close()
        if anchor:
            self._anchor(anchor, node)

    def _alias(self, event: yaml.AliasEvent) -> None:
        line = self._line(event)
        name = event.anchor or ""
        node = self._anchors.get(name)
        if self._tree.waits_for_key:
            self._tree.key(node.text if node else f"*{name}", line)
        elif node is None or self._tree.is_open(node):
            self._tree.note("an alias of nothing, or of what it stands in", line)
            self._tree.add(None, line)
        else:
            if name not in self._weights:
                self._weights[name] = _weigh(node, self._tree.left)
            nodes, height = self._weights[name]
            if self._tree.depth + height > MAX_DEPTH:
                raise Unreadable(f"nested more than {MAX_DEPTH} deep", line)
            self._tree.add(node, line, cost=nodes)

    def _anchor(self, name: str, node: Node) -> None:
        self._anchors[name] = node
        self._weights.pop(name, None)

    def _wrap(self, tag: str | None, line: int) -> bool:
        """Begin the mapping that a short form of CloudFormation stands for; return whether there is one."""
        if tag is None or tag not in _INTRINSIC:
            return False
        self._tree.open_mapping(line)
        self._tree.key(_INTRINSIC[tag], line)
        return True

    def _restored(self, text: str) -> str:
        if "\ue000" not in text:
            return text
        return _STAND_IN.sub(lambda found: self._action(found[0], int(found[1][:9])), text)

    def _action(self, spelled: str, place: int) -> str:
        return self._actions[place] if place < len(self._actions) else spelled


def _plain(text: str) -> Scalar:
    if text in _WORDS:
        return _WORDS[text]
    if text[-1] not in _DIGITS:
        return text
    found = number(text)
    return text if found is None else found


def _weigh(node: Node, most: int) -> tuple[int, int]:
    """Return how many nodes an alias stands for, and how deep they are nested; no more than one above `most`."""
    nodes, height, waiting = 0, 0, [(node, 1)]
    while waiting and nodes <= most:
        one, depth = waiting.pop()
        nodes, height = nodes + 1, max(height, depth)
        waiting += [(below, depth + 1) for below in (*one.items.values(), *one.list)]
    return nodes, height


def _merge(members: dict[str, Node]) -> None:
    """Take in the members of what `<<` names (YAML 1.1 merge); those that stand there themselves count."""
    named = members.pop("<<")
    for mapping in (named, *named.list):
        for key, node in mapping.items.items():
            members.setdefault(key, node)
