"""Policy directory: organisation policies, profiles, tools and registrations, whole or not at all.

    organisation/*.cedar   profiles/<name>.toml   tools/<upstream>.toml and .json
    registrations.toml     tests/*.toml (not read here)

`read_policy_dir` takes the files' bytes and the configured targets, and returns a value or refuses
with the first problem: InvalidRequest("invalid_policy") naming the file, the line where it can be
found, the @id where there is one, and a hint (INTERFACES 3). What could never permit, never forbid
or never match is refused too, since the engine gives no warning: a policy that falls in no slice, an
argument that no tool has, a name that nothing has. Each policy is validated against the schema of
every (action, resource) that its scope meets, each grant against its own.

The version is SHA-256 over, for each path in order, the length of `path \\0 bytes` as 8 bytes and
`path \\0 bytes` (`canonical.digest_parts`). Targets come with the configuration and are not in it.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from taskbound.core.catalogue import (
    DEFINITIONS_LIMIT,
    TOOL_NAME,
    Argument,
    Target,
    Tool,
    nearest,
    only,
    problem,
    quoted,
    read_toml,
    read_tool,
)
from taskbound.core.errors import InvalidRequest
from taskbound.core.grant import render
from taskbound.core.identity import JOIN_TOKEN
from taskbound.core.intent import Profile, read_profile
from taskbound.core.policy import (
    RESOURCE_TYPES,
    Entity,
    Policy,
    PolicySet,
    Uid,
    cedar_text,
    parse_policies,
    parse_policy,
    schema_of,
    validate,
)
from taskbound.formats import canonical, spiffe

LAYOUT = "organisation/*.cedar, profiles/*.toml, tools/*.toml, tools/*.json, registrations.toml, tests/*.toml"
_FILE = re.compile(
    r"organisation/[A-Za-z0-9][\w.-]*\.cedar|profiles/[a-z0-9][a-z0-9_-]{0,63}\.toml"
    r"|tools/[a-z0-9][a-z0-9_-]{0,63}\.(toml|json)|tests/[A-Za-z0-9][\w.-]*\.toml|registrations\.toml",
    re.ASCII,
)
BUILT_IN = "built-in/operator.cedar"  # where no file of the directory can be
ADMINISTRATION = tuple(one for one in RESOURCE_TYPES if not one.startswith(("task/", "tools/", "lease/")))
_POLICY_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")  # shown in refusals; never like our own "o/<digest>"
_CONTEXT = ("task", "depth", "subject", "assurance", "labels", "hour", "effect", "args", "origin")  # INTERFACES 7


@dataclass(frozen=True, slots=True)
class RegistrationEntry:
    """A service or agent as registrations.toml states it (INTERFACES 1)."""

    name: str  # agent/nightly
    owner: str  # human/…
    purpose: str
    environment: str
    groups: tuple[str, ...]
    attestor: str
    when: Mapping[str, str | int]  # the facts that must be shown


@dataclass(frozen=True)
class PolicyDir:
    """What was loaded, and its version."""

    version: str
    organisation: PolicySet
    profiles: Mapping[str, Profile]
    tools: Mapping[str, Tool]  # by "upstream/tool"
    registrations: tuple[RegistrationEntry, ...]
    targets: Mapping[str, Target]  # by "name/grant"
    files: Mapping[str, bytes] = field(default_factory=dict, repr=False)  # what it was read from
    built_in: str = ""  # Cedar text of the organisation's policies that are always there


def read_policy_dir(files: Mapping[str, bytes], targets: Mapping[str, Target], built_in: str = "") -> PolicyDir:
    """Return the directory that the files make, with the organisation's policies that are always there.

    What is built in counts into the version, as a file that no directory can have. Raises
    InvalidRequest (`invalid_policy`).
    """
    # First: an @id that a file repeats is the file's mistake.
    texts = {**({BUILT_IN: built_in} if built_in else {}), **decoded(files)}
    tools = dict(read_tools(texts))
    profiles = dict(_profiles(texts, tools, targets))
    policies = tuple(_organisation(texts, tools, profiles, targets))
    parts = (f"{path}\0{texts[path]}".encode() for path in sorted(texts))
    return PolicyDir(
        version=canonical.digest_parts(*parts),
        organisation=PolicySet(policies),
        profiles=profiles,
        tools=tools,
        registrations=tuple(_registrations(texts.get("registrations.toml", ""))),
        targets=dict(targets),
        files=dict(files),
        built_in=built_in,
    )


def with_files(policies: PolicyDir, files: Mapping[str, bytes]) -> PolicyDir:
    """Return the directory as it was read, with these files in place of its own. Raises InvalidRequest."""
    return read_policy_dir({**policies.files, **files}, policies.targets, policies.built_in)


def operator_policy(name: str) -> str:
    """Return the policy by which one human, `human/alice`, has every action of administration (INTERFACES 7)."""
    actions = ", ".join(f'Action::"{action}"' for action in ADMINISTRATION)
    who = f"Human::{cedar_text(name)}"
    return f'@id("admin-operator")\npermit(principal == {who}, action in [{actions}], resource);\n'


# --- files ---------------------------------------------------------------------------------------


def decoded(files: Mapping[str, bytes]) -> dict[str, str]:
    """Return the files' texts, in the order of their paths. Raises InvalidRequest for what is no file of the layout."""
    texts: dict[str, str] = {}
    for path in sorted(files):
        if not is_policy_file(path):
            raise InvalidRequest(f"{path[:128]!a}: unknown file", code="invalid_policy", hint=f"known: {LAYOUT}")
        try:
            texts[path] = files[path].decode()
        except UnicodeDecodeError as error:
            line = files[path].count(b"\n", 0, error.start) + 1
            raise problem(path, "", "it is not UTF-8", line=line) from None
    return texts


