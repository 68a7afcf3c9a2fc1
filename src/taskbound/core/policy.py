"""What Cedar says to one request: the organisation's policies and every level's grants, asked once.

The set that is evaluated holds the organisation's slice (`o/<digest>`) and the grants of each task
on the chain (`<level>/<digest>`), so one evaluation names every satisfied permit and is read by
level. Cedar's own Allow is never the decision: a child's permit would reach past its parent (S8).
A forbid that is satisfied, or that failed, or an error nobody can be blamed for, denies.

Three things keep it cheap and must change no answer (the property tests hold them to bare Cedar):
only policies whose scope the request meets go in, only the context they read is handed over, and
parsed sets and entities are kept under their values. No decision is kept (D17). This is the only
module that knows the engine; a grant's text is rendered by core/intent.py, CHECKS read the answer.
"""

import hashlib
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, NamedTuple, TypeAlias, TypeVar

import cedarpy

from taskbound.core.errors import InvalidRequest

_encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode
_BLAMED = re.compile(r"error while evaluating policy `([^`]*)`: ")  # the engine's only form of an error
_PIECE = re.compile(r'"(?:\\.|[^"\\])*"|//[^\r\n]*|[][(){};]|\bif\b', re.DOTALL)  # a ";" among them ends a policy
_UNATTRIBUTED = "?"
_NOTHING: frozenset[int] = frozenset()
_T = TypeVar("_T")


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
        object.__setattr__(self, "json", _encode(form))


@dataclass(frozen=True, slots=True)
class Request:
    """One question: who, what, on what, in which context, and the grants of the chain, root first."""

    principal: Entity
    action: Uid
    resource: Entity
    context: Mapping[str, Any]  # Cedar JSON values; the whole record, which the caller stores
    levels: tuple[tuple[str, ...], ...] = ()  # per task, the texts of its candidate grants
    others: tuple[Entity, ...] = ()  # further entities that policies may reach


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
        cedarpy.PolicySet.from_json_str(_encode(parsed))
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
    """Return the policies of a file, each with its own text. Raises InvalidRequest naming the line."""
    policies: list[Policy] = []
    for line, statement in _statements(text):
        try:
            policies.append(parse_policy(statement))
        except InvalidRequest as error:
            raise InvalidRequest(f"line {line}: {error}", code=error.code, hint=error.hint) from error
    whole = _engine_form(text)["staticPolicies"]
    if whole != {f"policy{place}": policy.est for place, policy in enumerate(policies)}:
        raise InvalidRequest("the file reads differently as a whole and by policy", code="invalid_argument")
    return tuple(policies)


# --- many policies, found by scope -----------------------------------------------------------


def _ancestors(uid: Uid, parents: Mapping[Uid, tuple[Uid, ...]]) -> frozenset[Uid]:
    """Return the entity and all that it is in: `in` is reflexive and transitive."""
    found: set[Uid] = set()
    waiting = [uid]
    while waiting:
        if (one := waiting.pop()) not in found:
            found.add(one)
            waiting.extend(parents.get(one, ()))
    return frozenset(found)


def _met(uid: Uid, parents: Mapping[Uid, tuple[Uid, ...]]) -> frozenset[Key]:
    """Return every key that the entity meets."""
    within = _ancestors(uid, parents)
    own: set[Key] = {(), ("is", uid.type), ("==", *uid)}
    return frozenset(own.union(("in", *one) for one in within).union(("is-in", uid.type, *one) for one in within))


class _Candidates(NamedTuple):
    """What goes into one evaluation."""

    organisation: tuple[Policy, ...]
    levels: tuple[tuple[tuple[int, Policy], ...], ...]  # with the position in request.levels[level]


