"""Rights: far too many of them, given in code, in a script or in a policy's own language.

Sources: AWS managed policies and CDK's and Pulumi's names of them; Azure built-in roles (their ids are the same
everywhere); Google Cloud basic roles; Vault, Consul and Nomad policies; SQL and Redis ACL syntax; GitHub settings.
"""

import re

from taskbound.posture.signs.sign import IS, Sign, Spot
from taskbound.posture.signs.where import is_trial, says

_STAR = "iam-star-star"
_OWNER = "owner-role-assigned"
_DATABASE = "database-login-with-all-rights"
_VAULT = "vault-policy-all-paths"
# Of people who administer by single sign-on, of what is forbidden, of AWS' own lists of its policies, and of exports of
# roles, where shapes/policies.py sees whose role it is.
_NOT_GIVEN = says(
    r"iam:PolicyARN|Arn(?:Not)?(?:Equals|Like)|\bDeny\b|ssoadmin|permission_?set|AWSReservedSSO"
    r"|DefaultVersionId|IsAttachable|AttachedManagedPolicies"
)
_RESOURCE_ALL = says(r"resources?[\"']?\s*[:=(]\s*\[?\s*[\"']\*[\"']")
_READS_ONLY = frozenset(("read", "list"))
_CAPABILITIES = re.compile(r"capabilities[\"']?\s*[:=]\s*\[([^\]]{0,200})\]|policy\s*=\s*\"(\w+)\"")
_WHOLE_SCOPE = says(
    r"/subscriptions/|/providers/microsoft\.management|subscription|management_?group|resource_?group|tenant"
)
_CODE = (".py", ".ts", ".js", ".mjs", ".tsx", ".go", ".java", ".kt", ".cs", ".rb")


def _given(spot: Spot) -> bool:
    return not _NOT_GIVEN.search(spot.around)


def _everything(spot: Spot) -> bool:
    """Action and resource of one statement, in code that writes policies; a resource's own policy names principals."""
    return (
        spot.path.endswith(_CODE)
        and bool(_RESOURCE_ALL.search(spot.around))
        and not re.search(r"\bdeny\b|principals?\b", spot.around, re.I)
        and not is_trial(spot)
    )


def _opens(spot: Spot) -> str:
    """What a path of a Vault policy opens, if it is all of them or those that make policies."""
    path = spot.found["path"]
    found = _CAPABILITIES.search(spot.after)
    if not found:
        return ""
    may = set(re.findall(r"\w+", found[1] or found[2] or ""))
    if "deny" in may or not may:
        return ""
    if path in ("*", "+/*", "+/+/*"):
        return f"opens every path of the secret store ({', '.join(sorted(may)[:6])})"
    if may <= _READS_ONLY:
        return ""
    return f"may write {path} of the secret store, and with that give itself every right"


def _role(spot: Spot) -> str:
    return f"makes somebody {spot.found['role'].lower()} of all that is in there"


def _azure(spot: Spot) -> bool:
    return bool(_WHOLE_SCOPE.search(spot.around)) and not is_trial(spot)


def _of_database(spot: Spot) -> bool:
    """What MongoDB calls `role: "root"` is elsewhere a word of a page or of a test."""
    if is_trial(spot):
        return False
    return "role" not in spot.found[0].lower()[:4] or bool(
        re.search(r"createUser|\bdb\b|mongo|database|snowflake|atlas", spot.around, re.I)
    )


def _machine(spot: Spot) -> bool:
    return bool(re.search(r"serviceaccount|principalset|service_account", spot.around, re.I)) and not is_trial(spot)


def _not_trial(spot: Spot) -> bool:
    return not is_trial(spot)


