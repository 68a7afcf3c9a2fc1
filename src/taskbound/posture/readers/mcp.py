"""MCP client files: which servers an agent starts or calls, what they are given, and what is wrong with that.

Formats differ in the key of the table and in the names of a server's members; both are tables here, so that a client
that we have never seen is read if it follows one of them. Sources: the documentation of Claude Desktop and Code
(`.mcp.json`, `.claude.json`), Cursor, VS Code (`servers`, `inputs`), Windsurf (`serverUrl`), Zed (`context_servers`),
Cline and Roo (`alwaysAllow`), Continue (lists), Gemini and Qwen (`httpUrl`, `trust`), Codex (`mcp_servers`), JetBrains
Junie, Goose (`extensions`, `cmd`, `envs`), opencode and Crush (`mcp`), Amazon Q, LM Studio, Copilot, Kiro, OpenHands.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from taskbound.posture.document import NOTHING, Document, Node
from taskbound.posture.readers import hosts, launch, unsafe, words
from taskbound.posture.readers.reading import Notes, Reading, each
from taskbound.posture.sighting import Holder

# Keys that lead to a table (or list) of servers, wherever they stand.
_TABLES = frozenset(
    [
        "mcpServers",
        "mcp_servers",
        "context_servers",
        "mcp.servers",
        "amp.mcpServers",
        "modelContextProtocolServers",
        "mcp-servers",
        "chat.mcp.servers",
        "sse_servers",
        "stdio_servers",
        "shttp_servers",
    ]
)
# Keys that lead to one only where what stands below looks like servers.
_PERHAPS = frozenset(["servers", "mcp", "extensions"])
_COMMAND = ("command", "cmd", "path", "executable")
_ARGUMENTS = ("args", "arguments", "argv")
_ENVIRONMENT = ("env", "environment", "envs", "environmentVariables")
_URL = ("url", "serverUrl", "httpUrl", "uri", "sseUrl", "endpoint", "baseUrl")
_HEADERS = ("headers", "http_headers", "httpHeaders", "customHeaders", "requestOptions", "requestInit")
# Members that say that somebody proves who they are, in a way that stands elsewhere.
_PROVES = frozenset(
    [
        "oauth",
        "auth",
        "authorization",
        "authentication",
        "authProviderType",
        "bearer_token_env_var",
        "env_http_headers",
        "headersHelper",
        "envHttpHeaders",
        "oauth_resource",
        "clientId",
        "api_key",
        "apiKey",
        "authProvider",
        "targetServiceAccount",
    ]
)
_NONE = frozenset(["", "false", "none", "no", "off", "disabled", "anonymous", "0"])
_BRIDGES = ("mcp-remote", "supergateway", "mcp-proxy", "fastmcp", "mcp-remote-client")
_ROOTS = re.compile(
    r"(?:/|~/?|[A-Za-z]:[\\/]{0,2}|\$\{?(?:env:)?HOME\}?/?|\$\{userHome\}/?|%USERPROFILE%"
    r"|/(?:home|Users|root|etc)/?|/(?:home|Users)/[^/$]+/?)"
)
_WHOLE = re.compile(r"(?:/|[A-Za-z]:[\\/]{0,2})")
_MOUNT_SOURCE = re.compile(r"(?:^|,)(?:src|source)=([^,]+)")
_SOCKETS = re.compile(r"(?:/run|/var/run)/(?:docker|podman/podman|containerd/containerd|crio/crio)\.sock")
MOST_LEVELS = 5
MOST_MEMBERS = 2000  # of a mapping that is gone into: lock files have more


@dataclass(frozen=True, slots=True)
class Server:
    """One server of a client's file: where it stands and its parts, whatever the client calls them."""

    name: str
    root: int
    keys: tuple[str, ...]
    node: Node
    command: Node
    arguments: tuple[Node, ...]
    url: Node
    variables: Node
    headers: Node


