"""Jenkins: which credentials a stage of a pipeline takes. Source: "Pipeline Syntax", the Credentials Binding plugin.

A pipeline is Groovy; its stages and the ids of credentials are read in their order, which a program that puts its ids
together escapes. Topic `uses` (see cluster).
"""

import re
from collections.abc import Iterator

from taskbound.posture.document import Document
from taskbound.posture.readers import words
from taskbound.posture.sighting import Place, Remark

WORDS = (b"credentialsId", b"credentials(")
_EITHER = re.compile(
    r"\bstage\s*\(\s*['\"](?P<stage>[^'\"\n]{1,100})['\"]"
    r"|\bcredentials(?:Id\s*:|\()\s*['\"](?P<id>[^'\"$\n]{1,100})['\"]"
)


def read(document: Document, data: bytes, repository: str) -> Iterator[Remark]:
    """Yield the credentials that each stage takes, where their ids say what they are for."""
    file = document.path.rpartition("/")[2]
    stage, environment = "", words.environment(file)
    text, line, counted = data.decode(errors="replace"), 1, 0
    for found in _EITHER.finditer(text):
        if found["stage"]:
            stage, environment = found["stage"], words.environment(found["stage"]) or words.environment(file)
        elif stands := words.environment(found["id"]):
            line, counted = line + text.count("\n", counted, found.start()), found.start()
            holder = f"ci:{file}@{repository} ({stage})" if repository else f"ci:{file} ({stage})"
            facts = {"holder": holder, "environment": environment, "stands": stands, "how": "pipeline-secret"}
            yield Remark("uses", f"secret:{found['id']}", Place(document.path, line), facts)
