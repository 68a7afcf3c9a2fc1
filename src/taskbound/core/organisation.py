"""The organisation's policies: which there are, what each reaches, and what is wrong with one (INTERFACES 3).

What could never permit and never forbid is refused, since the engine gives no warning: a policy
that falls in no slice, an argument that no tool has, a name that nothing has. Each is validated
against the schema of every (action, resource) that its scope meets.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from taskbound.core.catalogue import Argument, Target, Tool
from taskbound.core.cedar import Entity, Policy, Uid, parse_policies, validate
from taskbound.core.errors import InvalidRequest
from taskbound.core.refusal import Broken, Problems, nearest, problem, problems_of, quoted
from taskbound.core.schema import RESOURCE_TYPES, cedar_text, schema_of

BUILT_IN = "built-in/operator.cedar"  # where no file of the directory can be
ADMINISTRATION = tuple(one for one in RESOURCE_TYPES if not one.startswith(("task/", "tools/", "lease/")))
_POLICY_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")  # shown in refusals; never like our own "o/<digest>"
_CONTEXT = ("task", "depth", "subject", "assurance", "labels", "hour", "effect", "args", "origin")  # INTERFACES 7

Place = tuple[str, Uid, tuple[Uid, ...], Mapping[str, Argument]]  # action, resource, what that is in, arguments


def operator_policy(name: str) -> str:
    """Return the policy by which one human, `human/alice`, has every action of administration (INTERFACES 7)."""
    actions = ", ".join(f'Action::"{action}"' for action in ADMINISTRATION)
    who = f"Human::{cedar_text(name)}"
    return f'@id("admin-operator")\npermit(principal == {who}, action in [{actions}], resource);\n'


def read_organisation(
    texts: Mapping[str, str], places: Iterable[Place], problems: Problems, *, whole: bool = True
) -> tuple[Policy, ...]:
    """Return the policies that the files below organisation/ state, and keep what is wrong with each file and policy.

    Not `whole`: what the policies are about could not be read, so only what each says by itself is looked at.
    """
    places = tuple(places)
    known = {uid for _, resource, parents, _ in places for uid in (resource, *parents)}
    known |= {Uid("Action", action) for action in RESOURCE_TYPES}
    read: list[Policy] = []
    seen: dict[str, str] = {}
    for path, text in texts.items():
        if not path.startswith(("organisation/", "built-in/")):
            continue
        with problems.kept():
            for policy in _parsed(path, text):
                with problems.kept():
                    _require_id(path, text, policy, seen)
                    if whole and (objection := _objection(policy, places, known)) is not None:
                        message, hint = objection
                        at = _id_line(text, policy)
                        raise problem(path, "", message, hint=hint, line=at, id=policy.id)
                    read.append(policy)
    return tuple(read)


def _parsed(path: str, text: str) -> tuple[Policy, ...]:
    try:
        return parse_policies(text)
    except InvalidRequest as error:
        raise Broken(_at_line(path, one) for one in problems_of(error)) from None


def _at_line(path: str, error: InvalidRequest) -> InvalidRequest:
    line = re.match(r"line (\d+): (.*)", str(error), re.DOTALL)
    message, at = (line[2], int(line[1])) if line else (str(error), None)
    return problem(path, "", message, hint=error.hint, line=at)


def _require_id(path: str, text: str, policy: Policy, seen: dict[str, str]) -> None:
    """Take note of the policy's @id. Raises InvalidRequest for none, and for one that was seen before."""
    if policy.id is None or not _POLICY_ID.fullmatch(policy.id):
        at = _policy_line(text, re.escape(policy.text.splitlines()[0]))
        hint = '@id("name") before it, of letters, digits and . _ -'
        raise problem(path, "", "a policy has no plain @id", hint=hint, line=at)
    if policy.id in seen:
        at = _id_line(text, policy, -1)
        message = f"the same @id stands in {seen[policy.id]}"
        raise problem(path, "", message, hint="give it another", line=at, id=policy.id)
    seen[policy.id] = path


def _id_line(text: str, policy: Policy, place: int = 0) -> int | None:
    return _policy_line(text, rf'@id\s*\(\s*"{re.escape(str(policy.id))}"', place)


def _policy_line(text: str, pattern: str, place: int = 0) -> int | None:
    """Return the line where the pattern stands for the first time, or the last (-1)."""
    found = list(re.finditer(pattern, text))
    return text.count("\n", 0, found[place].start()) + 1 if found else None


