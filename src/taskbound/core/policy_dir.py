"""Policy directory: organisation policies, profiles, tools, registrations and tests, whole or not at all.

    organisation/*.cedar   profiles/<name>.toml   tools/<upstream>.toml and .json
    registrations.toml     tests/*.toml

`read_policy_dir` takes the files' bytes and the configured targets, and returns a value or refuses
with every problem that it finds: InvalidRequest("invalid_policy") naming the file, the line where it
can be found, the @id where there is one, and a hint (INTERFACES 3). What could never permit, never
forbid or never match is refused too, since the engine gives no warning. What builds on something
broken is not looked at: its problems would only follow from that one.

The version is SHA-256 over, for each path in order, the length of `path \\0 bytes` as 8 bytes and
`path \\0 bytes` (`canonical.digest_parts`). Targets come with the configuration and are not in it.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from taskbound.core.catalogue import DEFINITIONS_LIMIT, TOOL_NAME, Target, Tool, read_tool
from taskbound.core.cedar import parse_policy, validate
from taskbound.core.errors import InvalidRequest
from taskbound.core.expectation import Expectation, read_expectations
from taskbound.core.grant import render
from taskbound.core.identity import JOIN_TOKEN, require_facts
from taskbound.core.intent import Profile, read_profile
from taskbound.core.organisation import BUILT_IN, places, read_organisation, shape
from taskbound.core.policy import PolicySet
from taskbound.core.refusal import Broken, Problems, nearest, only, problem, problems_of, quoted, read_toml
from taskbound.core.schema import schema_of
from taskbound.formats import canonical, spiffe

LAYOUT = "organisation/*.cedar, profiles/*.toml, tools/*.toml, tools/*.json, registrations.toml, tests/*.toml"
_FILE = re.compile(
    r"organisation/[A-Za-z0-9][\w.-]*\.cedar|profiles/[a-z0-9][a-z0-9_-]{0,63}\.toml"
    r"|tools/[a-z0-9][a-z0-9_-]{0,63}\.(toml|json)|tests/[A-Za-z0-9][\w.-]*\.toml|registrations\.toml",
    re.ASCII,
)


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
    tests: tuple[Expectation, ...] = ()

    def about(self, action: str, resource: str) -> Tool | Target | Profile | None:
        """Return what a request for that action on that resource is about, as far as the directory knows it."""
        catalogues: Mapping[str, Mapping[str, Tool | Target | Profile]] = {
            "tools": self.tools,
            "lease": self.targets,
            "task": self.profiles,
        }
        return catalogues.get(action.partition("/")[0], {}).get(resource)


def read_policy_dir(files: Mapping[str, bytes], targets: Mapping[str, Target], built_in: str = "") -> PolicyDir:
    """Return the directory that the files make, with the organisation's policies that are always there.

    What is built in counts into the version, as a file that no directory can have. Raises
    InvalidRequest (`invalid_policy`).
    """
    # First: an @id that a file repeats is the file's mistake.
    texts = {**({BUILT_IN: built_in} if built_in else {}), **decoded(files)}
    problems = Problems()
    tools = dict(read_tools(texts, problems))
    broken = {text[: text.index(".")].removeprefix("tools/") for text in map(str, problems.found)}
    profiles = dict(_profiles(texts, tools, targets, problems, broken))
    named = [path.removeprefix("profiles/").removesuffix(".toml") for path in texts if path.startswith("profiles/")]
    policies = read_organisation(texts, places(tools, named, targets), problems, whole=not broken)
    registrations = tuple(_registrations(texts.get("registrations.toml", ""), problems))
    problems.require_none()
    people = {one.name: one for one in registrations}
    ids = [str(policy.id) for policy in policies]
    tests = tuple(read_expectations(texts, ids, people, profiles, tools, targets, problems))
    problems.require_none()
    parts = (f"{path}\0{texts[path]}".encode() for path in sorted(texts))
    return PolicyDir(
        version=canonical.digest_parts(*parts),
        organisation=PolicySet(policies),
        profiles=profiles,
        tools=tools,
        registrations=registrations,
        targets=dict(targets),
        files=dict(files),
        built_in=built_in,
        tests=tests,
    )


def with_files(policies: PolicyDir, files: Mapping[str, bytes]) -> PolicyDir:
    """Return the directory as it was read, with these files in place of its own. Raises InvalidRequest."""
    return read_policy_dir({**policies.files, **files}, policies.targets, policies.built_in)


# --- files ---------------------------------------------------------------------------------------


def decoded(files: Mapping[str, bytes]) -> dict[str, str]:
    """Return the files' texts, in the order of their paths. Raises InvalidRequest for what is no file of the layout."""
    texts: dict[str, str] = {}
    problems = Problems()
    for path in sorted(files):
        with problems.kept():
            if not is_policy_file(path):
                raise InvalidRequest(f"{path[:128]!a}: unknown file", code="invalid_policy", hint=f"known: {LAYOUT}")
            try:
                texts[path] = files[path].decode()
            except UnicodeDecodeError as error:
                line = files[path].count(b"\n", 0, error.start) + 1
                raise problem(path, "", "it is not UTF-8", line=line) from None
    problems.require_none()
    return texts


