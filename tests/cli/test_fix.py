"""`taskbound fix` and `taskbound target` as they are typed: what is said, asked and refused. No value is repeated."""

import base64
import hashlib
import io
import json
import re
import shlex
import stat
import sys
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from taskbound.cli import main
from taskbound.core.errors import Unavailable
from taskbound.plugins.issuers.postgres import PostgresIssuer
from tests.app.test_fix import ENV, KEY, PASSWORD, TOKEN, Tree, forms

VALUES = [form.decode() for value in (TOKEN, PASSWORD, KEY) for form in forms(value)]


@pytest.fixture
def tree(tmp_path, monkeypatch) -> Tree:
    made = Tree(tmp_path)
    monkeypatch.setenv("TASKBOUND_HOME", str(made.state))
    monkeypatch.chdir(made.place)
    return made


@pytest.fixture
def say(capfd):
    def typed(*words: Any) -> tuple[int, str, str]:
        status = main([str(word) for word in words])
        out, err = capfd.readouterr()
        assert not [one for one in VALUES if one in out + err]
        return status, out, err

    return typed


def answers(monkeypatch, text: str) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(text.encode())))


def test_a_target_of_an_environment_is_told_with_who_is_given_it(tree, say):
    """A policy denies it to all others (nhi8), and nothing else says so before the first run."""
    Path("deploy/staging").mkdir(parents=True)
    Path("deploy/staging/.env").write_text("OTHER_PASSWORD=ghq8Fk2Lw91xZtR4\n")
    out = say("discover", "deploy", "--json")[1]
    (command,) = {one["fix"] for one in json.loads(out)["findings"] if one["fix"]}
    err = say(*command.split()[1:])[2]
    line = "other_password is for agents of staging alone: "
    line += "taskbound identity register agent/NAME --owner human/YOU --environment staging"
    assert line in err
    out = say("discover", ".", "--json")[1]
    here = next(one["fix"] for one in json.loads(out)["findings"] if one["fix"] and one["places"][0]["path"] == ".env")
    assert "is for agents of" not in say(*here.split()[1:])[2]


def test_discover_names_the_command_and_it_does_what_it_says(tree, say):
    _, out, _ = say("discover", ".")
    ids = re.findall(r"fix   taskbound fix ([0-9a-f]{12})", out)
    assert len(ids) >= 4
    status, shown, err = say("fix", ids[0], "--dry-run")
    assert (status, shown.startswith("--- a/")) == (0, True) and "nothing was changed" in err
    assert not (tree.state / "keys/static").exists()
    status, out, err = say("fix", ids[0])
    assert (status, out) == (0, shown)
    assert re.search(r'\n\[\[grant\]\]\nlease = "\w+/value"\n', err), "it can be pasted into a profile"
    for said in ("policy/profiles/NAME.toml", "taskbound run --profile PROFILE --resolve", "--undo --with-secrets"):
        assert said in err


@pytest.mark.parametrize(
    "words",
    [["."], ["a b"], ["./a b"], ["a b/.env", "other"], ["a b", "--export", "the lists"], ["--home"], ["--", "-x"]],
)
def test_what_is_printed_is_typed_as_it_is(tree, say, monkeypatch, words):
    """Each command that `discover` prints leads to its finding, wherever it was told to look."""
    for folder in ("a b", "-x", "other", "the lists"):
        tree.write(f"{folder}/.env", f"# {folder}\nGITHUB_TOKEN={TOKEN}\n")
    monkeypatch.setenv("HOME", str(tree.place / "home"))
    tree.write(
        "home/.claude.json", f'{{"mcpServers": {{"a": {{"command": "x", "env": {{"GITHUB_TOKEN": "{TOKEN}"}}}}}}}}'
    )
    out = say("discover", *words)[1]
    printed = re.findall(r"^(?:next:|  fix  ) (taskbound fix .*?)(?:  \(.*|$)", out, re.MULTILINE)
    assert len(printed) >= 2, out
    for command in printed[:2]:
        taskbound, *typed = shlex.split(command)
        status, shown, err = say(*typed, *([] if "--dry-run" in typed else ["--dry-run"]))
        assert (taskbound, status, shown.startswith("--- a/")) == ("taskbound", 0, True), (command, err)


def test_what_starts_the_program_names_the_file_as_it_is_found_from_here(tree, say):
    tree.write("a b/.env", f"GITHUB_TOKEN={TOKEN}\n")
    command = re.search(r"^next: (.*) --dry-run$", say("discover", "a b")[1], re.MULTILINE)
    assert command
    err = say(*shlex.split(command[1])[1:])[2]
    assert "taskbound run --profile PROFILE --resolve 'a b/.env' -- PROGRAM" in err


