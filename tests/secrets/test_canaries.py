"""T8.1: one story through a real `up`, a real PostgreSQL and an MCP server; then every secret of it is looked for.

A secret is collected from where it is delivered, and taken out of that one answer once; what is left
of the answer is searched like all else: stdout and stderr of every process, the log lines, every
file of the state directory while it runs and after it, exports and receipts, the bodies and heads of
all answers, errors first of all, /metrics, arguments and environment of every process of the
machine, and PostgreSQL's own log with every statement in it.

Not searched is where a secret lies by design: the signing keys' own files, the file that the
configuration names for the admin's login, the upstream's inbound requests, memory.
"""

import asyncio
import base64
import json
import secrets as randomness
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2
import pytest
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from taskbound.plugins.providers.postgres import sql
from tests.notes import note
from tests.postgres.server import Server, running
from tests.secrets.sweep import leaks
from tests.secrets.watch import Shown, watching
from tests.served import Workspace, served
from tests.stories.place import Place, until

CONFIGURATION = """\
[listen]
gateway = "127.0.0.1:0"
[[upstream]]
name = "workspace"
url = "{url}"
credential = {{ target = "shopdb", grant = "reader", as = "bearer" }}
"""
TARGET = """\
[[target]]
name = "{name}"
provider = "postgres"
admin = "file:{admin}"
owner = "shop_owner"
quarantine = "shop_quarantine"
environment = "dev"
assurances = ["unix", "handle"]
holders = ["agent"]
[target.grants.reader]
member_of = ["shop_reader"]
"""
PROFILE = """\
purpose = "what is searched"
owner = "{owner}"
review_by = 2099-01-01
life = "5m"
budget = {{ calls = 20, leases = 9 }}
[[grant]]
tool = "workspace/echo"
when = {{ text = "any" }}
[[grant]]
lease = "shopdb/reader"
"""
GONE = '[[grant]]\nlease = "gone/reader"\n[[grant]]\nlease = "odd/reader"\n'
BROKER = """
CREATE ROLE canary_broker LOGIN CREATEROLE PASSWORD '{verifier}';
GRANT pg_signal_backend TO canary_broker;
GRANT shop_owner, shop_quarantine TO canary_broker WITH INHERIT TRUE, SET TRUE;
GRANT shop_reader TO canary_broker WITH ADMIN TRUE, INHERIT FALSE, SET FALSE;
"""
AGENT = """
import json, os, sys, urllib.request
config = json.load(open(os.environ["TASKBOUND_MCP_CONFIG"]))["mcpServers"]["workspace"]
handle = config["headers"]["Authorization"].split()[1]
lease = json.load(open(os.environ["TASKBOUND_LEASE_SHOPDB_FILE"]))
json.dump({"handle": handle, "password": lease["password"]}, open(sys.argv[1], "w"))
print("the agent ran")
"""


