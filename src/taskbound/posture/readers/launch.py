"""How a server is started: which package, image or repository a command fetches, and whether it is always the same."""

import posixpath
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from taskbound.posture.document import Node
from taskbound.posture.readers import words

PACKAGE, IMAGE, GIT = "package", "image", "git"


@dataclass(frozen=True, slots=True)
class Fetched:
    """What a command fetches before it runs it. `name` has no user information of a URL in it."""

    kind: str  # package, image, git
    name: str
    version: str  # "" where none is asked for
    pinned: bool  # the same thing at the next start
    node: Node  # where it stands


# Runners, with those of their options that take the next word as their value; and which options name the package.
_NPX = frozenset(
    ["-p", "--package", "-c", "--call", "--registry", "--userconfig", "--cache", "--prefix", "--workspace", "-w"]
)
_UVX = frozenset(
    [
        "--from",
        "--with",
        "--with-editable",
        "--with-requirements",
        "-p",
        "--python",
        "--index",
        "--default-index",
        "--index-url",
        "--extra-index-url",
        "-i",
        "-f",
        "--find-links",
        "--directory",
        "--project",
        "--config-file",
        "--cache-dir",
        "--refresh-package",
        "--env-file",
        "--constraints",
        "-c",
        "--spec",
        "--pip-args",
        "--index-strategy",
        "--exclude-newer",
        "--prerelease",
        "--resolution",
    ]
)
_RUN = frozenset(
    [
        "-e",
        "--env",
        "--env-file",
        "-v",
        "--volume",
        "--mount",
        "-p",
        "--publish",
        "--expose",
        "--name",
        "--network",
        "--net",
        "--network-alias",
        "-w",
        "--workdir",
        "-u",
        "--user",
        "--entrypoint",
        "--label",
        "-l",
        "--label-file",
        "--add-host",
        "--platform",
        "--pull",
        "--memory",
        "-m",
        "--memory-swap",
        "--cpus",
        "--cpu-shares",
        "--gpus",
        "--device",
        "--cap-add",
        "--cap-drop",
        "--security-opt",
        "--restart",
        "--hostname",
        "-h",
        "--ipc",
        "--pid",
        "--uts",
        "--shm-size",
        "--tmpfs",
        "--ulimit",
        "--log-driver",
        "--log-opt",
        "--dns",
        "--dns-search",
        "--link",
        "--cidfile",
        "--group-add",
        "--runtime",
        "--stop-timeout",
        "--stop-signal",
        "--cgroupns",
        "--userns",
        "--volumes-from",
        "--volume-driver",
        "--health-cmd",
        "--sysctl",
        "--secret",
        "-a",
        "--attach",
        "--annotation",
        "--domainname",
        "--ip",
        "--mac-address",
        "--blkio-weight",
        "--isolation",
        "--device-cgroup-rule",
    ]
)
_DENO = frozenset(["--config", "-c", "--import-map", "--lock", "--cert", "--location", "--seed", "--v8-flags"])
_PREFIXES: Mapping[str, tuple[tuple[str, ...], ...]] = {
    # Program: what may stand before the package, longest first.
    "npx": ((),),
    "bunx": ((),),
    "pnpx": ((),),
    "dnx": ((),),
    "npm": (("exec",), ("x",)),
    "pnpm": (("dlx",),),
    "yarn": (("dlx",),),
    "bun": (("x",),),
    "uvx": ((),),
    "uv": (("tool", "run"), ("x",)),
    "pipx": (("run",),),
    "docker": (("container", "run"), ("run",)),
    "podman": (("container", "run"), ("run",)),
    "nerdctl": (("run",),),
    "deno": (("run",),),
    "go": (("run",),),
}
_TAKES: Mapping[str, frozenset[str]] = {
    **dict.fromkeys(("npx", "bunx", "pnpx", "npm", "pnpm", "yarn", "bun", "dnx"), _NPX),
    **dict.fromkeys(("uvx", "uv", "pipx"), _UVX),
    **dict.fromkeys(("docker", "podman", "nerdctl"), _RUN),
    "deno": _DENO,
    "go": frozenset(),
}
_NAMES_IT = {"npx": ("-p", "--package"), "uvx": ("--from",), "uv": ("--from",), "pipx": ("--spec",)}
_CONTAINERS = ("docker", "podman", "nerdctl")