def read(document: Document, repository: str) -> Reading:
    notes = Notes(document, repository)
    found = [one for root in range(len(document.roots)) for one in servers(document, root)]
    addresses = {one.keys: address for one in found if (address := _address(one))}
    own = hosts.own_domains(addresses.values(), repository)
    for one in found:
        _note(notes, one, addresses.get(one.keys), own)
    return notes.reading()


def servers(document: Document, root: int) -> Iterator[Server]:
    """Yield the servers of a document, in order. Only the first levels are looked at: a table lies deep nowhere."""
    is_list_of_servers = "mcp" in document.path.rsplit("/", 1)[-1].lower() or "/mcp" in f"/{document.path.lower()}"
    waiting: list[tuple[tuple[str, ...], Node]] = [((), document.roots[root])]
    while waiting:
        keys, node = waiting.pop()
        for key, below in node.items.items():
            at = (*keys, key)
            under_mcp = bool(keys) and keys[-1].lower().endswith("mcp")
            if key in _TABLES or (key in _PERHAPS and _looks_like_servers(key, below, under_mcp or is_list_of_servers)):
                yield from _table(root, at, below)
            elif len(at) < MOST_LEVELS and 0 < len(below.items) <= MOST_MEMBERS:
                waiting.append((at, below))


def _looks_like_servers(key: str, table: Node, surely: bool) -> bool:
    """Whether what stands below `servers`, `mcp` or `extensions` starts or calls servers: most tables there do not."""
    known = [one for one in table.items.values() if one.items]
    if key == "servers" and surely:
        return any(_starts(one) or _first(one, _URL) for one in known)
    types = {one.at("type").text for one in known}
    if key == "extensions":  # Goose
        return bool(types & {"stdio", "sse", "streamable_http", "builtin"}) and any(
            one.at("cmd") or one.at("uri") for one in known
        )
    return key == "mcp" and bool(types & {"local", "remote", "stdio", "http", "sse"})  # opencode, Crush


def _table(root: int, keys: tuple[str, ...], table: Node) -> Iterator[Server]:
    if table.items:
        for name, node in table.items.items():
            if node.items:
                yield _server(name, root, (*keys, name), node)
    for place, node in enumerate(table.list):
        if node.items:
            inner = ("transport",) if node.at("transport").items else ()
            below = node.at(*inner)
            name = node.at("name").text or below.at("name").text or str(place)
            yield _server(name, root, (*keys, str(place), *inner), below)


def _server(name: str, root: int, keys: tuple[str, ...], node: Node) -> Server:
    inner = node.at("command")
    started = inner if inner.items else node  # Zed: {"command": {"path": …, "args": …, "env": …}}
    command = _first(started, _COMMAND)
    whole = tuple(command.list)  # opencode: "command": ["npx", "-y", …]
    arguments = (*whole[1:], *(found for key in _ARGUMENTS for found in each(started.at(key))))
    headers = _first(node, _HEADERS)
    return Server(
        name,
        root,
        keys,
        node,
        whole[0] if whole else command,
        arguments,
        _first(node, _URL),
        _first(started, _ENVIRONMENT) or _first(node, _ENVIRONMENT),
        headers.at("headers") or headers,
    )


def _first(node: Node, keys: tuple[str, ...]) -> Node:
    return next((node.at(key) for key in keys if node.at(key)), NOTHING)


def _starts(node: Node) -> bool:
    return bool(_first(node, _COMMAND))


def _bridged(one: Server) -> Node:
    """The URL that a local bridge (`npx mcp-remote URL`) connects to."""
    line = launch.command_line(one.command, one.arguments)
    if not any(bridge in word.text for word in line for bridge in _BRIDGES):
        return NOTHING
    return next((word for word in line if word.text.startswith(("http://", "https://"))), NOTHING)


def _address(one: Server) -> hosts.Address | None:
    url = one.url or _bridged(one)
    return hosts.address(url.text) if url.text else None


