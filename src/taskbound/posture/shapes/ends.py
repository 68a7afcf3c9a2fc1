"""Ends: until when a secret is made to work, as Terraform declares it. Whether that is too far is told by the day.

Source: azuread_application_password and its kin (`end_date`; without one they last two years).
"""

from taskbound.posture.document import Document
from taskbound.posture.exports.rows import moment
from taskbound.posture.readers.reading import Notes, each

ANCHOR = r"\bend_date[ \t]*="
# Resource -> the member that says its end, the kind of credential whose life is bounded, whose it is.
_ENDS = {
    "azuread_application_password": ("end_date", "entra-client-secret", "entra-app"),
    "azuread_service_principal_password": ("end_date", "entra-client-secret", "entra-app"),
    "azuread_application_certificate": ("end_date", "entra-certificate", "entra-app"),
}


def read(document: Document, notes: Notes) -> None:
    for root in document.roots:
        for type, (member, kind, of) in _ENDS.items():
            for label, nodes in root.at("resource", type).items.items():
                for node in each(nodes):
                    at = node.at(member)
                    if ends := moment(at.text):
                        id = f"{kind}:{notes.repository}/{label}"
                        notes.principal(id, kind, at, of=f"{of}:{label}", expires=ends, active=True)
