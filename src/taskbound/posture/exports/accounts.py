"""Accounts of services and secrets as somebody keeps a list of them: whose each is, and when its password was changed.

An inventory in a table or in YAML, Active Directory's accounts with PasswordLastSet, a register of secrets or SSH keys.

Topic `stored` is that of exports/stored, `ssh-key` that of beside/ssh; `owner-of`, of a name, whatever has it: `owner`.
"""

import re
from collections.abc import Iterator

from taskbound.posture.document import Document, Node
from taskbound.posture.exports.aws import NOBODY, OWNED, read_tag
from taskbound.posture.exports.columns import GONE, plain
from taskbound.posture.exports.rows import below, first, folded, moment, no, yes
from taskbound.posture.sighting import Mark, Place, Principal, Remark, Sighting

# What only accounts of services are called, and what accounts of people are called, too.
_OF_SERVICES = (
    *("serviceaccount", "serviceaccountname", "svcaccount", "serviceuser", "technicaluser", "technicalaccount"),
    *("machineidentity", "nonhumanidentity", "nhi", "dienstkonto", "technischerbenutzer", "comptedeservice"),
    *("cuentadeservicio", "accountdiservizio", "contadeservico", "serviceaccountid", "robotaccount", "botaccount"),
)
_ACCOUNTS = ("accountname", "samaccountname", "account", "username", "login", "identity", "name")
_SECRETS = ("secretname", "secret", "secretpath", "secretid", "credential", "credentialname", "keyname", "vaultpath")
_CHANGED = (
    *("lastrotated", "lastrotatedat", "lastrotatedon", "lastrotateddate", "lastrotation", "lastrotationdate"),
    *("rotated", "rotatedat", "rotatedon", "rotationdate", "letzterotation", "dernierrotation", "ultimarotacion"),
    *("passwordlastset", "pwdlastset", "passwordlastchanged", "passwordchanged", "lastpasswordchange"),
    *("passwordchangedat", "passwordlastrotated", "passwordlastsettime", "lastpasswordchangedate", "secretlastrotated"),
    *("credentiallastrotated", "passwordset", "kennwortzuletztgeandert", "passwortgeandertam"),
)
_USED = (
    "lastused",
    "lastusedat",
    "lastusedon",
    "lastlogin",
    "lastlogindate",
    "lastlogondate",
    "lastlogon",
    "lastsignin",
)
_OWNERS = ("owner", "owneremail", "ownername", "ownedby", "technicalowner", "serviceowner", "responsible", "contact")
_KINDS = ("type", "kind", "sysclassname", "accounttype", "identitytype", "category", "usertype")
_HUMAN = re.compile(r"human|person|employee|user$|mensch|mitarbeiter", re.IGNORECASE)
_OFF = ("disabled", "locked", "suspended", "deactivated", "deaktiviert", "gesperrt", "desactive", "desactivado")
# What a list says of accounts or secrets beside: logs and tyres are rotated, too.
_BESIDE = (
    *(*_USED, *_KINDS, *_OWNERS, "status", "state", "enabled", "passwordneverexpires"),
    *("system", "vault", "store"),
)


def read_account(path: str, row: Node, mark: Mark) -> Iterator[Sighting]:
    """Read an account. Whether it is a service's is told by its name, where only the row says what it is of."""
    members = folded(row)
    surely = first(members, *_OF_SERVICES)
    name = surely or first(members, *_ACCOUNTS)
    kind = first(members, *_KINDS).text
    if not (surely or _OF_A_SERVICE.search(kind) or not set(_CHANGED).isdisjoint(members)):
        return  # of a chart of Helm, say
    if not name.text or (_HUMAN.search(kind) and not re.search(r"non|service", kind, re.IGNORECASE)):
        return
    place, owner, changed = Place(path, name.line), first(members, *_OWNERS), first(members, *_CHANGED)
    identity = f"account:{name.text}"
    facts: dict[str, object] = {}
    if not set(_OWNERS).isdisjoint(members):
        facts["owners"] = () if owner.text.strip().lower() in NOBODY else (owner.text.strip(),)
        facts["offsets"] = below(place.line, owners=owner)
    yield Principal(identity, "service-account", place, facts)
    status = first(members, "status", "state", "operationalstatus", "enabled", "active")
    key: dict[str, object] = {
        "of": identity,
        "active": not (no(status) or plain(status.text) in GONE or yes(first(members, *_OFF))),
        "created": moment(changed.text),
    }
    used = first(members, *_USED)
    if moment(used.text):
        key["used"] = moment(used.text)
    yield Principal(f"account-password:{name.text}", "account-password", Place(path, changed.line or name.line), key)


