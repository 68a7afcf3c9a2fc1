"""What a fix takes out is gone, all else stays byte for byte, and whatever fails leaves the files as they were."""

import base64
import errno
import hashlib
import json
import os
import resource
import signal
import string
import zlib
from contextlib import suppress
from datetime import date
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from taskbound.app import fix as fixing
from taskbound.app import targets
from taskbound.app.discover import Discovery, discover
from taskbound.core.errors import Conflict, InvalidRequest, NotFound, TaskboundError

LETTERS = string.digits + string.ascii_uppercase + string.ascii_lowercase


def github_token(seed: str) -> str:
    """Return a token of GitHub's form, with its checksum."""
    body = "".join(LETTERS[byte % 62] for byte in hashlib.sha256(seed.encode()).digest()[:30])
    check, left = "", zlib.crc32(body.encode())
    for _ in range(6):
        left, digit = divmod(left, 62)
        check = LETTERS[digit] + check
    return f"ghp_{body}{check}"


TOKEN, PASSWORD, KEY = github_token("fix"), "Vb7/xQ2mL9n+Zr4", "u8Kq2ZtR5wXc9Lm"
MCP = f"""{{\r
  // servers of this project, {TOKEN} in a remark\r
  "mcpServers": {{\r
    "github": {{ "command": "npx", "args": ["-y", "server@1.2.3"],\r
      "env": {{ "GITHUB_TOKEN": "{TOKEN}", }}, }},\r
    "crm": {{ "type": "http", "url": "https://crm.northlake.example/mcp",\r
      "headers": {{"Authorization": "Bearer {TOKEN}"}}, }},\r
  }},\r
}}"""
ENV = f"""# local
export DATABASE_URL=postgres://app:{quote(PASSWORD, safe="")}@db.northlake.example:5432/shop   # pool
DB_PASSWORD='{KEY}'
EMPTY=
DEBUG=1
"""
COMPOSE = f"""services:
  web: &web
    image: web:1
    environment:
      - DB_PASSWORD={KEY}   # mine
      - MODE=prod
  db:
    image: postgres:16
    environment: {{POSTGRES_PASSWORD: "{KEY}", A: 1}}
"""
FILES = {".mcp.json": MCP, ".env": ENV, "compose.yml": COMPOSE, "src/main.py": "print('hello')\n"}


class Tree:
    def __init__(self, base: Path) -> None:
        self.place, self.state = base / "project", base / "state"
        for name, text in FILES.items():
            self.write(name, text)

    def write(self, name: str, text: str) -> Path:
        file = self.place / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(text.encode())
        return file

    @property
    def asked(self) -> Discovery:
        return Discovery(as_of=date(2026, 11, 1), paths=(self.place,), state=self.state)

    def ids(self, case: str) -> list[str]:
        return [one.id for one in discover(self.asked).open if one.case == case]

    def plan(self, case: str) -> Any:
        return fixing.plan(fixing.look(self.asked, self.ids(case)[0]), self.state)

    def fix(self, case: str) -> Any:
        fixing.apply(planned := self.plan(case), self.state)
        return planned

    def everything(self) -> dict[str, tuple[bytes, int]]:
        found = [one for one in self.place.rglob("*") if one.is_file()]
        return {str(one.relative_to(self.place)): (one.read_bytes(), one.stat().st_mode) for one in found}


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    return Tree(tmp_path)


