"""Workflows that run a stranger's code with the repository's rights (GitHub, Gitea, Forgejo).

Source: GitHub Security Lab, "Preventing pwn requests": pull_request_target, workflow_run and issue_comment run with
secrets and a writing token; what they check out of the request was written by whoever opened it. "Untrusted input":
an expression is put into a script before a shell sees it.
"""

import re
from collections.abc import Iterator

from taskbound.posture.document import Document, Node
from taskbound.posture.readers.github_actions import _GATE, _triggers
from taskbound.posture.readers.reading import Notes, each

ANCHOR = r"pull_request_target|workflow_run|issue_comment|github\.event\.(?:issue|discussion)"
# Trigger -> what names the code of the request there.
_HEADS = {
    "pull_request_target": r"github\.event\.pull_request\.(?:head\.(?:sha|ref|label|repo)|merge_commit_sha)"
    r"|github\.head_ref|refs/pull/|steps\.[\w-]+\.outputs\.\w*(?:sha|ref|head)\w*",
    "workflow_run": r"github\.event\.workflow_run\.(?:head_sha|head_branch|head_commit|head_repository|pull_requests)",
    "issue_comment": r"refs/pull/|github\.event\.issue\.number|steps\.[\w-]+\.outputs\.\w*(?:sha|ref|head)\w*",
}
_FETCHES = re.compile(r"\bgh\s+pr\s+checkout\b|\bgit\s+fetch\s+[^\n]{0,60}\bpull/|\bhub\s+pr\s+checkout\b")
# Commands that only look at what was checked out, and actions that only report.
_LOOKS = re.compile(
    r"^\s*(?:git\s+(?:diff|log|show|status|rev-parse)|echo|ls|cat|gh\s+(?:pr|issue|api)\s|exit|set\s|#)[^\n]*$"
)
_REPORTS = re.compile(
    r"^(?:actions/(?:checkout|labeler|github-script|upload-artifact|stale)|peter-evans/create-or-update-comment)@", re.I
)
# Triggers with secrets and a writing token whose texts outsiders write, and what of them they write.
_TEXTS = frozenset(
    ("issues", "issue_comment", "pull_request_target", "discussion", "discussion_comment", "workflow_run", "fork")
)
_WRITTEN = (
    r"github\.(?:head_ref|event\.(?:(?:issue|pull_request|discussion)\.(?:title|body)|(?:comment|review)\.body"
    r"|pull_request\.head\.(?:ref|label|repo\.(?:default_branch|description|homepage))"
    r"|workflow_run\.(?:head_branch|display_title|head_commit\.(?:message|author\.(?:name|email)))))\b"
)
_INTO_CODE = re.compile(rf"\$\{{\{{((?:(?!\}}\}}).){{0,200}}?{_WRITTEN}(?:(?!\}}\}}).){{0,200}})\}}\}}")
_DECIDES = re.compile(r"[=!]=|\b(?:contains|startsWith|endsWith)\(|&&\s*'")  # what comes out of it is no text of theirs
_SCRIPTS = ("script", "run", "cmd", "command", "commands", "inlineScript")


def read(document: Document, notes: Notes) -> None:
    for root in document.roots:
        if not root.at("jobs").items:
            continue
        subject = notes.named(f"ci:{notes.file}")
        triggers = {name: at for name, at in _triggers(root).items() if name in _HEADS}
        texts = {name: at for name, at in _triggers(root).items() if name in _TEXTS}
        for job in root.at("jobs").items.values():
            if texts and not (_GATE.search(job.at("if").text) or _is_labelled(texts)):
                _injected(notes, subject, job, (root, job), texts)
        for job in root.at("jobs").items.values():
            gate = job.at("if").text
            if not triggers or _GATE.search(gate) or _is_labelled(triggers):
                continue
            for at, trigger in _checkouts(job, triggers):
                says = (
                    f"Anybody can open a request, and {subject} runs the code in it with this repository's rights "
                    f"({trigger})."
                )
                notes.weakness("pipeline-runs-code-of-outsiders", subject, at, says, triggers[trigger])


def _injected(notes: Notes, subject: str, job: Node, above: tuple[Node, ...], triggers: dict[str, Node]) -> None:
    """Note each script into which text of outsiders is put, by itself or by a variable of that text."""
    for step in each(job.at("steps")):
        if _GATE.search(step.at("if").text):
            continue
        variables = {name for of in (*above, step) for name, one in of.at("env").items.items() if _put_in(one.text)}
        for script in (step.at("run"), *(step.at("with", name) for name in _SCRIPTS)):
            found = _put_in(script.text) or _by_name(script.text, variables)
            if found:
                at = Node(None, script.line_of(script.text.count("\n", 0, found.start())))
                trigger = next(iter(triggers))
                says = f"{subject} puts a text that anybody can write into one of its scripts ({trigger})."
                notes.weakness("pipeline-takes-text-for-code", subject, at, says, triggers[trigger])


def _put_in(text: str) -> "re.Match[str] | None":
    return next((one for one in _INTO_CODE.finditer(text) if not _DECIDES.search(one[1])), None)


def _by_name(text: str, variables: set[str]) -> "re.Match[str] | None":
    return next((one for one in re.finditer(r"\$\{\{\s*env\.(\w+)\s*\}\}", text) if one[1] in variables), None)


def _is_labelled(triggers: dict[str, Node]) -> bool:
    """Whether somebody who may put labels on a request has to do so first."""
    types = {one.text for on in triggers.values() for one in each(on.at("types"))}
    return bool(types) and types <= {"labeled", "unlabeled"}


def _checkouts(job: Node, triggers: dict[str, Node]) -> Iterator[tuple[Node, str]]:
    """Yield each step that takes the request's code, where a later one could run it."""
    steps = each(job.at("steps"))
    for place, step in enumerate(steps):
        if _GATE.search(step.at("if").text):
            continue
        inputs = step.at("with")
        named = [one for one in (inputs.at("ref"), inputs.at("repository")) if one.text]
        for trigger in triggers:
            at = next((one for one in named if re.search(_HEADS[trigger], one.text)), None)
            if at is None and (found := _FETCHES.search(step.at("run").text)):
                at = Node(None, step.at("run").line_of(step.at("run").text.count("\n", 0, found.start())))
                if _runs(Node({"run": Node(step.at("run").text[found.end() :].partition("\n")[2], at.line)}, at.line)):
                    yield at, trigger
                    continue
            if at is not None and any(map(_runs, steps[place + 1 :])):
                yield at, trigger


def _runs(step: Node) -> bool:
    """Whether a step could run what was checked out."""
    if run := step.at("run").text:
        return any(line.strip() and not _LOOKS.match(line) for line in run.split("\n"))
    uses = step.at("uses").text
    return bool(uses) and not _REPORTS.match(uses)
