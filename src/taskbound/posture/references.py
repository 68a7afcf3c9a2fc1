"""References: `taskbound://NAME[/FIELD]`, which stands in a file or a variable where a credential stood.

NAME is a lease of the task as `run` calls it: its target, or `<target>_<grant>` for a second one of a target. FIELD is
a member of its credential (user, password, host, port, database, value; url of a database); without it the value, or
the password. A reference says nothing to who reads it; `run` resolves it, for one program, from the task's leases.
"""

import re
from collections.abc import Mapping

REFERENCE = re.compile(r"taskbound://([a-z0-9][a-z0-9_-]{0,63})(?:/([a-z]+))?")
CONTINUES = re.compile(r"[a-z0-9_/-]")  # what, behind a reference, would be taken for a part of it
Values = Mapping[str, Mapping[str, str]]  # by name, by field
DEFAULTS = ("value", "password")


class Unresolved(ValueError):
    """A reference leads to nothing, or what it leads to cannot be written where it stands. No value is named."""


def spelled(name: str) -> str:
    """Return the reference to a target."""
    return f"taskbound://{name}"


def is_one(text: str) -> bool:
    """Whether a text is a reference and nothing else: then it holds no value."""
    return REFERENCE.fullmatch(text) is not None


def resolved(text: str, values: Values) -> str:
    """Return a text with what its references lead to. Raises Unresolved."""
    return REFERENCE.sub(lambda found: _value(found, values), text)


def _value(found: "re.Match[str]", values: Values) -> str:
    name, member = found[1], found[2]
    if name not in values:
        has = ", ".join(values) or "none"
        raise Unresolved(f"{found[0]}: this task has no lease called {name}; those it has: {has}")
    fields = values[name]
    wanted = next((one for one in DEFAULTS if one in fields), "") if member is None else member
    if wanted not in fields:
        raise Unresolved(f"{found[0]}: the lease {name} has no field {wanted!r}; those it has: {', '.join(fields)}")
    return fields[wanted]


def resolved_file(path: str, data: bytes, values: Values) -> bytes:
    """Return a file with what the references in its values lead to; comments stay. Raises Unresolved.

    It has at most `splice.LARGEST` bytes, before and after: a value is 64 KiB, and a reference a few bytes.
    """
    from taskbound.posture.parsers import parse  # a run without files does not wait for them
    from taskbound.posture.splice import splice, spliced, texts, texts_of

    _require_small(path, data)
    document = parse(path, data)
    if document.problem:
        raise Unresolved(f"{path} cannot be read to its end, so that nothing in it can be resolved")
    found = texts(document)
    becomes = {one[0]: _value(one, values) for text in found.values() for one in REFERENCE.finditer(text)}
    at_once = spliced(path, data, document, REFERENCE, becomes)
    if at_once is not None:
        return at_once
    for key, text in found.items():
        every = {one[0] for one in REFERENCE.finditer(text)}
        for reference in sorted(every, key=len, reverse=True):  # one may be the beginning of another
            for _ in range(text.count(reference)):
                change = splice(path, data, key, reference, becomes[reference])
                if change is None:  # an alias, which changed with what it stands for; or it is told below
                    break
                data = change.on(data)
                _require_small(path, data)
        left = (texts_of(path, data) or {}).get(key)
        if left != resolved(text, values):
            raise Unresolved(f"{path}: the value of {'.'.join(key[1])} cannot be written there")
    return data


def _require_small(path: str, data: bytes) -> None:
    """Raises Unresolved for a file that is larger than what is changed; each change of it is parsed again."""
    from taskbound.posture.splice import LARGEST

    if len(data) > LARGEST:
        raise Unresolved(f"{path} has, or with its values would have, more than {LARGEST >> 20} MiB")
