"""OIDC: a GitHub workflow that signs in to a cloud by who it is, instead of by a key that never ends.

The keys of its environments and inputs are taken out, each job that had one signs in with the cloud's own action, and
may ask for an identity token (`id-token: write`), which it could not by default. Lines are put in and taken out;
what else stands there stays byte for byte, and what comes of it is read again: it holds no key, and all else as before.
Which role is assumed stands in variables of the repository. Sources: "Configuring OpenID Connect in …" (GitHub Docs).
"""

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from taskbound.core.errors import Conflict
from taskbound.posture.document import Node
from taskbound.posture.parsers import parse
from taskbound.posture.readers.pipeline import CLOUD_INPUTS, CLOUD_KEYS

BY_HAND = "let the job sign in by OIDC by hand: permissions: id-token: write, and a role that trusts this repository"


@dataclass(frozen=True, slots=True)
class Cloud:
    """How a job signs in at a cloud: the action, its inputs, and what a person does once, outside of the file."""

    action: str
    commit: str  # a tag can be moved, by whoever takes over its owners' account
    version: str  # the tag of that commit, when it was looked up; it stands beside it for people and for updates
    inputs: Mapping[str, str]
    steps: tuple[str, ...]


_TRUST = "token.actions.githubusercontent.com"
CLOUDS: Mapping[str, Cloud] = {
    "AWS": Cloud(
        "aws-actions/configure-aws-credentials",
        "61815dcd50bd041e203e49132bacad1fd04d2708",
        "v5.1.1",
        {"role-to-assume": "${{ vars.AWS_ROLE_TO_ASSUME }}", "aws-region": "${{ vars.AWS_REGION }}"},
        (
            f"once in the account: aws iam create-open-id-connect-provider --url https://{_TRUST} "
            "--client-id-list sts.amazonaws.com",
            "make a role with the rights of the key, whose trust policy asks for that provider, the audience "
            f"sts.amazonaws.com and the subject of this repository and branch ({_TRUST}:sub)",
            "gh variable set AWS_ROLE_TO_ASSUME --body arn:aws:iam::ACCOUNT:role/ROLE",
            "when a run was green with it: aws iam update-access-key --status Inactive --access-key-id … "
            "--user-name …, and delete the key two weeks later",
        ),
    ),
    "Google Cloud": Cloud(
        "google-github-actions/auth",
        "7c6bc770dae815cd3e89ee6cdf493a5fab2cc093",
        "v3.0.0",
        {
            "workload_identity_provider": "${{ vars.GCP_WORKLOAD_IDENTITY_PROVIDER }}",
            "service_account": "${{ vars.GCP_SERVICE_ACCOUNT }}",
        },
        (
            "once in the project: gcloud iam workload-identity-pools create github --location global, and in it "
            f"providers create-oidc with --issuer-uri https://{_TRUST} and an attribute condition on this repository",
            "let the pool's identity be the service account: gcloud iam service-accounts add-iam-policy-binding … "
            "--role roles/iam.workloadIdentityUser",
            "gh variable set GCP_WORKLOAD_IDENTITY_PROVIDER; gh variable set GCP_SERVICE_ACCOUNT",
            "when a run was green with it: gcloud iam service-accounts keys delete … --iam-account …",
        ),
    ),
    "Azure": Cloud(
        "azure/login",
        "7184910d9eb2b1c5e48f7073824a90609bb9b6d6",
        "v2.3.1",
        {
            "client-id": "${{ vars.AZURE_CLIENT_ID }}",
            "tenant-id": "${{ vars.AZURE_TENANT_ID }}",
            "subscription-id": "${{ vars.AZURE_SUBSCRIPTION_ID }}",
        },
        (
            "once: az ad app federated-credential create --id APP with the issuer "
            f"https://{_TRUST} and the subject of this repository and branch",
            "gh variable set AZURE_CLIENT_ID; gh variable set AZURE_TENANT_ID; gh variable set AZURE_SUBSCRIPTION_ID",
            "when a run was green with it: az ad app credential delete --id APP --key-id …",
        ),
    ),
}
_INPUTS = {"azure/login": "Azure", "google-github-actions/setup-gcloud": "Google Cloud"}
_SECRET = re.compile(r"\bsecrets\.(\w+)")
_REGIONS = ("aws-region", "AWS_REGION", "AWS_DEFAULT_REGION")