def is_policy_file(path: str) -> bool:
    """Whether a path is one of the directory's layout."""
    return _FILE.fullmatch(path) is not None


def read_tools(texts: Mapping[str, str], problems: Problems) -> Iterator[tuple[str, Tool]]:
    """Yield the tools that the files below tools/ state, by resource; keep the problems of each file and tool."""
    for path, text in texts.items():
        if not path.startswith("tools/"):
            continue
        stem, _, form = path.rpartition(".")
        beside = f"{stem}.{'json' if form == 'toml' else 'toml'}"
        with problems.kept():
            if beside not in texts:
                hint = "taskbound tools derive UPSTREAM --write (POST /v1/tools/…/pin with `write`)"
                raise problem(path, "", f"there is no {beside} beside it", hint=hint)
            if form == "toml":
                entries, definitions = read_toml(path, text), _definitions(beside, texts[beside])
                for name in definitions.keys() - entries.keys():
                    with problems.kept():
                        message = f"{quoted(name)} is not in {path}"
                        raise problem(beside, texts[beside], message, hint=nearest(name, entries))
                for name, entry in entries.items():
                    with problems.kept():
                        tool = _tool(path, text, name, entry, definitions, entries)
                        yield tool.resource, tool


def _definitions(path: str, text: str) -> Mapping[str, Any]:
    try:
        definitions = canonical.parse(text, limit=DEFINITIONS_LIMIT)
    except canonical.Malformed as error:
        raise problem(path, "", str(error)) from None
    if not isinstance(definitions, Mapping):
        raise problem(path, "", "it is no object of definitions by name")
    return definitions


def _tool(
    path: str, text: str, name: str, entry: Any, definitions: Mapping[str, Any], entries: Mapping[str, Any]
) -> Tool:
    if name not in definitions or not isinstance(entry, Mapping) or not TOOL_NAME.fullmatch(name):
        message = f"{quoted(name)} is no tool of {path.removesuffix('toml')}json"
        raise problem(path, text, message, hint=nearest(name, definitions))
    upstream = path.removeprefix("tools/").removesuffix(".toml")
    try:
        tool = read_tool(upstream, name, entry, definitions[name])
    except InvalidRequest as error:
        raise problem(path, text, str(error), hint=error.hint) from None
    if tool.undo is not None and tool.undo not in entries:
        message = f"tool {quoted(name)}: 'undo' is {quoted(tool.undo)}, which is no tool"
        raise problem(path, text, message, hint=nearest(tool.undo, entries))
    return tool


def _profiles(
    texts: Mapping[str, str],
    tools: Mapping[str, Tool],
    targets: Mapping[str, Target],
    problems: Problems,
    broken: set[str],
) -> Iterator[tuple[str, Profile]]:
    """Yield the profiles by name. One that names a tool of a broken upstream is not looked at."""
    for path, text in texts.items():
        if path.startswith("profiles/") and not any(f'"{upstream}/' in text for upstream in broken):
            with problems.kept():
                profile = _profile(path, text, tools, targets)
                yield profile.name, profile