def read_inventory(path: str, row: Node, mark: Mark) -> Iterator[Sighting]:
    """Read an entry of an inventory: an identity of AWS, or what its kind says is a service's."""
    if found := tuple(read_tag(path, row, mark)):
        yield from found
    elif _OF_A_SERVICE.search(first(folded(row), *_KINDS).text):
        yield from read_account(path, row, mark)


def read_ssh_key(path: str, row: Node, mark: Mark) -> Iterator[Sighting]:
    """Read an SSH key of a register: whose it is."""
    members = folded(row)
    key, host = first(members, *_FINGERPRINTS), first(members, *_HOSTS)
    names = tuple(
        one.text for one in (first(members, *_OWNERS), first(members, "comment", "user", "login")) if one.text
    )
    if names:
        yield Remark("ssh-key", f"ssh-key:{names[0]}@{host.text}", Place(path, key.line), {"names": names})


def read_secret(path: str, row: Node, mark: Mark) -> Iterator[Sighting]:
    """Read a secret of a register: when it was changed, and whether it changes by itself."""
    members = folded(row)
    name, changed = first(members, *_SECRETS), first(members, *_CHANGED)
    facts = {"changed": moment(changed.text), "rotates": yes(first(members, "rotationenabled", "automaticrotation"))}
    if name.text:
        yield Remark("stored", f"secret:{name.text}", Place(path, name.line), facts)


def read_owner(path: str, row: Node, mark: Mark) -> Iterator[Sighting]:
    """Read a line of a list of names and owners: whose a thing is that another list knows by its name."""
    members = folded(row)
    name = first(members, *_CALLED)
    if name.text and "@" not in name.text and len(members) <= MOST_COLUMNS:
        yield _owner_of(path, name, first(members, *_OWNERS).text)


def read_owners(document: Document) -> Iterator[Sighting]:
    """Read a mapping from names to owners, or from owners to what is theirs."""
    for root in document.roots:
        for name, of in root.items.items() if _is_of_owners(root) else ():
            if "@" in name:
                yield from (_owner_of(document.path, one, name) for one in of.list)
            else:
                yield _owner_of(document.path, Node(name, of.line), of.text)


def _is_of_owners(root: Node) -> bool:
    """Whether every member is a name with an address, or an address with names."""
    return bool(root.items) and all(
        all(one.text and "@" not in one.text for one in of.list) and bool(of.list)
        if _MAIL.fullmatch(name)
        else bool(_MAIL.fullmatch(of.text))
        for name, of in root.items.items()
    )


def _owner_of(path: str, name: Node, owner: str) -> Remark:
    owner = "" if owner.strip().lower() in NOBODY else owner.strip()
    return Remark("owner-of", name.text, Place(path, name.line), {"owner": owner})


MOST_COLUMNS = 6  # of a list of owners: what has more is about something else
_MAIL = re.compile(r"[\w.+-]{1,64}@[\w-]+(?:\.[\w-]+)+")
_CALLED = ("user", "username", "name", "account", "accountname", "identity", "principal", "login", "resource")
OWNERS = (((frozenset(_CALLED), OWNED), read_owner),)
_OF_A_SERVICE = re.compile(
    r"service[\s_-]?(?:account|principal|user|identity)|non[\s_-]?human|machine|\bbot\b|robot|technical|workload"
    r"|managed[\s_-]?identity|dienstkonto|technisch",
    re.IGNORECASE,
)
_FINGERPRINTS, _HOSTS = ("fingerprint", "keyfingerprint", "sshkey", "publickey"), ("host", "hosts", "server", "servers")
TABLES = (
    ((frozenset(_FINGERPRINTS), frozenset((*_OWNERS, "comment")), frozenset(_HOSTS)), read_ssh_key),
    ((frozenset(_OF_SERVICES), frozenset((*_CHANGED, *_OWNERS, *_USED))), read_account),
    ((frozenset(_SECRETS), frozenset(_CHANGED), frozenset(_BESIDE)), read_secret),
    ((frozenset(_ACCOUNTS), frozenset(_CHANGED), frozenset(_BESIDE)), read_account),
    ((frozenset({"name", "identity"}), OWNED, frozenset({"type", "kind"})), read_inventory),
)
