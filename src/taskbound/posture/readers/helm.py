"""Helm values: what a chart is given. They have no schema of their own; names and the path tell the rest."""

import re

from taskbound.posture.document import Document, Node
from taskbound.posture.readers import launch, pipeline, words
from taskbound.posture.readers.reading import Notes, Reading

PATHS = re.compile(r"(?:^|/)(?:[\w.-]*values[\w.-]*\.ya?ml|values/[\w.-]+\.ya?ml|helmfile[\w.-]*\.ya?ml)$", re.I)
MOST_LEVELS = 6


def read(document: Document, repository: str) -> Reading:
    notes = Notes(document, repository)
    folders = [
        one for one in document.path.split("/")[:-1] if one not in ("charts", "helm", "values", "deploy", "chart")
    ]
    chart = folders[-1] if folders else repository or "chart"
    name = f"helm:{chart}"
    holder = notes.holder("agent" if words.driven_by_a_model(chart) else "workload", name, notes.file)
    notes.hold_all(holder, "k8s-workload")
    subject = notes.named(name)
    first = document.roots[0] if document.roots else Node(None, 1)
    notes.principal(subject, "helm-release", first, environment=holder.environment)
    for root in document.roots:
        _images(notes, subject, root)
        pipeline.unasked(notes, subject, [node for _, node in root.scalars() if isinstance(node.value, str)])
    return notes.reading()


def _images(notes: Notes, subject: str, root: Node) -> None:
    """Note images of agents without a version: `image: {repository, tag}`; an empty tag is the chart's own version."""
    waiting = [(root, 0)]
    while waiting:
        node, level = waiting.pop()
        repository, tag = node.at("repository"), node.at("tag")
        if repository.text and tag.text and words.driven_by_a_model(repository.text) and not node.at("digest").text:
            found = launch.image(Node(f"{repository.text}:{tag.text}", tag.line))
            if found and not found.pinned:
                says = f"{subject} runs {found.name} at {found.version}: the next pull can bring other code."
                notes.weakness("image-not-pinned", subject, tag, says, repository)
        if level < MOST_LEVELS:
            waiting += [(one, level + 1) for one in node.items.values()]
