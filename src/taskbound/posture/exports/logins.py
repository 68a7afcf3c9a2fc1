"""Logins of databases as tables of their catalogues: pg_roles, mysql.user, SHOW USERS of Snowflake.

Topic `right`, of the login: `names` (the person that it is called after, if it is one), `what`.
"""

from collections.abc import Iterator

from taskbound.posture.document import NOTHING, Node
from taskbound.posture.exports.rows import first, folded, yes
from taskbound.posture.sighting import Mark, Place, Remark, Sighting

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