# What runs a script of the project; it is a dependency of the project, with a version there.
_SCRIPT_RUNNERS = frozenset(
    ("tsx", "ts-node", "node", "nodemon", "esno", "jiti", "vite-node", "babel-node", "swc-node")
)
_EXACT = re.compile(r"v?\d+(\.\d+){1,3}([-+.][0-9A-Za-z.+-]*)?((a|b|rc|\.?post|\.?dev)\d+)?$")
_COMMIT = re.compile(r"[0-9a-f]{7,64}$", re.I)
_RELEASE = re.compile(r"(.*[^0-9A-Za-z])?v?\d+(\.\d+)+([-+.].*)?$")
_NPM = re.compile(r"(@[\w.-]+/[\w.-]+|[\w.-]+)(?:@(.+))?$")
_PYPI = re.compile(r"([A-Za-z0-9][\w.-]*)(?:\[[^\]]*\])?\s*(?:(==|===|@|~=|>=|<=|<|>|!=)\s*(.+))?$")
_HOSTED = re.compile(r"(github|gitlab|bitbucket|gist):(?P<path>[\w./-]+)(?:#(?P<ref>.+))?$")
_SHORT = re.compile(r"[\w-]+/[\w.-]+(?:#(?P<ref>.+))?$")
_FLOATING = frozenset(
    [
        "latest",
        "main",
        "master",
        "edge",
        "nightly",
        "dev",
        "develop",
        "stable",
        "next",
        "canary",
        "beta",
        "alpha",
        "rolling",
        "head",
    ]
)
_IMAGE = re.compile(r"[a-z0-9][\w./:-]*(@sha256:[0-9a-f]{6,64})?$", re.I)


def command_line(command: Node, arguments: Sequence[Node]) -> list[Node]:
    """The words that are run. A command of several words, or one inside `sh -c` or `cmd /c`, is taken apart."""
    found = [Node(word, command.line) for word in command.text.split()] + [one for one in arguments if one.text]
    for _ in range(3):
        program = program_of(found)
        if program in ("sh", "bash", "zsh", "dash", "cmd", "powershell", "pwsh") and len(found) > 1:
            rest = [one for one in found[1:] if not re.fullmatch(r"-[a-z]*c|-l|/c|-Command|-NoProfile", one.text, re.I)]
            found = [Node(word, one.line) for one in rest for word in one.text.split()][:500]
        elif program in ("env", "sudo", "exec", "cross-env", "time", "nice", "dotenv"):
            found = found[1:]
            while found and ("=" in found[0].text or found[0].text.startswith("-")):
                found = found[1:]
        else:
            break
    return found


def program_of(line: Sequence[Node]) -> str:
    """npx of /usr/local/bin/npx or C:\\node\\npx.cmd."""
    if not line:
        return ""
    name = posixpath.basename(line[0].text.replace("\\", "/")).lower()
    return re.sub(r"\.(exe|cmd|bat|ps1)$", "", name)


def fetched(line: Sequence[Node]) -> Fetched | None:
    """What the command fetches; None where it runs something that is there already, or where we cannot tell."""
    program = program_of(line)
    if program == "uv" and len(line) > 1 and line[1].text == "run":
        added = next((two for one, two in pairwise(line) if one.text == "--with"), None)
        return package(added, python=True) if added else None
    for before in _PREFIXES.get(program, ()):
        if tuple(one.text for one in line[1 : 1 + len(before)]) == before:
            return _of(program, line[1 + len(before) :])
    return None