@dataclass
class Story:
    """What happened, and what of it is searched and looked for."""

    place: Place
    secrets: dict[str, bytes] = field(default_factory=dict)
    places: list[tuple[str, bytes]] = field(default_factory=list)
    statuses: list[int] = field(default_factory=list)  # of the answers

    def secret(self, name: str, value: str | bytes) -> str:
        """Remember a secret to be looked for."""
        self.secrets[f"{name} {len(self.secrets)}"] = value.encode() if isinstance(value, str) else value
        return value if isinstance(value, str) else ""

    def searched(self, name: str, data: str | bytes, delivered: str = "") -> None:
        """Search this; what it delivers stands in it once."""
        text = data if isinstance(data, bytes) else data.encode("utf-8", "surrogateescape")
        assert delivered.encode() in text, f"{name} delivers nothing"
        self.places.append((name, text.replace(delivered.encode(), b"", 1) if delivered else text))

    def command(self, *words: str, delivers: str = "") -> str:
        """Run a command and search what it says; return the secret under this key of its JSON, or its stdout."""
        ran = self.place.command(*words)
        assert ran.returncode == 0, f"{words}: {ran.stdout}{ran.stderr}"
        secret = self.secret(delivers, json.loads(ran.stdout)[delivers]) if delivers else ""
        self.searched(f"stdout of {words[:2]}", ran.stdout, secret)
        self.searched(f"stderr of {words[:2]}", ran.stderr)
        return secret or ran.stdout

    def ask(self, client: httpx2.Client, method: str, path: str, **more: Any) -> httpx2.Response:
        """Send a request and search the whole answer, its head too."""
        answer = client.request(method, path, **more)
        head = repr(sorted(answer.headers.items()))
        self.searched(f"answer {len(self.statuses)} to {method}, {answer.status_code}", head.encode() + answer.content)
        self.statuses.append(answer.status_code)
        return answer

    def asked_for(self, client: httpx2.Client, path: str, body: Any, *where: str) -> tuple[dict[str, Any], str]:
        """Ask for what delivers a secret; search all but the secret. Return the answer and the secret."""
        answer = client.request("POST", path, json=body)
        assert answer.status_code in (200, 201), answer.text
        told: Any = answer.json()
        secret = told
        for key in where:
            secret = secret[key]
        self.searched(f"answer that delivers {where[-1]}", answer.content, self.secret(where[-1], secret))
        return told, secret

    def files(self, when: str, *folders: Path) -> None:
        """Search every file below these folders as it is now, but the signing keys' own."""
        for folder in folders:
            for path in sorted(folder.rglob("*")):
                if path.is_file() and not path.is_relative_to(self.place.state / "keys"):
                    data = path.read_bytes()
                    self.searched(f"{path.relative_to(folder.parent)} {when}", data if data.strip(b"\0") else b"")
                    self.searched(f"name of a file {when}", str(path))


@pytest.fixture(scope="module")
def server() -> Iterator[tuple[Server, str]]:
    """The server, and the password of a broker that only this story knows."""
    found, password = running(), randomness.token_urlsafe(24)

    async def execute(statements: str) -> None:
        judge = await found.superuser()
        await judge.execute(statements)
        await judge.close()

    asyncio.run(execute(BROKER.format(verifier=sql.scram_verifier(password, randomness.token_bytes(16)))))
    yield found, password
    asyncio.run(execute("DROP OWNED BY canary_broker; DROP ROLE canary_broker"))


@pytest.fixture(scope="module")
def told(server: tuple[Server, str], tmp_path_factory: pytest.TempPathFactory) -> tuple[Story, Shown]:
    """The story, told once."""
    at, password = server
    base = tmp_path_factory.mktemp("canaries")
    story, apart = Story(Place(base / "home")), base / "apart"
    apart.mkdir(mode=0o700)
    (base / "tmp").mkdir(mode=0o700)
    story.place.environ["TMPDIR"] = str(base / "tmp")
    before = at.log.stat().st_size
    workspace = Workspace()
    with served(workspace) as address, watching() as shown:
        tell(story, f"{address}/mcp", at, password, apart)
    story.files("after", base / "home", base / "data", base / "tmp", base / "exports")
    story.searched("up.log", (base / "up.log").read_bytes())
    story.searched("PostgreSQL's log", at.log.read_bytes()[before:])
    bearers = {headers["authorization"] for headers, _ in workspace.requests if "authorization" in headers}
    assert bearers, "the upstream was shown no credential"
    for bearer in bearers:
        story.secret("upstream's credential", bearer.removeprefix("Bearer "))
    for file in (base / "home/keys").iterdir():
        story.secret(file.name, private_part(file.read_bytes()))
    return story, shown


