"""Values: every scalar of a document, with the name that a person would say it stands under."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from taskbound.posture.document import Document, Node

FLAT = frozenset({"text", "markdown"})  # formats whose values are their text: it is searched once
DEPTH = 200  # levels of a document; nothing that holds a credential is nested deeper
SHORTEST = 4  # characters; no credential is shorter
# In {"name": "TOKEN", "value": "…"} the name of the value; CloudFormation and Elastic Beanstalk have their own.
NAMED = ("name", "key", "parameterkey", "parametername", "optionname", "variable")
VALUES = frozenset(
    {"value", "default", "string_value", "stringvalue", "literal", "plaintext", "parametervalue", "defaultvalue"}
)
# --token=…, TOKEN=…; what is left of base64 before its padding is no name.
ASSIGNED = re.compile(r"--?([A-Za-z][\w.-]*)=(?!=?$)|([A-Za-z_][\w.]*)=(?!=?$)")
OPTION = re.compile(r"--?([A-Za-z][\w-]*)")


@dataclass(frozen=True, slots=True)
class Value:
    """A scalar of a document, and the name that it stands under."""

    root: int
    keys: tuple[str, ...]
    name: str
    node: Node
    text: str

    @property
    def last(self) -> int:
        """The last line that it stands on."""
        return max(self.node.line, self.node.last)


def values(document: Document) -> Iterator[Value]:
    """Yield every scalar that could be a credential, in order."""
    if document.format in FLAT:
        return
    for root, top in enumerate(document.roots):
        waiting: list[tuple[tuple[str, ...], str, Node]] = [((), "", top)]
        while waiting:
            keys, name, node = waiting.pop()
            if len(keys) > DEPTH:
                continue
            if items := node.items:
                own = next((text for key in items if key.lower() in NAMED if (text := items[key].text)), name)
                waiting += [
                    ((*keys, key), own if key.lower() in VALUES else key, one)
                    for key, one in reversed(list(items.items()))
                ]
            elif places := node.list:
                waiting += reversed(
                    [((*keys, str(n)), _before(places, n) or name, one) for n, one in enumerate(places)]
                )
            elif len(text := node.text) >= SHORTEST:
                yield Value(root, keys, name, node, text)


def named(name: str, text: str) -> tuple[str, str]:
    """Return what is searched under which name: of `--token=x` and `TOKEN=x`, which stand in lists, the x."""
    if assigned := ASSIGNED.match(text):
        return assigned[1] or assigned[2], text[assigned.end() :]
    return name, text


def _before(words: Sequence[Node], place: int) -> str:
    """Return the option that a word of a list is the argument of: `--token` in front of it."""
    option = OPTION.fullmatch(words[place - 1].text) if place else None
    return option[1] if option else ""
