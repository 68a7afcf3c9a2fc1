"""People: who works here and who has left. As a table of any kind, or as Okta, Google and Entra list users.

`account`: the list is of one application's accounts (GitLab's, Slack's). It says what a person is called there; who
works here is said by a list of people, where there is one.

Topic `right`, of an account that works: `names`, `what`.
"""

import re
from collections.abc import Iterator, Mapping

from taskbound.posture.document import NOTHING, Document, Node
from taskbound.posture.exports.columns import GONE, HERE, NAMES, NO, YES, plain
from taskbound.posture.exports.rows import first, folded, moment, no, yes
from taskbound.posture.sighting import Mark, Place, Principal, Remark, Sighting

MAIL = (
    *("email", "emailaddress", "workemail", "primaryemail", "userprincipalname", "mail", "emailprimarywork"),
    *("emailwork", "employeeemail", "empemail", "businessemail", "companyemail", "corporateemail", "officialemail"),
    *("workemailaddress", "emailid", "mailid", "officialemailid", "workemailid", "companyemailid"),
)
NOT_THEIRS = ("manager", "supervisor", "personal", "private", "hr")
LEFT_ON = (
    *("lefton", "left", "leftat", "leftdate", "leavedate", "leavingdate", "enddate", "lastday", "lastworkingday"),
    *("terminatedon", "terminatedat", "terminationdate", "offboardedon", "offboardedat", "employeeleavedatetime"),
    *("dateleft", "leaver", "leavedon", "exitdate", "exitedon", "separationdate", "departuredate", "departedon"),
    *("dateofleaving", "lastworkday", "lastdayofwork", "lastdayworked", "employmentenddate", "contractenddate"),
    *("termdate", "termdt", "terminationdt", "enddt", "exitdt", "leavedt", "dateofexit", "dateoftermination"),
    *("dateterminated", "terminationeffectivedate", "separatedon", "resignationdate", "offboarddate"),
    *("deprovisionedat", "lastemploymentdate"),
    *("lwd", "relievingdate", "dateofrelieving", "relievedon"),  # last working day, as HR in India calls it
    *("contractend", "terminated", "offboarded", "offboardingdate", "deactivationdate", "employeeleavedate"),
)
# Since when somebody is gone, where a list only says when their standing changed.
GONE_ON = (
    "statuschanged",
    "deactivatedat",
    "deactivated",
    "disabledat",
    "suspendedat",
    "deletiontime",
    "deletedat",
    "blockedat",
)
# A day under these alone says that somebody is gone: who is not has none.
SINCE = ("suspendedat", "disabledat", "blockedat")
# Members under which directories and HR systems keep a person's own.
PARTS = (
    *("profile", "attributes", "employment", "work", "personal", "internal", "user", "contact", "contactinfo", "job"),
    *("employee", "person", "details", "hr"),
)
IDS = ("id", "userid", "objectid", "oktaid", "gid")
LOGINS = (
    "login",
    "username",
    "githublogin",
    "githubusername",
    "github",
    "gitlabusername",
    "handle",
    "samaccountname",
    "githubhandle",
    "gitlab",
    "uid",
    "slackhandle",
    "unixlogin",
    "unixname",
    "ldapuid",
    "mailnickname",
    "shortname",
)
FORGES = ("github", "gitlab", "bitbucket")
# What stands beside a forge's name where a column is of logins.
CALLED = frozenset(
    {"", "id", "user", "userid", "username", "login", "loginid", "handle", "account", "accountname", "name", "profile"}
    | {"compte", "cuenta", "conta", "konto", "kontoname", "usuariode", "nomdutilisateur", "alias", "nick"}
)
_LOGIN = re.compile(r"[A-Za-z0-9](?:[\w.-]{0,62}\w)?")
STATUS = (
    *("status", "employmentstatus", "state", "accountstatus", "userstatus", "workerstatus", "employeestatus"),
    *("lifecyclestatus", "hrstatus", "workstatus", "empstatus", "employmentstate", "personstatus", "associatestatus"),
)
# What only the accounts of one application have: GitLab's, Slack's, Atlassian's.
ACCOUNTS = frozenset(
    {"lastsigninat", "currentsigninat", "lastactivityon", "projectslimit", "avatarurl", "teamid", "billingactive"}
    | {"addedtoorg", "accountid", *SINCE}
)
# What a list of people says beside an address and how they stand: with no more it may be of anybody.
BESIDE = frozenset(
    {"team", "department", "manager", "title", "employeeid", "costcenter", "jobtitle", "hiredate", "startdate"}
    | {"lastsignin", "orgunitpath", "billingactive", "deactivated", "statuschanged", "addedtoorg", "lastseen"}
    | {"position", "office", "supervisor", "reportsto", "linemanager", "businessunit", "division", "employee", "worker"}
    | {"employeename", "hiredon", "joinedon", "joindate", "dateofjoining", "employmenttype", "contracttype"}
    | {"employeenumber", "empid", "accounttype"}
)
NO_DAY = 1970  # days of this year and before stand in tables for none: 0001, 1900, 1970
ACCOUNTDISABLE = 2  # of userAccountControl in Active Directory
# A table of users with passwords is an application's, and no list of who works here.
CREDENTIALS = frozenset({"password", "passwordhash", "passwd", "token", "secret", "apikey", "hash"})