def forms(value: str) -> list[bytes]:
    """Return how a value may lie in a file: plain, in base64 wherever it begins, in a URL, in hexadecimal."""
    found = [value.encode(), quote(value, safe="").encode(), value.encode().hex().encode()]
    for before in range(3):
        text = base64.b64encode(b"x" * before + value.encode())
        found.append(text[4 if before else 0 : len(text) // 4 * 4 - 4])
    return found


MENDS = {
    "literal-secret-in-mcp-config": (".mcp.json", {TOKEN: "taskbound://github_token"}),
    "dotenv-committed": (
        ".env",
        {
            f"postgres://app:{quote(PASSWORD, safe='')}@db.northlake.example:5432/shop": "taskbound://database_url",
            KEY: "taskbound://db_password",
        },
    ),
    "secret-in-compose-file": ("compose.yml", {KEY: "taskbound://db_password"}),
}


@pytest.mark.parametrize("case", MENDS)
def test_references_stand_where_secrets_stood_and_nothing_else_changed(tree, case):
    name, replaced = MENDS[case]
    (tree.place / name).chmod(0o640)
    before = tree.everything()
    tree.fix(case)
    text = FILES[name]
    for old, new in replaced.items():
        text = text.replace(old, new)
    assert tree.everything() == {**before, name: (text.encode(), before[name][1])}
    for value in (TOKEN, PASSWORD, KEY) if name != "compose.yml" else (KEY,):
        if value in FILES[name] or quote(value, safe="") in FILES[name]:
            assert not [one for one in forms(value) if one in (tree.place / name).read_bytes()]


@pytest.mark.parametrize("case", MENDS)
def test_put_back_it_is_as_it_was(tree, case):
    before = tree.everything()
    planned = tree.fix(case)
    fixing.undo(fixing.plan_undo(tree.state, planned.finding.id), tree.state)
    assert tree.everything() == before
    with pytest.raises(NotFound):
        fixing.plan_undo(tree.state, planned.finding.id)
    said = [json.loads(line) for line in (tree.state / "fixes.jsonl").read_text().splitlines()]
    assert [(one["what"], one["with_secrets"]) for one in said] == [("fixed", False), ("put back", True)]


def test_the_values_are_in_their_targets_and_in_no_other_file_of_the_state(tree):
    for case in MENDS:
        tree.fix(case)
    kept = {name: value.reveal() for name, value in targets.kept(tree.state).items()}
    assert kept["github_token"] == TOKEN and kept["db_password"] == KEY
    assert set(kept) == {"github_token", "db_password", "database_url"}, "one text has one target"
    assert targets.configured(tree.state) == dict.fromkeys(kept, "static")
    values = [one for value in (TOKEN, PASSWORD, KEY) for one in forms(value)]
    for file in tree.state.rglob("*"):
        if file.is_file():
            assert file.stat().st_mode & 0o077 == 0
            if file.name != "value":
                assert not [one for one in values if one in file.read_bytes()], file
    assert [one.case for one in discover(tree.asked).open] == [], "nothing is found any more"


def test_a_dry_run_shows_masked_lines_and_changes_nothing(tree):
    before = tree.everything()
    for case in MENDS:
        text = "\n".join(tree.plan(case).diff())
        assert "+++ b/" in text and "taskbound://" in text
        assert not [one for value in (TOKEN, PASSWORD, KEY) for one in forms(value) if one in text.encode()]
    assert tree.everything() == before and not tree.state.exists()


def test_what_the_configuration_says_stays(tree):
    tree.state.mkdir(mode=0o700)
    text = '# mine\ntrust_domain = "example.org"  # keep\n[[upstream]]\nname = "a"\nurl = "http://127.0.0.1:1/mcp"'
    (tree.state / "taskbound.toml").write_text(text)
    tree.fix("secret-in-compose-file")
    assert (tree.state / "taskbound.toml").read_text().startswith(text + "\n")


def test_a_name_that_is_taken_is_left_alone(tree):
    tree.state.mkdir(mode=0o700)
    targets.put(tree.state, "github_token", fixing.Secret("another"))
    assert tree.fix("literal-secret-in-mcp-config").targets == ("github_token_2",)
    assert targets.kept(tree.state)["github_token"].reveal() == "another"


# --- what fails in the middle ----------------------------------------------------------------------

STEPS = ("open", "fsync", "replace", "fchmod", "listxattr", "unlink", "mkdir", "close")


class Failing:
    """Lets the nth of some calls of `os` fail."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, at: int, fail: Any) -> None:
        self.left, self.count, self.fail = at, 0, fail
        for name in STEPS:
            monkeypatch.setattr(os, name, self.wrapped(name, getattr(os, name)))

    def wrapped(self, name: str, real: Any) -> Any:
        def call(*words: Any, **more: Any) -> Any:
            self.count += 1
            if self.count == self.left:
                self.fail()
            return real(*words, **more)

        return call


def disk_full() -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


def two_files(tree: Tree) -> Any:
    """Return a plan with two files: what an agent's file and an environment file share."""
    looked = fixing.look(tree.asked, tree.ids("secret-in-compose-file")[0])
    one = fixing.plan(looked, tree.state)
    other = tree.plan("literal-secret-in-mcp-config")
    one.names.new.update(other.names.new)
    one.names.environments.update(other.names.environments)
    return fixing.Fix(one.finding, (*one.files, *other.files), one.names, (), one.detector)


def test_whatever_fails_every_file_is_as_it_was(tree, tmp_path):
    before, failures = tree.everything(), 0
    planned = two_files(tree)
    for at in range(1, 500):
        with pytest.MonkeyPatch.context() as patched:
            failing = Failing(patched, at, disk_full)
            try:
                fixing.apply(planned, tree.state)
            except (OSError, TaskboundError):
                failures += 1
            else:
                if failing.count < at:
                    break
        now = tree.everything()
        done = all(now[name][0] == moved.after for name, moved in ((one.path, one) for _, one in planned.files))
        # What failed behind the last file (the journal, a descriptor's close that nobody waits for) undoes nothing.
        assert now == before or done, at
        for name, (data, mode) in before.items():
            (tree.place / name).write_bytes(data)
            (tree.place / name).chmod(mode & 0o777)
    assert failures > 20
    assert {name for name in now if ".taskbound-" in name} == set()


def test_a_disk_that_is_full_leaves_the_file_as_it_was(tree):
    planned, before = tree.plan("literal-secret-in-mcp-config"), tree.everything()
    old = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        for limit in (0, 1, 16, 40, 200, 300):
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, old[1]))
            with pytest.raises(OSError):
                fixing.apply(planned, tree.state)
            resource.setrlimit(resource.RLIMIT_FSIZE, old)
            assert tree.everything() == before
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, old)
        signal.signal(signal.SIGXFSZ, handler)


