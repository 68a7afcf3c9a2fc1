"""Logins of databases as tables of their catalogues: pg_roles, mysql.user, SHOW USERS of Snowflake.

Topic `right`, of the login: `names` (the person that it is called after, if it is one), `what`.
"""

import re
from collections.abc import Iterator, Mapping

from taskbound.posture.document import NOTHING, Node
from taskbound.posture.exports.rows import first, folded, yes
from taskbound.posture.sighting import Mark, Place, Remark, Sighting, Weakness

_PROGRAMS = frozenset(
    {"svc", "service", "srv", "app", "api", "job", "worker", "etl", "sync", "agent", "bot", "backend", "batch", "ci"}
)
_NAMES = ("rolname", "usename", "loginname", "user", "username", "name")


def read_login(path: str, row: Node, mark: Mark) -> Iterator[Sighting]:
    """Read a login that works: one that is locked or may not log in lets nobody in."""
    members = folded(row)
    name = first(members, *_NAMES)
    can = members.get("rolcanlogin", NOTHING).text.strip().lower()
    locked = any(
        yes(members.get(one, NOTHING)) or members.get(one, NOTHING).text == "Y" for one in ("accountlocked", "disabled")
    )
    if name.text and not locked and can not in ("f", "false", "no", "0"):
        names = tuple(dict.fromkeys(one for one in (name.text, first(members, "email").text) if one))
        yield Remark("right", f"database:{name.text}", Place(path, name.line), {"names": names, "what": "a login"})
        if _rules(members) and _is_service(name.text, first(members, "type").text):
            says = f"The login {name.text} is a program's and may do everything at its server."
            yield Weakness("database-login-with-all-rights", f"database:{name.text}", Place(path, name.line), says)


def _rules(members: Mapping[str, Node]) -> bool:
    """Whether a login may do everything: a superuser, or one that begins in the role of an administrator."""
    role = first(members, "defaultrole").text.upper()
    said = (members.get(one, NOTHING).text.strip().lower() for one in ("rolsuper", "usesuper", "superpriv"))
    return role in ("ACCOUNTADMIN", "SECURITYADMIN") or any(one in ("t", "true", "y", "yes", "1") for one in said)


def _is_service(name: str, type: str) -> bool:
    """Whether a login is a program's: the list says so, or its name; those that come with a server are its own."""
    return "SERVICE" in type.upper() or not _PROGRAMS.isdisjoint(re.split(r"[^a-z]+", name.lower()))


TABLES = (
    ((frozenset({"rolname"}), frozenset({"rolcanlogin", "rolvaliduntil", "rolsuper"})), read_login),
    ((frozenset({"user"}), frozenset({"host"}), frozenset({"accountlocked", "plugin"})), read_login),
    (
        (
            frozenset({"loginname"}),
            frozenset({"disabled"}),
            frozenset({"defaultrole", "hasrsapublickey", "haspassword"}),
        ),
        read_login,
    ),
)
