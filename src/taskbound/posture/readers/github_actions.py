"""GitHub Actions: workflows and composite actions. Sources: "Workflow syntax", "Metadata syntax" (GitHub Docs)."""

import re
from dataclasses import dataclass

from taskbound.posture.document import NOTHING, Document, Node
from taskbound.posture.readers import pipeline, unsafe
from taskbound.posture.readers.reading import Notes, Reading, each

# Actions that run an agent: owner/name, or the beginning of it.
_AGENT_ACTIONS = (
    "anthropics/claude-code",
    "openai/codex-action",
    "google-github-actions/run-gemini-cli",
    "google-gemini/gemini-cli-action",
    "all-hands-ai/openhands",
    "openhands/",
    "cursor/",
    "block/goose",
    "sst/opencode",
    "anomalyco/opencode",
    "charmbracelet/crush-action",
    "qwenlm/qwen-code-action",
    "augmentcode/",
    "paul-gauthier/aider",
    "mirrajabi/aider-github-action",
    "warpdotdev/oz-agent-action",
    "factory-ai/droid-action",
    "github/gh-aw",
    "actions/ai-inference",
    "codium-ai/pr-agent",
    "qodo-ai/pr-agent",
    "coderabbitai/ai-pr-reviewer",
    "princeton-nlp/swe-agent",
    "swe-agent/",
)
# These ask GitHub whether whoever set them off may write, unless an input says otherwise.
_ASK_WHO = {
    "anthropics/claude-code": ("allowed_non_write_users",),
    "openai/codex-action": ("allow-users", "allow-bots"),
}
# Triggers whose content anybody can write who has an account.
_OUTSIDERS = frozenset(
    [
        "issue_comment",
        "issues",
        "pull_request_target",
        "pull_request_review",
        "pull_request_review_comment",
        "discussion",
        "discussion_comment",
        "fork",
        "watch",
    ]
)
# What a condition says where it lets in insiders only.
_GATE = re.compile(
    r"author_association|github\.actor|triggering_actor|sender\.login|user\.login|head\.repo\.f|head\.repo\.full_name"
    r"|github\.repository_owner|permission|label|authori[sz]ed|trusted|allowed|collaborator|is_?member"
)
# Events of those triggers that only insiders cause.
_OF_INSIDERS = frozenset(("labeled", "unlabeled", "assigned", "unassigned", "milestoned", "demilestoned", "pinned"))
# Of GitHub itself, and of who issues the credential that the action is given: they hold what it opens anyway.
_OWN = (
    "actions/", "github/", "anthropics/", "openai/", "google-github-actions/", "aws-actions/", "azure/", "docker/",
    "hashicorp/",
)  # fmt: skip
_COMMIT = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}|sha256:[0-9a-f]{64}")
_BRANCHES = frozenset(("main", "master", "develop", "development", "dev", "trunk", "head", "next", "latest", "stable"))
_SECRET = re.compile(r"\bsecrets\s*(?:\.\s*(?!GITHUB_TOKEN\b)\w|\[)", re.I)
_UNSAFE_INPUTS = {
    "sandbox": ("danger-full-access",),
    "safety-strategy": ("unsafe",),
    "permission-mode": ("bypasspermissions",),
    "permission_mode": ("bypasspermissions",),
    "dangerously_skip_permissions": ("true",),
    "dangerously-skip-permissions": ("true",),
    "yolo": ("true",),
}


@dataclass(frozen=True, slots=True)
class _Agent:
    """An agent that a job runs: the step's place, its name, and whether it lets outsiders set it off."""

    node: Node
    name: str
    open: bool


def read(document: Document, repository: str) -> Reading:
    notes = Notes(document, repository)
    name = f"ci:{notes.file}" if notes.file not in ("action.yml", "action.yaml") else f"ci:{document.path}"
    subject = notes.named(name)
    notes.hold_all(notes.holder("pipeline", name), "workflow")
    for number, root in enumerate(document.roots):
        for job, node in root.at("jobs").items.items():
            environment = node.at("environment").text or node.at("environment", "name").text
            notes.hold(notes.holder("pipeline", name, environment, job), "workflow", number, "jobs", job)
        _workflow(notes, subject, root)
    return notes.reading()


def _workflow(notes: Notes, subject: str, root: Node) -> None:
    triggers = _triggers(root)
    pipeline.cloud_keys(notes, subject, root.at("env"))
    agents: list[_Agent] = []
    for job in root.at("jobs").items.values():
        pipeline.cloud_keys(notes, subject, job.at("env"))
        found = _steps(notes, subject, job, job.at("steps"))
        agents += found
        if _is_write_all(job.at("permissions")):
            _write_all(notes, subject, job.at("permissions"), found)
        _reused(notes, subject, job)
        gated = bool(_GATE.search(job.at("if").text))
        for agent in found:
            if agent.open and not gated and (trigger := next((t for t in triggers if _reaches(t, triggers[t])), "")):
                says = (
                    f"Anybody with an account can set off {subject} ({trigger}), and it runs {agent.name} "
                    "on what they wrote, with what this job may do."
                )
                notes.weakness("agent-workflow-open-to-outsiders", subject, triggers[trigger], says, agent.node)
    found = _steps(notes, subject, root, root.at("runs", "steps"))  # a composite action
    agents += found
    inherited = [job for job in root.at("jobs").items.values() if not job.at("permissions")]
    if _is_write_all(root.at("permissions")) and (inherited or not root.at("jobs")):
        _write_all(notes, subject, root.at("permissions"), agents)
    notes.principal(
        subject,
        "ci-workflow",
        root.at("name") or 1,
        triggers=tuple(triggers),
        agents=tuple(sorted({one.name for one in agents})),
        environment=notes.environment(),
    )