class PolicySet:
    """The organisation's policies, indexed by scope, so that a slice costs the same in 10 or 10,000."""

    def __init__(self, policies: Iterable[Policy]) -> None:
        self.policies = tuple(policies)
        self.names_people = any(policy.names_people for policy in self.policies)
        self._index: dict[Key, dict[Key, dict[Key, list[Policy]]]] = {}  # action, resource, principal
        for policy in {policy.digest: policy for policy in self.policies}.values():
            for action in policy.scope.actions:
                by_principal = self._index.setdefault(action, {}).setdefault(policy.scope.resource, {})
                by_principal.setdefault(policy.scope.principal, []).append(policy)
        self._remembered = lru_cache(maxsize=4_096)(self._find)  # what is in scope is no decision

    def slice(self, request: Request) -> tuple[Policy, ...]:
        """Return the policies whose scope the request meets, sorted by digest."""
        return self.candidates(request).organisation

    def candidates(self, request: Request) -> _Candidates:
        return self._remembered(request.principal, request.action, request.resource, request.others, request.levels)

    def _find(
        self,
        principal: Entity,
        action: Uid,
        resource: Entity,
        others: tuple[Entity, ...],
        levels: tuple[tuple[str, ...], ...],
    ) -> _Candidates:
        parents = {entity.uid: entity.parents for entity in (*others, resource, principal)}
        principals, actions, resources = (_met(uid, parents) for uid in (principal.uid, action, resource.uid))
        found: dict[str, Policy] = {}
        for by_resource in _at(self._index, actions):
            for by_principal in _at(by_resource, resources):
                for policies in _at(by_principal, principals):
                    found.update((policy.digest, policy) for policy in policies)
        granted = []
        for texts in levels:
            grants = list(enumerate(map(parse_policy, texts)))
            if any(grant.effect != "permit" for _, grant in grants):
                raise InvalidRequest("a grant is a forbid, expected a permit", code="invalid_argument")
            granted.append(
                tuple(
                    (position, grant)
                    for position, grant in grants
                    if grant.scope.principal in principals
                    and grant.scope.resource in resources
                    and not actions.isdisjoint(grant.scope.actions)
                )
            )
        return _Candidates(tuple(found[digest] for digest in sorted(found)), tuple(granted))


def _at(index: Mapping[Key, _T], keys: frozenset[Key]) -> Iterator[_T]:
    return (index[key] for key in keys if key in index)


# --- one evaluation --------------------------------------------------------------------------

Tree: TypeAlias = "Mapping[str, Tree] | None"  # None: whole


@lru_cache(maxsize=4_096)
def _tree(paths: frozenset[tuple[str, ...]]) -> Tree:
    """Return the paths as a tree; a path that is used as a value swallows all that lead through it."""
    if () in paths:
        return None
    below: dict[str, set[tuple[str, ...]]] = {}
    for name, *rest in paths:
        below.setdefault(name, set()).add(tuple(rest))
    return {name: _tree(frozenset(rests)) for name, rests in below.items()}


def _picked(record: Mapping[str, Any], tree: Mapping[str, Tree]) -> dict[str, Any]:
    picked: dict[str, Any] = {}
    for name, below in tree.items():
        if name in record:
            value = record[name]
            # What is no record stays as it is, an entity or an extension value too: reading into it is an error.
            is_record = isinstance(value, dict) and not ("__extn" in value or "__entity" in value)
            picked[name] = _picked(value, below) if below is not None and is_record else value
    return picked


def trim(context: Mapping[str, Any], paths: frozenset[tuple[str, ...]]) -> dict[str, Any]:
    """Return of the context what policies that name these paths can see; the engine checks nothing else."""
    tree = _tree(paths)
    return dict(context) if tree is None else _picked(context, tree)


@dataclass(frozen=True, slots=True, eq=False)
class _Merged:
    """A parsed set, and what its policy ids mean."""

    handle: cedarpy.PolicySet
    reads: frozenset[tuple[str, ...]]
    organisation: Mapping[str, Policy]
    forbids: Mapping[str, str]  # their names
    grants: Mapping[str, tuple[int, frozenset[int]]]  # level, and the positions of the grants with this text


