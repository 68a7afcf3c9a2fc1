"""OAuth clients, as Keycloak's realm files, its operator and the Terraform providers write them.

Sources: Keycloak's RealmRepresentation and ClientRepresentation; RFC 9700 2.1.1 (PKCE), 2.1.2 (implicit),
2.4 (password).
A lifespan is in seconds.
"""

from taskbound.posture.document import Document, Node
from taskbound.posture.readers.reading import Notes
from taskbound.posture.shapes.walk import first, folded, mappings, yes

ANCHOR = (
    r"implicit_?flow_?enabled|direct_?access_?grants_?enabled|access_?token_?lifespan|access\.token\.lifespan"
    r"|public_?client\b"
)
_BUILT_IN = ("account", "account-console", "admin-cli", "broker", "realm-management", "security-admin-console")
_OF_CLIENT = frozenset(("implicitflowenabled", "publicclient", "accesstype", "attributes", "directaccessgrantsenabled"))
_LIFESPANS = ("accesstokenlifespan", "accesstokenlifespanforimplicitflow")
_DAY = 86_400
LONGEST = 7 * _DAY  # of an access token, which cannot be called back


def read(document: Document, notes: Notes) -> None:
    for node, trail in mappings(document):
        members = folded(node)
        if first(members, "clientid").text and not _OF_CLIENT.isdisjoint(members):
            _client(notes, members["clientid"].text, members, node)
        elif any(name in members for name in _LIFESPANS):
            _lifespans(notes, f"realm:{first(members, 'realm', 'id').text or trail[-1][0]}", members)


def _client(notes: Notes, name: str, members: dict[str, Node], node: Node) -> None:
    if name in _BUILT_IN or name.endswith("-realm") or ("enabled" in members and not yes(members["enabled"])):
        return
    subject = notes.named(f"oauth-client:{name}")
    attributes = folded(first(members, "attributes"))
    if yes(at := first(members, "implicitflowenabled")):
        says = f"{subject} is given access tokens in the address of a page (implicit flow)."
        notes.weakness("implicit-flow", subject, at, says)
    if yes(at := first(members, "directaccessgrantsenabled")):
        says = f"{subject} may ask for tokens with a user's password (direct access grants)."
        notes.weakness("password-grant", subject, at, says)
    public = first(members, "publicclient")
    kind = first(members, "accesstype")
    standard = first(members, "standardflowenabled")
    pkce = first(members, "pkcecodechallengemethod") or first(attributes, "pkcecodechallengemethod")
    is_public = yes(public) or kind.text.upper() == "PUBLIC"
    if is_public and (yes(standard) or (not standard and public)) and pkce.text != "S256":
        says = f"{subject} is public, and its codes are made into tokens without PKCE."
        notes.weakness("pkce-not-required", subject, pkce or standard or public or kind, says)
    _lifespans(notes, subject, members | attributes)


def _lifespans(notes: Notes, subject: str, members: dict[str, Node]) -> None:
    for name in _LIFESPANS:
        at = first(members, name)
        if at.text.isdigit() and int(at.text) > LONGEST:
            says = f"{subject} is given access tokens that last {round(int(at.text) / _DAY)} days."
            notes.weakness("lifetime-too-long", subject, at, says)
