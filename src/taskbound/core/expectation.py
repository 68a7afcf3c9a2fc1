"""Expectation: what a policy directory says of itself in tests/*.toml: this actor, this wish, this answer.

    [[test]]
    name = "a refund above the order's limit"
    profile = "refund-order"                       # the task's; without one the task is granted just this wish,
    set = { order_id = "4711", max = 200 }         # whatever its arguments: what the organisation alone says
    actor = { name = "agent/nightly", environment = "dev", groups = ["ci"], assurance = "handle" }
    call = "crm/refund"                            # or lease = "shopdb/reader", or action = "audit/read"
    arguments = { order_id = "4711", amount = 300 }
    labels = ["free_text"]                         # what the task has read before
    hour = 3                                       # of the day, UTC
    expect = "deny"                                # permit, deny, or ask (a person)
    code = "outside_grants"                        # the code of the refusal
    policy = "nhi8"                                # the @id that speaks

Of the actor all but the name may be left out: what registrations.toml says of it, else the environment
"dev", no groups, the profile's owner and the assurance "handle". A lease of what is not configured says
what it would be: `target = { environment = "production", holders = ["agent"], assurances = ["handle"] }`.
An action that no task grants takes `resource`: a profile's name for task/open, a name such as
agent/nightly for identity/suspend. Whose a name is that somebody administers is asked beside policy, and not here.

Read here and held against the directory; core/trial.py asks the engine.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Protocol

from taskbound.core.catalogue import INTEGRITIES, Target, Tool
from taskbound.core.errors import InvalidRequest
from taskbound.core.grant import Value
from taskbound.core.identity import KINDS
from taskbound.core.intent import Profile, bind
from taskbound.core.refusal import Problems, nearest, only, problem, quoted, read_toml, refused
from taskbound.core.schema import RESOURCE_TYPES
from taskbound.formats import canonical, spiffe

VERDICTS = ("permit", "deny", "ask")
LABELS = (*(one for one in INTEGRITIES if one != "attested"), "secret")
GRANTED = {"call": "tools/call", "lease": "lease/issue"}  # what a task grants, by the key that asks for it
_TEST = (
    "name", "profile", "set", "actor", "call", "lease", "target", "action", "resource", "arguments", "labels", "hour",
    "expect", "code", "policy",
)  # fmt: skip
_ACTOR = ("name", "owner", "environment", "groups", "assurance")
_TARGET = ("environment", "assurances", "holders")


@dataclass(frozen=True, slots=True)
class Actor:
    """Who asks, as if proven."""

    name: str  # agent/nightly
    owner: str  # human/…
    environment: str
    groups: tuple[str, ...]
    assurance: str


@dataclass(frozen=True, slots=True)
class Expectation:
    """One test."""

    path: str
    name: str
    actor: Actor
    action: str
    resource: str
    verdict: str  # one of VERDICTS
    profile: str | None = None
    values: Mapping[str, Value] = field(default_factory=dict)
    target: Target | None = None  # of a lease of what is not configured
    arguments: Mapping[str, Any] = field(default_factory=dict)
    labels: frozenset[str] = frozenset()
    hour: int = 12
    code: str = ""
    policy: str = ""


class Registered(Protocol):
    """What registrations.toml says of a name."""

    @property
    def owner(self) -> str: ...

    @property
    def environment(self) -> str: ...

    @property
    def groups(self) -> tuple[str, ...]: ...


def read_expectations(
    texts: Mapping[str, str],
    policies: Sequence[str],
    people: Mapping[str, Registered],
    profiles: Mapping[str, Profile],
    tools: Mapping[str, Tool],
    targets: Mapping[str, Target],
    problems: Problems,
) -> Iterator[Expectation]:
    """Yield the tests of the files below tests/, and keep the problems of each; `policies` are the @ids there are."""
    for path, text in texts.items():
        if not path.startswith("tests/"):
            continue
        with problems.kept():
            entries, names = _entries(path, text), set[str]()
            for place, entry in enumerate(entries, start=1):
                with problems.kept():
                    try:
                        found = _expectation(path, f"test {place}", entry, policies, people, profiles, tools, targets)
                        if found.name in names:
                            raise refused(f"test {place}: {quoted(found.name)} is the name of two tests")
                    except InvalidRequest as error:
                        raise problem(path, text, str(error), hint=error.hint) from None
                    names.add(found.name)
                    yield found


def _entries(path: str, text: str) -> list[Any]:
    table = read_toml(path, text)
    try:
        only(table, ("test",), "tests")
        if not isinstance(entries := table.get("test", []), list):
            raise refused("'test' is no list of tables", "write [[test]]")
    except InvalidRequest as error:
        raise problem(path, text, str(error), hint=error.hint) from None
    return entries


def _expectation(
    path: str,
    where: str,
    entry: Any,
    policies: Sequence[str],
    people: Mapping[str, Registered],
    profiles: Mapping[str, Profile],
    tools: Mapping[str, Tool],
    targets: Mapping[str, Target],
) -> Expectation:
    if not isinstance(entry, Mapping):
        raise refused(f"{where} is no table", "write [[test]]")
    only(entry, _TEST, where)
    if not (name := _text(entry, "name", where)).strip():
        raise refused(f"{where}: 'name' is missing, or no text")
    profile = None
    if (named := entry.get("profile")) is not None and (profile := profiles.get(str(named))) is None:
        raise refused(f"{where}: there is no profile {quoted(named)}", nearest(named, profiles))
    values = _values(profile, entry.get("set", {}), where)
    action, resource = _wish(entry, where, profiles, tools, targets)
    if (verdict := entry.get("expect")) not in VERDICTS:
        raise refused(f"{where}: 'expect' is {quoted(verdict)}", nearest(verdict, VERDICTS))
    code, policy = _text(entry, "code", where), _text(entry, "policy", where)
    if code and verdict != "deny":
        raise refused(f"{where}: 'code' is that of a refusal", 'write expect = "deny"')
    if policy and policy not in policies:
        raise refused(f"{where}: no policy has the @id {quoted(policy)}", nearest(policy, policies))
    labels = _texts(entry, "labels", where)
    for label in labels:
        if label not in LABELS:
            raise refused(f"{where}: there is no label {quoted(label)}", nearest(label, LABELS))
    if type(hour := entry.get("hour", 12)) is not int or not 0 <= hour < 24:
        raise refused(f"{where}: 'hour' is no number from 0 to 23")
    owner = profile.owner if profile else "human/operator"
    return Expectation(
        path=path,
        name=name,
        actor=_actor(entry.get("actor"), where, people, owner),
        action=action,
        resource=resource,
        verdict=str(verdict),
        profile=None if profile is None else profile.name,
        values=values,
        target=_target(entry, where, resource),
        arguments=_arguments(entry.get("arguments", {}), where),
        labels=frozenset(labels),
        hour=hour,
        code=code,
        policy=policy,
    )


def _text(entry: Mapping[str, Any], key: str, where: str, otherwise: str = "") -> str:
    if not isinstance(text := entry.get(key, otherwise), str):
        raise refused(f"{where}: {key!r} is no text")
    return text


def _texts(entry: Mapping[str, Any], key: str, where: str, otherwise: Sequence[str] = ()) -> tuple[str, ...]:
    found = entry.get(key, list(otherwise))
    if not isinstance(found, list) or not all(isinstance(one, str) for one in found):
        raise refused(f"{where}: {key!r} is no list of names")
    return tuple(found)


def _values(profile: Profile | None, given: Any, where: str) -> Mapping[str, Value]:
    """Return the values of the profile's parameters: what `--set` would say of them, numbers as they are too."""
    if not isinstance(given, Mapping) or (given and profile is None):
        raise refused(f"{where}: 'set' is a table, and goes with 'profile'")
    if profile is None:
        return {}
    try:
        texts = {k: v if isinstance(v, str) else canonical.render(v).decode() for k, v in given.items()}
        return bind(profile, texts)
    except (InvalidRequest, canonical.Malformed) as error:
        raise refused(f"{where}: {error}", getattr(error, "hint", "").partition(" (--set")[0]) from None