@lru_cache(maxsize=1_024)  # a parsed set may take 70 KB
def _merged(candidates: _Candidates) -> _Merged:
    policies = {f"o/{policy.digest}": policy for policy in candidates.organisation}
    organisation = dict(policies)
    forbids = {policy_id: policy.name for policy_id, policy in policies.items() if policy.effect == "forbid"}
    grants: dict[str, tuple[int, frozenset[int]]] = {}
    for level, granted in enumerate(candidates.levels):
        for position, grant in granted:
            policy_id = f"{level}/{grant.digest}"
            policies[policy_id] = grant
            grants[policy_id] = level, grants.get(policy_id, (level, _NOTHING))[1] | {position}
    static = {policy_id: policy.est for policy_id, policy in policies.items()}
    form = {"staticPolicies": static, "templates": {}, "templateLinks": []}
    reads = frozenset(path for policy in policies.values() for path in policy.reads)
    return _Merged(cedarpy.PolicySet.from_json_str(_encode(form)), reads, organisation, forbids, grants)


@lru_cache(maxsize=4_096)  # keyed by identity and tool, never by task
def _entities(*entities: Entity) -> cedarpy.Entities:
    return cedarpy.Entities.from_json_str(f"[{','.join(entity.json for entity in dict.fromkeys(entities))}]")


@dataclass(frozen=True, slots=True)
class Answer:
    """What the engine answered, read by level. When a forbid spoke, the permits are not known."""

    allowed: bool  # Cedar's own answer, never the decision by itself
    forbids: tuple[str, ...]  # names of the satisfied forbids, sorted
    failed_forbids: tuple[str, ...]  # names of the forbids that raised an error, sorted
    permits: tuple[str, ...]  # names of the organisation's satisfied permits, sorted
    granted: tuple[frozenset[int], ...]  # per level, positions of the satisfied grants
    errors: tuple[str, ...]  # policy ids that raised an error, sorted; "?" when nobody can be blamed

    @property
    def forbidden(self) -> bool:
        """A forbid is satisfied, or might be: Cedar skips one that fails (its danger, not ours)."""
        return bool(self.forbids or self.failed_forbids or _UNATTRIBUTED in self.errors)

    def permitted_by(self, level: int) -> bool:
        return bool(self.granted[level])

    @property
    def organisation_permits(self) -> bool:
        return bool(self.permits)

    @property
    def permitted(self) -> bool:
        """The organisation and every level permit, and nothing forbids."""
        return self.allowed and not self.forbidden and self.organisation_permits and all(self.granted)


def _blamed(error: str, merged: _Merged) -> str:
    match = _BLAMED.match(error)
    known = match and (match[1] in merged.organisation or match[1] in merged.grants)
    return match[1] if match and known else _UNATTRIBUTED


def authorize(policies: PolicySet, request: Request) -> Answer:
    """Evaluate once and read the answer by level. Raises InvalidRequest for what is no request."""
    merged = _merged(policies.candidates(request))
    try:
        result = cedarpy.is_authorized(
            {
                "principal": {"type": request.principal.uid.type, "id": request.principal.uid.id},
                "action": {"type": request.action.type, "id": request.action.id},
                "resource": {"type": request.resource.uid.type, "id": request.resource.uid.id},
                "context": _encode(trim(request.context, merged.reads)),
            },
            merged.handle,
            _entities(request.principal, request.resource, *request.others),
        )
    except (ValueError, TypeError, RecursionError) as error:  # a text Cedar refuses, a value JSON lacks
        message = "the request is none that the engine can evaluate"
        raise InvalidRequest(message, code="invalid_argument", hint=f"Cedar says: {error}") from error
    decision, diagnostics = result.decision, result.diagnostics
    allowed = decision is cedarpy.Decision.Allow
    granted = [_NOTHING] * len(request.levels)
    spoke: set[str] = set()
    for policy_id in diagnostics.reasons:  # in random order
        if policy := merged.organisation.get(policy_id):
            spoke.add(policy.name)
        else:
            level, positions = merged.grants[policy_id]
            granted[level] |= positions
    names = tuple(sorted(spoke))
    errors = {_blamed(error, merged) for error in diagnostics.errors}
    if decision is cedarpy.Decision.NoDecision:
        errors.add(_UNATTRIBUTED)
    failed = sorted(merged.forbids[policy_id] for policy_id in errors & merged.forbids.keys()) if errors else ()
    return Answer(
        allowed,
        forbids=() if allowed else names,
        failed_forbids=tuple(failed),
        permits=names if allowed else (),
        granted=tuple(granted),
        errors=tuple(sorted(errors)),
    )