def test_of_one_credential_for_several_the_command_is_told_that_splits_it(tree, say):
    server = f'{{"mcpServers": {{"a": {{"command": "x", "env": {{"GITHUB_TOKEN": "{TOKEN}"}}}}}}}}'
    compose = f"services:\n  web:\n    image: web\n    environment:\n      GITHUB_TOKEN: {TOKEN}\n"
    for name, text in (("a/.mcp.json", server), ("b/.cursor/mcp.json", server), ("b/compose.yml", compose)):
        tree.write(f"several/repos/{name}", text)
    out = say("discover", "several")[1]
    worst, command = (re.search(rf"^{of}: (.*)$", out, re.MULTILINE) for of in ("worst", "next"))
    assert worst and command and worst[1].startswith("critical: One credential for an agent and a running service")
    status, shown, err = say(*shlex.split(command[1])[1:])
    assert (status, shown.count("--- a/")) == (0, 3) and "make one for each holder" in err


def test_a_name_that_is_missing_is_told_alone(tree, say):
    assert say("fix") == (2, "", "the following arguments are required: FINDING\nhint: taskbound fix --help\n")


def test_secrets_come_back_when_they_are_asked_for_and_somebody_says_yes(tree, say, monkeypatch):
    before, id = tree.everything(), tree.ids("dotenv-committed")[0]
    say("fix", id)
    fixed = tree.everything()
    status, _, err = say("fix", id, "--undo")
    assert status == 2 and "nothing was changed" in err and "--with-secrets" in err
    for no in ("no\n", "", "y\n"):
        answers(monkeypatch, no)
        assert say("fix", id, "--undo", "--with-secrets")[0] == 1
    assert say("fix", id, "--undo", "--dry-run")[0] == 0
    assert tree.everything() == fixed
    answers(monkeypatch, "yes\n")
    assert say("fix", id, "--undo", "--with-secrets")[0] == 0
    assert tree.everything() == before


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["0123456789ab"], "there is no finding 0123456789ab here"),
        (["x"], "that is no id of a finding"),
        (["0123456789ab", "--with-secrets"], "--with-secrets goes with --undo"),
        (["0123456789ab", "--kill"], "--kill goes with"),
        (["0123456789ab", "--postgres", "postgresql://h/d"], "--kill goes with"),
        (["0123456789ab", "--undo"], "nothing is written down"),
        (["0123456789ab", "--kill", "--redis", "redis://h"], "nothing is written down"),
    ],
)
def test_what_cannot_be_done_is_refused_with_a_hint(tree, say, words, says):
    status, _, err = say("fix", *words)
    assert status in (1, 2) and says in err and "hint:" in err


def test_a_workflow_is_shown_and_written_on_request(tree, say):
    keys = "    env:\n      AWS_SECRET_ACCESS_KEY: ${{ secrets.KEY }}\n"
    file = tree.write(".github/workflows/a.yml", f"on: push\njobs:\n  a:\n{keys}    steps:\n      - run: make\n")
    before, id = file.read_bytes(), tree.ids("static-cloud-key-in-pipeline")[0]
    status, out, err = say("fix", id)
    assert status == 0 and "+      id-token: write" in out and "nothing was changed" in err and "--write" in err
    assert file.read_bytes() == before
    status, _, err = say("fix", id, "--write")
    assert status == 0 and b"role-to-assume" in file.read_bytes() and "step 1 is yours:" in err
    assert err.endswith(f"to put it back: taskbound fix {id} --undo\n")
    assert say("fix", id, "--undo")[0] == 0
    assert file.read_bytes() == before


def test_a_workflow_whose_key_is_kept_nowhere_is_put_back_by_what_is_said(tree, say):
    literal = base64.b64encode(hashlib.sha256(b"a workflow").digest()).decode()[:40]
    keys = f"    env:\n      AWS_SECRET_ACCESS_KEY: {literal}\n"
    file = tree.write(".github/workflows/a.yml", f"on: push\njobs:\n  a:\n{keys}    steps:\n      - run: make\n")
    id = tree.ids("static-cloud-key-in-pipeline")[0]
    status, _, err = say("fix", id, "--write")
    assert (
        literal not in err
        and status == 0
        and err.endswith(f"to put it back: git -C {file.parent} checkout -- {file.name}\n")
    )
    assert say("fix", id, "--undo", "--with-secrets", "--yes")[0] == 1, "what is not said is not possible"


