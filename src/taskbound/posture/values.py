"""Values: every scalar of a document, with the name that a person would say it stands under."""

import re
from collections.abc import Iterator, Sequence
from itertools import islice

import msgspec

from taskbound.posture.document import Document, Node
from taskbound.posture.states import secrets

FLAT = frozenset({"text", "markdown"})  # formats whose values are their text: it is searched once
DEPTH = 200  # levels of a document; nothing that holds a credential is nested deeper
FEW = 8  # lines of a text of which one is all that it says
SEALED = (".enc", ".gpg", ".pgp", ".asc", ".age", ".sops", ".kms", ".jwe")  # files that a key opens
SHORTEST = 4  # characters; no credential is shorter
# In {"name": "TOKEN", "value": "…"} the name of the value; CloudFormation and Elastic Beanstalk have their own.
NAMED = ("name", "key", "parameterkey", "parametername", "optionname", "variable")
VALUES = frozenset(
    {"value", "default", "string_value", "stringvalue", "literal", "plaintext", "parametervalue", "defaultvalue"}
)
# --token=…, TOKEN=…; what is left of base64 before its padding is no name.
ASSIGNED = re.compile(r"--?([A-Za-z][\w.-]*)=(?!=?$)|([A-Za-z_][\w.]*)=(?!=?$)")
OPTION = re.compile(r"--?([A-Za-z][\w-]*)")


class Value(msgspec.Struct, frozen=True):
    """A scalar of a document, and the name that it stands under."""

    root: int
    above: tuple[str, ...]  # the keys that lead to where it is a member
    key: str | None  # its own; None of a document that is a scalar
    name: str
    node: Node
    text: str

    @property
    def keys(self) -> tuple[str, ...]:
        """All keys that lead to it."""
        return self.above if self.key is None else (*self.above, self.key)

    @property
    def last(self) -> int:
        """The last line that it stands on."""
        return max(self.node.line, self.node.last)


def values(document: Document) -> Iterator[Value]:
    """Yield every scalar that could be a credential, in order."""
    if document.format in FLAT:
        yield from _alone(document)
        return
    told = secrets(document)
    for root, top in enumerate(document.roots):
        above: tuple[str, ...] = ()
        open_: list[tuple[tuple[str, ...], Iterator[_Named]]] = [((), iter([(None, "", top)]))]  # as far as it was read
        while open_:
            above, left = open_[-1]
            for key, name, node in left:
                value = node.value
                if type(value) is str:
                    text = value
                elif node.items or node.list:
                    keys = above if key is None else (*above, key)
                    if len(keys) <= DEPTH:
                        open_.append((keys, _below(name, node)))
                        break
                    continue
                else:
                    text = node.text
                if len(text) >= SHORTEST and len(above) < DEPTH:
                    if told and key is not None:
                        name = told.get((root, (*above, key)), name)
                    yield Value(root, above, key, name, node, text)
            else:
                open_.pop()


def _alone(document: Document) -> Iterator[Value]:
    """Yield the line that is all of a text but remarks: it stands under the file's name, as a mounted secret does."""
    lines = list(islice(document.roots[0].list, FEW)) if document.roots and not document.path.endswith(SEALED) else []
    told = [one for one in lines if not one.text.lstrip().startswith("#")]
    if len(told) == 1 and len(lines) < FEW:
        yield Value(0, (), str(lines.index(told[0])), document.path.rpartition("/")[2], told[0], told[0].text.strip())


_Named = tuple[str | None, str, Node]  # a key, the name that it stands under, and what stands there


def _below(name: str, node: Node) -> Iterator[_Named]:
    """Yield what a mapping or a sequence has."""
    if items := node.items:
        folded = [key.lower() for key in items]
        if VALUES.isdisjoint(folded):
            yield from ((key, key, one) for key, one in items.items())
            return
        own = next(
            (text for key, fold in zip(items, folded, strict=True) if fold in NAMED and (text := items[key].text)), name
        )
        for (key, one), fold in zip(items.items(), folded, strict=True):
            yield key, own if fold in VALUES else key, one
    else:
        places = node.list
        for n, one in enumerate(places):
            yield str(n), _before(places, n) or name, one


def named(name: str, text: str) -> tuple[str, str]:
    """Return what is searched under which name: of `--token=x` and `TOKEN=x`, which stand in lists, the x."""
    if "=" in text and (assigned := ASSIGNED.match(text)):
        return assigned[1] or assigned[2], text[assigned.end() :]
    return name, text


def _before(words: Sequence[Node], place: int) -> str:
    """Return the option that a word of a list is the argument of: `--token` in front of it."""
    text = words[place - 1].text if place else ""
    option = OPTION.fullmatch(text) if text[:1] == "-" else None
    return option[1] if option else ""
