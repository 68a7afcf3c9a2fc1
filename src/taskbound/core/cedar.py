"""One Cedar policy, and one entity: read once, and kept with everything that is asked of them later.

A policy is its text, Cedar's JSON form of it, where it applies (its scope, as keys that can be
looked up) and which paths of the context it reads. What would crash the engine's parser is refused
before it is parsed. Whether it is valid is asked against a schema, the text of core/schema.py. What
many policies say to one request is told in core/policy.py; this module and that one alone know the engine.
"""

import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, NamedTuple, TypeAlias

import cedarpy

from taskbound.core.errors import InvalidRequest
from taskbound.core.refusal import Problems

encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode
_PIECE = re.compile(r'"(?:\\.|[^"\\])*"|//[^\r\n]*|[][(){};]|\bif\b', re.DOTALL)  # a ";" among them ends a policy


class Uid(NamedTuple):
    """A Cedar entity's name."""

    type: str
    id: str


class Opaque(NamedTuple):
    """An attribute as Cedar JSON text: a record or an extension value, which no entity of ours has."""

    json: str


Attribute: TypeAlias = "str | int | bool | Uid | Opaque | tuple[Attribute, ...]"  # a tuple is a Cedar Set


def _cedar(value: Attribute) -> Any:
    if isinstance(value, Uid):
        return {"__entity": value._asdict()}
    if isinstance(value, Opaque):
        return json.loads(value.json)
    return [_cedar(item) for item in value] if isinstance(value, tuple) else value


@dataclass(frozen=True, slots=True)
class Entity:
    """An entity and what is known of it. Equal means equal as Cedar JSON: to Python, True is 1."""

    uid: Uid = field(compare=False)
    attrs: tuple[tuple[str, Attribute], ...] = field(default=(), compare=False)
    parents: tuple[Uid, ...] = field(default=(), compare=False)
    tags: tuple[tuple[str, Attribute], ...] = field(default=(), compare=False)
    json: str = field(init=False, repr=False)

    def __post_init__(self) -> None:
        form = {
            "uid": self.uid._asdict(),
            "attrs": {name: _cedar(value) for name, value in self.attrs},
            "parents": [parent._asdict() for parent in self.parents],
        }
        if self.tags:
            form["tags"] = {name: _cedar(value) for name, value in self.tags}
        object.__setattr__(self, "json", encode(form))


# --- one policy ------------------------------------------------------------------------------

Key: TypeAlias = tuple[str, ...]  # one form of a scope: () | is T | == T id | in T id | is-in T T id


class Scope(NamedTuple):
    """Where a policy applies, as keys; a request meets it when it has each of them."""

    principal: Key
    actions: tuple[Key, ...]  # any one of them
    resource: Key


@dataclass(frozen=True, slots=True, eq=False)
class Policy:
    """One parsed static policy."""

    text: str
    digest: str
    effect: str  # "permit" | "forbid"
    id: str | None  # the @id annotation
    est: Mapping[str, Any]  # Cedar's JSON form
    scope: Scope
    reads: frozenset[tuple[str, ...]]  # paths into the context
    names_people: bool  # it may look at an owner or at the task's subject

    @property
    def name(self) -> str:
        return self.id or f"o/{self.digest}"


def _key(constraint: Mapping[str, Any]) -> Key:
    """Return the key of a scope constraint on the principal or the resource, or of one action."""
    if constraint["op"] == "All":
        return ()
    if constraint["op"] == "is":
        group = constraint.get("in")
        within = (group["entity"]["type"], group["entity"]["id"]) if group else ()
        return ("is-in" if group else "is", constraint["entity_type"], *within)
    return (constraint["op"], constraint["entity"]["type"], constraint["entity"]["id"])


def _scope(est: Mapping[str, Any]) -> Scope:
    action = est["action"]
    listed = action.get("entities")  # action in [A, B]
    actions = (_key(action),) if listed is None else tuple(_key({"op": "in", "entity": uid}) for uid in listed)
    return Scope(_key(est["principal"]), actions, _key(est["resource"]))


def _walk(est: Mapping[str, Any]) -> tuple[frozenset[tuple[str, ...]], frozenset[str]]:
    """Return the context paths that a policy names, and every attribute it asks an expression for."""
    paths: set[tuple[str, ...]] = set()
    attributes: set[str] = set()
    waiting: list[Any] = [condition["body"] for condition in est["conditions"]]
    while waiting:
        ((operator, operand),) = waiting.pop().items()
        path: list[str] = []
        while operator in (".", "has"):
            path.append(operand["attr"])
            ((operator, operand),) = operand["left"].items()
        attributes.update(path)
        if operator == "Var":
            if operand == "context":
                paths.add(tuple(reversed(path)))
        elif operator == "Record":  # its keys are names: only its values are expressions
            waiting.extend(operand.values())
        elif operator != "Value":
            operands = operand if isinstance(operand, list) else operand.values()
            waiting.extend(item for item in operands if isinstance(item, dict))
    return frozenset(paths), frozenset(attributes)


