"""A workload on another machine, from its join token to its last call: `up` over TLS, with a key that never leaves it.

The real command and a real certificate; the client stands on this machine, and asks at an address that is not loopback.
"""

import json
import socket
import ssl
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.certificates import Authority, written
from tests.prover import Prover
from tests.served import Workspace, served
from tests.stories.place import Place

ISSUER = Authority()
ECHO = {"type": "taskbound_grant", "actions": ["tools/call"], "identifier": "workspace/echo", "when": {"text": "any"}}
CONFIG = """
trust_domain = "example.org"
[listen]
api = ["unix:run/api.sock", "{address}:0"]
gateway = ["127.0.0.1:0", "{address}:0"]
[listen.tls]
certificate = "file:{certificate}"
key = "file:{key}"
[[upstream]]
name = "workspace"
url = "{upstream}/mcp"
"""


def own_address() -> str:
    """Return an address of this machine that is not loopback; nothing is sent."""
    try:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
            asking.connect(("192.0.2.1", 9))
            address = str(asking.getsockname()[0])
    except OSError:
        address = "127.0.0.1"
    if address.startswith("127."):
        pytest.skip("this machine has no address but loopback")
    return address


class Remote:
    """A client with a key; over TLS, believing the test's authority alone."""

    def __init__(self) -> None:
        self.key = Prover()
        self.token = ""
        self._http = httpx2.Client(verify=ssl.create_default_context(cadata=ISSUER.pem), timeout=20, trust_env=False)

    def ask(
        self, method: str, url: str, body: Any = None, headers: Mapping[str, str] = {}, key: Prover | None = None
    ) -> httpx2.Response:
        sent = (key or self.key).headers(method, url, self.token) if self.token else {}
        return self._http.request(method, url, json=body, headers={**sent, **headers})

    def join(self, api: str, token: str) -> dict[str, Any]:
        url = f"{api}/v1/tasks"
        answer = self._http.post(
            url,
            json={"authorization_details": [ECHO], "intent": "echo"},
            headers={"authorization": f"Bearer {token}", "dpop": self.key.proof("POST", url)},
        )
        assert answer.status_code == 201, answer.text
        opened: dict[str, Any] = answer.json()
        self.token = opened["token"]
        return opened

    def call(self, mcp: str, text: str, headers: Mapping[str, str] = {}, key: Prover | None = None) -> httpx2.Response:
        params = {"name": "echo", "arguments": {"text": text}}
        asked = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}
        accepts = {"accept": "application/json, text/event-stream"}
        return self.ask("POST", f"{mcp}/workspace", asked, {**accepts, **headers}, key)


def said(answer: httpx2.Response) -> dict[str, Any]:
    text = answer.text.partition("data: ")[2] if "event-stream" in answer.headers["content-type"] else answer.text
    told: dict[str, Any] = json.loads(text)["result"]
    return told


@pytest.fixture
def place(tmp_path: Any) -> Place:
    return Place(tmp_path / "home")


@pytest.fixture
def workspace() -> Iterator[tuple[Workspace, str]]:
    made = Workspace()
    with served(made.app) as address:
        yield made, address


def configured(place: Place, upstream: str, certificate: str = "", key: str = "") -> str:
    address = own_address()
    if not certificate:
        certificate, key = ISSUER.certificate(address, "taskbound.example")
    paths = written(place.state.parent, certificate, key)
    text = CONFIG.format(address=address, certificate=paths[0], key=paths[1], upstream=upstream)
    (place.state / "taskbound.toml").write_text(text)
    return address


def opened(place: Place, about: Mapping[str, Any]) -> tuple[Remote, str, dict[str, Any]]:
    """Let a workload join; return it, the API's address and its task."""
    place.done("tools", "derive", "workspace", "--write")
    place.done("policy", "load")
    owner = about["operator"]
    place.client.request("POST", "/v1/identities", {"name": "agent/remote", "owner": owner, "attestor": "join_token"})
    token = place.client.request("POST", "/v1/identities/agent/remote/join", {"life_s": 60})["token"]
    remote = Remote()
    api = next(one for one in about["api"] if one.startswith("https://"))
    return remote, api, remote.join(api, token)