@dataclass(frozen=True, slots=True)
class Patched:
    """A workflow that signs in by OIDC, and what else is to be done, in order."""

    after: bytes
    steps: tuple[str, ...]


@dataclass(slots=True)
class _Edit:
    """Lines of a file (from 1) that go, and lines that come before others."""

    lines: list[str]
    end: str
    gone: set[int] = field(default_factory=set)
    instead: dict[int, str] = field(default_factory=dict)
    before: dict[int, list[str]] = field(default_factory=dict)
    removed: Counter[str] = field(default_factory=Counter)  # texts of values
    added: Counter[str] = field(default_factory=Counter)
    secrets: dict[str, None] = field(default_factory=dict)

    def indent(self, line: int) -> str:
        text = self.lines[line - 1]
        return text[: len(text) - len(text.lstrip(" "))]

    def text(self) -> str:
        out: list[str] = []
        for number, line in enumerate(self.lines, 1):
            out += [f"{one}{self.end}" for one in self.before.get(number, ())]
            if number not in self.gone:
                out.append(self.instead.get(number, line))
        return "".join(out)


def patched(path: str, data: bytes) -> Patched:
    """Return a workflow without long-lived cloud keys. Raises Conflict, and says what to do, where it is not sure."""
    document = parse(path, data)
    try:
        text = data.decode()
    except UnicodeDecodeError:
        raise Conflict(f"{path} is not UTF-8", hint=BY_HAND) from None
    jobs = document.roots[0].at("jobs").items if document.roots and not document.problem else {}
    if not jobs or len(document.roots) > 1:
        raise Conflict(f"{path} is no workflow that can be read to its end", hint=BY_HAND)
    root = document.roots[0]
    lines = re.findall(r"[^\n]*\n|[^\n]+", text)  # as what parses it counts them; splitlines knows more ends
    edit = _Edit(lines, "\r\n" if lines[0].endswith("\r\n") else "\n")
    everywhere = _from_block(path, edit, root.at("env"), root)
    steps, signed = list[str](), dict[str, None]()
    for name, job in jobs.items():
        clouds = _job(path, edit, name, job, root, everywhere)
        if clouds:
            steps += _permit(path, edit, name, job, root)
        signed.update(dict.fromkeys(clouds))
    if not signed:
        raise Conflict(f"{path} holds no cloud key where one can be taken out", hint=BY_HAND)
    after = edit.text().encode()
    _require_same(path, data, after, edit)
    steps += [step for cloud in signed for step in CLOUDS[cloud].steps]
    if edit.secrets:
        steps.append(f"then gh secret delete {'; gh secret delete '.join(edit.secrets)}")
    return Patched(after, tuple(steps))


def _job(path: str, edit: _Edit, name: str, job: Node, root: Node, everywhere: Mapping[str, None]) -> dict[str, None]:
    """Take the keys out of a job and let it sign in; return at which clouds it does now."""
    missing = dict(everywhere) | _from_block(path, edit, job.at("env"), job)
    done = dict[str, None]()
    steps = job.at("steps").list
    for step in steps:
        action = step.at("uses").text.partition("@")[0].lower()
        missing |= _from_block(path, edit, step.at("env"), step)
        inputs = step.at("with")
        cloud = next((one for one, how in CLOUDS.items() if how.action == action), "")
        wanted = _keys(inputs, CLOUD_INPUTS.get(action, ()), _INPUTS.get(action, ""))
        if not wanted:
            continue
        if cloud:
            _instead(path, edit, inputs, list(wanted), CLOUDS[cloud], job, root)
            done[cloud] = None
        else:
            for key, of in wanted.items():
                _remove(path, edit, inputs, key, step, "with")
                missing[of] = None
    missing = {cloud: None for cloud in missing if cloud not in done}
    if missing and not steps:
        raise Conflict(f"{path}: the job {name} calls another workflow, which would have to sign in", hint=BY_HAND)
    if unknown := [cloud for cloud in missing if cloud not in CLOUDS]:
        raise Conflict(f"{path}: how {name} would sign in at {unknown[0]} is not known here", hint=BY_HAND)
    for cloud in missing:
        _sign_in(path, edit, CLOUDS[cloud], steps[0], job, root)
    return done | missing


