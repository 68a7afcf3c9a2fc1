"""Files of environment variables. Which environment they are for is said by a variable, the file's name or its path."""

import re

from taskbound.posture.document import Document
from taskbound.posture.readers.reading import Notes, Reading

PATHS = re.compile(
    r"(?:^|/)(?:\.env(?:rc)?(?:\.[^/]*)?|[^/]+\.env|env\.(?:list|sh|local)|\.dev\.vars|\.flaskenv)$", re.I
)
_SAYS = (
    "ENV",
    "APP_ENV",
    "ENVIRONMENT",
    "NODE_ENV",
    "RAILS_ENV",
    "FLASK_ENV",
    "DEPLOY_ENV",
    "STAGE",
    "ASPNETCORE_ENVIRONMENT",
)


def read(document: Document, repository: str) -> Reading:
    notes = Notes(document, repository)
    said = [root.at(name).text for root in document.roots for name in _SAYS if root.at(name).text]
    # The key of the file is its repository: "env:warehouse".
    holder = notes.holder("workload", "env", notes.file, *said)
    name = f"env:{repository}" if repository else "env"
    holder = type(holder)(holder.kind, name, holder.repository, holder.environment)
    notes.hold_all(holder, "dotenv")
    return notes.reading()
