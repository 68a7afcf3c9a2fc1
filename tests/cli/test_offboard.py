"""`taskbound offboard` as it ends: with 1 as long as something is not shown to be dead."""

import pytest

from taskbound.cli import answer
from taskbound.cli.offboard import main

ELSEWHERE = "cannot be verified: postgresql://localhost:5432 (what was found is refused there: it may be of another)"


class Server:
    """Answers as `up` does: first what would be done, then what was."""

    def __init__(self, after: str, why: str, lease: str) -> None:
        self.login = {
            "issuer": "redis://h.shop.example:6379",
            "login": "a",
            "before": "alive",
            "after": after,
            "why": why,
        }
        self.lease = {"lease": "l1", "target": "t", "name": "n", "state": lease, "probe": None}

    def request(self, method, path, body):
        told = {"name": body["name"], "state": "registered", "groups": [], "owned": [], "tasks": [], "accepted": []}
        return told | {"leases": [self.lease], "logins": [self.login], "servers": []}


@pytest.mark.parametrize(
    ("after", "why", "lease", "status"),
    [
        pytest.param("dead", "", "revoked", 0, id="dead"),
        pytest.param("alive", "it still logs in", "revoked", 1, id="alive"),
        pytest.param("unknown", "it was not ended in time: again", "revoked", 1, id="not in time"),
        pytest.param("unknown", "it failed: KeyError", "revoked", 1, id="failed"),
        pytest.param("unknown", "cannot be verified: redis://h.shop.example:6379", "revoked", 1, id="no answer"),
        pytest.param("unknown", ELSEWHERE, "revoked", 1, id="not known to be ours"),
        pytest.param("dead", "", "revoking", 1, id="a lease"),
    ],
)
def test_it_ends_with_one_as_long_as_something_is_not_shown_to_be_dead(monkeypatch, capsys, after, why, lease, status):
    server = Server(after, why, lease)
    monkeypatch.setattr(answer, "client", lambda *_: server)
    assert main(["agent/nightly"]) == status
    assert main(["agent/nightly", "--dry-run"]) == 0
    assert "OFFBOARDED  agent/nightly" in capsys.readouterr().out