def _wish(
    entry: Mapping[str, Any],
    where: str,
    profiles: Mapping[str, Profile],
    tools: Mapping[str, Tool],
    targets: Mapping[str, Target],
) -> tuple[str, str]:
    """Return the action and the resource that a test asks for. Raises InvalidRequest."""
    asked = [key for key in (*GRANTED, "action") if key in entry]
    if len(asked) != 1:
        raise refused(f"{where}: it asks for a call, a lease or an action, and for one of them")
    kind = asked[0]
    if "arguments" in entry and kind != "call":
        raise refused(f"{where}: 'arguments' go with 'call'")
    if "resource" in entry and kind != "action":
        raise refused(f"{where}: 'resource' goes with 'action'")
    wanted = _text(entry, kind, where)
    if kind == "action":
        if wanted in GRANTED.values():
            raise refused(f"{where}: {quoted(wanted)} is asked for as a call or a lease", 'call = "crm/refund"')
        if wanted not in RESOURCE_TYPES:
            raise refused(f"{where}: there is no action {quoted(wanted)}", nearest(wanted, RESOURCE_TYPES))
        kinds = RESOURCE_TYPES[wanted]
        resource = _text(entry, "resource", where, {"Profile": "none", "System": "taskbound"}.get(kinds, ""))
        if not resource:
            raise refused(f"{where}: 'resource' is missing: what {wanted} is about")
        if kinds == "Profile" and resource != "none" and resource not in profiles:
            raise refused(f"{where}: there is no profile {quoted(resource)}", nearest(resource, profiles))
        if wanted.startswith("identity/"):
            _require_name(resource, where)
        return wanted, resource
    known: Mapping[str, object] = tools if kind == "call" else targets
    if wanted not in known and not (kind == "lease" and "target" in entry and wanted.count("/") == 1):
        what = "tool" if kind == "call" else "lease"
        raise refused(f"{where}: there is no {what} {quoted(wanted)}", nearest(wanted, known))
    return GRANTED[kind], wanted