def read_person(path: str, row: Node, mark: Mark) -> Iterator[Sighting]:
    """Read a person. Who leaves on a day to come is still here: `left` is then False, and `left_on` says when."""
    members = spread(row)
    mail = first(members, *MAIL)
    if "@" not in mail.text:
        mail = _among(row)
    if "@" not in mail.text:
        named = (one for name, one in members.items() if "mail" in name and not name.startswith(NOT_THEIRS))
        mail = next((one for one in named if "@" in one.text), NOTHING)
    if "@" not in mail.text:
        mail = first(members, *LOGINS)  # a list of logins with the day of leaving tells as much
    if not mail.text or not CREDENTIALS.isdisjoint(members):
        return
    days = (moment(members[name].text) for name in LEFT_ON if name in members)
    left_on = next((day for day in days if day and day.year > NO_DAY), None)
    is_gone = _gone(members)
    if left_on is None and is_gone:
        left_on = moment(first(members, *GONE_ON).text)
    logins = [members[name].text for name in LOGINS if name in members and members[name].text]
    logins += [one.text for name, one in members.items() if _is_of_forge(name, one.text)]
    logins += _called(row, members)
    # Other lists name people by the directory's own id; a short one is a number that means something else elsewhere.
    logins += [members[name].text for name in IDS if name in members and len(members[name].text) > 15]
    facts: dict[str, object] = {
        "left": left_on is None and is_gone,
        "left_on": left_on,
        "logins": tuple(dict.fromkeys(logins)),
    }
    if not ACCOUNTS.isdisjoint(members):
        facts["account"] = True
        name = first(members, *LOGINS, "name").text or mail.text
        if "state" in members and (number := row.at("id").text).isdecimal():  # GitLab's tokens name it alone
            facts["logins"] = (*dict.fromkeys(logins), f"user_id {number}")
        if not is_gone and left_on is None:
            names = (mail.text.strip().lower(), name)
            yield Remark("right", f"account:{name}", Place(path, mail.line), {"names": names, "what": "a way in"})
    yield Principal(f"person:{mail.text.strip().lower()}", "person", Place(path, mail.line), facts)


def _is_of_forge(name: str, text: str) -> bool:
    """Tell whether a member says what somebody is called at a forge, in any language (`Compte GitHub`, `GitLab ID`)."""
    forge = next((one for one in FORGES if one in name), "")
    if not forge or plain(text) in YES | NO | GONE | HERE or not _LOGIN.fullmatch(text.strip()):
        return False
    rest = name.replace(forge, "")
    return rest in CALLED or NAMES.get(rest) == "login"


def read_leavers(document: Document) -> Iterator[Sighting]:
    """Read the parts of a document that are called after people who are gone: `leavers:`, `former:`."""
    for root in document.roots:
        for name, of in root.items.items():
            if _LEAVERS.search(_words(name)):
                for one in of.list:
                    yield from read_leaver(document.path, one)


def is_of_leavers(path: str) -> bool:
    """Tell whether a file is called after people who are gone."""
    return bool(_LEAVERS.search(_words(path.rpartition("/")[2].partition(".")[0])))


def read_leaver(path: str, row: Node, mark: Mark | None = None) -> Iterator[Sighting]:
    """Read an entry of a list of nothing but leavers: an address, or whatever has one; who is to leave is here yet."""
    members = folded(row)
    mail = row if "@" in row.text else first(members, *MAIL)
    status = plain(first(members, *STATUS).text)
    if "@" not in mail.text or status in _STILL_HERE or _gone(members) or not set(LEFT_ON).isdisjoint(members):
        return  # that says itself how they stand is read as any list of people is
    facts: dict[str, object] = {"left_on": moment(first(members, *_DAYS).text), "logins": tuple(_called(row, members))}
    facts["left"] = facts["left_on"] is None
    yield Principal(f"person:{mail.text.strip().lower()}", "person", Place(path, mail.line), facts)


def _words(name: str) -> str:
    return re.sub(r"[^a-z]+", " ", re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name).lower())


