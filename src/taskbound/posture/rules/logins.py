"""Logins: what servers that were asked say of their own, and what files hold of them."""

from collections.abc import Callable, Iterator, Sequence

from taskbound.posture.facts import text, texts
from taskbound.posture.inventory import Inventory
from taskbound.posture.joined import grouped
from taskbound.posture.rules.draft import Draft, label, listed, places_of
from taskbound.posture.sighting import Principal

WIDE = {  # attributes of a role that let it become another, or read what is another's
    "creates_roles": "may make and change roles",
    "replicates": "may copy all data",
    "bypasses": "is not held by row security",
}


def of_administrators(inventory: Inventory) -> Iterator[Draft]:
    """Yield credentials in files that are said to be of a login which may do everything at its server."""
    for unit in inventory.units:
        found = [(one, login) for one, login in inventory.logins_of(unit) if login.facts.get("everything")]
        for login in dict.fromkeys(login.id for _, login in found):
            held = [one for one, of in found if of.id == login]
            says = f"{label(held[0])} is written there as that of {login}, which may do everything at its server."
            places = (*places_of(held), inventory.principals[login].place)
            yield Draft("credential-of-administrator-in-file", (label(held[0]), login), says, places, key=login)


def open_users(inventory: Inventory) -> Iterator[Draft]:
    """Yield users of a Redis who are let in without a password."""
    for one in _logins(inventory, "redis-user"):
        if one.facts.get("open"):
            everything = bool(one.facts.get("everything"))
            may = "do everything there" if everything else "do what it may"
            says = f"Whoever reaches the server is let in as {one.id} without a password, and may {may}."
            yield _draft("login-without-password", one, says, "" if everything else "high")


def too_wide(inventory: Inventory) -> Iterator[Draft]:
    """Yield logins that may do everything beside the one that a server has to have, and those that may become it."""
    for of in _by_server(inventory, "redis-user"):
        administrators = [one for one in of if one.facts.get("everything") and not one.facts.get("open")]
        for one in administrators:
            if len(administrators) > 1 or text(one, "login") == "default":
                yield _draft(
                    "login-may-do-everything", one, f"{one.id} may run every command, or make itself a user who may."
                )
    for one in _logins(inventory, "postgres-role"):
        through = texts(one, "through")
        if through and not one.facts.get("first"):
            by = "is a superuser" if through == (text(one, "login"),) else f"is a member of {listed(through)}"
            yield _draft("login-may-do-everything", one, f"{one.id} {by}: it may do everything at its server.")
        elif not through and (wide := [says for name, says in WIDE.items() if name in texts(one, "wide")]):
            yield _draft("login-has-wide-attributes", one, f"{one.id} {listed(wide)}.")


def endless(inventory: Inventory) -> Iterator[Draft]:
    """Yield the logins of a server whose passwords have no end: one finding, since it is nearly always all of them."""
    for of in _by_server(inventory, "postgres-role"):
        without = [one for one in of if one.facts.get("expires") is None and one.facts.get("password") is not False]
        if without:
            yield _together("login-without-end", without, f"{_counted(without)} no end (VALID UNTIL){_idle(without)}.")


def old_digests(inventory: Inventory) -> Iterator[Draft]:
    for of in _by_server(inventory, "postgres-role"):
        if old := [one for one in of if one.facts.get("md5")]:
            says = f"The server keeps MD5 digests of the passwords of {_named(old)}: with one somebody can log in."
            yield _together("password-kept-as-md5", old, says)


def second_passwords(inventory: Inventory) -> Iterator[Draft]:
    """Yield users with several passwords: one was left behind when it was changed."""
    for one in _logins(inventory, "redis-user"):
        several = one.facts.get("passwords")
        if isinstance(several, int) and several > 1:
            yield _draft("login-with-old-password", one, f"{one.id} has {several} passwords, and each of them lets in.")


RULES: tuple[Callable[[Inventory], Iterator[Draft]], ...] = (
    of_administrators,
    open_users,
    too_wide,
    endless,
    old_digests,
    second_passwords,
)


def _logins(inventory: Inventory, kind: str) -> Iterator[Principal]:
    return (one for one in inventory.by_kind.get(kind, ()) if one.facts.get("enters"))


def _by_server(inventory: Inventory, kind: str) -> Sequence[Sequence[Principal]]:
    return tuple(grouped(_logins(inventory, kind), lambda one: one.place.path).values())


def _named(of: Sequence[Principal]) -> str:
    return listed([text(one, "login") for one in of], 5)


def _counted(of: Sequence[Principal]) -> str:
    several = len(of) > 1
    return f"The password{'s' * several} of {_named(of)} {'have' if several else 'has'}"


def _idle(of: Sequence[Principal]) -> str:
    """Return how many have no session: all that can be seen of their use, for the server keeps no record of it."""
    idle = sum(one.facts.get("sessions") == 0 for one in of)
    return f"; {idle} of {len(of)} had no session when it was asked, which says nothing of before" if idle else ""


def _draft(case: str, one: Principal, says: str, severity: str = "") -> Draft:
    name = text(one, "login")
    return Draft(case, (one.id,), says, (one.place,), severity, name=name, kind=one.kind, key=one.id)


def _together(case: str, of: Sequence[Principal], says: str) -> Draft:
    places = tuple(one.place for one in of)
    name = text(of[0], "login")
    return Draft(case, tuple(one.id for one in of), says, places, name=name, kind=of[0].kind, key=places[0].path)