def _target(entry: Mapping[str, Any], where: str, resource: str) -> Target | None:
    if (given := entry.get("target")) is None:
        return None
    if not isinstance(given, Mapping) or "lease" not in entry:
        raise refused(f"{where}: 'target' is a table, and goes with 'lease'")
    only(given, _TARGET, f"{where}: target")
    name, _, grant = resource.partition("/")
    return Target(
        name=name,
        grant=grant,
        environment=_text(given, "environment", where),
        revocation_class="cut now",
        assurances=frozenset(_texts(given, "assurances", where, ("unix", "handle"))),
        holders=frozenset(_texts(given, "holders", where, ("agent", "service"))),
        max_life=timedelta(minutes=15),
    )


def _actor(given: Any, where: str, people: Mapping[str, Registered], owner: str) -> Actor:
    if not isinstance(given, Mapping):
        raise refused(f"{where}: 'actor' is missing, or no table", 'actor = { name = "agent/nightly" }')
    only(given, _ACTOR, f"{where}: actor")
    name = _text(given, "name", where)
    known = people.get(name)
    owner = name if name.startswith("human/") else _text(given, "owner", where, known.owner if known else owner)
    for one in (name, owner):
        _require_name(one, where)
    if not owner.startswith("human/"):
        raise refused(f"{where}: the owner is {quoted(owner)}", "it begins with human/")
    return Actor(
        name=name,
        owner=owner,
        environment=_text(given, "environment", where, known.environment if known else "dev"),
        groups=_texts(given, "groups", where, known.groups if known else ()),
        assurance=_text(given, "assurance", where, "handle"),
    )


def _require_name(name: str, where: str) -> None:
    """Raises InvalidRequest for what is no name of an identity."""
    if name.partition("/")[0] not in KINDS:
        raise refused(f"{where}: {quoted(name)} is no name", "it begins with human/, service/ or agent/")
    try:
        spiffe.make("example.org", name)
    except spiffe.MalformedSpiffeId as error:
        raise refused(f"{where}: {quoted(name)} is no name of an identity: {error}") from None


def _arguments(given: Any, where: str) -> Mapping[str, Any]:
    try:
        if isinstance(given, Mapping):
            canonical.render(given)  # what came as a date is no JSON
            return given
    except canonical.Malformed:
        pass
    raise refused(f"{where}: 'arguments' is no table of JSON values")