def test_a_workload_elsewhere_works_with_a_token_that_nobody_else_can_use(place, workspace):
    made, upstream = workspace
    configured(place, upstream)
    place.done("policy", "init")
    with place.up() as about:
        # 01-join: it proves itself once, and gets a token that is bound to its key, and no bearer.
        remote, api, task = opened(place, about)
        assert task["handle"] is None and task["gateway"] == about["beyond"] and about["beyond"].startswith("https://")
        # 02-call: the gateway lets it in as it would with a handle.
        assert said(remote.call(task["gateway"], "hello"))["content"][0]["text"] == "hello"
        assert made.ran == [("echo", "hello")]
        assert all("dpop" not in headers and remote.token not in str(headers) for headers, _ in made.requests)
        # 03-stolen: without the key the token is worth nothing, also with a proof that was seen.
        assert remote.call(task["gateway"], "stolen", key=Prover()).status_code == 401
        bearer = remote.call(task["gateway"], "stolen", {"authorization": f"Bearer {remote.token}"})
        assert bearer.status_code == 401 and bearer.headers["www-authenticate"].startswith("DPoP ")
        url = f"{api}/v1/tasks/{task['task']}/heartbeat"
        seen = remote.key.headers("POST", url, remote.token)
        answers = [remote.ask("POST", url, headers=seen) for _ in range(2)]
        assert [answer.status_code for answer in answers] == [200, 401]
        assert answers[1].json()["error"] == "invalid_dpop_proof"
        # 04-heartbeat: there is another token once less than half of this one's life is left.
        assert answers[0].json()["token"] is None
        assert said(remote.call(task["gateway"], "again"))["content"][0]["text"] == "again"
        # 05-ended: by the operator; the next call is denied and on record, and nothing is issued any more.
        place.done("task", "end", task["task"])
        denied = said(remote.call(task["gateway"], "too late"))
        assert denied["isError"] and denied["_meta"]["io.taskbound/decision"]["code"] == "task_ended"
        assert remote.ask("POST", url).status_code == 401
        assert [text for _, text in made.ran] == ["hello", "again"]
    place.done("audit", "export", str(place.state.parent / "export"))
    assert "verified" in place.done("audit", "verify", str(place.state.parent / "export"))


def test_beyond_this_machine_nobody_is_the_operator_and_no_handle_is_one(place, workspace):
    address = configured(place, workspace[1])
    place.done("policy", "init")
    with place.up() as about:
        _, api, _ = opened(place, about)
        stranger = Remote()
        assert stranger.ask("GET", f"{api}/healthz").status_code == 200
        (key,) = stranger.ask("GET", f"{api}/.well-known/jwks.json").json()["keys"]
        assert (key["kty"], key["alg"], "d" in key) == ("EC", "ES256", False)
        for path in ("/v1/tasks", "/v1/identities", "/v1/events", "/metrics", "/readyz"):
            assert stranger.ask("GET", f"{api}{path}").status_code == 401, path
        local = place.client.request("POST", "/v1/tasks", {"authorization_details": [ECHO], "intent": "echo"})
        handle = {"authorization": f"Bearer {local['handle']}"}
        assert stranger.ask("GET", f"{api}/v1/tasks/{local['task']}", headers=handle).status_code == 401
        assert stranger.ask("POST", about["beyond"], {}, handle).status_code == 401
        # On this machine a handle works as ever, in plain HTTP, and the agent's address is that listener's.
        assert local["gateway"].startswith("http://127.0.0.1:")
        assert httpx2.post(local["gateway"], json={}, headers=handle, trust_env=False).status_code == 400
        for host in ("evil.example", "localhost", "127.0.0.1"):
            assert stranger.ask("GET", f"{api}/healthz", headers={"host": host}).status_code == 403, host
        assert stranger.ask("GET", f"{api}/healthz", headers={"host": "taskbound.example"}).status_code == 200
        with pytest.raises(httpx2.HTTPError):
            httpx2.get(f"http://{address}:{api.rpartition(':')[2]}/healthz", trust_env=False)


def test_a_certificate_that_cannot_be_used_stops_the_start_before_anything_changes(place):
    address = own_address()
    (certificate, _), (_, key) = (ISSUER.certificate(address) for _ in range(2))
    configured(place, "http://127.0.0.1:9", certificate, key)
    refused = place.command("up", "--json")
    assert refused.returncode == 2 and json.loads(refused.stdout)["error"] == "invalid_config"
    assert "another certificate" in refused.stdout and "BEGIN" not in refused.stdout + refused.stderr
    lines = (place.state / "taskbound.toml").read_text().splitlines()
    (named,) = (one for one in enumerate(lines, start=1) if one[1].startswith("key = "))
    Path(named[1].partition("file:")[2].rstrip('"')).unlink()
    refused = place.command("up", "--json")
    told = json.loads(refused.stdout)["error_description"]
    assert refused.returncode == 2 and "cannot be read: No such file or directory" in told
    assert told.startswith(f"{place.state}/taskbound.toml line {named[0]}: ")
    assert sorted(path.name for path in place.state.iterdir()) == ["taskbound.toml"]