def is_policy_file(path: str) -> bool:
    """Whether a path is one of the directory's layout."""
    return _FILE.fullmatch(path) is not None


def read_tools(texts: Mapping[str, str]) -> Iterator[tuple[str, Tool]]:
    """Yield the tools that the files below tools/ state, by resource. Raises InvalidRequest."""
    for path, text in texts.items():
        if not path.startswith("tools/"):
            continue
        stem, _, form = path.rpartition(".")
        beside = f"{stem}.{'json' if form == 'toml' else 'toml'}"
        if beside not in texts:
            raise problem(path, "", f"there is no {beside} beside it", hint="taskbound tools derive UPSTREAM --write")
        if form == "json":
            continue
        entries, upstream = read_toml(path, text), stem.removeprefix("tools/")
        try:
            definitions = canonical.parse(texts[beside], limit=DEFINITIONS_LIMIT)
        except canonical.Malformed as error:
            raise problem(beside, "", str(error)) from None
        if not isinstance(definitions, Mapping):
            raise problem(beside, "", "it is no object of definitions by name")
        for name in definitions.keys() - entries.keys():
            raise problem(beside, texts[beside], f"{quoted(name)} is not in {path}", hint=nearest(name, entries))
        for name, entry in entries.items():
            if name not in definitions or not isinstance(entry, Mapping) or not TOOL_NAME.fullmatch(name):
                raise problem(path, text, f"{quoted(name)} is no tool of {beside}", hint=nearest(name, definitions))
            try:
                tool = read_tool(upstream, name, entry, definitions[name])
            except InvalidRequest as error:
                raise problem(path, text, str(error), hint=error.hint) from None
            if tool.undo is not None and tool.undo not in entries:
                message = f"tool {quoted(name)}: 'undo' is {quoted(tool.undo)}, which is no tool"
                raise problem(path, text, message, hint=nearest(tool.undo, entries))
            yield tool.resource, tool


def _profiles(
    texts: Mapping[str, str], tools: Mapping[str, Tool], targets: Mapping[str, Target]
) -> Iterator[tuple[str, Profile]]:
    for path, text in texts.items():
        if not path.startswith("profiles/"):
            continue
        name = path.removeprefix("profiles/").removesuffix(".toml")
        if name == "none":
            raise problem(path, "", "the name none is kept for tasks without a profile", hint="rename the file")
        try:
            profile = read_profile(name, read_toml(path, text), tools, targets)
        except InvalidRequest as error:
            if str(error).startswith(path):
                raise
            raise problem(path, text, str(error), hint=error.hint) from None
        types = {one.name: one.type for one in profile.parameters.values()}
        for place, grant in enumerate(profile.grants):
            arguments = tools[grant.resource].arguments if grant.action == "tools/call" else {}
            schema = schema_of(grant.action, args=_shape(arguments), grant={"0": types} if types else {})
            if errors := validate(parse_policy(render(grant, 0)), schema):
                message = f"grant {place + 1} ({grant.resource}) is not valid: {errors[0][:200]}"
                raise problem(path, text, message)
        yield name, profile


