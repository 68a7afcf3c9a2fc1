"""Values: every scalar of a document, with the name that a person would say it stands under."""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence

import msgspec

from taskbound.posture.document import Document, Node, TextLines
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


class Value(msgspec.Struct, frozen=True, gc=False):
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


def values(document: Document) -> list[Value]:
    """Return every scalar that could be a credential, in order."""
    if document.format in FLAT:
        return _alone(document)
    found: list[Value] = []
    told = secrets(document)
    for root, top in enumerate(document.roots):
        if type(top.value) in _CONTAINERS:
            _collect(found, root, (), "", top)
        elif len(text := top.text) >= SHORTEST:
            found.append(Value(root, (), None, "", top, text))
    if not told:
        return found
    return [msgspec.structs.replace(one, name=told.get((one.root, one.keys), one.name)) for one in found]


def _alone(document: Document) -> list[Value]:
    """Return the line that is all of a text but remarks: it stands under the file's name, as a mounted secret does."""
    if not document.roots or document.path.endswith(SEALED):
        return []
    found: list[Value] = []
    for place, one in enumerate(document.roots[0].list):
        is_told = not one.text.lstrip().startswith("#")
        if place == FEW - 1 or (is_told and found):
            return []
        if is_told:
            found.append(Value(0, (), str(place), document.path.rpartition("/")[2], one, one.text.strip()))
    return found


def _collect(found: list[Value], root: int, above: tuple[str, ...], name: str, node: Node) -> None:
    """Add what stands below a mapping, or a sequence under a name. Of most documents this is most of the work."""
    value = node.value
    below: Iterable[_Named]
    if not isinstance(value, dict):
        below = _placed(name, node.list)
    elif VALUES.isdisjoint(map(str.lower, value)):
        below = zip(value, value, value.values(), strict=True)
    else:
        below = _named(name, value)
    for key, own, one in below:
        text = one.value
        if type(text) is not str:
            if type(text) in _CONTAINERS:
                if len(above) + 1 < DEPTH:
                    _collect(found, root, (*above, key), own, one)
                continue
            text = one.text
        if len(text) >= SHORTEST:
            found.append(Value(root, above, key, own, one, text))


_CONTAINERS = frozenset((dict, list, tuple, TextLines))
_Named = tuple[str, str, Node]  # a key, the name that it stands under, and what stands there


def _named(name: str, items: Mapping[str, Node]) -> Iterator[_Named]:
    """Yield what a mapping has in which one member may say what another one is."""
    own = next((text for key, one in items.items() if key.lower() in NAMED and (text := one.text)), name)
    for key, one in items.items():
        yield key, own if key.lower() in VALUES else key, one


def _placed(name: str, places: Sequence[Node]) -> Iterator[_Named]:
    """Yield what a sequence has; a word may be the argument of the option in front of it: `--token`."""
    before = ""
    for n, one in enumerate(places):
        option = OPTION.fullmatch(before) if before[:1] == "-" else None
        yield str(n), option[1] if option else name, one
        before = one.value if type(one.value) is str else ""


def named(name: str, text: str) -> tuple[str, str]:
    """Return what is searched under which name: of `--token=x` and `TOKEN=x`, which stand in lists, the x."""
    if "=" in text and (assigned := ASSIGNED.match(text)):
        return assigned[1] or assigned[2], text[assigned.end() :]
    return name, text