def places(tools: Mapping[str, Tool], profiles: Iterable[str], targets: Mapping[str, Target]) -> Iterator[Place]:
    """Yield every (action, resource) there is. A kind of resource of which there is none yet has one without a name."""
    nowhere = Entity(Uid("", ""))
    of_type: dict[str, list[tuple[Entity, Mapping[str, Argument]]]] = {
        "Tool": [(tool.entity, tool.arguments) for tool in tools.values()],
        "Target": [(target.entity, {}) for target in targets.values()],
        "Profile": [(Entity(Uid("Profile", name)), {}) for name in (*profiles, "none")],
        "System": [(Entity(Uid("System", "taskbound")), {})],
    }
    for action, types in RESOURCE_TYPES.items():
        for kind in types.split(", "):
            for entity, arguments in of_type.get(kind) or [(nowhere, {})]:
                uid = entity.uid if entity is not nowhere else Uid(kind, "")
                yield action, uid, entity.parents, arguments if action == "tools/call" else {}


def meets(policy: Policy, place: Place) -> bool:
    """Whether the policy's scope may meet a request of that action on that resource, whoever asks."""
    action, uid, parents, _ = place
    if not {(), ("==", "Action", action), ("in", "Action", action)} & set(policy.scope.actions):
        return False
    key = policy.scope.resource
    if uid.type in ("Human", "Service", "Agent"):  # who is registered stands in the store
        return not key or key[1] in (uid.type, "Group")
    within = {uid, *parents}
    keys = {(), ("is", uid.type), ("==", *uid)} | {("in", *one) for one in within}
    return key in keys | {("is-in", uid.type, *one) for one in within}


def shape(arguments: Mapping[str, Argument], only: frozenset[str] | None = None) -> dict[str, tuple[str, bool]]:
    """Return arguments as `schema_of` takes them."""
    return {name: (one.type, one.required) for name, one in arguments.items() if only is None or name in only}


def _objection(policy: Policy, places: Iterable[Place], known: set[Uid]) -> tuple[str, str] | None:
    """Return what is wrong with a policy and a hint; None when nothing is."""
    if policy.effect == "permit" and () in policy.scope.actions and not str(policy.id).startswith("admin-"):
        return "a permit names no action, so it permits administration too", 'write action in [Action::"tools/call"]'
    checked = ("Tool", "Upstream", "Target", "Profile", "Action")
    for uid in _entities(policy.est):
        if uid.type in checked and uid not in known:
            hint = nearest(uid.id, (one.id for one in known if one.type == uid.type))
            return f"there is no {uid.type} {quoted(uid.id)}", hint
    met = [place for place in places if meets(policy, place)]
    if not met:
        return "it reaches nothing: no action and resource meet its scope", "check the names in its scope"
    for path in policy.reads:
        if path and path[0] not in _CONTEXT:
            return f"context has no {quoted(path[0])}", nearest(path[0], _CONTEXT)
    whole = any(path in ((), ("args",), ("origin",)) for path in policy.reads)
    names = frozenset(path[1] for path in policy.reads if path[:1] in (("args",), ("origin",)) and len(path) > 1)
    declared = {name for _, _, _, arguments in met for name in arguments}
    for name in sorted(names - declared):  # a `has` would hide the typo
        return f"no tool that it reaches has the argument {quoted(name)}", nearest(name, declared) or "it has none"
    seen: set[str] = set()
    for action, uid, _, arguments in met:
        # Only what it reads: tools that look alike to the policy need no second validation.
        schema = schema_of(action, args=shape(arguments, None if whole else names), grant={})
        if schema not in seen and (errors := validate(policy, schema)):
            return f"it is not valid for {action} on {uid.type} {quoted(uid.id)}", f"Cedar says: {errors[0][:400]}"
        seen.add(schema)
    return None


def _entities(est: Any) -> Iterator[Uid]:
    """Yield every entity that a policy names, scope and conditions, from Cedar's JSON form."""
    waiting = [est]
    while waiting:
        found = waiting.pop()
        if isinstance(found, dict):
            if found.keys() == {"type", "id"} and isinstance(found["type"], str) and isinstance(found["id"], str):
                yield Uid(found["type"], found["id"])
            waiting.extend(found.values())
        elif isinstance(found, list):
            waiting.extend(found)
