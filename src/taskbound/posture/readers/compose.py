"""Compose files: services, what they are given, what of the host they may touch. Source: the Compose Specification."""

import re

from taskbound.posture.document import NOTHING, Document, Node
from taskbound.posture.readers import launch, pipeline, words
from taskbound.posture.readers.reading import Notes, Reading, each, texts

PATHS = re.compile(r"(?:^|/)[\w.-]*(?:docker-)?(?:compose|docker-stack)[\w.-]*\.ya?ml$", re.I)
SOCKET = re.compile(
    r"(?:/run|/var/run|\$\{?XDG_RUNTIME_DIR\}?|/run/user/\d+)/(?:docker|podman/podman|containerd/containerd|crio/crio)\.sock"
)
_WIDE = frozenset(("all", "sys_admin", "cap_sys_admin", "sys_module", "sys_ptrace"))


def read(document: Document, repository: str) -> Reading:
    notes = Notes(document, repository)
    notes.hold_all(notes.holder("workload", "compose"), "compose")
    for number, root in enumerate(document.roots):
        for name, service in root.at("services").items.items():
            _service(notes, number, name, service)
    return notes.reading()


def _service(notes: Notes, number: int, name: str, service: Node) -> None:
    image = service.at("image")
    commands = [*texts(service.at("command")), *texts(service.at("entrypoint"))]
    is_agent = words.driven_by_a_model(name, image.text, *(f"{name} {one.text[:200]}" for one in commands[:1]))
    holder = notes.holder("agent" if is_agent else "workload", f"compose:{name}", name)
    subject = notes.named(f"compose:{name}")
    notes.hold(holder, "compose", number, "services", name)
    files = [one.at("path").text or one.text for one in each(service.at("env_file"))]
    notes.principal(
        subject,
        "compose-service",
        service,
        agent=is_agent,
        environment=holder.environment,
        env_files=tuple(one for one in files if one),
    )
    if at := _socket(service):
        says = f"{subject} can reach the container runtime of its host: whoever takes it over is root there."
        notes.weakness("docker-socket-mounted", subject, at, says)
    if service.at("privileged").value is True:
        says = f"{subject} runs privileged: whoever takes it over is root on its host."
        notes.weakness("privileged-container", subject, service.at("privileged"), says)
    for one in texts(service.at("cap_add")):
        if is_agent and one.text.lower() in _WIDE:
            says = f"{subject} is an agent's and is given {one.text}: enough to leave its container."
            notes.weakness("privileged-container", subject, one, says)
    found = launch.image(image) if image.text and not words.is_reference(image.text) else None
    if is_agent and found and not found.pinned and not service.at("build"):
        says = (
            f"{subject} runs {found.name} at {found.version or 'no version'}: "
            "the next pull can bring other code, with everything that this service holds."
        )
        notes.weakness("image-not-pinned", subject, image, says)
    pipeline.unasked(notes, subject, [joined(service.at("command")), joined(service.at("entrypoint"))])


def _socket(service: Node) -> Node:
    if service.at("use_api_socket").value is True:
        return service.at("use_api_socket")
    for one in each(service.at("volumes")):
        source = one.at("source").text or one.text
        if SOCKET.match(source):
            return one.at("source") or one
    return NOTHING


def joined(command: Node) -> Node:
    """A command as one text, on the line where it begins; of a list on several lines each has its own."""
    if not command.list:
        return command
    first = command.list[0].line
    parts, line = [], first
    for one in command.list:
        parts.append("\n" * max(0, one.line - line) + one.text.replace("\n", " "))
        line = max(line, one.line)
    return Node(" ".join(parts), first)