def _keys(block: Node, inputs: Sequence[str] = (), of: str = "") -> dict[str, str]:
    """Return the keys of a block that open a cloud for ever, each with its cloud."""
    found = {}
    for key, node in block.items.items():
        cloud = CLOUD_KEYS.get(key.lower().replace("-", "_")) or (of if key in inputs else "")
        if cloud and node.text:
            found[key] = cloud
    if any("session_token" in key.lower().replace("-", "_") for key in block.items):
        return {}
    return found


def _from_block(path: str, edit: _Edit, block: Node, above: Node) -> dict[str, None]:
    """Take the keys out of an `env` block; return their clouds."""
    found = _keys(block)
    for key in found:
        _remove(path, edit, block, key, above, "env")
    return dict.fromkeys(found.values())


def _remove(path: str, edit: _Edit, block: Node, key: str, above: Node, name: str) -> None:
    line = _line(path, edit, block, key)
    edit.gone.add(line)
    text = block.at(key).text
    edit.removed[text] += 1
    edit.secrets.update(dict.fromkeys(_SECRET.findall(text)))
    left = [one for one in block.items.values() if one.line not in edit.gone]
    if not left:  # nothing is left in it: then its own line goes too
        head = block.line
        if not re.fullmatch(rf"\s*{name}\s*:\s*(#.*)?", edit.lines[head - 1].rstrip("\r\n")):
            raise Conflict(f"{path}:{head}: {name} stands there in a form that is not changed here", hint=BY_HAND)
        edit.gone.add(head)


def _line(path: str, edit: _Edit, block: Node, key: str) -> int:
    """Return the line on which a key and its value stand, and nothing else. Raises Conflict."""
    node = block.at(key)
    text = edit.lines[node.line - 1].rstrip("\r\n")
    if node.last > node.line or not re.match(rf"\s*[\"']?{re.escape(key)}[\"']?\s*:\s+\S", text):
        raise Conflict(f"{path}:{node.line}: {key} stands there in a form that is not changed here", hint=BY_HAND)
    return node.line


def _instead(path: str, edit: _Edit, inputs: Node, keys: Sequence[str], cloud: Cloud, job: Node, root: Node) -> None:
    """Put the inputs of OIDC in the place of those that are keys."""
    first = _line(path, edit, inputs, keys[0])
    indent = edit.indent(first)
    for key in keys:
        line = _line(path, edit, inputs, key)
        edit.gone.add(line)
        edit.removed[inputs.at(key).text] += 1
        edit.secrets.update(dict.fromkeys(_SECRET.findall(inputs.at(key).text)))
    for key, value in _inputs(cloud, inputs, job, root):
        if key not in inputs.items:
            edit.before.setdefault(first, []).append(f"{indent}{key}: {value}")
            edit.added[value] += 1


def _sign_in(path: str, edit: _Edit, cloud: Cloud, first: Node, job: Node, root: Node) -> None:
    """Put a step before the first one."""
    line = _begin(edit, first.line)
    if line is None:
        raise Conflict(f"{path}:{first.line}: the steps stand in a form that is not changed here", hint=BY_HAND)
    indent = edit.indent(line)
    inputs = [(key, value) for key, value in _inputs(cloud, Node({}, 0), job, root)]
    edit.before.setdefault(line, []).extend(
        [
            f"{indent}- uses: {cloud.action}@{cloud.commit}  # {cloud.version}",
            f"{indent}  with:",
            *(f"{indent}    {key}: {value}" for key, value in inputs),
        ]
    )
    edit.added.update([f"{cloud.action}@{cloud.commit}", *(value for _, value in inputs)])