def _of(program: str, arguments: Sequence[Node]) -> Fetched | None:
    subject: Node | None = None
    takes, naming = _TAKES[program], _NAMES_IT.get(program, ("-p", "--package"))
    place = 0
    while place < len(arguments):
        one = arguments[place]
        option, equals, value = one.text.partition("=")
        if one.text == "--":
            place += 1
        elif not one.text.startswith("-"):
            subject = one
            break
        elif option in naming and program not in _CONTAINERS:
            if equals:
                subject = Node(value, one.line)
                break
            if place + 1 < len(arguments):
                subject = arguments[place + 1]
                break
            return None
        else:
            place += 1 if equals or option not in takes else 2
    if subject is None or words.is_reference(subject.text.partition("#")[0].partition("@")[0]):
        return None
    if program in _CONTAINERS:
        return image(subject)
    if program == "go":
        name, _, version = subject.text.partition("@")
        return (
            Fetched(PACKAGE, name, version, bool(_EXACT.match(version)), subject)
            if "." in name[1:] and version
            else None
        )
    return package(subject, python=program in ("uvx", "uv", "pipx"))


def package(node: Node, python: bool) -> Fetched | None:
    """A package as npm or PyPI runners take it; None for a path on this machine."""
    text = re.sub(r"^(npm|jsr):", "", node.text.strip())
    if text.startswith((".", "/", "~", "file:")) or re.match(r"[A-Za-z]:[\\/]", text):
        return None
    direct = re.match(r"[\w.\[\],-]+\s*@\s*(git\+.*|https?://.*)$", text)  # name @ git+https://…
    text = direct[1] if direct else text
    if "://" in text or text.startswith("git@"):
        return git(text, node)
    if not python and (hosted := _HOSTED.match(text)):
        return _reference(hosted["path"], hosted["ref"] or "", node)
    if not python and (short := _SHORT.match(text)):
        return _reference(text.partition("#")[0], short["ref"] or "", node)
    if python:
        if not (found := _PYPI.match(text)):
            return None
        name, operator, version = found[1], found[2] or "", (found[3] or "").strip()
        return Fetched(PACKAGE, name, version, operator in ("==", "===", "@") and bool(_EXACT.match(version)), node)
    if not (found := _NPM.match(text)) or found[1] in _SCRIPT_RUNNERS:
        return None
    version = (found[2] or "").strip()
    return Fetched(PACKAGE, found[1], version, bool(_EXACT.match(version)) and version.count(".") >= 2, node)


def git(text: str, node: Node) -> Fetched | None:
    """A repository by URL: `git+https://host/owner/name@ref`, or with `#ref`; other URLs are taken as files."""
    body = re.sub(r"^git\+", "", text)
    is_git = body != text or text.startswith(("git@", "git:", "ssh:")) or ".git" in body
    body, _, fragment = body.partition("#")
    _, _, rest = body.rpartition("://")
    rest = rest.rpartition("@")[2] if "@" in rest.partition("/")[0] else rest
    path, _, ref = rest.partition("@")
    ref = ref or ("" if re.match(r"(egg|subdirectory)=", fragment) else fragment.partition("&")[0])
    if not is_git:
        return Fetched(PACKAGE, path.partition("?")[0][:200], "", bool(re.search(r"\d+\.\d+", path)), node)
    return _reference(path.removesuffix(".git")[:200], re.sub(r"^(commit|semver):", "", ref), node)


def _reference(name: str, ref: str, node: Node) -> Fetched:
    """Assumed: a reference that looks like a release (v1.2.3) stays what it is, though a tag can be moved."""
    return Fetched(GIT, name, ref, bool(_COMMIT.match(ref) or _RELEASE.match(ref)), node)


def image(node: Node) -> Fetched | None:
    """A container image: pinned by digest, or by a tag that looks like a version; a tag can be moved, though."""
    text = node.text.strip()
    if not _IMAGE.match(text):
        return None
    name, _, digest = text.partition("@")
    head, _, last = name.rpartition("/")
    base, _, tag = last.partition(":")
    whole = f"{head}/{base}" if head else base
    settled = bool(tag) and tag.lower() not in _FLOATING and any(sign.isdigit() for sign in tag)
    return Fetched(IMAGE, whole, digest or tag, bool(digest) or settled, node)