_LEAVERS = re.compile(
    r"\b(?:leavers?|former(?: (?:employees|staff|people|members|users))?|offboarded|off boarded|terminated|departed"
    r"|departures|ex (?:employees|staff)|alumni|resigned|ausgeschieden|ausgetretene?|austritte|ehemalige"
    r"|sortants?|bajas)\b"
)
_STILL_HERE = frozenset({"active", "planned", "pending", "scheduled", "open", "todo", "aktiv", "upcoming", "notice"})
_DAYS = ("date", "on", "day", "when", "since", "datum", "fecha", "data", "effectivedate")


def has_parts(row: Node) -> bool:
    """Tell whether a row keeps a person's own in parts of it."""
    return any(row.at(part).items for part in PARTS)


def spread(row: Node) -> Mapping[str, Node]:
    """Return a row's members with those of the parts in which directories and HR systems keep them.

    A member may be a value with its label ({"label": "Email", "value": …}), as Personio writes them.
    """
    members: dict[str, Node] = {}
    for part in PARTS:
        if row.at(part).items:
            members |= folded(row.at(part))
    members |= folded(row)
    return {name: one.at("value") if one.at("value").text else one for name, one in members.items()}


def _called(row: Node, members: Mapping[str, Node]) -> list[str]:
    """Return what people are called: owners and keys are often marked with it."""
    given = first(members, "firstname", "givenname") or row.at("name", "givenName")
    family = first(members, "lastname", "familyname", "surname", "sn") or row.at("name", "familyName")
    whole = first(members, "displayname", "fullname", "employeename", "name") or row.at("name", "formatted")
    # Doe, Jane
    turned = " ".join(reversed(whole.text.split(","))) if whole.text.count(",") == 1 else whole.text
    parts = [given.text, family.text] if given.text and family.text else turned.split()
    return [" ".join(parts), ".".join(parts)] if len(parts) > 1 else []


def _among(row: Node) -> Node:
    """Return the first address of a list of them: SCIM's and Google's `emails`, AWS Identity Center's `Emails`."""
    for one in (*row.at("emails").list, *row.at("Emails").list):
        address = one if one.text else first(one.items, "value", "address", "Value")
        if "@" in address.text:
            return address
    login = row.at("userName")
    return login if "@" in login.text else NOTHING


def _gone(members: Mapping[str, Node]) -> bool:
    status, control = first(members, *STATUS).text, first(members, "useraccountcontrol").text
    return (
        (control.isdecimal() and bool(int(control[:12]) & ACCOUNTDISABLE))
        or plain(re.split(r"[(:;,/]| - ", status[:80])[0]) in GONE  # Terminated (voluntary)
        or any(moment(members[name].text) for name in SINCE if name in members)
        or any(name in members and no(members[name]) for name in ("accountenabled", "enabled", "active", "isactive"))
        or any(
            name in members and yes(members[name])
            for name in ("suspended", "terminated", "deleted", "deactivated", "blocked", "left", "leaver", "archived")
        )
    )


TABLES = (
    ((frozenset(LOGINS), frozenset(LEFT_ON)), read_person),
    ((frozenset(MAIL), frozenset(LEFT_ON)), read_person),
    ((frozenset(MAIL), frozenset(SINCE)), read_person),
    ((frozenset({"primaryemail"}), frozenset({"suspended"})), read_person),
    # SCIM (RFC 7643), AWS Identity Center, Keycloak, JumpCloud, GitLab, Slack, Personio, BambooHR.
    ((frozenset({"username"}), frozenset({"active", "userstatus"}), frozenset({"emails", "name"})), read_person),
    (
        (frozenset({"username"}), frozenset({"email"}), frozenset({"enabled", "suspended", "activated", "state"})),
        read_person,
    ),
    ((frozenset({"username"}), frozenset({"state"}), frozenset({"avatarurl"}), frozenset({"weburl"})), read_person),
    ((frozenset({"profile"}), frozenset({"deleted"}), frozenset({"teamid", "name", "realname"})), read_person),
    ((frozenset({"attributes"}), frozenset({"type"})), read_person),
    ((frozenset({"samaccountname"}), frozenset({"enabled", "useraccountcontrol"}), frozenset(MAIL)), read_person),
    ((frozenset({"userprincipalname"}), frozenset({"accountenabled"})), read_person),
    (
        (frozenset({"profile"}), frozenset({"status"}), frozenset({"credentials", "activated", "statuschanged", "id"})),
        read_person,
    ),
    (
        (
            frozenset(MAIL),
            frozenset({*STATUS, "active", "enabled", "isactive"} - {"state"}),
            BESIDE,
        ),
        read_person,
    ),
)