def _profile(path: str, text: str, tools: Mapping[str, Tool], targets: Mapping[str, Target]) -> Profile:
    name = path.removeprefix("profiles/").removesuffix(".toml")
    if name == "none":
        raise problem(path, "", "the name none is kept for tasks without a profile", hint="rename the file")
    table = read_toml(path, text)
    try:
        profile = read_profile(name, table, tools, targets)
    except InvalidRequest as error:
        raise Broken(problem(path, text, str(one), hint=one.hint) for one in problems_of(error)) from None
    types = {one.name: one.type for one in profile.parameters.values()}
    problems = Problems()
    for place, grant in enumerate(profile.grants):
        arguments = tools[grant.resource].arguments if grant.action == "tools/call" else {}
        schema = schema_of(grant.action, args=shape(arguments), grant={"0": types} if types else {})
        with problems.kept():
            if errors := validate(parse_policy(render(grant, 0)), schema):
                message = f"grant {place + 1} ({grant.resource}) is not valid: {errors[0][:200]}"
                raise problem(path, text, message)
    problems.require_none()
    return profile


def _registrations(text: str, problems: Problems) -> Iterator[RegistrationEntry]:
    path, seen = "registrations.toml", set[str]()
    with problems.kept():
        table = read_toml(path, text)
        entries = table.get("registration", [])
        try:
            only(table, ("registration",), "registrations")
            if not isinstance(entries, list):
                raise InvalidRequest("'registration' is no list of tables", hint="write [[registration]]")
        except InvalidRequest as error:
            raise problem(path, text, str(error), hint=error.hint) from None
        for place, entry in enumerate(entries):
            with problems.kept():
                try:
                    found = _registration(f"registration {place + 1}", entry)
                    if found.name in seen:
                        raise InvalidRequest(f"{quoted(found.name)} is registered twice", hint="leave one out")
                except InvalidRequest as error:
                    raise problem(path, text, str(error), hint=error.hint) from None
                seen.add(found.name)
                yield found


def _registration(where: str, entry: Any) -> RegistrationEntry:
    if not isinstance(entry, Mapping):
        raise InvalidRequest(f"{where} is no table", hint="write [[registration]]")
    only(entry, ("id", "owner", "purpose", "environment", "groups", "attestor", "when"), where)
    for key in ("id", "owner", "environment", "attestor"):
        if not isinstance(entry.get(key), str) or not entry[key]:
            raise InvalidRequest(f"{where}: {key!r} is missing, or no text", hint=f'write {key} = "…"')
    for key, kinds in (("id", ("service/", "agent/")), ("owner", ("human/",))):
        try:
            spiffe.make("example.org", entry[key])
        except spiffe.MalformedSpiffeId as error:
            hint = f"write it as {kinds[-1]}NAME"
            raise InvalidRequest(f"{where}: {key!r} is {quoted(entry[key])}: {error}", hint=hint) from None
        if not entry[key].startswith(kinds):
            hint = f"it begins with {' or '.join(kinds)}"
            raise InvalidRequest(f"{where}: {key!r} is {quoted(entry[key])}", hint=hint)
    groups, when = entry.get("groups", []), entry.get("when")
    if not isinstance(groups, list) or not all(isinstance(group, str) and group for group in groups):
        raise InvalidRequest(f"{where}: 'groups' is no list of names", hint='write groups = ["NAME"]')
    if not isinstance(entry.get("purpose", ""), str):
        raise InvalidRequest(f"{where}: 'purpose' is no text", hint='write purpose = "…"')
    if entry["attestor"] == JOIN_TOKEN and when is None:  # its facts come with the token, once one is issued
        when = {}
    elif not isinstance(when, Mapping) or not when or not all(type(fact) in (str, int) for fact in when.values()):
        raise InvalidRequest(f"{where}: 'when' names no facts, so nobody could show them", hint="when = { uid = 1000 }")
    try:
        require_facts(entry["id"], entry["attestor"], when)
    except InvalidRequest as error:
        raise InvalidRequest(f"{where}: {error}", hint=error.hint) from None
    return RegistrationEntry(
        name=entry["id"],
        owner=entry["owner"],
        purpose=entry.get("purpose", ""),
        environment=entry["environment"],
        groups=tuple(groups),
        attestor=entry["attestor"],
        when=dict(when),
    )


EMPTY = read_policy_dir({}, {})