def test_killed_at_any_step_each_file_is_whole_and_no_value_is_lost(tree):
    before, seen = tree.everything(), set()
    planned = two_files(tree)
    for at in range(1, 500):
        child = os.fork()
        if not child:
            with pytest.MonkeyPatch.context() as patched, suppress(BaseException):
                Failing(patched, at, lambda: os._exit(9))
                fixing.apply(planned, tree.state)
            os._exit(0)
        status = os.waitpid(child, 0)[1]
        now = tree.everything()
        for _, moved in planned.files:
            assert now[moved.path][0] in (moved.before, moved.after), at
            if now[moved.path][0] == moved.after:
                seen.add(moved.path)
                kept = targets.kept(tree.state)
                assert {one.target for one in moved.moves} <= kept.keys(), "a value was lost"
        for name, (data, _) in before.items():
            (tree.place / name).write_bytes(data)
        for left in tree.place.glob(".taskbound-*"):
            assert not [one for value in (TOKEN, KEY) for one in forms(value) if one in left.read_bytes()]
            left.unlink()
        if status == 0:
            break
    assert seen == {".mcp.json", "compose.yml"}


def test_a_file_that_changes_meanwhile_is_left_alone(tree):
    planned = tree.plan("literal-secret-in-mcp-config")
    tree.write(".mcp.json", MCP + " ")
    with pytest.raises(Conflict, match="has changed meanwhile"):
        fixing.apply(planned, tree.state)
    assert (tree.place / ".mcp.json").read_bytes() == (MCP + " ").encode()


def test_a_second_name_of_the_file_is_refused(tree):
    os.link(tree.place / ".env", tree.place / "copy.txt")
    with pytest.raises(Conflict, match="has another name"):
        tree.plan("dotenv-committed")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
def test_its_owner_stays(tree):
    os.chown(tree.place / ".env", 4321, 4322)
    tree.fix("dotenv-committed")
    about = (tree.place / ".env").stat()
    assert (about.st_uid, about.st_gid) == (4321, 4322)


def test_what_has_changed_since_is_not_put_back_over_it(tree):
    planned = tree.fix("dotenv-committed")
    with (tree.place / ".env").open("a") as file:
        file.write("MORE=1\n")
    with pytest.raises(Conflict, match="has changed since"):
        fixing.plan_undo(tree.state, planned.finding.id)


def test_another_value_is_not_put_back_for_it(tree):
    planned = tree.fix("secret-in-compose-file")
    targets.put(tree.state, "db_password", fixing.Secret("a newer one"))
    with pytest.raises(Conflict, match="no longer those that stood there"):
        fixing.plan_undo(tree.state, planned.finding.id)


# --- what is refused -------------------------------------------------------------------------------


@pytest.mark.parametrize("id", ["../../etc", "", "0123456789AB", "0123456789ab/x"])
def test_an_id_names_no_file(tree, id):
    with pytest.raises(InvalidRequest, match="no id of a finding"):
        fixing.look(tree.asked, id)
    with pytest.raises(InvalidRequest, match="no id of a finding"):
        fixing.plan_undo(tree.state, id)


def test_where_no_reference_would_be_found_it_says_what_to_do(tree):
    tree.write(".github/workflows/a.yml", f"on: push\njobs:\n a:\n  env: {{TOKEN: {TOKEN}}}\n  steps: [run: x]\n")
    with pytest.raises(Conflict, match="finds no reference there") as refused:
        tree.plan("literal-secret-in-workflow")
    assert "secret store" in refused.value.hint


def test_a_state_directory_that_others_see_is_refused(tree):
    tree.state.mkdir(mode=0o755)
    planned, before = tree.plan("dotenv-committed"), tree.everything()
    with pytest.raises(InvalidRequest, match="open to others"):
        fixing.apply(planned, tree.state)
    assert tree.everything() == before