def private_part(pem: bytes) -> bytes:
    """Return what of a key's file is secret: its public key may stand anywhere."""
    key = load_pem_private_key(pem, None)
    if isinstance(key, EllipticCurvePrivateKey):
        return key.private_numbers().private_value.to_bytes(key.key_size // 8)
    assert isinstance(key, Ed25519PrivateKey)
    return key.private_bytes_raw()


def tell(story: Story, url: str, at: Server, password: str, apart: Path) -> None:
    """From the start of `up` to its end: what is for somebody, what is refused, what fails, what is asked later."""
    place = story.place
    story.secret("admin's password", password)
    lost = story.secret("password of an admin who is not reached", randomness.token_urlsafe(24))
    odd = story.secret("password in a malformed address", randomness.token_urlsafe(24))
    admins = {
        "shopdb": at.url("canary_broker", password),
        "gone": f"postgresql://canary_broker:{lost}@127.0.0.1:9/shop",
        "odd": f"postgresql://canary_broker:{odd}@[::1/shop",
    }
    configuration = CONFIGURATION.format(url=url)
    for name, admin in admins.items():
        (apart / name).write_text(f"{admin}\n")
        (apart / name).chmod(0o600)
        configuration += TARGET.format(name=name, admin=apart / name)
    (place.state / "taskbound.toml").write_text(configuration)
    story.command("policy", "init")
    with place.up() as about:
        (place.state / "policy/profiles").mkdir()
        for command in (("identity", "register", "agent/canary", "--owner", about["operator"]),
                        ("tools", "derive", "workspace", "--write")):  # fmt: skip
            story.command(*command)
        profile = PROFILE.format(owner=about["operator"])
        (place.state / "policy/profiles/all.toml").write_text(profile)
        (place.state / "policy/profiles/more.toml").write_text(profile + GONE)
        story.command("policy", "check")
        story.command("policy", "load")
        transport = httpx2.HTTPTransport(uds=str(place.state / "run/api.sock"))
        gateway = about["gateway"].removesuffix("/mcp")
        with (
            httpx2.Client(transport=transport, base_url="http://localhost", timeout=20) as operator,
            httpx2.Client(base_url=gateway, timeout=20) as stranger,
        ):
            works(story, operator, stranger, apart)
            goes_wrong(story, operator, stranger)
            story.files("while it runs", place.state)
            for path in ("/metrics", "/healthz", "/readyz", "/v1/leases", "/v1/tasks", "/v1/identities", "/v1/events"):
                story.ask(operator, "GET", path)
            closes(story, operator)
    story.command("audit", "export", str(place.state.parent / "exports/offline"))
    story.command("audit", "verify", str(place.state.parent / "exports/offline"))


def works(story: Story, operator: httpx2.Client, stranger: httpx2.Client, apart: Path) -> None:
    """Each way to a secret: tasks by the command and the API, a child, leases, an upstream's bearer, `run`, a join."""
    story.command("task", "open", "--profile", "all", "--agent", "canary", "--json", delivers="token")
    opened, handle = story.asked_for(operator, "/v1/tasks", {"profile": "all", "actor": "agent/canary"}, "handle")
    agent = {"Authorization": f"Bearer {handle}"}
    with httpx2.Client(base_url=stranger.base_url, headers=agent, timeout=20) as mine:
        wish = {"profile": "all", "actor": "agent/canary", "budget": {"calls": 2, "leases": 2}}
        story.asked_for(mine, "/v1/tasks", wish, "handle")
        leases = f"/v1/tasks/{opened['task']}/leases"
        for _ in range(2):
            story.asked_for(mine, leases, {"lease": "shopdb/reader"}, "credential", "password")
        said = story.secret("free text", randomness.token_urlsafe(24))
        answer = mine.post("/mcp/workspace", json=tool("echo", text=said), headers=ACCEPT)  # comes back, so it is told
        story.searched("the echo", answer.text.replace(said, ""))
        assert not result(answer)["isError"], answer.text
    told = apart / "told"
    story.command("run", "--profile", "all", "--agent", "canary", "--", sys.executable, "-c", AGENT, str(told))
    for name, value in json.loads(told.read_text()).items():
        story.secret(f"{name} of run", value)
    story.command("identity", "register", "service/joins", "--owner", owner(operator), "--attestor", "join_token")
    _, joins = story.asked_for(operator, "/v1/identities/service/joins/join", {}, "token")
    for _ in range(2):  # the second time it is a replay, and both are refused: it may open nothing
        story.ask(operator, "POST", "/v1/tasks", json={"profile": "none"}, headers={"Authorization": f"Bearer {joins}"})


def goes_wrong(story: Story, operator: httpx2.Client, stranger: httpx2.Client) -> None:
    """Whatever is refused or fails with a secret in it, or near one."""
    opened, handle = story.asked_for(operator, "/v1/tasks", {"profile": "more", "actor": "agent/canary"}, "handle")
    id, wrong = opened["task"], story.secret("a handle of no task", f"tbh_{randomness.token_urlsafe(32)}")
    agent = {"Authorization": f"Bearer {handle}", **ACCEPT}
    for target in ("gone", "odd"):
        asked = {"lease": f"{target}/reader"}
        failed = story.ask(stranger, "POST", f"/v1/tasks/{id}/leases", json=asked, headers=agent)
        assert failed.status_code == 503, failed.text
    for header in (f"Bearer {wrong}", f"Bearer {handle}x", f"bearer  {handle}", f"Basic {b64(handle)}", handle,
                   f"Bearer tbj_{wrong[4:]}.1"):  # fmt: skip
        for path in ("/mcp", "/mcp/workspace", f"/v1/tasks/{id}/end"):
            story.ask(stranger, "POST", path, json=tool("echo", text="x"), headers={"Authorization": header})
    for path in (f"/v1/tasks/{handle}", f"/v1/why/{handle}", f"/v1/tasks/{handle}/receipt", f"/{handle}",
                 f"/v1/tasks/{id}?h={handle}", f"/mcp/{handle}", f"/v1/identities/agent/{handle}"):  # fmt: skip
        for client in (operator, stranger):
            story.ask(client, "GET", path)
            story.ask(client, "GET", path, headers=agent)
            story.ask(client, "POST", f"{path}/end", json={}, headers=agent)
    bodies: tuple[Any, ...] = (
        f'{{"profile": "all", "handle": "{handle}"', f'{{"{handle}": 1, "{handle}": 2}}', f'"{handle}"',
        {"profile": handle}, {"profile": ["x", handle]}, {"life_s": handle}, {"set": {handle: 1}},
        {"budget": {handle: 1}},
        {"profile": "all", "set": {"x": handle}}, {"actor": handle}, {"actor": f"agent/{handle}"}, {handle: 1},
        {"cause": handle}, {"parent": handle}, {"lease": handle}, {"lease": f"shopdb/{handle}"},
        {"authorization_details": [{"type": handle}]}, {"subject": handle},
    )  # fmt: skip
    for body in bodies:
        content = body if isinstance(body, str) else json.dumps(body)
        for client, where in ((operator, "/v1/tasks"), (stranger, "/v1/tasks"), (operator, f"/v1/tasks/{id}/leases"),
                              (stranger, "/mcp/workspace"), (operator, "/v1/identities")):  # fmt: skip
            story.ask(client, "POST", where, content=content, headers={**JSON, **agent})
            story.ask(client, "POST", where, content=content, headers=JSON)
    said = story.secret("refused free text", randomness.token_urlsafe(24))
    for message in (tool("echo", text=[said]), tool("echo", text=said, more=said), tool("fail", text=said),
                    tool("fail"), {**tool("echo"), "params": [said]},
                    {**tool("echo", text=said), "jsonrpc": "1.0"}):  # fmt: skip
        story.ask(stranger, "POST", "/mcp/workspace", json=message, headers=agent)
    story.ask(operator, "POST", f"/v1/tasks/{id}/end", json={"reason": "the end of what went wrong"})
    ended = story.ask(stranger, "POST", "/mcp/workspace", json=tool("echo", text=said), headers=agent)
    assert result(ended)["_meta"]["io.taskbound/decision"]["code"] == "task_ended"
    assert {400, 401, 403, 404, 503} <= set(story.statuses), sorted(set(story.statuses))


def closes(story: Story, operator: httpx2.Client) -> None:
    """Everything ends and is closed; then what the account says of it, in every form that there is."""

    def told() -> dict[str, str]:
        """Return the state of each task; what is at a target that is not reached is never closed."""
        found = operator.get("/v1/tasks").json()["tasks"]
        return {task["task"]: task["state"] for task in found if task["profile"] == "all"}

    tasks = list(told())
    for task in tasks:
        operator.post(f"/v1/tasks/{task}/end", json={})
    until(lambda: set(told().values()) == {"closed"}, 30)
    story.command("why", tasks[0])
    for task in tasks:
        story.ask(operator, "GET", f"/v1/why/{task}")
        story.ask(operator, "GET", f"/v1/tasks/{task}/receipt")
    story.command("receipt", "show", tasks[0])
    for words in (("task", "list", "--json"), ("lease", "list"), ("identity", "list"), ("audit", "tail")):
        story.command(*words)
    (story.place.state.parent / "exports").mkdir()
    story.command("audit", "export", str(story.place.state.parent / "exports/online"))


ACCEPT = {"accept": "application/json, text/event-stream"}
JSON = {"content-type": "application/json"}


def tool(name: str, **arguments: Any) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": name, "arguments": arguments}}


def result(answer: httpx2.Response) -> Mapping[str, Any]:
    text = answer.text.partition("data: ")[2] if "event-stream" in answer.headers["content-type"] else answer.text
    told: Mapping[str, Any] = json.loads(text)["result"]
    return told


def owner(operator: httpx2.Client) -> str:
    names = [one["name"] for one in operator.get("/v1/identities").json()["identities"]]
    return next(str(name) for name in names if name.startswith("human/"))


def b64(text: str) -> str:
    return base64.b64encode(f"taskbound:{text}".encode()).decode()


def test_no_secret_stands_anywhere_but_in_the_answer_that_delivers_it(told):
    story, shown = told
    places = [*story.places, *shown.places()]
    size = sum(len(data) for _, data in places)
    note(f"{len(story.secrets)} secrets, {len(places)} places, {size >> 10} KiB; processes seen {shown.looks} times")
    found = leaks(story.secrets, places)
    assert not found, "\n".join(sorted({str(leak) for leak in found}))


def test_the_search_saw_what_it_must_see(told):
    """That the story is the one that is meant: what is public of each secret stands where it must."""
    story, shown = told
    kinds = {name.rsplit(" ", 1)[0] for name in story.secrets}
    assert kinds >= {"token", "handle", "password", "admin's password", "free text", "handle of run", "log.pem"}, kinds
    by_name: dict[str, bytes] = {}
    for name, data in story.places:
        by_name[name] = by_name.get(name, b"") + data
    assert b"CREATE ROLE" in by_name["PostgreSQL's log"] and b"canary_broker" in by_name["PostgreSQL's log"]
    assert b"call.denied" in by_name["home/taskbound.db after"] + by_name.get("home/taskbound.db-wal after", b"")
    assert any(b"postgres" in data for _, data in shown.places()) and shown.looks > 10
    assert b"taskbound_open_tasks" in b"".join(data for name, data in story.places if name.startswith("answer"))


def test_control_a_secret_in_each_kind_of_place_is_found(told):
    story, _ = told
    name, secret = next((n, s) for n, s in story.secrets.items() if n.startswith("handle"))
    for place, data in {place.split(" ")[0]: (place, data) for place, data in story.places}.values():
        middle = len(data) // 2
        planted = data[:middle] + base64.b64encode(b"a" + secret) + data[middle:]
        assert [leak.secret for leak in leaks({name: secret}, [(place, planted)])], place
    with watching() as shown:
        subprocess.run([sys.executable, "-c", "import time; time.sleep(0.3)", secret.decode()], check=True)
    assert all(leak.place.startswith("/proc/…/cmdline of") for leak in leaks({name: secret}, shown.places()))
    assert leaks({name: secret}, shown.places())
