"""CODEOWNERS: who answers for which part of a repository. Sources: GitHub's and GitLab's "Code owners".

Each owner of each line becomes a Principal of kind "owner"; facts: `owner` (address, @person or @team), `pattern`,
`repository`, `order` (the last line that matches counts), `section` (GitLab, without it "").
"""

import re

from taskbound.posture.document import Document
from taskbound.posture.readers.reading import Notes, Reading, lines

PATHS = re.compile(r"(?:^|/)CODEOWNERS$")
_SECTION = re.compile(r"\^?\[([^\]]{1,100})\](?:\[\d+\])?\s*(.*)$")
_OWNER = re.compile(r"@[\w.-]+(?:/[\w./-]+)?|@@[\w-]+|[\w.+-]+@[\w-]+(?:\.[\w-]+)+")


def read(document: Document, repository: str) -> Reading:
    notes = Notes(document, repository)
    section, standing = "", []
    for line in lines(document):
        text = re.sub(r"(?:^|\s)#.*$", "", line.text).strip()
        if not text:
            continue
        if found := _SECTION.match(text):
            section, standing = found[1], _OWNER.findall(found[2])
            continue
        pattern, *said = re.split(r"(?<!\\)\s+", text)
        owners = [one for one in said if _OWNER.fullmatch(one)] or standing
        for owner in owners:
            facts = {"owner": owner, "pattern": pattern, "order": line.line, "section": section}
            notes.principal(_id(owner), "owner", line, **facts)
    return notes.reading()


def _id(owner: str) -> str:
    if not owner.startswith("@"):
        return f"person:{owner}"
    return f"team:{owner[1:]}" if "/" in owner else f"person:{owner}"