def _note(notes: Notes, one: Server, address: hosts.Address | None, own: frozenset[str]) -> None:
    subject = notes.named(f"mcp:{one.name}")
    holder = notes.holder("agent", f"mcp:{one.name}")  # its environment is the agent's: `prod-db` is what it reaches
    line = launch.command_line(one.command, one.arguments)
    fetched = launch.fetched(line)
    _hold(notes, one, holder)
    notes.principal(
        subject,
        "mcp-server",
        one.node,
        environment=holder.environment,
        transport="http" if one.url else "stdio",
        host=address.host if address else "",
        domain=address.domain if address else "",
        package=fetched.name if fetched else "",
        version=fetched.version if fetched else "",
        variables=tuple(one.variables.items),
    )
    if _is_off(one.node):
        return
    if fetched and not fetched.pinned:
        _unpinned(notes, subject, fetched)
    _reaches(notes, subject, one, line)
    if address:
        _remote(notes, subject, one, address, own)
    _unasked(notes, subject, one.node)
    for at, flag in (found for word in line for found in unsafe.flags(word)):
        says = f"{subject} is started with {flag}: whatever it is told, it does without asking."
        notes.weakness("agent-runs-without-permission-checks", subject, at, says)


def _hold(notes: Notes, one: Server, holder: Holder) -> None:
    notes.hold(holder, "mcp-env", one.root, *one.keys)
    inner = ("command",) if one.node.at("command").items else ()
    for names, spot in (
        ((*_COMMAND, *_ARGUMENTS), "mcp-argument"),
        (_URL, "mcp-url"),
        (_HEADERS, "mcp-header"),
        (("auth", "bearer_token", "token", "authorization"), "mcp-header"),
    ):
        for name in names:
            if one.node.at(name):
                notes.hold(holder, spot, one.root, *one.keys, name)
            if inner and one.node.at("command", name):
                notes.hold(holder, spot, one.root, *one.keys, *inner, name)
    if inner:
        for name in _ENVIRONMENT:
            if one.node.at("command", name):
                notes.hold(holder, "mcp-env", one.root, *one.keys, *inner, name)


def _is_off(node: Node) -> bool:
    return node.at("disabled").value is True or node.at("enabled").value is False


def _unpinned(notes: Notes, subject: str, fetched: launch.Fetched) -> None:
    if fetched.kind == launch.GIT:
        says = (
            f"{subject} is started from {fetched.name} at {fetched.version or 'its default branch'}: "
            "whoever can push there runs code with everything that this server holds."
        )
        notes.weakness("mcp-from-mutable-git-branch", subject, fetched.node, says)
        return
    said = f"asks for {fetched.version}" if fetched.version else "asks for no version"
    says = f"{subject} starts {fetched.name} and {said}: the next release runs with everything that this server holds."
    notes.weakness("unpinned-mcp-package", subject, fetched.node, says)


def _reaches(notes: Notes, subject: str, one: Server, line: list[Node]) -> None:
    """What of this machine a server is given: the whole file system, a person's home, the container runtime."""
    texts = " ".join([one.name, *(word.text[:200] for word in line[:12])]).lower()
    about_files = any(
        word in texts for word in ("filesystem", "file-system", "files", "desktop-commander", "file_system")
    )
    in_container = launch.program_of(line) in ("docker", "podman", "nerdctl")
    for place, word in enumerate(line[1:], 1):
        option = line[place - 1].text
        source = word.text
        if in_container and option in ("-v", "--volume"):
            source = re.match(r"[A-Za-z]:[\\/][^:]*|[^:]*", source)[0]  # type: ignore[index]
        elif in_container and (option == "--mount" or word.text.startswith("--mount=")):
            mount = _MOUNT_SOURCE.search(source.removeprefix("--mount="))
            source = mount[1] if mount else ""
        elif in_container and word.text.startswith(("--volume=", "-v=")):
            source = source.partition("=")[2].partition(":")[0]
        mounts = in_container and source != word.text
        if _SOCKETS.fullmatch(source):
            says = f"{subject} is given the socket of the container runtime: that is root on this machine."
            notes.weakness("docker-socket-mounted", subject, word, says)
        elif (_ROOTS if about_files or mounts else _WHOLE).fullmatch(source) and source.strip():
            if option.startswith("--") and not mounts and not about_files:
                continue
            whole = "the whole file system" if _WHOLE.fullmatch(source) else "a whole home or system directory"
            says = (
                f"{subject} is given {whole}: keys, tokens and other people's files are among what an agent can read."
            )
            notes.weakness("mcp-filesystem-root", subject, word, says)
    if in_container and any(word.text in ("--privileged", "--privileged=true") for word in line):
        at = next(word for word in line if word.text.startswith("--privileged"))
        says = f"{subject} runs in a privileged container: it can leave it and is root on this machine."
        notes.weakness("privileged-container", subject, at, says)


