"""The Cedar schema of one action: what a policy or a grant may say of it (INTERFACES 7).

It is made per (tool, level): `context.args` and `context.origin` have the arguments of the tool,
`context.grant` the values that a task binds at its level. Text alone; `cedar.validate` reads it.
"""

from collections.abc import Iterable, Mapping

from taskbound.core.errors import InvalidRequest

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
    "offboarding/run": "System",
    "finding/raise": "System",
    "finding/accept": "System",
    "finding/fix": "System",
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
    others = ", ".join(cedar_text(other) for other in RESOURCE_TYPES if other != action)
    return f"{_ENTITIES}action {others};\n{_applied(action, args, grant)}"


def common_schema() -> str:
    """Return the schema that all actions share, for an editor: without the arguments of any tool."""
    return _ENTITIES + "".join(_applied(action, {}, {}) for action in RESOURCE_TYPES)


def _applied(action: str, args: Mapping[str, tuple[str, bool]], grant: Mapping[str, Mapping[str, str]]) -> str:
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
    applies = f"principal: [Human, Service, Agent], resource: [{RESOURCE_TYPES[action]}], context: {_record(context)}"
    return f"action {cedar_text(action)} appliesTo {{ {applies} }};\n"
