"""People: who works here and who has left. As a table of any kind, or as Okta, Google and Entra list users."""

from collections.abc import Iterator, Mapping

from taskbound.posture.document import Node
from taskbound.posture.exports.rows import first, folded, moment, yes
from taskbound.posture.sighting import Mark, Place, Principal, Sighting

MAIL = ("email", "emailaddress", "workemail", "primaryemail", "userprincipalname", "mail")
LEFT_ON = (
    *("lefton", "left", "leftat", "leftdate", "leavedate", "leavingdate", "enddate", "lastday", "lastworkingday"),
    *("terminatedon", "terminatedat", "terminationdate", "offboardedon", "offboardedat", "employeeleavedatetime"),
)
LOGINS = ("login", "username", "githublogin", "githubusername", "github", "gitlabusername", "handle", "samaccountname")
GONE = frozenset(
    {"terminated", "left", "leaver", "inactive", "offboarded", "deprovisioned", "disabled", "deactivated", "departed"}
    | {"former", "resigned", "alumni", "exited", "ended"}
)
# A table of users with passwords is an application's, and no list of who works here.
CREDENTIALS = frozenset({"password", "passwordhash", "passwd", "token", "secret", "apikey", "hash"})


def read_person(path: str, row: Node, mark: Mark) -> Iterator[Sighting]:
    """Read a person. Who leaves on a day to come is still here: `left` is then False, and `left_on` says when."""
    members = folded(row)
    if row.at("profile").items:  # Okta keeps mail and login apart from status
        members = {**folded(row.at("profile")), **members}
    mail = first(members, *MAIL)
    if "@" not in mail.text or not CREDENTIALS.isdisjoint(members):
        return
    left_on = moment(first(members, *LEFT_ON).text)
    facts: dict[str, object] = {
        "left": left_on is None and _gone(members),
        "left_on": left_on,
        "logins": tuple(dict.fromkeys(members[name].text for name in LOGINS if name in members and members[name].text)),
    }
    yield Principal(f"person:{mail.text.strip().lower()}", "person", Place(path, mail.line), facts)


def _gone(members: Mapping[str, Node]) -> bool:
    status = first(members, "status", "employmentstatus", "state", "accountstatus").text.strip().lower()
    enabled, active = members.get("accountenabled"), members.get("active")
    return (
        status in GONE
        or (enabled is not None and enabled.text == "false")
        or (active is not None and active.text.lower() in ("false", "no", "0"))
        or any(name in members and yes(members[name]) for name in ("suspended", "terminated", "deleted"))
    )


TABLES = (
    ((frozenset(MAIL), frozenset(LEFT_ON)), read_person),
    ((frozenset({"primaryemail"}), frozenset({"suspended"})), read_person),
    ((frozenset({"userprincipalname"}), frozenset({"accountenabled"})), read_person),
    (
        (frozenset({"profile"}), frozenset({"status"}), frozenset({"credentials", "activated", "statuschanged"})),
        read_person,
    ),
    (
        (
            frozenset(MAIL),
            frozenset({"status", "employmentstatus", "accountstatus", "active"}),
            frozenset({"team", "department", "manager", "title", "employeeid", "costcenter", "jobtitle"}),
        ),
        read_person,
    ),
)
