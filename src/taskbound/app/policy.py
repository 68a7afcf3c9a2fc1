"""A look at a policy directory without a world: is it in order, do its tests pass, what does it say."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from taskbound.app.places import login
from taskbound.core.catalogue import Target, Tool
from taskbound.core.config import Config
from taskbound.core.errors import InvalidRequest
from taskbound.core.grant import Grant, cedar_value, render, said
from taskbound.core.intent import Parameter, Profile, bind
from taskbound.core.organisation import meets, operator_policy, shape
from taskbound.core.policy_dir import PolicyDir
from taskbound.core.refusal import nearest, quoted
from taskbound.core.schema import common_schema, schema_of
from taskbound.core.trial import Outcome, run_tests
from taskbound.plugins.policies.files import PolicyFiles


def check_policy(directory: Path, config: Config, node: str = "") -> PolicyDir:
    """Return a policy directory as our `up` would load it, or a `node` of `serve`, without whom it registers.

    Raises InvalidRequest.
    """
    targets = {resource: target for one in config.targets for resource, target in one.targets().items()}
    return PolicyFiles(directory, targets, "" if node else operator_policy(f"human/{login()}")).read()


def try_policy(directory: Path, config: Config, node: str = "") -> tuple[PolicyDir, tuple[Outcome, ...]]:
    """Return a policy directory and what becomes of each of its tests. Raises InvalidRequest."""
    policies = check_policy(directory, config, node)
    return policies, run_tests(policies, policies.tests)


def explain_profile(
    directory: Path, config: Config, name: str, given: Mapping[str, str], levels: int = 1
) -> dict[str, Any]:
    """Return what a profile says, with the values given, and each grant's Cedar text for the first levels of a chain.

    Without any value its parameters stay open. Raises InvalidRequest.
    """
    policies = check_policy(directory, config)
    profile = _profile(policies, name)
    values = bind(profile, given) if given else {}
    seconds = {"life_s": profile.life, "idle_s": profile.idle, "heartbeat_grace_s": profile.heartbeat_grace}
    return {
        "profile": profile.name,
        "purpose": profile.purpose,
        "owner": profile.owner,
        "review_by": profile.review_by.isoformat(),
        **{key: None if span is None else int(span.total_seconds()) for key, span in seconds.items()},
        "on_lost": profile.on_lost,
        "budget": dict(profile.budget),
        "parameters": [
            {
                "name": one.name,
                "kind": one.kind,
                "type": one.type,
                "limits": _limits(one),
                "value": cedar_value(values[one.name]) if one.name in values else None,
            }
            for one in profile.parameters.values()
        ],
        "grants": [
            {
                "id": grant.id,
                "said": said(grant, values),
                "action": grant.action,
                "resource": grant.resource,
                "calls": grant.calls,
                "ask": grant.ask,
                "text": {str(level): render(grant, level) for level in range(levels)},
                "policies": _slice(policies, grant),
            }
            for grant in profile.grants
        ],
        "version": policies.version,
    }


def _profile(policies: PolicyDir, name: str) -> Profile:
    try:
        return policies.profiles[name]
    except KeyError:
        message = f"there is no profile {quoted(name)}"
        raise InvalidRequest(message, code="unknown_profile", hint=nearest(name, policies.profiles)) from None


def _limits(parameter: Parameter) -> dict[str, Any]:
    bounds = {"minimum": parameter.minimum, "maximum": parameter.maximum, "values": parameter.values}
    limits = {name: cedar_value(bound) for name, bound in bounds.items() if bound is not None}
    return {**({"pattern": parameter.pattern.pattern} if parameter.pattern else {}), **limits}


def _slice(policies: PolicyDir, grant: Grant) -> list[dict[str, str]]:
    """Return the organisation's policies whose scope a request for the grant may meet, whoever asks."""
    about = policies.about(grant.action, grant.resource)
    assert isinstance(about, Tool | Target), "a grant is made of something that there is"
    place = grant.action, about.entity.uid, about.entity.parents, about.arguments if isinstance(about, Tool) else {}
    met = [policy for policy in policies.organisation.policies if meets(policy, place)]
    return [{"id": policy.name, "effect": policy.effect} for policy in met]


def policy_schema(directory: Path, config: Config, tool: str | None, profile: str | None = None) -> str:
    """Return the Cedar schema that a policy about a tool is validated against, or a grant of a profile for it.

    Without a tool the one that all actions share. Raises InvalidRequest.
    """
    if tool is None:
        return common_schema()
    policies = check_policy(directory, config)
    if tool not in policies.tools:
        message = f"there is no tool {quoted(tool)}"
        raise InvalidRequest(message, code="unknown_tool", hint=nearest(tool, policies.tools))
    types = {one.name: one.type for one in _profile(policies, profile).parameters.values()} if profile else {}
    arguments = shape(policies.tools[tool].arguments)
    return schema_of("tools/call", args=arguments, grant={"0": types} if types else {})