def _remote(notes: Notes, subject: str, one: Server, address: hosts.Address, own: frozenset[str]) -> None:
    url = one.url or _bridged(one)
    headers = [(name, value) for name, value in one.headers.items.items() if words.is_secret_name(name) and value.text]
    sends = [value for _, value in headers if hosts.is_literal(value.text.rpartition(" ")[2])]
    if address.scheme in ("http", "ws") and not address.is_here:
        inside = address.host.endswith((".svc", ".cluster.local"))
        if not inside or headers or address.secret_names:
            says = (
                f"{subject} is called at {address.host} without TLS: "
                "whoever is on the way reads what is sent, and can answer instead."
            )
            notes.weakness("plaintext-http-mcp", subject, url, says)
    if named := [name for name in address.query if words.is_secret_name(name)]:
        says = (
            f"{named[0]} in the URL of {subject} is all that proves who calls {address.host}: "
            "URLs are logged and passed on by everything on the way."
        )
        notes.weakness("key-in-query-of-url", subject, url, says)
    if (
        (sends or address.secret_names)
        and address.domain not in own
        and not address.is_vendor
        and not address.is_private
    ):
        says = (
            f"{subject} sends a credential to {address.host}. Nothing here shows that this host belongs to you, "
            "and it is not known as the issuer of such credentials."
        )
        notes.weakness("secret-sent-to-third-party-mcp", subject, url, says, *sends)
    said = [node for name, node in one.node.items.items() if name in _PROVES]
    shown = headers or address.secret_names or any(map(_proves, said)) or _has_reference(url)
    # Documentation is open on purpose, but for one's own.
    is_open = not own & {address.domain} and {"docs", "doc", "documentation"} & set(
        words.split(f"{one.name} {url.text}")
    )
    if not shown and not is_open and not address.is_here and not address.is_vendor and not _bridged(one):
        says = (
            f"{subject} is called at {address.host} and nothing proves who calls: no header, no token, "
            "no OAuth setting. If that server asks for OAuth when an agent connects, accept this."
        )
        notes.weakness("remote-mcp-without-auth", subject, url, says, *said)


def _proves(said: Node) -> bool:
    """Whether a member that stands for a proof says more than that there is none ("oauth": false, "auth": "none")."""
    return bool(said.items or said.list) or said.text.strip().lower() not in _NONE


def _has_reference(url: Node) -> bool:
    return words.is_reference(url.text)


def _unasked(notes: Notes, subject: str, node: Node) -> None:
    """Settings of a server that let all its tools run without a question: Gemini's `trust`, `*` in Cline's lists."""
    for key in ("trust", "alwaysAllow", "autoApprove", "autoapprove", "always_allow"):
        setting = node.at(key)
        star = next((one for one in each(setting) if one.text == "*"), NOTHING)
        if setting.value is True or star:
            says = f"{key} lets every tool of {subject} run without asking anybody."
            notes.weakness("agent-runs-without-permission-checks", subject, star or setting, says)
