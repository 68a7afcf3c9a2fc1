"""What Cedar says to one request: the organisation's policies and every level's grants, asked once.

The set that is evaluated holds the organisation's slice (`o/<digest>`) and the grants of each task
on the chain (`<level>/<digest>`), so one evaluation names every satisfied permit and is read by
level. Cedar's own Allow is never the decision: a child's permit would reach past its parent (S8).
A forbid that is satisfied, or that failed, or an error nobody can be blamed for, denies.

Three things keep it cheap and must change no answer (the property tests hold them to bare Cedar):
only policies whose scope the request meets go in, only the context they read is handed over, and
parsed sets and entities are kept under their values. No decision is kept (D17). A grant's text is
rendered by core/grant.py, CHECKS read the answer.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple, TypeAlias, TypeVar

import cedarpy

from taskbound.core.cedar import Entity, Key, Policy, Uid, encode, parse_policy
from taskbound.core.errors import InvalidRequest

_BLAMED = re.compile(r"error while evaluating policy `([^`]*)`: ")  # the engine's only form of an error
_UNATTRIBUTED = "?"
_NOTHING: frozenset[int] = frozenset()
_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Request:
    """One question: who, what, on what, in which context, and the grants of the chain, root first."""

    principal: Entity
    action: Uid
    resource: Entity
    context: Mapping[str, Any]  # Cedar JSON values; the whole record, which the caller stores
    levels: tuple[tuple[str, ...], ...] = ()  # per task, the texts of its candidate grants
    others: tuple[Entity, ...] = ()  # further entities that policies may reach


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
    return _Merged(cedarpy.PolicySet.from_json_str(encode(form)), reads, organisation, forbids, grants)


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
                "context": encode(trim(request.context, merged.reads)),
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