def _shape(arguments: Mapping[str, Argument], only: frozenset[str] | None = None) -> dict[str, tuple[str, bool]]:
    return {name: (one.type, one.required) for name, one in arguments.items() if only is None or name in only}


def _registrations(text: str) -> Iterator[RegistrationEntry]:
    path = "registrations.toml"
    table = read_toml(path, text)
    entries, seen = table.get("registration", []), set[str]()
    try:
        only(table, ("registration",), "registrations")
        if not isinstance(entries, list):
            raise InvalidRequest("'registration' is no list of tables", hint="write [[registration]]")
        for place, entry in enumerate(entries):
            found = _registration(f"registration {place + 1}", entry)
            if found.name in seen:
                raise InvalidRequest(f"{quoted(found.name)} is registered twice", hint="leave one out")
            seen.add(found.name)
            yield found
    except InvalidRequest as error:
        raise problem(path, text, str(error), hint=error.hint) from None


def _registration(where: str, entry: Any) -> RegistrationEntry:
    if not isinstance(entry, Mapping):
        raise InvalidRequest(f"{where} is no table", hint="write [[registration]]")
    only(entry, ("id", "owner", "purpose", "environment", "groups", "attestor", "when"), where)
    for key in ("id", "owner", "environment", "attestor"):
        if not isinstance(entry.get(key), str) or not entry[key]:
            raise InvalidRequest(f"{where}: {key!r} is missing, or no text")
    for key, kinds in (("id", ("service/", "agent/")), ("owner", ("human/",))):
        try:
            spiffe.make("example.org", entry[key])
        except spiffe.MalformedSpiffeId as error:
            raise InvalidRequest(f"{where}: {key!r} is {quoted(entry[key])}: {error}") from None
        if not entry[key].startswith(kinds):
            hint = f"it begins with {' or '.join(kinds)}"
            raise InvalidRequest(f"{where}: {key!r} is {quoted(entry[key])}", hint=hint)
    groups, when = entry.get("groups", []), entry.get("when")
    if not isinstance(groups, list) or not all(isinstance(group, str) and group for group in groups):
        raise InvalidRequest(f"{where}: 'groups' is no list of names")
    if not isinstance(entry.get("purpose", ""), str):
        raise InvalidRequest(f"{where}: 'purpose' is no text")
    if entry["attestor"] == JOIN_TOKEN and when is None:  # its facts come with the token, once one is issued
        when = {}
    elif not isinstance(when, Mapping) or not when or not all(type(fact) in (str, int) for fact in when.values()):
        raise InvalidRequest(f"{where}: 'when' names no facts, so nobody could show them", hint="when = { uid = 1000 }")
    return RegistrationEntry(
        name=entry["id"],
        owner=entry["owner"],
        purpose=entry.get("purpose", ""),
        environment=entry["environment"],
        groups=tuple(groups),
        attestor=entry["attestor"],
        when=dict(when),
    )


# --- the organisation's policies -----------------------------------------------------------------


def _organisation(
    texts: Mapping[str, str],
    tools: Mapping[str, Tool],
    profiles: Mapping[str, Profile],
    targets: Mapping[str, Target],
) -> Iterator[Policy]:
    places = tuple(_places(tools, profiles, targets))
    known = {uid for _, entity, parents, _ in places for uid in (entity, *parents)}
    known |= {Uid("Action", action) for action in RESOURCE_TYPES}
    seen: dict[str, str] = {}
    for path, text in texts.items():
        if not path.startswith(("organisation/", "built-in/")):
            continue
        try:
            policies = parse_policies(text)
        except InvalidRequest as error:
            line = re.match(r"line (\d+): (.*)", str(error), re.DOTALL)
            message, at = (line[2], int(line[1])) if line else (str(error), None)
            raise problem(path, "", message, hint=error.hint, line=at) from None
        for policy in policies:
            if policy.id is None or not _POLICY_ID.fullmatch(policy.id):
                hint = '@id("name") before it, of letters, digits and . _ -'
                at = _policy_line(text, re.escape(policy.text.splitlines()[0]))
                raise problem(path, "", "a policy has no plain @id", hint=hint, line=at)
            if policy.id in seen:
                message, hint, place = f"the same @id stands in {seen[policy.id]}", "give it another", -1
            else:
                (message, hint), place = _objection(policy, places, known), 0
            if message:
                at = _policy_line(text, rf'@id\s*\(\s*"{re.escape(policy.id)}"', place)
                raise problem(path, "", message, hint=hint, line=at, id=policy.id)
            seen[policy.id] = path
            yield policy