# --- schemas ---------------------------------------------------------------------------------

_ENTITIES = """\
entity Group, Upstream, System;
entity Human in [Group];
entity Service, Agent in [Group] = { owner: Human, environment: String };
entity Tool in [Upstream] = { effect: String };
entity Target in [Target] = { environment: String, class: String, assurances: Set<String>, holders: Set<String> };
entity Profile = { owner: Human };
"""

# What an action is done to. Administration that is about no entity of its own is about the System.
RESOURCE_TYPES: Mapping[str, str] = {
    "tools/call": "Tool",
    "lease/issue": "Target",
    "lease/renew": "Target",
    "task/open": "Profile",
    "task/delegate": "Profile",
    "task/extend": "Profile",
    "task/end": "Profile",
    "identity/register": "Human, Service, Agent",
    "identity/suspend": "Human, Service, Agent",
    "tool/pin": "Tool",
    "call/allow": "Tool",
    "approval/decide": "System",
    "audit/read": "System",
    "body/erase": "System",
    "key/rotate": "System",
    "policy/evaluate": "System",
    "policy/load": "System",
}


def cedar_text(name: str) -> str:
    """Return a name as Cedar text, quoted: a level is "0", an argument may be no identifier."""
    escaped = (f"\\u{{{ord(one):x}}}" if one in '"\\' or not one.isprintable() else one for one in name)
    return f'"{"".join(escaped)}"'


def _record(members: Iterable[tuple[str, str, bool]]) -> str:
    typed = (f"{cedar_text(name)}{'' if required else '?'}: {kind}" for name, kind, required in members)
    return "{" + ", ".join(typed) + "}"


def schema_of(action: str, *, args: Mapping[str, tuple[str, bool]], grant: Mapping[str, Mapping[str, str]]) -> str:
    """Return the schema for one action: `args` name -> (type, required), `grant` level -> name -> type.

    The organisation's policies have no `context.grant`: they are validated with an empty `grant`.
    The other actions are declared too, applying to nothing, so that a policy may list them.
    """
    if action not in RESOURCE_TYPES:
        raise InvalidRequest(f"action {action!r} is not one of ours", code="invalid_argument")
    context = [
        ("task", "String", True),
        ("depth", "Long", True),
        ("subject", "Human", False),
        ("assurance", "String", True),
        ("labels", "Set<String>", True),
        ("hour", "Long", True),
        ("effect", "String", True),
        ("args", _record((name, kind, required) for name, (kind, required) in args.items()), True),
        ("origin", _record((name, "Long", False) for name in args), True),
    ]
    if grant:
        levels = {
            level: _record((name, kind, True) for name, kind in values.items()) for level, values in grant.items()
        }
        context.append(("grant", _record((level, record, True) for level, record in levels.items()), True))
    others = ", ".join(cedar_text(other) for other in RESOURCE_TYPES if other != action)
    applies = f"principal: [Human, Service, Agent], resource: [{RESOURCE_TYPES[action]}], context: {_record(context)}"
    return f"{_ENTITIES}action {others};\naction {cedar_text(action)} appliesTo {{ {applies} }};\n"


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
