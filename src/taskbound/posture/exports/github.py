"""GitHub: tokens, keys and app installations of an organisation, as its REST API lists them.

Topic `right`, of a member: `names` (by which the person may be known), `what`.
"""

import re
from collections.abc import Iterator

from taskbound.posture.document import NOTHING, Node
from taskbound.posture.exports.columns import of_all, plain
from taskbound.posture.exports.rows import below, first, folded, moment, rights, words, yes
from taskbound.posture.sighting import Mark, Place, Principal, Remark, Sighting

READ = frozenset({"read", "none", ""})


def read_token(path: str, row: Node, mark: Mark) -> Iterator[Sighting]:
    """Read a personal token: of the fine-grained list, of the authorized credentials (SAML), or of a classic list.

    `bounded`: for chosen things, reading alone and with an end; such a one is what a person should give to a program.
    """
    if row.at("credential_type").text not in ("", "personal access token"):
        return
    items = row.items
    mail = first(items, "saml_name_id", "email", "owner_email")  # who it is; a login tells that only where a list does
    owner = mail if "@" in mail.text else row.at("owner", "login") or first(items, "login", "owner", "user")
    name = first(items, "token_name", "name", "authorized_credential_note", "note")
    last = row.at("token_last_eight")
    at = first(items, "token_last_eight", "token_name", "token_id", "credential_id").line or row.line
    permissions = _permissions(row)
    scopes = words(row.at("scopes")) or (() if permissions else rights(row.at("permissions")))
    fine = bool(permissions) or plain(first(items, "type", "token_type").text) == "finegrained"
    permissions += [(one.text, one) for one in scopes if fine]  # a table may have one column for both
    facts: dict[str, object] = {
        "owner": owner.text,
        "personal": True,
        "name": name.text,
        "scopes": tuple(scope.text for scope in scopes),
        "permissions": tuple(permission for permission, _ in permissions),
        "selection": row.at("repository_selection").text,
    }
    if last.text:
        facts["tail"] = mark(last.text)
    if created := moment(first(items, "created_at", "credential_authorized_at", "access_granted_at").text):
        facts["created"] = created
    for fact, members in (
        ("expires", ("token_expires_at", "authorized_credential_expires_at", "expires_at")),
        ("used", ("token_last_used_at", "credential_accessed_at", "last_used_at")),
    ):
        if any(member in items for member in members):
            facts[fact] = moment(first(items, *members).text)
    facts["active"] = not yes(row.at("token_expired"))
    writes = any(one.rpartition(":")[2] not in READ for one, _ in permissions)
    facts["bounded"] = fine and not writes and facts.get("expires") is not None
    expires = next(
        (items[one] for one in ("token_expires_at", "authorized_credential_expires_at") if one in items), None
    )
    offsets = dict(below(at, name=name, owner=owner, **({"expires": expires} if expires else {})))
    offsets |= {f"scope {scope.text}": scope.line - at for scope in scopes}
    offsets |= {f"permission {permission}": level.line - at for permission, level in permissions}
    identity = name.text or first(items, "token_id", "id", "credential_id").text
    yield Principal(
        f"github-token:{owner.text}/{identity}", "github-token", Place(path, at), {**facts, "offsets": offsets}
    )


def _permissions(row: Node) -> list[tuple[str, Node]]:
    """Return permissions with where they stand: a table, or the words of a text (`contents:read`)."""
    said = row.at("permissions")
    if said.items:
        return [(f"{names[-1]}:{level.text}", level) for names, level in said.scalars()]
    return [(one.text.replace("=", ":"), one) for one in words(said) if ":" in one.text or "=" in one.text]


def read_installation(path: str, row: Node, mark: Mark) -> Iterator[Sighting]:
    """Read the installation of an app."""
    slug, permissions = row.at("app_slug"), _permissions(row)
    facts: dict[str, object] = {
        "suspended": bool(row.at("suspended_at").text),
        "selection": row.at("repository_selection").text,
        "permissions": tuple(permission for permission, _ in permissions),
        "account": row.at("account", "login").text,
        "offsets": {
            **below(slug.line, selection=row.at("repository_selection")),
            **{f"permission {permission}": level.line - slug.line for permission, level in permissions},
        },
    }
    if owner := row.at("app_owner", "login").text or row.at("owner", "login").text:
        facts["app_owner"] = owner
    yield Principal(f"github-app:{slug.text}", "github-app", Place(path, slug.line), facts)


