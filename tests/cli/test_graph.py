"""`taskbound graph` as people and scripts type it."""

import base64
import json
import stat
import subprocess
from pathlib import Path

import pytest

from taskbound.cli import main

PASSWORD = "ghq8Fk2Lw91xZtR4"
SERVER = {"command": "npx", "args": ["server"], "env": {"DB": f"postgres://app:{PASSWORD}@db.corp.example:5432/pay"}}


@pytest.fixture
def say(capsys, monkeypatch, tmp_path):
    monkeypatch.setenv("TASKBOUND_HOME", str(tmp_path / "state"))
    (tmp_path / "work" / ".git").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "work")
    Path(".mcp.json").write_text(json.dumps({"mcpServers": {"pg": SERVER}}, indent=1))
    Path(".env").write_text(f"DATABASE_URL=postgres://app:{PASSWORD}@db.corp.example:5432/pay\n")

    def say(*words: str) -> tuple[int, str, str]:
        capsys.readouterr()
        status = main(["graph", *words])
        told = capsys.readouterr()
        assert PASSWORD not in told.out + told.err
        return status, told.out, told.err

    return say


def test_what_an_agent_reaches_is_told_with_each_step(say):
    status, out, _ = say("reach", "mcp:pg@work")
    assert status == 0 and out.startswith("agent mcp:pg@work reaches 1 target, 1 credential")
    assert "  db.corp.example:5432/pay\n    mcp:pg@work holds " in out and ".mcp.json:" in out


def test_who_else_holds_it_and_what_breaks_is_told_by_its_last_four(say):
    status, out, _ = say("holders", PASSWORD[-4:])
    assert status == 0 and " has 2 holders" in out and "mcp:pg@work" in out and ".env:1" in out
    status, out, _ = say("rotate", "mcp:pg@work", "--format", "json")
    (one,) = json.loads(out)["credentials"]
    assert {holder["name"] for holder in one["holders"]} == {"mcp:pg@work", "env:work"}
    assert (one["uses"], one["identities"]) == ([], [])


@pytest.mark.parametrize("name", [PASSWORD, "mcp:pgg"])
def test_a_name_that_nothing_has_is_refused_with_the_nearest_and_never_repeated(say, name):
    status, out, err = say("reach", name)
    assert (status, out) == (1, "") and "nothing that was seen has that name (not_found)" in err
    assert ("hint: nearest: mcp:pg@work" in err) == (name == "mcp:pgg")


def test_what_a_repository_keeps_is_looked_at_too_where_that_is_asked(say):
    subprocess.run(["git", "init", "-q", "."], check=True)
    who = ("-c", "user.name=n", "-c", "user.email=n@corp.example")
    subprocess.run(["git", "add", "-A"], check=True)
    subprocess.run(["git", *who, "commit", "-qm", "one"], check=True)
    Path(".env").unlink()
    Path(".mcp.json").unlink()
    assert say("holders", PASSWORD[-4:])[0] == 1, "it is in no file any more"
    status, out, _ = say("holders", PASSWORD[-4:], "--history")
    assert status == 0 and "!/" in out


def test_the_day_counts_that_is_named(say):
    body = {"exp": 1_900_000_000, "sub": "app"}  # in 2030
    head, told = (
        base64.urlsafe_b64encode(json.dumps(one).encode()).rstrip(b"=").decode() for one in ({"alg": "HS256"}, body)
    )
    token = f"{head}.{told}.{'kR7vQ2mX9bL4nW8zT3cF6hJ1pY5sD0aGeUiOqBxYzAb'}"
    Path(".env").write_text(f"API_TOKEN={token}\n")
    assert say("holders", token[-4:], "--as-of", "2029-01-01")[0] == 0
    assert say("holders", token[-4:], "--as-of", "2031-01-01")[0] == 1, "it has ended by then"
    assert say("holders", token[-4:], "--as-of", "soon")[0] == 2


def test_a_folder_that_is_not_there_is_an_error(say):
    assert say("reach", "x", "nowhere")[0] == 1
    assert say("reach")[0] == 2 and say("picture")[0] == 2


def test_the_picture_is_one_file_for_its_owner_alone(say):
    assert say("picture", "--out", "g.html", "--of", "mcp:pg@work")[0] == 0
    page = Path("g.html")
    assert stat.S_IMODE(page.stat().st_mode) == 0o600
    assert "Around mcp:pg@work" in page.read_text() and PASSWORD not in page.read_text()


def test_a_picture_takes_the_place_of_a_picture_and_of_nothing_else(say):
    Path("notes.html").write_text("<!doctype html>my notes")
    status, out, err = say("picture", "--out", "notes.html")
    assert (status, out) == (1, "") and "notes.html exists, and is no picture of this command (conflict)" in err
    assert Path("notes.html").read_text() == "<!doctype html>my notes"
    Path("empty.html").touch()
    for _ in range(2):
        assert say("picture", "--out", "empty.html")[0] == 0
    assert say("picture", "--out", "/dev/null")[0] == 0
