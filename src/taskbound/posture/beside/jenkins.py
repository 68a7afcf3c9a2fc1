"""Jenkins: which credentials a stage of a pipeline takes. Source: "Pipeline Syntax", the Credentials Binding plugin.

A pipeline is Groovy; its stages and the ids of credentials are read line by line, which a program that puts its ids
together escapes. Topic `uses` (see cluster).
"""

import re
from collections.abc import Iterator

from taskbound.posture.document import Document
from taskbound.posture.readers import words
from taskbound.posture.sighting import Place, Remark

WORDS = (b"credentialsId", b"credentials(")
_STAGE = re.compile(r"\bstage\s*\(\s*['\"]([^'\"]{1,100})['\"]")
_ID = re.compile(r"\bcredentialsId\s*:\s*['\"]([^'\"$]{1,100})['\"]|\bcredentials\(\s*['\"]([^'\"$]{1,100})['\"]")


def read(document: Document, data: bytes, repository: str) -> Iterator[Remark]:
    """Yield the credentials that each stage takes, where their ids say what they are for."""
    file = document.path.rpartition("/")[2]
    stage, environment = "", words.environment(file)
    for number, line in enumerate(data.decode(errors="replace").split("\n"), 1):
        if found := _STAGE.search(line[:2000]):
            stage, environment = found[1], words.environment(found[1]) or words.environment(file)
        for taken in _ID.finditer(line[:2000]):
            id = taken[1] or taken[2]
            if stands := words.environment(id):
                holder = f"ci:{file}@{repository} ({stage})" if repository else f"ci:{file} ({stage})"
                facts = {"holder": holder, "environment": environment, "stands": stands, "how": "pipeline-secret"}
                yield Remark("uses", f"secret:{id}", Place(document.path, number), facts)