def test_beside_a_workflow_that_is_kept_nowhere_the_other_files_are_put_back_and_it_is_told(tree, say):
    key, literal = "AKIAIL5IQ7XWZ2MFKD3R", base64.b64encode(hashlib.sha256(b"a workflow").digest()).decode()[:40]
    env = f'"env": {{"AWS_ACCESS_KEY_ID": "{key}", "AWS_SECRET_ACCESS_KEY": "{literal}"}}'
    agent = tree.write(".mcp.json", f'{{"mcpServers": {{"s3": {{"command": "s3-mcp", {env}}}}}}}\n')
    keys = f"    env:\n      AWS_ACCESS_KEY_ID: {key}\n      AWS_SECRET_ACCESS_KEY: {literal}\n"
    file = tree.write(".github/workflows/a.yml", f"on: push\njobs:\n  a:\n{keys}    steps:\n      - run: make\n")
    before, id = agent.read_bytes(), tree.ids("credential-shared-agent-and-ci")[0]
    status, _, err = say("fix", id, "--write")
    assert status == 0 and f"to put it back: taskbound fix {id} --undo --with-secrets\n" in err
    told = f"kept nowhere, since a literal secret stood there: git -C {file.parent} checkout -- {file.name}\n"
    assert literal not in err and err.endswith(told)
    file.write_text(file.read_text() + "# more\n")
    for words, done in ((["--dry-run"], 0), (["--with-secrets", "--yes"], 1)):
        status, _, err = say("fix", id, "--undo", *words)
        assert (status, told in err, literal in err) == (done, True, False)
    assert agent.read_bytes() == before


def test_a_value_is_put_in_from_standard_input_and_listed_without_it(tree, say, monkeypatch):
    answers(monkeypatch, f"{TOKEN}\n")
    status, _, err = say("target", "put", "github")
    assert status == 0 and "not configured yet" in err
    file = tree.state / "keys/static/github/value"
    assert (file.read_text(), stat.S_IMODE(file.stat().st_mode)) == (TOKEN, 0o600)
    assert "github  (not configured)  yes" in say("target", "list")[1]
    (tree.state / "taskbound.toml").write_text('[[target]]\nname = "github"\nprovider = "static"\n')
    assert "github  static    yes" in say("target", "list")[1]


@pytest.mark.parametrize(("name", "value"), [("A b", "x"), ("a", ""), ("a", "x\0y"), ("a", "x" * (65 << 10))])
def test_what_is_no_target_or_no_value_is_refused(tree, say, monkeypatch, name, value):
    answers(monkeypatch, value)
    assert say("target", "put", name)[0] == 1
    assert list(Path(tree.state).rglob("value")) == []


class Alive:
    """A server that lets in `app` by its password alone, until it is ended."""

    def __init__(self) -> None:
        self.ended = list[str]()

    async def probe(self, login, password):
        return "alive" if login not in self.ended and password.reveal() == PASSWORD else "dead"

    async def kill(self, login):
        self.ended.append(login)


def test_what_is_as_it_was_before_is_said_to_be_and_nothing_is_asked(tree, say):
    id = tree.fix("dotenv-committed").finding.id
    tree.write(".env", ENV)
    for words in (("--dry-run",), (), ()):
        status, _, err = say("fix", id, "--undo", *words)
        assert status == (0 if err.startswith("every file is as it was before that fix") else 1)
    assert "nothing is written down" in err, "nor is anything kept for it"


@pytest.fixture
def alive(monkeypatch):
    server = Alive()
    monkeypatch.setattr(PostgresIssuer, "probe", lambda _, *words: server.probe(*words))
    monkeypatch.setattr(PostgresIssuer, "kill", lambda _, *words: server.kill(*words))
    return server


KILL = ("--kill", "--yes", "--postgres", "postgresql://postgres@localhost:5433/shop")


def test_what_is_ended_is_written_down_before_it_is(tree, say, alive, monkeypatch):
    id = tree.fix("dotenv-committed").finding.id
    written = list[str]()

    async def kill(login):
        written.append((tree.state / "fixes.jsonl").read_text())
        raise Unavailable("it gave no answer")

    monkeypatch.setattr(alive, "kill", kill)
    assert say("fix", id, *KILL)[0] == 3
    assert "ending app at postgresql://localhost:5433" in written[0]


def test_the_login_by_which_taskbound_works_is_not_ended(tree, say, alive, monkeypatch):
    id = tree.fix("dotenv-committed").finding.id
    monkeypatch.setenv("SHOP", f"postgresql://app:{quote(PASSWORD, safe='')}@127.0.0.1:5433/shop")
    text = (tree.state / "taskbound.toml").read_text()
    (tree.state / "taskbound.toml").write_text(f'servers = ["env:SHOP"]\n{text}')
    status, _, err = say("fix", id, *KILL)
    assert (status, alive.ended) == (3, []) and "taskbound itself works at" in err
    monkeypatch.delenv("SHOP")
    assert say("fix", id, *KILL)[0] == 0
    assert alive.ended == ["app"]