def read_app_line(path: str, row: Node, mark: Mark) -> Iterator[Sighting]:
    """Read a line of a table of installed apps, as people write it: `All repositories`, `Administration: write`."""
    members = folded(row)
    name, chosen = first(members, *_APPS), first(members, *_SELECTIONS)
    said = next((members[one] for one in _PERMISSIONS if one in members), NOTHING)
    told = [
        f"{plain(one)}:{level}" for one, level in re.findall(r"(\w[\w -]{0,40}?)\s*[:=]\s*(\w+)", said.text.lower())
    ]
    told += [permission for permission, _ in _permissions(Node({"permissions": said}, row.line)) if said.items]
    facts = {
        "selection": "all" if of_all(chosen.text) else "selected",
        "permissions": tuple(told),
        "account": first(members, "organization", "organisation", "org", "account").text,
        "suspended": plain(first(members, "status", "state").text) in ("suspended", "removed", "uninstalled")
        or yes(members.get("suspended", NOTHING)),
    }
    yield Principal(f"github-app:{name.text}", "github-app", Place(path, name.line), facts)


def read_member(path: str, row: Node, mark: Mark) -> Iterator[Sighting]:
    """Read a member or an outside collaborator: what counts is that they are in."""
    login, mail = row.at("login"), first(row.items, "saml_name_id", "email")
    if row.at("type").text in ("", "User"):
        role = first(row.items, "role_name", "role").text
        names = {"names": tuple(one.text for one in (mail, login) if one.text), "what": role or "a membership"}
        yield Remark("right", f"github-user:{login.text}", Place(path, login.line), names)


def read_app(path: str, row: Node, mark: Mark) -> Iterator[Sighting]:
    """Read an app as it is itself (`GET /apps/{slug}`, `GET /app`): what counts here is whose it is."""
    slug = row.at("slug")
    yield Principal(
        f"github-app:{slug.text}", "github-app", Place(path, slug.line), {"app_owner": row.at("owner", "login").text}
    )


def read_deploy_key(path: str, row: Node, mark: Mark) -> Iterator[Sighting]:
    """Read a deploy key of a repository, of GitHub or of GitLab."""
    title, repository = row.at("title"), first(row.items, "repository", "repo", "project")
    facts: dict[str, object] = {"name": title.text, "active": True, "owner": row.at("added_by").text}
    if repository:
        facts["repository"] = repository.text.rpartition("/")[2]
    # …/repos/<owner>/<name>/keys/<id>
    if "/keys/" in row.at("url").text:
        facts["repository"] = row.at("url").text.rpartition("/keys/")[0].rpartition("/")[2]
    if created := moment(row.at("created_at").text):
        facts["created"] = created
    if "last_used" in row.items:
        facts["used"] = moment(row.at("last_used").text)
    if ends := moment(row.at("expires_at").text):
        facts["expires"] = ends
    id = row.at("id").text or f"{repository.text}/{title.text}"
    yield Principal(f"github-deploy-key:{id}", "github-deploy-key", Place(path, title.line), facts)


_APPS = ("app", "appname", "githubapp", "appslug", "application")
_SELECTIONS = ("repositoryaccess", "repositoryselection", "repositories", "selection", "repoaccess")
_PERMISSIONS = ("permissions", "permission", "scopes")  # what other languages call them is "scopes"
TABLES = (((frozenset(_APPS), frozenset(_SELECTIONS), frozenset(_PERMISSIONS)), read_app_line),)
READERS = (
    (
        (frozenset({"slug"}), frozenset({"owner"}), frozenset({"permissions"}), frozenset({"events", "external_url"})),
        read_app,
    ),
    ((frozenset({"app_slug"}), frozenset({"permissions"}), frozenset({"repository_selection"})), read_installation),
    (
        (
            frozenset({"token_last_eight", "token_name", "token_id"}),
            frozenset({"owner", "login"}),
            frozenset({"token_expires_at", "authorized_credential_expires_at", "scopes", "permissions"}),
        ),
        read_token,
    ),
    (
        (frozenset({"key", "added_by", "fingerprint"}), frozenset({"title"}), frozenset({"read_only", "can_push"})),
        read_deploy_key,
    ),
    ((frozenset({"login"}), frozenset({"site_admin", "saml_name_id"}), frozenset({"type", "role"})), read_member),
)
