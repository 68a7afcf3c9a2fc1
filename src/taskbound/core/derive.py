"""Derive: what an upstream's own definitions say of its tools, read at its strictest (INTERFACES 3, D29).

Names, types and annotations are claims of the server. So an effect is "read" only when the name's
verb is a reading one, nothing else in the definition contradicts it, no secret is named and no
address can be chosen; an annotation makes nothing milder, and an unknown verb is "execute". A person
who has reviewed an entry is the authority: it is kept as it is while the definition is.

What comes out are the two files of an upstream, deterministic, which load again. A definition that
cannot be pinned (no plain name, one name twice, no canonical form) is left out: it stays unknown,
and what is unknown is denied.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import date
from itertools import pairwise
from typing import Any

from taskbound.core.catalogue import DEFINITIONS_LIMIT, MEMBERS, TOOL_NAME, Tool, pin_of, properties_of, read_tool
from taskbound.core.errors import InvalidRequest
from taskbound.core.projection import NUMBERS, cedar_type, named_schema
from taskbound.formats import canonical


def _words_of(text: str) -> frozenset[str]:
    return frozenset(text.split())


# From the mildest to the strictest; of several that a name says, the strictest is meant.
STRICTNESS = ("read", "read_secret", "write", "send", "destroy", "spend", "execute")

VERBS: Mapping[str, frozenset[str]] = {
    "read": _words_of(
        """get list search find read fetch lookup query count show view describe display retrieve browse inspect
        explain preview tail grep diff stat whoami"""
    ),
    "write": _words_of(
        """create add update set write edit append insert modify change rename move copy put patch save upsert merge
        assign label tag mark star schedule reschedule register commit fork branch draft replace store attach link
        toggle approve accept reject complete resolve return exchange restore follow subscribe make new import"""
    ),
    "send": _words_of(
        """send mail email post share invite reply forward publish notify tweet message broadcast submit upload push
        announce contact comment"""
    ),
    "destroy": _words_of(
        """delete remove cancel destroy drop purge erase wipe clear reset revoke terminate kill uninstall trash discard
        truncate empty unsubscribe archive disable deactivate overwrite del rm"""
    ),
    "spend": _words_of(
        """pay transfer buy purchase order checkout refund charge withdraw deposit donate bid invest trade sell book
        reserve rent tip"""
    ),
    "execute": _words_of("run execute exec eval invoke call trigger start launch deploy shell bash spawn script"),
}
# Verbs that are nouns as often: behind another verb they are taken for nouns, as in get_order_status.
NOUNS = _words_of(
    """mail email post share reply comment message order transfer refund charge deposit bid trade book tip rent run
    call start script shell label tag star draft branch commit fork link store exchange return copy change set patch
    new archive trash contact checkout purchase invite schedule register import"""
)
CONJUNCTIONS = _words_of("and or then")
SECRETS = _words_of(
    """secret secrets password passwords passwd passphrase passcode token tokens credential credentials apikey key keys
    pin otp cvv env environ cookie cookies"""
)
NO_SECRET = _words_of("page next prev previous cursor continuation sync max")  # page_token, max_tokens
CODE = _words_of("sql statement command cmd code script shell expression program")

TEXTS, NUMBERS_TOO = ("String", "Set<String>"), ("String", "Long", "Set<String>", "Set<Long>")
FORMATS: Mapping[str, str] = {
    "email": "recipient", "idn-email": "recipient", "uri": "url", "url": "url", "iri": "url", "uri-reference": "url",
    "date": "date", "date-time": "time", "time": "time", "uuid": "object_id", "password": "secret",
}  # fmt: skip
# Kind, the types that it is for, and the last words of the names that are of it; the first row that fits.
KINDS_OF: tuple[tuple[str, tuple[str, ...], frozenset[str]], ...] = (
    ("object_id", NUMBERS_TOO, _words_of("id ids uuid guid sha ref identifier identifiers")),
    ("recipient", TEXTS, _words_of(
        """to cc bcc recipient recipients participant participants attendee attendees email emails invitee invitees
        guest guests assignee assignees reviewer reviewers phone channel""")),
    ("account", TEXTS, _words_of("account accounts iban wallet bic")),
    ("url", TEXTS, _words_of("url urls uri uris link links href endpoint webhook website")),
    ("path", TEXTS, _words_of("path paths file files filename filenames folder directory dir")),
    ("amount", ("Long", "decimal", NUMBERS), _words_of(
        "amount amounts price prices cost total fee sum value budget balance")),
    ("date", TEXTS, _words_of("date dates day since until deadline birthday")),
    ("time", NUMBERS_TOO, _words_of("time times timestamp at datetime start end")),
    ("principal", TEXTS, _words_of("user users username owner author principal actor sender role permission")),
    ("name", TEXTS, _words_of(
        """name names title label labels status state type category currency country city language sort order repo
        repository branch timezone unit mode""")),
)  # fmt: skip


def derive_tools(upstream: str, offered: Sequence[Mapping[str, Any]], known: Mapping[str, Tool]) -> tuple[str, bytes]:
    """Return the texts of tools/<upstream>.toml and .json: what is known by name, and what is offered.

    An entry whose pin is that of the definition offered is kept as it is, review and all, and so is
    one of a tool that is not offered now. One of another pin is derived anew, never milder than it
    was, and nobody has reviewed it. Raises InvalidRequest when the files would be too large to load.
    """
    entries: dict[str, Mapping[str, Any]] = {tool.name: tool.entry for tool in known.values()}
    definitions: dict[str, Any] = {tool.name: tool.definition for tool in known.values()}
    for name, definition in pinnable(upstream, offered).items():
        definitions[name] = definition
        if name not in entries or entries[name].get("pin") != pin_of(definition):
            entries[name] = derive_entry(upstream, definition, known.get(name))
    data = canonical.render({name: definitions[name] for name in sorted(entries)})
    if len(data) > DEFINITIONS_LIMIT:
        raise InvalidRequest(f"the definitions of {upstream} take {len(data)} bytes, at most {DEFINITIONS_LIMIT} load")
    return f"{_HEAD}{''.join(_toml(name, entries[name]) for name in sorted(entries))}", data


def pinnable(upstream: str, offered: Sequence[Mapping[str, Any]]) -> dict[str, Mapping[str, Any]]:
    """Return the definitions that can be pinned, by name, each with what a pin covers. Others are left out."""
    found: dict[str, Mapping[str, Any]] = {}
    twice: set[str] = set()
    for definition in offered:
        name = definition.get("name") if isinstance(definition, Mapping) else None
        if not isinstance(name, str) or not TOOL_NAME.fullmatch(name):
            continue
        kept = {member: definition[member] for member in MEMBERS if member in definition}
        try:
            # As it will be read: a large float is written as an integer that is too large to be read back.
            read = canonical.parse(canonical.render({name: kept}), limit=DEFINITIONS_LIMIT)[name]
            if not read_tool(upstream, name, {"pin": pin_of(kept), "effect": "execute"}, read).pinned:
                continue
        except (InvalidRequest, canonical.Malformed):
            continue
        if name in found and pin_of(read) != pin_of(found[name]):
            twice.add(name)  # which of the two is meant, nobody can say
        found[name] = read
    return {name: definition for name, definition in found.items() if name not in twice}


def derive_entry(upstream: str, definition: Mapping[str, Any], before: Tool | None = None) -> dict[str, Any]:
    """Return the entry of one definition. What a person said before of kinds is kept, and an effect never milder."""
    kinds = dict(_kinds(definition))
    effect = _effect(upstream, definition, kinds)
    if before is not None:
        said = before.entry.get("arguments", {})
        kinds.update({name: kind for name, kind in said.items() if name in properties_of(definition)})
        effect = _strictest((effect, before.effect))
    return {"pin": pin_of(definition), "effect": effect, "arguments": kinds}


def differ(old: Mapping[str, Any], new: Mapping[str, Any]) -> str:
    """Return the class of change between two definitions of a tool: what of it changed, joined by +; "" if nothing."""
    classes = {"inputSchema": "schema", "outputSchema": "schema"}
    changed = [
        classes.get(member, member)
        for member in MEMBERS
        if (member in old, canonical.render(old.get(member))) != (member in new, canonical.render(new.get(member)))
    ]
    return "+".join(dict.fromkeys(changed))


# --- the effect ----------------------------------------------------------------------------------


def _words(name: str) -> list[str]:
    """Return the words of a name in snake_case, kebab-case or camelCase, in lower case."""
    return [word.lower() for word in re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[0-9]+|[^\W\d_]+", name)]


def _strictest(effects: Iterable[str]) -> str:
    return max(effects, key=STRICTNESS.index)


def _effect(upstream: str, definition: Mapping[str, Any], kinds: Mapping[str, str]) -> str:
    whole = str(definition["name"])
    words = _words(re.split(r"[./]", whole)[-1])  # before it stands a namespace
    prefix = _words(upstream)
    if len(words) > len(prefix) and words[: len(prefix)] == prefix:
        words = words[len(prefix) :]
    effect = _verb(words[:1]) or "execute"
    for before, word in pairwise(words):
        if word not in NOUNS or before in CONJUNCTIONS:
            effect = _strictest((effect, _verb([word]) or effect))
    arguments = {word for name in properties_of(definition) for word in _words(name)}
    hints = definition.get("annotations")
    hints = hints if isinstance(hints, Mapping) else {}
    destructive = hints.get("destructiveHint") is True and hints.get("readOnlyHint") is not True
    if effect == "read":
        if hints.get("readOnlyHint") is False or destructive:
            effect = "destroy" if destructive else "write"
        elif arguments & CODE:
            effect = "execute"
        elif "url" in kinds.values():
            effect = "send"  # to whom the address says
        elif _names_secret(words) or "secret" in kinds.values() or _gives_secret(definition):
            effect = "read_secret"
    elif effect == "write" and destructive:
        effect = "destroy"
    if effect in ("write", "send") and {"recipient", "account"} & set(kinds.values()):
        effect = "spend" if "amount" in kinds.values() else "send"
    return effect


def _verb(words: Sequence[str]) -> str | None:
    said = [effect for effect, verbs in VERBS.items() if verbs & set(words)]
    return _strictest(said) if said else None


def _names_secret(words: Sequence[str]) -> bool:
    return bool(SECRETS & set(words)) and not NO_SECRET & set(words)


def _gives_secret(definition: Mapping[str, Any]) -> bool:
    schema = definition.get("outputSchema")
    given = schema.get("properties") if isinstance(schema, Mapping) else None
    return isinstance(given, Mapping) and any(_names_secret(_words(str(name))) for name in given)


# --- the arguments -------------------------------------------------------------------------------


def _kinds(definition: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    whole = definition.get("inputSchema", {})
    for name, schema in properties_of(definition).items():
        type_, _ = cedar_type(schema, whole, "name")
        said, _, _ = named_schema(schema, whole)
        if type_.startswith("Set<"):
            said, _, _ = named_schema(said.get("items"), whole)
        kind = _kind(_words(name), said, type_)
        if kind is not None and not name.startswith("__"):  # no request may have those
            yield name, kind


def _kind(words: Sequence[str], schema: Mapping[str, Any], type_: str) -> str | None:
    if type_ == "Bool":
        return "flag"
    last = words[-1] if words else ""
    form = FORMATS.get(str(schema.get("format")))
    if form is not None and type_ in TEXTS:
        return form
    if type_ in TEXTS and last not in ("id", "ids") and _names_secret(words):
        return "secret"
    for kind, types, names in KINDS_OF:
        if last in names and type_ in types:
            return kind
    if type_ in TEXTS:
        return "name" if isinstance(schema.get("enum"), list) else "free_text"
    return None


# --- the file ------------------------------------------------------------------------------------

_HEAD = """\
# What these tools do, as `taskbound tools derive` read it from their names and types: at its strictest.
# Who has checked an entry, and put right what is wrong, adds: reviewed = { by = "human/NAME", on = 2026-01-31 }
"""
_BARE = re.compile(r"[A-Za-z0-9_-]+")


def _string(text: str) -> str:
    """Return a basic string; what cannot be seen, or turns the direction of text, is spelled out (D29)."""

    def spelled(one: str) -> str:
        if one in '"\\':
            return f"\\{one}"
        return one if one.isprintable() else f"\\U{ord(one):08x}"

    return f'"{"".join(map(spelled, text))}"'


def _value(value: Any) -> str:
    if isinstance(value, Mapping):
        return "{ " + ", ".join(f"{_key(name)} = {_value(one)}" for name, one in value.items()) + " }"
    return value.isoformat() if isinstance(value, date) else _string(str(value))


def _key(name: str) -> str:
    return name if _BARE.fullmatch(name) else _string(name)


def _toml(name: str, entry: Mapping[str, Any]) -> str:
    lines = [f"{key} = {_value(value)}" for key, value in entry.items() if value != {}]
    return "\n".join(["", f"[{_key(name)}]", *lines, ""])