def context_paths(policy_est: Mapping[str, Any]) -> frozenset[tuple[str, ...]]:
    """Return every path into the context that the policy names; () is the context as a whole."""
    return _walk(policy_est)[0]


# The engine's parser recurses on the C stack and spells `has a.b.c` out for every prefix: 1,000 brackets
# or a path of 8,000 names, and the process is gone. No policy needs a tenth of what is let through.
MAX_LENGTH = 16_384
MAX_DEPTH = 64
_LONG_HAS = re.compile(r"\bhas\s+\w+(?:\s*\.\s*\w+){16}")


def _uncommented(text: str) -> str:
    return _PIECE.sub(lambda piece: "" if piece[0][0] == "/" else piece[0], text)  # line breaks stay


def _refuse_what_would_crash(text: str) -> None:
    depth = deepest = 0
    for piece in _PIECE.finditer(text):
        if piece[0] in (")", "]", "}"):
            depth = max(0, depth - 1)
        elif piece[0] in ("(", "[", "{", "if"):  # an "if" closes nowhere: they are counted
            depth += 1
            deepest = max(deepest, depth)
    if len(text) > MAX_LENGTH or deepest > MAX_DEPTH or _LONG_HAS.search(_uncommented(text)):
        limits = f"expected at most {MAX_LENGTH} characters and {MAX_DEPTH} levels"
        raise InvalidRequest(f"the policy is too long or nested too deep, {limits}", code="invalid_argument")


def _engine_form(text: str) -> dict[str, Any]:
    """Return the text as Cedar's JSON policy set."""
    try:
        form: dict[str, Any] = json.loads(cedarpy.policies_to_json_str(text))
    except (ValueError, RecursionError) as error:
        hint = f"Cedar says: {error}"
        raise InvalidRequest("the policy does not parse", code="invalid_argument", hint=hint) from error
    return form


@lru_cache(maxsize=16_384)
def parse_policy(text: str) -> Policy:
    """Return the one static policy that the text holds. Raises InvalidRequest."""
    _refuse_what_would_crash(text)
    parsed = _engine_form(text)
    if parsed["templates"] or len(parsed["staticPolicies"]) != 1:
        held = f"{len(parsed['staticPolicies'])} policies and {len(parsed['templates'])} templates"
        raise InvalidRequest(f"the text holds {held}, expected one policy", code="invalid_argument")
    try:
        cedarpy.PolicySet.from_json_str(encode(parsed))
    except (ValueError, RecursionError) as error:  # it prints deeper nesting (about 58 "&&") than it reads
        hint = "use several when clauses"
        raise InvalidRequest("the policy is nested too deep", code="invalid_argument", hint=hint) from error
    (est,) = parsed["staticPolicies"].values()
    digest = hashlib.sha256(text.encode()).hexdigest()[:20]
    paths, attributes = _walk(est)
    people = "owner" in attributes or any(path[:1] in ((), ("subject",)) for path in paths)
    name = est.get("annotations", {}).get("id") or None
    return Policy(text, digest, est["effect"], name, est, _scope(est), paths, people)


def _statements(text: str) -> Iterator[tuple[int, str]]:
    """Yield each statement of a file without its comments, and the line on which it begins."""
    clean = _uncommented(text)
    ends = [piece.end() for piece in _PIECE.finditer(clean) if piece[0] == ";"]
    line = 1
    for start, end in zip([0, *ends], [*ends, len(clean)], strict=True):
        piece = clean[start:end]
        if statement := piece.strip():
            yield line + piece[: piece.index(statement)].count("\n"), statement
        line += piece.count("\n")


def parse_policies(text: str) -> tuple[Policy, ...]:
    """Return the policies of a file, each with its own text. Raises InvalidRequest naming the line of each problem."""
    policies: list[Policy] = []
    problems = Problems()
    for line, statement in _statements(text):
        with problems.kept():
            try:
                policies.append(parse_policy(statement))
            except InvalidRequest as error:
                raise InvalidRequest(f"line {line}: {error}", code=error.code, hint=error.hint) from error
    problems.require_none()
    whole = _engine_form(text)["staticPolicies"]
    if whole != {f"policy{place}": policy.est for place, policy in enumerate(policies)}:
        raise InvalidRequest("the file reads differently as a whole and by policy", code="invalid_argument")
    return tuple(policies)


# --- is it valid? ----------------------------------------------------------------------------


@lru_cache(maxsize=1_024)
def _schema(text: str) -> cedarpy.Schema:
    try:
        return cedarpy.Schema.from_str(text)
    except ValueError as error:
        hint = f"Cedar says: {error}"
        raise InvalidRequest("the schema does not parse", code="invalid_argument", hint=hint) from error


def validate(policy: Policy, schema_text: str) -> list[str]:
    """Return what Cedar's strict validator finds wrong; nothing means valid.

    The validator checks no entity ids, and takes `context.args has X` as a question: a typo in one
    is for the caller to find in `policy.reads`.
    """
    result = cedarpy.validate_policies(policy.text, _schema(schema_text))
    found = [error.error for error in result.errors]
    return found or ([] if result.validation_passed else ["the validator refuses it without a reason"])
