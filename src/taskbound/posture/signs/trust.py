"""Trust: federation that lets in more than one project's pipelines, in code, scripts, variables and JSON alike.

Sources: GitHub "OpenID Connect" (how the subject is made), Google "principalSet" identifiers and the provider's
attribute condition, SPIFFE ids in trust, Azure's flexible federated credentials.
"""

import re

from taskbound.posture.readers.aws_policy import subject_is_narrow
from taskbound.posture.signs.sign import IS, Sign, Spot

_WIDE = "oidc-trust-too-wide"


def _of_github(spot: Spot) -> str:
    subject = spot.found["sub"]
    if subject_is_narrow(subject) or re.search(r"\bdeny\b|search|is:|gh api|label:", spot.around[:4000], re.I):
        return ""
    return f"lets in the tokens of more than one repository ({subject[:80]})"


def _no_condition(spot: Spot) -> bool:
    command = re.split(r"[^\\]\n", spot.after, maxsplit=1)[0]
    return "--attribute-condition" not in command


def _unbound(spot: Spot) -> bool:
    return not re.search(r"bound_claims|bound_subject|allowed_redirect", spot.around)


SIGNS: tuple[Sign, ...] = (
    Sign(
        _WIDE,
        r"[\"'`\s\[=](?P<sub>repo:(?:[\w.${}<>-]{0,60})(?:/[\w.${}*?<>-]{0,80})?\*[\w:/.*${}-]{0,120})",
        "lets in the tokens of more than one repository",
        only=_of_github,
        anchor=r"[\"'`\s\[=]repo:",
    ),
    Sign(
        _WIDE,
        r"[\"'`](?P<sub>repo:[\w.-]{1,60}/[\w.-]{1,80}:pull_request)[\"'`]",
        "gives its tokens to the pipeline of every pull request",
        only=lambda spot: not re.search(r"\bdeny\b|not_?equals", spot.around[:4000], re.I),
        anchor=r"repo:[\w.-]{1,60}/[\w.-]{1,80}:pull_request",
    ),
    Sign(
        _WIDE,
        r"[\"'`\s\[=](?P<sub>project_path:[\w.${}/<>-]{0,100}\*[\w:/.*${}-]{0,120})",
        "lets in the tokens of more than one project",
        only=_of_github,
        anchor=r"[\"'`\s\[=]project_path:",
    ),
    Sign(
        _WIDE,
        r"\bprincipalSet://iam\.googleapis\.com/[^\s\"'`]{4,160}/workloadIdentityPools/[^\s\"'`/]{1,80}/\*",
        "lets every token of a pool act as a service account",
        anchor=r"principalSet://",
    ),
    Sign(
        _WIDE,
        r"\bgcloud\b[^\n]{0,60}workload-identity-pools[ \t]{1,4}providers[ \t]{1,4}(?:create|update)-oidc\b",
        "trusts every token of an issuer: no attribute condition says whose",
        only=_no_condition,
        anchor=r"providers[ \t]{1,4}(?:create|update)-oidc",
    ),
    Sign(
        _WIDE,
        (
            r"\bvault[ \t]{1,4}write\b[^\n]{0,60}auth/[\w-]{1,40}/role/(?:[^\n\\]|\\\n"
            r"|\\.){0,400}\bbound_audiences=(?:[^\n\\]|\\\n|\\.){0,60}"
        ),
        "writes a role of the secret store that lets in every token of its issuer: no claim says whose",
        only=_unbound,
        anchor=r"bound_audiences=",
    ),
    Sign(
        _WIDE,
        (
            r"\bclaims_?matching_?expression[\"']?[^\n"
            r"]{0,80}matches[ \t]*[\\\"']{1,2}repo:[^/\"'\\]{0,60}(?:/\*|\*)"
        ),
        "lets in the tokens of more than one repository",
        anchor=r"claims_?matching_?expression",
    ),
    Sign(
        _WIDE,
        rf"\bbound_service_account_namespaces{IS}\[?[ \t]*[\"']?\*",
        "lets any workload of a cluster sign in to the secret store",
    ),
)