SIGNS: tuple[Sign, ...] = (
    Sign(
        _STAR,
        r"arn:aws[a-z-]{0,8}:iam::aws:policy/(?:AdministratorAccess|IAMFullAccess)[\"'\s,\])}\\`]",
        "gives AdministratorAccess: whoever holds one of its credentials owns the account",
        only=_given,
        anchor=r"iam::aws:policy/(?:AdministratorAccess|IAMFullAccess)",
    ),
    Sign(
        _STAR,
        r"(?:fromAwsManagedPolicyName\([\s]{0,20}|from_aws_managed_policy_name\([\s]{0,20}"
        r"|^[ \t]{0,40}- )[\"']?AdministratorAccess[\"'\s)]"
        r"|ManagedPolic(?:y|ies)\.AdministratorAccess\b|--policy-name[= ]AdministratorAccess\b",
        "gives AdministratorAccess: whoever holds one of its credentials owns the account",
        only=_given,
        anchor=r"AdministratorAccess",
    ),
    Sign(
        _STAR,
        r"\bactions?[\"']?[ \t]*[:=(][ \t]*\[?[ \t]*[\"']\*[\"']",
        "allows everything on everything: whoever holds its credentials owns it",
        only=_everything,
    ),
    Sign(
        _VAULT,
        (
            r"\bpath[ \t]{1,8}\\?[\"'](?P<path>\*|\+/\*|\+/\+/\*|sys/\*|auth/\*|sys/policy/\*|sys/policies/\*"
            r"|sys/policies/acl/\*|sys/auth/\*)\\?[\"'][ \t]*\{"
        ),
        "opens every path of the secret store",
        only=_opens,
    ),
    Sign(
        _VAULT,
        r"[\"'](?P<path>\*|\+/\*)[\"']\s{0,20}:\s{0,20}\{\s{0,20}[\"']capabilities[\"']",
        "opens every path of the secret store",
        only=_opens,
        anchor=r"[\"'](?:\*|\+/\*)[\"']\s{0,20}:\s{0,20}\{\s{0,20}[\"']capab",
    ),
    Sign(
        _VAULT,
        (
            r"\b(?:token_|bound_)?policies[\"']?[ \t]*[:=][ \t]*\[[^\]\n]{0,80}[\"']root[\"']"
            r"|\bvault[ \t]{1,4}token[ \t]{1,4}create\b[^\n]{0,80}-policy[= ][\"']?root\b"
        ),
        "makes root tokens of the secret store",
        only=_not_trial,
        anchor=r"policies[\"']?[ \t]*[:=]|-policy[= ][\"']?root",
    ),
    Sign(
        "policy-that-can-raise-itself",
        r"^[ \t]{0,20}(?:acl|operator)[ \t]*=[ \t]*\"write\"",
        "may write the access rules of Consul, and with that give itself every right",
        only=lambda spot: bool(re.search(r"_prefix|consul|\bagent\b|service", spot.around + spot.path, re.I)),
        anchor=r"(?:acl|operator)[ \t]{0,8}=[ \t]{0,4}\"write\"",
    ),
    Sign(
        _OWNER,
        r"\baz[ \t]{1,4}(?:role[ \t]{1,4}assignment[ \t]{1,4}create"
        r"|ad[ \t]{1,4}sp[ \t]{1,4}create-for-rbac)\b[^\n]{0,240}"
        r"--role[= \t]{1,4}[\"']?(?P<role>owner|contributor|user access administrator)\b",
        "makes somebody owner of all that is in there",
        only=lambda spot: _role(spot) if _azure(spot) else "",
        anchor=r"\baz[ \t]{1,4}(?:role|ad)[ \t]",
    ),
    Sign(
        _OWNER,
        (
            r"8e3af657-a8ff-443c-a75c-2fe8c4bcb635|18d7d88d-d35e-4fb5-a5c3-7773c20a72d9"
            r"|b24988ac-6180-42a0-ab88-20f7382dd24c"
        ),
        "assigns a role that owns all that is in there (owner, contributor or access administrator)",
        none=r"assignableScopes",
        only=lambda spot: (
            not spot.path.endswith((".csv", ".md")) and not re.search(r"not_?equals|denied|allowed", spot.around, re.I)
        ),
    ),
    Sign(
        _OWNER,
        r"--role[= \t]{1,4}[\"']?roles/(?P<role>owner|editor|iam\.securityAdmin|resourcemanager\.projectIamAdmin)\b",
        "makes a service account owner of a project",
        only=lambda spot: _role(spot) if _machine(spot) else "",
    ),
    Sign(
        _OWNER,
        r"[\"'\[\s=>-]roles/(?P<role>owner|editor)[\"'\s,\]]",
        "makes a service account owner of a project",
        none=r"[=!]=|\bin\s*[(\[]|assert",
        only=lambda spot: _role(spot) if spot.path.endswith((*_CODE, ".bicep", ".jinja")) and _machine(spot) else "",
    ),
    Sign(
        _DATABASE,
        (
            r"\b(?:create|alter)[ \t]{1,4}(?:role|user)[ \t]{1,4}[^\n;]{1,80}[ \t]superuser\b"
            r"|\bgrant[ \t]{1,4}(?:rds_superuser|cloudsqlsuperuser|azure_pg_admin)[ \t]{1,4}to\b"
        ),
        "makes a database login a superuser",
        none=r"^\s*(?:--|#)",
        only=_not_trial,
        anchor=r"\bsuperuser\b|rds_superuser|cloudsqlsuperuser|azure_pg_admin",
    ),
    Sign(
        _DATABASE,
        r"\bgrant[ \t]{1,4}all(?:[ \t]{1,4}privileges)?[ \t]{1,4}on[ \t]{1,4}\*\.\*",
        "gives a database login everything on every database",
        none=r"^\s*(?:--|#)|@'?(?:localhost|127\.0\.0\.1)",
        only=_not_trial,
        anchor=r"[ \t]\*\.\*",
    ),
    Sign(
        _DATABASE,
        (
            r"^[ \t]{0,12}superuser[ \t]*=[ \t]*true\b|\bsp_addsrvrolemember[^\n]{0,60}sysadmin\b"
            r"|\bserver[ \t]{1,4}role[ \t]{1,4}\[?sysadmin\]?[ \t]{1,4}add[ \t]{1,4}member\b"
        ),
        "makes a database login a superuser",
        only=_not_trial,
        anchor=r"\bsuperuser[ \t]*=|sp_addsrvrolemember|\[?sysadmin\]?[ \t]{1,4}add",
    ),
    Sign(
        _DATABASE,
        r"^[ \t]{0,12}user[ \t]{1,4}\S{1,40}[ \t]{1,4}on\b[^\n]{0,120}~\*[^\n]{0,80}(?:\+@all|allcommands)\b",
        "gives a Redis login every command on every key",
        none=r"user\s+default\s",
        only=_not_trial,
        anchor=r"\+@all|allcommands",
    ),
    Sign(
        _DATABASE,
        r"\bgrant[ \t]{1,4}(?:role[ \t]{1,4})?(?:accountadmin|securityadmin|dba|sysdba)[ \t]{1,4}to\b"
        r"|\brole[\"']?[ \t]*:[ \t]*[\"'](?:root|atlasAdmin|userAdminAnyDatabase|readWriteAnyDatabase"
        r"|dbAdminAnyDatabase|__system)[\"']"
        r"|\brole_name[\"']?[ \t]*=[ \t]*[\"'](?:atlasAdmin|ACCOUNTADMIN|SECURITYADMIN)[\"']",
        "makes a database login an administrator of all of it",
        none=r"^\s*(?:--|//)|\brevoke\b|to[ \t]+role[ \t]+(?:sysadmin|accountadmin)",
        only=_of_database,
        anchor=(
            r"grant[ \t]{1,4}(?:role[ \t]{1,4})?(?:accountadmin|securityadmin|dba|sysdba)|role_name[\"']?[ \t]{0,4}="
            r"|role[\"']?[ \t]{0,4}:[ \t]{0,4}[\"'](?:root|atlasAdmin|userAdminAny|readWriteAny|dbAdminAny|__system)"
        ),
    ),
    Sign(
        _DATABASE,
        r"--operation[= \t]{1,4}all\b[^\n]{0,120}--(?:topic|group|cluster|resource-pattern)[^\n]{0,12}\*",
        "lets a program do everything with every topic of Kafka",
        none=r"--deny-principal",
        only=_not_trial,
        anchor=r"--operation[= \t]{1,4}all\b",
    ),
    Sign(
        _DATABASE,
        r"\bcluster[\"']?[ \t]*:[ \t]*\[[ \t]*[\"']all[\"'][ \t]*\]",
        "lets a role do everything with a search engine",
        none=r"superuser",
        only=lambda spot: bool(re.search(r"indices|privileges", spot.around)) and not is_trial(spot),
        anchor=r"cluster[\"']?[ \t]{0,4}:[ \t]{0,4}\[[ \t]{0,4}[\"']all",
    ),
    Sign(
        _OWNER,
        r"\bp,[ \t]*(?:role:)?[\w./-]{1,60},[ \t]*\*,[ \t]*\*,[ \t]*\*(?:/\*)?,[ \t]*allow\b",
        "lets a role of Argo CD do everything with every project",
        none=r"role:admin\b",
        only=_not_trial,
        anchor=r"\*,[ \t]{0,4}\*,[ \t]{0,4}\*(?:/\*)?,[ \t]{0,4}allow",
    ),
    Sign(
        "token-scopes-too-wide",
        r"\bss=[bfqt]{2,4}&(?:amp;)?srt=[sco]{2,3}&(?:amp;)?sp=(?=[a-z]{0,16}w)(?=[a-z]{0,16}d)[a-z]{4,16}\b"
        r"|\bstorage[ \t]{1,4}account[ \t]{1,4}generate-sas\b"
        r"(?=[^\n]{0,300}--permissions[= \t]{1,4}[\"']?\w{0,12}[wd]\w{0,12}[wd])"
        r"(?=[^\n]{0,300}--services[= \t]{1,4}[\"']?[bfqt]{2,4})",
        "hands out a signature that may write and delete in all of a storage account (SAS)",
        only=_not_trial,
        anchor=r"\bss=[bfqt]{2,4}&|account[ \t]{1,4}generate-sas",
    ),
    Sign(
        "workflow-write-all",
        rf"\bdefault_workflow_permissions{IS}write\b",
        "gives every workflow a token that may write everything",
    ),
)