def _triggers(root: Node) -> dict[str, Node]:
    """What sets a workflow off, with its place. YAML 1.1 reads the key `on` as true."""
    on = root.at("on") or root.at("true") or root.at("True")
    if on.items:
        return dict(on.items)
    return {one.text: one for one in each(on)}


def _reaches(trigger: str, of: Node) -> bool:
    """Whether outsiders can cause an event that sets the workflow off."""
    types = {one.text for one in each(of.at("types"))}
    return trigger in _OUTSIDERS and not (types and types <= _OF_INSIDERS)


def _is_write_all(permissions: Node) -> bool:
    return permissions.text == "write-all"


def _write_all(notes: Notes, subject: str, permissions: Node, agents: list[_Agent]) -> None:
    if agents:
        says = f"{subject} runs {agents[0].name} with a token that may write everything in the repository."
        notes.weakness("agent-workflow-write-all", subject, permissions, says, agents[0].node)
    else:
        says = f"{subject} runs every step with a token that may write everything in the repository."
        notes.weakness("workflow-write-all", subject, permissions, says)


def _reused(notes: Notes, subject: str, job: Node) -> None:
    """Note a reusable workflow of somebody else (`jobs.<job>.uses`) that a branch or a tag names."""
    name, _, ref = job.at("uses").text.partition("@")
    if not ref or name.startswith("./") or "${{" in ref or _COMMIT.fullmatch(ref):
        return
    secrets = job.at("secrets")
    given = secrets.text == "inherit" or any(_SECRET.search(one.text) for one in secrets.items.values())
    if _is_branch(ref) or (given and not name.lower().startswith(_OWN)):
        says = f"{subject} runs the workflow {name} at {ref}: whoever can push there decides what runs with its rights."
        notes.weakness("pipeline-include-not-pinned", subject, job.at("uses"), says)


def _is_branch(ref: str) -> bool:
    """Whether a reference names a branch by custom: it moves with every push, where a tag is moved on purpose."""
    return ref.lower().removeprefix("refs/heads/") in _BRANCHES or ref.startswith("refs/heads/")


def _steps(notes: Notes, subject: str, job: Node, steps: Node) -> list[_Agent]:
    agents: list[_Agent] = []
    for step in each(steps):
        uses, run, inputs = step.at("uses"), step.at("run"), step.at("with")
        action = uses.text.partition("@")[0].lower()
        pipeline.cloud_keys(notes, subject, step.at("env"))
        pipeline.cloud_keys(notes, subject, inputs, pipeline.CLOUD_INPUTS.get(action, ()))
        pipeline.unasked(notes, subject, [run, *inputs.items.values(), *step.at("env").items.values()])
        gated = bool(_GATE.search(step.at("if").text))
        runs_agent = action.startswith(_AGENT_ACTIONS)
        if runs_agent:
            _inputs(notes, subject, inputs)
            agents.append(_Agent(uses, uses.text.partition("@")[0], _is_open(action, inputs) and not gated))
        elif tool := unsafe.tool(run.text):
            agents.append(_Agent(run, tool, not gated))
        if uses:
            _pinned(notes, subject, uses, runs_agent, _secrets(step))
    for one in (job.at("container"), *job.at("services").items.values()):
        pipeline.cloud_keys(notes, subject, one.at("env"))
    return agents


def _inputs(notes: Notes, subject: str, inputs: Node) -> None:
    for name, unsafe_values in _UNSAFE_INPUTS.items():
        if inputs.at(name).text.lower() in unsafe_values:
            says = f"{name} lets the agent of {subject} act without any check; what it reads can make it do anything."
            notes.weakness("agent-runs-without-permission-checks", subject, inputs.at(name), says)
    settings = inputs.at("settings")
    for number, line in enumerate(settings.text.split("\n")):
        if re.search(r"bypassPermissions|\"(?:defaultApprovalMode|approvalMode)\"\s*:\s*\"yolo\"", line[:5000]):
            says = f"The settings of the agent of {subject} let it act without any check."
            notes.weakness("agent-runs-without-permission-checks", subject, settings.line + number, says)


def _is_open(action: str, inputs: Node) -> bool:
    """Whether whoever can set the workflow off can set the agent off."""
    for asking, opened in _ASK_WHO.items():
        if action.startswith(asking):
            return any("*" in inputs.at(name).text for name in opened)
    return True


def _secrets(step: Node) -> Node:
    """The first of a step's inputs and variables that hands over a secret; the workflow's own token is none."""
    given = [*step.at("with").items.values(), *step.at("env").items.values()]
    return next((one for one in given if _SECRET.search(one.text)), NOTHING)


def _pinned(notes: Notes, subject: str, uses: Node, runs_agent: bool, secret: Node) -> None:
    """Note an action of others that holds a secret or runs an agent, and that its owners can exchange at any time."""
    name, _, ref = uses.text.partition("@")
    if uses.text.startswith(("./", ".\\")) or name.lower().startswith(_OWN) or "${{" in uses.text:
        return
    if _COMMIT.fullmatch(ref) or not (ref or name.startswith("docker://")):
        return
    if not (runs_agent or secret or _is_branch(ref)):
        return
    given = "runs an agent" if runs_agent else "is given a secret" if secret else "moves with every push"
    says = (
        f"{subject} uses {name} at {ref or 'no version'}, which {given}: "
        "its owners, or whoever takes over their account, can exchange it."
    )
    # The reference to the secret is no evidence: it is as it should be.
    notes.weakness("action-not-pinned", subject, uses, says)
