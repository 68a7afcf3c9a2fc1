"""Dockerfiles: what is baked into an image stays in its layers, also where a later instruction removes it.

Each instruction is a mapping with one key: {"FROM": "node:22"}, {"CMD": ["a", "b"]}.
"""

import posixpath
import re

from taskbound.posture.document import Document, Node
from taskbound.posture.readers import compose, launch, pipeline, words
from taskbound.posture.readers.reading import Notes, Reading, each

PATHS = re.compile(r"(?:^|/)(?:(?:Docker|Container)file[^/]*|[^/]+\.(?:docker|container)file)$", re.I)


def read(document: Document, repository: str) -> Reading:
    notes = Notes(document, repository)
    folder = posixpath.basename(posixpath.dirname(document.path))
    name = f"image:{folder or repository or 'image'}"
    subject = notes.named(name)
    is_agent = words.driven_by_a_model(folder, repository)
    notes.hold_all(notes.holder("agent" if is_agent else "workload", name), "image")
    stages: set[str] = set()
    for root in document.roots:
        for instruction, argument in (item for one in each(root) for item in one.items.items()):
            if instruction.upper() == "FROM":
                _base(notes, subject, argument, stages)
            elif instruction.upper() in ("CMD", "ENTRYPOINT", "RUN"):
                pipeline.unasked(notes, subject, [_command(argument)])
    return notes.reading()


def _command(argument: Node) -> Node:
    """The command of an instruction. Its parser leaves out the signs that it goes on; a heredoc has own lines."""
    if argument.text and "<<" not in argument.text:
        return Node(argument.text.replace("\n", "\\\n"), argument.line)
    return compose.joined(argument)


def _base(notes: Notes, subject: str, argument: Node, stages: set[str]) -> None:
    """Note an agent's or MCP server's own image as base without a version; other bases are no matter of ours."""
    said = [one for one in argument.text.split() if not one.startswith("--")]
    if not said:
        return
    found = launch.image(Node(said[0], argument.line))
    if len(said) > 2 and said[1].upper() == "AS":
        stages.add(said[2])
    if not found or said[0] in stages or words.is_reference(said[0]) or not words.driven_by_a_model(found.name):
        return
    if not found.pinned:
        of = f"{found.name} at {found.version or 'no version'}"
        says = f"{subject} is built on {of}: the next build can hold other code."
        notes.weakness("image-not-pinned", subject, argument, says)