def _policy_line(text: str, pattern: str, place: int = 0) -> int | None:
    """Return the line where the pattern stands for the first time, or the last (-1)."""
    found = list(re.finditer(pattern, text))
    return text.count("\n", 0, found[place].start()) + 1 if found else None


Place = tuple[str, Uid, tuple[Uid, ...], Mapping[str, Argument]]  # action, resource, what that is in, arguments


def _places(
    tools: Mapping[str, Tool], profiles: Mapping[str, Profile], targets: Mapping[str, Target]
) -> Iterator[Place]:
    """Yield every (action, resource) there is. A kind of resource of which there is none yet has one without a name."""
    nowhere, none = Entity(Uid("", "")), Entity(Uid("Profile", "none"))
    of_type: dict[str, list[tuple[Entity, Mapping[str, Argument]]]] = {
        "Tool": [(tool.entity, tool.arguments) for tool in tools.values()],
        "Target": [(target.entity, {}) for target in targets.values()],
        "Profile": [*((profile.entity, {}) for profile in profiles.values()), (none, {})],
        "System": [(Entity(Uid("System", "taskbound")), {})],
    }
    for action, types in RESOURCE_TYPES.items():
        for kind in types.split(", "):
            for entity, arguments in of_type.get(kind) or [(nowhere, {})]:
                uid = entity.uid if entity is not nowhere else Uid(kind, "")
                yield action, uid, entity.parents, arguments if action == "tools/call" else {}


def _meets(policy: Policy, place: Place) -> bool:
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


def _objection(policy: Policy, places: Iterable[Place], known: set[Uid]) -> tuple[str, str]:
    """Return what is wrong with a policy and a hint; two empty texts when nothing is."""
    if policy.effect == "permit" and () in policy.scope.actions and not str(policy.id).startswith("admin-"):
        return "a permit names no action, so it permits administration too", 'write action in [Action::"tools/call"]'
    checked = ("Tool", "Upstream", "Target", "Profile", "Action")
    for uid in _entities(policy.est):
        if uid.type in checked and uid not in known:
            hint = nearest(uid.id, (one.id for one in known if one.type == uid.type))
            return f"there is no {uid.type} {quoted(uid.id)}", hint
    met = [place for place in places if _meets(policy, place)]
    if not met:
        return "it reaches nothing: no action and resource meet its scope", "check the names in its scope"
    for path in policy.reads:
        if path and path[0] not in _CONTEXT:
            return f"context has no {quoted(path[0])}", nearest(path[0], _CONTEXT)
    whole = any(path in ((), ("args",), ("origin",)) for path in policy.reads)
    names = frozenset(path[1] for path in policy.reads if path[:1] in (("args",), ("origin",)) and len(path) > 1)
    declared = {name for _, _, _, arguments in met for name in arguments}
    for name in sorted(names - declared):  # a `has` would hide the typo
        return f"no tool that it reaches has the argument {quoted(name)}", nearest(name, declared)
    seen: set[str] = set()
    for action, uid, _, arguments in met:
        # Only what it reads: tools that look alike to the policy need no second validation.
        schema = schema_of(action, args=_shape(arguments, None if whole else names), grant={})
        if schema not in seen and (errors := validate(policy, schema)):
            return f"it is not valid for {action} on {uid.type} {quoted(uid.id)}", f"Cedar says: {errors[0][:400]}"
        seen.add(schema)
    return "", ""


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


EMPTY = read_policy_dir({}, {})