def _begin(edit: _Edit, line: int) -> int | None:
    """Return the line on which a step begins: its own, or the one above where only the sign stands."""
    for number in (line, line - 1):
        if re.match(r"\s*-(\s|$)", edit.lines[number - 1]):
            return number
    return None


def _inputs(cloud: Cloud, known: Node, job: Node, root: Node) -> Iterator[tuple[str, str]]:
    for key, value in cloud.inputs.items():
        if key == "aws-region":
            places = (known, job.at("env"), root.at("env"))
            said = next((text for one in places for name in _REGIONS if (text := one.at(name).text)), "")
            value = said or value
        yield key, value


def _permit(path: str, edit: _Edit, name: str, job: Node, root: Node) -> Iterator[str]:
    """Let a job ask for an identity token; its other permissions stay."""
    own, shared = job.at("permissions"), root.at("permissions")
    if (own or shared).text == "write-all":
        return
    if own:
        _permit_in(path, edit, own)
        return
    line = job.at("steps").line
    indent = edit.indent(line)
    granted = {key: node.text for key, node in shared.items.items()} if shared else {"contents": "read"}
    if shared and not shared.items and shared.text not in ("", "{}"):
        raise Conflict(f"{path}: permissions: {shared.text} would have to be spelled out", hint=BY_HAND)
    granted["id-token"] = "write"
    added = [f"{indent}permissions:", *(f"{indent}  {key}: {value}" for key, value in granted.items())]
    edit.before[line] = [*added, *edit.before.get(line, [])]
    edit.added.update(granted.values())
    if not shared:
        yield f"{name} had the repository's default permissions and has contents: read now: add what else it needs"


def _permit_in(path: str, edit: _Edit, own: Node) -> None:
    known = own.at("id-token")
    if known.text == "write":
        return
    if known:
        raise Conflict(f"{path}:{known.line}: id-token: {known.text} would have to be write", hint=BY_HAND)
    first = next(iter(own.items.values()), None)
    text = edit.lines[own.line - 1]
    if (flow := re.match(r"(\s*permissions\s*:\s*\{)([^{}#]*)(\}\s*(?:#.*)?)$", text.rstrip("\r\n"))) is not None:
        inner = flow[2].rstrip()
        spelled = f"{inner}{', ' if inner.strip() else ''}id-token: write"
        edit.instead[own.line] = f"{flow[1]}{spelled}{flow[3]}{edit.end}"
    elif first is not None and first.line > own.line:
        edit.before.setdefault(first.line, []).append(f"{edit.indent(first.line)}id-token: write")
    else:
        raise Conflict(f"{path}:{own.line}: permissions stand there in a form that is not changed here", hint=BY_HAND)
    edit.added["write"] += 1


def _require_same(path: str, data: bytes, after: bytes, edit: _Edit) -> None:
    """Refuse what would change more than was meant, or leave a key. Raises Conflict."""
    new = parse(path, after)
    before, now = _texts(parse(path, data).roots), _texts(new.roots)
    expected = before - edit.removed + edit.added
    if new.problem or now != expected:
        raise Conflict(f"{path} cannot be changed without changing more than was meant", hint=BY_HAND)
    if any(_keys(block) for block in _blocks(new.roots[0])):
        raise Conflict(f"{path} would still hold a cloud key", hint=BY_HAND)


def _texts(roots: Sequence[Node]) -> Counter[str]:
    return Counter(node.text for root in roots for _, node in root.scalars())


def _blocks(root: Node) -> Iterator[Node]:
    yield root.at("env")
    for job in root.at("jobs").items.values():
        yield job.at("env")
        for step in job.at("steps").list:
            yield step.at("env")
            yield step.at("with")
