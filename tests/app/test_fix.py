"""What a fix takes out is gone, all else stays byte for byte, and whatever fails leaves the files as they were."""

import base64
import errno
import fcntl
import hashlib
import json
import os
import resource
import signal
import string
import zlib
from contextlib import suppress
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from taskbound.app import fix as fixing
from taskbound.app import fixed, logins, targets
from taskbound.app import replace as replace_module
from taskbound.app.discover import Discovery, discover
from taskbound.core.errors import Conflict, InvalidRequest, NotFound, TaskboundError
from taskbound.core.secret import Secret
from taskbound.posture.moved import Names, credentials_of, diff, move

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
        fixed.apply(planned := self.plan(case), self.state)
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
    fixed.undo(fixed.plan_undo(tree.state, planned.finding.id), tree.state)
    assert tree.everything() == before
    with pytest.raises(NotFound):
        fixed.plan_undo(tree.state, planned.finding.id)
    said = [json.loads(line) for line in (tree.state / "fixes.jsonl").read_text().splitlines()]
    assert [(one["what"], one["with_secrets"]) for one in said] == [
        ("fixing", False),
        ("fixed", False),
        ("put back", True),
    ]


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


def test_what_else_stands_on_a_line_that_changes_is_masked_too(tree):
    """Also what nothing but the document's structure shows: a value that has its name beside it."""
    other = "kT9xQ2mV7bL4nW8zR3cF6hJ1"
    env = f'"env": {{"GITHUB_TOKEN": "{TOKEN}", "MODE": "fast"}}, '
    env += f'"inputs": [{{"name": "DB_PASSWORD", "value": "{other}"}}]'
    tree.write(".mcp.json", f'{{"mcpServers": {{"github": {{"command": "server", {env}}}}}}}\n')
    looked = fixing.look(tree.asked, tree.ids("literal-secret-in-mcp-config")[0])
    about = [one for one in credentials_of(looked.finding, looked.sightings) if one.kind == "github-pat"]
    data = (tree.place / ".mcp.json").read_bytes()
    moved = move(".mcp.json", data, about, looked.detector, Names({}))
    assert other.encode() in moved.after
    text = "\n".join(diff(moved.path, moved.before, moved.after, moved.hidden, looked.detector))
    assert '"MODE": "fast"' in text and other not in text and other[:8] not in text


def test_a_credential_that_is_a_key_stays_and_the_file_with_it(tree):
    text = f'{{"mcpServers": {{"github": {{"command": "server", "env": {{"A": "{TOKEN}", "{TOKEN}": "x"}}}}}}}}\n'
    tree.write(".mcp.json", text)
    with pytest.raises(Conflict, match="cannot be changed there alone") as refused:
        tree.plan("literal-secret-in-mcp-config")
    assert TOKEN not in str(refused.value)


def test_no_target_is_called_after_a_key_that_is_a_credential(tree):
    other = github_token("another")
    file = tree.write("conf.yml", f"{other}: {TOKEN}\nDB_PASSWORD: {KEY}\n")
    looked = fixing.look(tree.asked, tree.ids("secret-in-config-file")[0])
    about = [one for one in credentials_of(looked.finding, looked.sightings) if one.last4 == TOKEN[-4:]]
    names = Names({})
    assert move("conf.yml", file.read_bytes(), about, looked.detector, names).moves
    assert not [name for name in names.new if other[4:12].lower() in name] and len(names.new) == 1


def test_what_the_configuration_says_stays(tree):
    tree.state.mkdir(mode=0o700)
    text = '# mine\ntrust_domain = "example.org"  # keep\n[[upstream]]\nname = "a"\nurl = "http://127.0.0.1:1/mcp"'
    (tree.state / "taskbound.toml").write_text(text)
    tree.fix("secret-in-compose-file")
    assert (tree.state / "taskbound.toml").read_text().startswith(text + "\n")


def test_a_name_that_is_taken_is_left_alone(tree):
    tree.state.mkdir(mode=0o700)
    targets.put(tree.state, "github_token", Secret("another"))
    assert tree.fix("literal-secret-in-mcp-config").targets == ("github_token_2",)
    assert targets.kept(tree.state)["github_token"].reveal() == "another"


def test_a_target_that_cannot_be_read_keeps_its_value(tree):
    tree.state.mkdir(mode=0o700)
    targets.put(tree.state, "github_token", Secret("another"))
    value = tree.state / "keys/static/github_token/value"
    value.chmod(0o640)
    assert tree.fix("literal-secret-in-mcp-config").targets == ("github_token_2",)
    assert value.read_text() == "another"


def test_two_fixes_at_once_never_take_one_name_for_two_values(tree):
    """Each was planned before the other one kept anything: the second one's value would be the only one left."""
    first = tree.plan("literal-secret-in-mcp-config")
    other = github_token("other")
    tree.write(".mcp.json", MCP.replace(TOKEN, other))
    second = tree.plan("literal-secret-in-mcp-config")
    tree.write(".mcp.json", MCP)
    fixed.apply(first, tree.state)
    tree.write(".mcp.json", MCP.replace(TOKEN, other))
    before = tree.everything()
    with pytest.raises(Conflict, match="made meanwhile"):
        fixed.apply(second, tree.state)
    assert tree.everything() == before
    assert targets.kept(tree.state)["github_token"].reveal() == TOKEN


def test_of_tables_that_are_added_at_once_none_is_lost(tree):
    """Each reads the whole file and writes it anew: without the lock one writes over what another has added."""
    tree.state.mkdir(mode=0o700)
    (tree.state / "taskbound.toml").write_text("# mine\n" * 4000)  # reading it takes a while
    names, ready = [f"target_{number}" for number in range(8)], os.pipe()
    children = []
    for name in names:
        children.append(os.fork())
        if not children[-1]:
            status = 1
            with suppress(BaseException):
                os.close(ready[1])
                os.read(ready[0], 1)  # until all are there
                targets.add(tree.state, {name: ""})
                status = 0
            os._exit(status)
    os.close(ready[1])
    os.close(ready[0])
    assert [os.waitpid(child, 0)[1] for child in children] == [0] * len(names)
    assert set(targets.configured(tree.state)) == set(names)
    assert (tree.state / "taskbound.toml").read_text().startswith("# mine\n" * 4000)


def test_a_table_is_not_added_while_another_program_is_at_it(tree, monkeypatch):
    tree.state.mkdir(mode=0o700)
    targets.put_new(tree.state, "one", Secret("x"))
    monkeypatch.setattr(targets, "WAIT", 0.05)
    with open(tree.state / "keys/static.lock", "ab") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        with pytest.raises(Conflict, match="another program puts values in"):
            targets.add(tree.state, {"one": ""})
    assert not (tree.state / "taskbound.toml").exists()
    targets.add(tree.state, {"one": ""})
    assert targets.configured(tree.state) == {"one": "static"}


def test_what_was_cut_off_between_two_files_can_be_put_back(tree):
    before, planned = tree.everything(), two_files(tree)
    fixed.apply(planned, tree.state)
    last = planned.files[-1][1]
    tree.write(last.path, last.before.decode())
    undo = fixed.plan_undo(tree.state, planned.finding.id)
    assert [file.name for file, _, _ in undo.files] == [moved.path for _, moved in planned.files[:-1]]
    fixed.undo(undo, tree.state)
    assert tree.everything() == before


def test_what_a_fix_that_was_cut_off_had_done_is_put_back_after_the_next_one(tree):
    before, planned = tree.everything(), two_files(tree)
    fixed.apply(planned, tree.state)
    last = planned.files[-1][1]
    tree.write(last.path, last.before.decode())
    again = replace(planned, files=planned.files[-1:])
    fixed.apply(again, tree.state)
    for _ in range(2):
        fixed.undo(fixed.plan_undo(tree.state, planned.finding.id), tree.state)
    assert tree.everything() == before
    assert fixed.records(tree.state, planned.finding.id) == []


def test_where_nothing_is_to_be_put_back_it_is_said_and_nothing_is_asked(tree):
    planned = tree.fix("dotenv-committed")
    tree.write(".env", ENV)
    undo = fixed.plan_undo(tree.state, planned.finding.id)
    assert (undo.files, undo.has_secrets) == ((), False)


def test_what_puts_back_an_earlier_fix_stays_where_a_later_one_fails(tree, monkeypatch):
    planned, before = tree.plan("dotenv-committed"), tree.everything()
    fixed.apply(planned, tree.state)
    monkeypatch.setattr(targets, "add", lambda *_: disk_full())
    with pytest.raises(OSError, match="No space"):
        fixed.apply(planned, tree.state)
    fixed.undo(fixed.plan_undo(tree.state, planned.finding.id), tree.state)
    assert tree.everything() == before


def test_what_failed_is_written_down_as_failed(tree):
    def whats() -> list[str]:
        return [json.loads(line)["what"] for line in (tree.state / fixed.JOURNAL).read_text().splitlines()]

    planned = tree.plan("dotenv-committed")
    tree.write(".env", ENV + "MORE=1\n")
    with pytest.raises(Conflict, match="changed meanwhile"):
        fixed.apply(planned, tree.state)
    assert whats() == ["fixing", "failed: nothing is changed by it"]
    tree.write(".env", ENV)
    undo = fixed.plan_undo(tree.state, tree.fix("dotenv-committed").finding.id)
    tree.write(".env", "MORE=1\n")
    with pytest.raises(Conflict, match="changed meanwhile"):
        fixed.undo(undo, tree.state)
    assert whats()[2:] == ["fixing", "fixed", "put back", "failed: nothing is changed by it"]


def test_where_not_every_file_is_as_it_was_that_is_written_down(tree, monkeypatch):
    planned, real = two_files(tree), replace_module.replace_file

    def once(file: Path, before: bytes, after: bytes) -> None:
        monkeypatch.setattr(replace_module, "replace_file", lambda *_: disk_full())
        real(file, before, after)

    monkeypatch.setattr(replace_module, "replace_file", once)
    with pytest.raises(OSError, match="No space"):
        fixed.apply(planned, tree.state)
    assert '"failed: some of them are changed"' in (tree.state / fixed.JOURNAL).read_text()
    monkeypatch.setattr(replace_module, "replace_file", real)
    undo = fixed.plan_undo(tree.state, planned.finding.id)
    assert [file for file, _, _ in undo.files] == [planned.files[0][0]]


def test_a_file_that_is_gone_is_told_with_what_brings_it_back(tree):
    planned = tree.fix("dotenv-committed")
    (tree.place / ".env").unlink()
    with pytest.raises(Conflict, match="is gone since it was fixed") as refused:
        fixed.plan_undo(tree.state, planned.finding.id)
    assert f"git -C {tree.place} checkout -- .env" in str(refused.value.hint)


# --- what fails in the middle ----------------------------------------------------------------------

STEPS = ("open", "fsync", "replace", "link", "fchmod", "listxattr", "unlink", "mkdir", "close")


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
                fixed.apply(planned, tree.state)
            except (OSError, TaskboundError):
                failures += 1
            else:
                if failing.count < at:
                    break
        now = tree.everything()
        done = all(now[name][0] == moved.after for name, moved in ((one.path, one) for _, one in planned.files))
        assert now == before or (done and failing.count >= at), at
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
                fixed.apply(planned, tree.state)
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
                fixed.apply(planned, tree.state)
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
        fixed.apply(planned, tree.state)
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
        fixed.plan_undo(tree.state, planned.finding.id)


def test_a_later_fix_of_the_file_is_named_where_it_is_put_back_first(tree):
    tree.write("compose.yml", COMPOSE.replace("MODE=prod", f"GITHUB_TOKEN={TOKEN}"))
    tree.write(".mcp.json", MCP)
    ids = tree.ids("literal-secret-in-mcp-config") + tree.ids("secret-in-compose-file")
    looked = [fixing.look(tree.asked, one) for one in ids]
    plans = [fixing.plan(one, tree.state) for one in looked]
    first = fixing.Fix(plans[1].finding, plans[1].files, plans[1].names, (), plans[1].detector)
    fixed.apply(first, tree.state)
    (file, moved) = first.files[0]
    later = replace(moved, before=moved.after, after=moved.after + b"# later\n", moves=())
    fixed.apply(fixing.Fix(plans[0].finding, ((file, later),), plans[0].names, (), first.detector), tree.state)
    with pytest.raises(Conflict, match="has changed since") as refused:
        fixed.plan_undo(tree.state, first.finding.id)
    assert refused.value.hint == (f"a later fix of it is put back first: taskbound fix {plans[0].finding.id} --undo")
    file.write_bytes(b"by hand\n")
    with pytest.raises(Conflict, match="has changed since") as refused:
        fixed.plan_undo(tree.state, first.finding.id)
    assert "by no fix that is known here" in str(refused.value.hint)


def test_another_value_is_not_put_back_for_it(tree):
    planned = tree.fix("secret-in-compose-file")
    targets.put(tree.state, "db_password", Secret("a newer one"))
    with pytest.raises(Conflict, match="no longer those that stood there"):
        fixed.plan_undo(tree.state, planned.finding.id)


# --- what is refused -------------------------------------------------------------------------------


@pytest.mark.parametrize("id", ["../../etc", "", "0123456789AB", "0123456789ab/x"])
def test_an_id_names_no_file(tree, id):
    with pytest.raises(InvalidRequest, match="no id of a finding"):
        fixing.look(tree.asked, id)
    with pytest.raises(InvalidRequest, match="no id of a finding"):
        fixed.plan_undo(tree.state, id)


def test_an_id_leads_to_no_file_elsewhere(tree):
    (tree.state / "keys/fixes").mkdir(parents=True)
    (tree.state / "keys/other.json").write_text('{"finding": "", "files": []}')
    with pytest.raises(InvalidRequest, match="no id of a finding"):
        fixed.plan_undo(tree.state, "../other")


@pytest.mark.parametrize("name", ["../other", "A", ""])
def test_a_target_has_no_folder_elsewhere(tree, name):
    tree.state.mkdir(mode=0o700)
    (tree.state / "keys/static").mkdir(parents=True)
    with pytest.raises(InvalidRequest, match="is not of a-z"):
        targets.put(tree.state, name, Secret("x"))


def test_where_no_reference_would_be_found_it_says_what_to_do(tree):
    tree.write(".github/workflows/a.yml", f"on: push\njobs:\n a:\n  env: {{TOKEN: {TOKEN}}}\n  steps: [run: x]\n")
    with pytest.raises(Conflict, match="can be changed here") as refused:
        tree.plan("literal-secret-in-workflow")
    assert "gh secret set TOKEN" in refused.value.hint
    tree.write("AGENTS.md", f"Use {TOKEN} for GitHub.\n")
    with pytest.raises(Conflict, match="finds no reference there") as refused:
        tree.plan("secret-in-agent-instructions")
    assert "AGENTS.md" in refused.value.hint


def test_a_state_directory_that_others_see_is_refused(tree):
    tree.state.mkdir(mode=0o755)
    planned, before = tree.plan("dotenv-committed"), tree.everything()
    with pytest.raises(InvalidRequest, match="open to others"):
        fixed.apply(planned, tree.state)
    assert tree.everything() == before


# --- pipelines, and what is shared with them -------------------------------------------------------

WORKFLOW = ".github/workflows/deploy.yml"
KEYS = """on: push
jobs:
  prod:
    runs-on: ubuntu-24.04
    env:
      AWS_ACCESS_KEY_ID: ${{ secrets.KEY_ID }}
      AWS_SECRET_ACCESS_KEY: ${{ secrets.KEY }}
    steps:
      - run: make
"""


def test_a_cloud_key_of_a_pipeline_is_patched_on_request_and_put_back(tree):
    tree.write(WORKFLOW, KEYS)
    before, planned = tree.everything(), tree.plan("static-cloud-key-in-pipeline")
    text = "\n".join(planned.diff())
    assert "+    permissions:" in text and "+      id-token: write" in text and "-      AWS_SECRET" in text
    fixed.apply(planned, tree.state)
    assert tree.everything() == before, "it is written on request alone"
    fixed.apply(planned, tree.state, pipelines=True)
    assert (tree.place / WORKFLOW).read_bytes() == planned.pipelines[0].after
    assert tree.ids("static-cloud-key-in-pipeline") == []
    undo = fixed.plan_undo(tree.state, planned.finding.id)
    assert not undo.has_secrets
    fixed.undo(undo, tree.state)
    assert tree.everything() == before


def test_a_literal_key_of_a_pipeline_is_kept_nowhere(tree):
    secret = "kR7vQ2mX9bL4nW8zT3cF6hJ1pY5sD0aG+e/UiOqB"
    text = KEYS.replace("${{ secrets.KEY_ID }}", "AKIAIL5IQ7XWZ2MFKD3R").replace("${{ secrets.KEY }}", secret)
    tree.write(WORKFLOW, text)
    planned = tree.plan("static-cloud-key-in-pipeline")
    assert secret not in "\n".join(planned.diff())
    fixed.apply(planned, tree.state, pipelines=True)
    assert not [one for one in tree.state.rglob("*") if one.is_file() and secret.encode() in one.read_bytes()]
    with pytest.raises(Conflict, match="kept nowhere"):
        fixed.plan_undo(tree.state, planned.finding.id)


def test_a_literal_that_only_its_name_tells_is_kept_nowhere_either(tree):
    tree.write(WORKFLOW, KEYS.replace("    steps:", f"      DB_PASSWORD: >-\n        {KEY}\n    steps:"))
    fixed.apply(tree.plan("static-cloud-key-in-pipeline"), tree.state, pipelines=True)
    assert KEY.encode() in (tree.place / WORKFLOW).read_bytes()
    assert not [one for one in tree.state.rglob("*") if one.is_file() and KEY.encode() in one.read_bytes()]


def test_what_is_kept_nowhere_stops_no_other_file_that_is_put_back(tree):
    key, secret = "AKIAIL5IQ7XWZ2MFKD3R", "kR7vQ2mX9bL4nW8zT3cF6hJ1pY5sD0aG+e/UiOqB"
    env = f'"env": {{"AWS_ACCESS_KEY_ID": "{key}", "AWS_SECRET_ACCESS_KEY": "{secret}"}}'
    tree.write(".mcp.json", f'{{"mcpServers": {{"s3": {{"command": "s3-mcp", {env}}}}}}}\n')
    tree.write(WORKFLOW, KEYS.replace("${{ secrets.KEY_ID }}", key).replace("${{ secrets.KEY }}", secret))
    before = tree.everything()
    planned = tree.plan("credential-shared-agent-and-ci")
    fixed.apply(planned, tree.state, pipelines=True)
    undo = fixed.plan_undo(tree.state, planned.finding.id)
    assert undo.left == (tree.place / WORKFLOW,)
    fixed.undo(undo, tree.state)
    assert tree.everything() == {**before, WORKFLOW: tree.everything()[WORKFLOW]}
    with pytest.raises(Conflict, match="kept nowhere") as refused:
        fixed.plan_undo(tree.state, planned.finding.id)
    assert refused.value.hint == f"git -C {(tree.place / WORKFLOW).parent} checkout -- deploy.yml"
    (tree.place / WORKFLOW).write_bytes(before[WORKFLOW][0])
    fixed.undo(fixed.plan_undo(tree.state, planned.finding.id), tree.state)
    assert tree.everything() == before and not list((tree.state / "keys/fixes").glob("*.json"))


def test_a_token_that_stays_beside_cloud_keys_in_a_workflow_is_told_with_its_line(tree):
    key, secret = "AKIAIL5IQ7XWZ2MFKD3R", "kR7vQ2mX9bL4nW8zT3cF6hJ1pY5sD0aG+e/UiOqB"
    text = KEYS.replace("${{ secrets.KEY_ID }}", key).replace("${{ secrets.KEY }}", secret)
    tree.write(WORKFLOW, text.replace("    steps:", f"      GH_PAT: {TOKEN}\n    steps:"))
    planned = tree.plan("credential-shared-agent-and-ci")
    assert [one.path for one in planned.pipelines] == [WORKFLOW]
    assert f"{WORKFLOW}:8: write ${{{{ secrets.GH_PAT }}}} in its place" in planned.steps
    assert not any("secrets.AWS_" in step for step in planned.steps), "they are taken out"


def test_what_an_agent_and_a_pipeline_share_is_split_with_each_step_told(tree):
    begin = KEYS.partition("    env:")[0]
    tree.write(WORKFLOW, f"{begin}    env:\n      GH_PAT: {TOKEN}\n    steps:\n      - run: make\n")
    planned = tree.plan("credential-shared-agent-and-ci")
    assert [moved.path for _, moved in planned.files] == [".mcp.json"] and planned.pipelines == ()
    told = "\n".join(planned.steps)
    write = f"{WORKFLOW}:6: write ${{{{ secrets.GH_PAT }}}}"
    for step in ("gh secret set GH_PAT", write, "delete it: its owner's Settings", "then put the new one in"):
        assert step in told
    assert planned.steps[-1].endswith("taskbound target put github_token"), "what is shown to a server is the old one"
    fixed.apply(planned, tree.state)
    assert TOKEN.encode() not in (tree.place / ".mcp.json").read_bytes()
    assert TOKEN.encode() in (tree.place / WORKFLOW).read_bytes(), "that part is a person's"


def test_a_workflow_that_is_not_changed_here_stops_no_part_of_another_holder(tree):
    begin = KEYS.partition("    env:")[0]
    env = f"{{AWS_ACCESS_KEY_ID: AKIAIL5IQ7XWZ2MFKD3R, GH_PAT: {TOKEN}}}"
    tree.write(WORKFLOW, f"{begin}    env: {env}\n    steps:\n      - run: make\n")
    planned = tree.plan("credential-shared-agent-and-ci")
    assert [moved.path for _, moved in planned.files] == [".mcp.json"] and planned.pipelines == ()
    told = "\n".join(planned.steps)
    assert "let the job sign in by OIDC by hand" in told and f"{WORKFLOW}:5: write ${{{{ secrets.GH_PAT }}}}" in told
    with pytest.raises(Conflict, match="not changed here"):
        tree.plan("static-cloud-key-in-pipeline")


def test_a_cloud_key_that_both_hold_is_split_by_oidc(tree):
    key, secret = "AKIAIL5IQ7XWZ2MFKD3R", "kR7vQ2mX9bL4nW8zT3cF6hJ1pY5sD0aG+e/UiOqB"
    env = f'"env": {{"AWS_ACCESS_KEY_ID": "{key}", "AWS_SECRET_ACCESS_KEY": "{secret}"}}'
    tree.write(".mcp.json", f'{{"mcpServers": {{"s3": {{"command": "s3-mcp", {env}}}}}}}\n')
    tree.write(WORKFLOW, KEYS.replace("${{ secrets.KEY_ID }}", key))
    planned = tree.plan("credential-shared-agent-and-ci")
    assert [moved.path for _, moved in planned.files] == [".mcp.json"]
    assert [one.path for one in planned.pipelines] == [WORKFLOW]
    assert any("aws iam update-access-key" in step for step in planned.steps)
    fixed.apply(planned, tree.state, pipelines=True)
    assert secret.encode() not in (tree.place / ".mcp.json").read_bytes()
    assert b"AWS_" not in (tree.place / WORKFLOW).read_bytes().replace(b"AWS_ROLE", b"").replace(b"vars.AWS_", b"")
    assert tree.ids("credential-shared-agent-and-ci") == []


class Server:
    """An issuer that answers as it is told."""

    def __init__(self, *answers: str) -> None:
        self.answers, self.killed = list(answers), list[str]()

    async def probe(self, login: str, password: Any) -> str:
        return self.answers.pop(0)

    async def kill(self, login: str) -> None:
        self.killed.append(login)


AT = "postgresql://localhost:5432"
LOGIN = logins.Login("database_url", "postgresql", "app", Secret(PASSWORD), AT)


async def test_the_old_login_is_ended_where_it_is_let_in_and_seen_dead():
    server: Any = Server("alive", "dead", "dead")
    assert "was let in before, and is refused now" in (await logins.end_login(server, AT, LOGIN)).says
    assert server.killed == ["app"]


@pytest.mark.parametrize(
    ("answers", "says", "killed"),
    [
        (("unknown",), "gave no answer", []),
        (("alive", "alive"), "whatever password", []),
        (("alive", "dead", "alive"), "still lets it in", ["app"]),
    ],
)
async def test_what_is_not_seen_dead_is_not_said_to_be(answers, says, killed):
    server: Any = Server(*answers)
    with pytest.raises(Conflict, match=says) as refused:
        await logins.end_login(server, AT, LOGIN)
    assert server.killed == killed and PASSWORD not in str(refused.value)


async def test_that_a_server_refuses_it_says_nothing_of_the_one_that_the_file_named():
    server: Any = Server("dead")
    assert "is dead already" in (await logins.end_login(server, AT, LOGIN)).says
    server = Server("dead")
    with pytest.raises(Conflict, match="it may live there, and nothing was changed") as refused:
        await logins.end_login(server, "postgresql://db.northlake.example:5432", LOGIN)
    assert server.killed == [] and PASSWORD not in str(refused.value)
    server = Server("alive", "dead", "dead")
    await logins.end_login(server, "postgresql://db.northlake.example:5432", LOGIN)
    assert server.killed == ["app"], "what lets it in is the one, whatever it is called there"


async def test_a_server_whose_check_of_passwords_is_not_known_here_is_asked_all_the_same():
    """LDAP and PAM refuse in words of their own."""
    server: Any = Server("alive", "unknown", "dead")
    await logins.end_login(server, AT, LOGIN)
    assert server.killed == ["app"]


def test_which_logins_were_taken_out(tree):
    planned = tree.fix("dotenv-committed")
    assert [(one.scheme, one.name) for one in logins.logins(tree.state, planned.finding.id)] == [("postgresql", "app")]
    assert logins.logins(tree.state, planned.finding.id)[0].password.reveal() == PASSWORD
    planned = tree.fix("secret-in-compose-file")
    with pytest.raises(Conflict, match="no login"):
        logins.logins(tree.state, planned.finding.id)


@pytest.mark.parametrize(
    "newer", ["postgres://other:Zk4-rT8yQ1w-Lm6@db.northlake.example/shop", "no address"], ids=["login", "text"]
)
def test_what_was_put_into_a_target_since_is_never_taken_for_what_stood_in_the_file(tree, newer):
    planned = tree.fix("dotenv-committed")
    targets.put(tree.state, "database_url", Secret(newer))
    with pytest.raises(Conflict, match="the target database_url has another value by now") as refused:
        logins.logins(tree.state, planned.finding.id)
    assert "by hand" in str(refused.value.hint) and newer not in str(refused.value)


def test_a_login_ends_whatever_was_put_into_the_targets_of_tokens(tree):
    planned = tree.fix("dotenv-committed")
    targets.put(tree.state, "db_password", Secret("a newer one"))
    assert [one.name for one in logins.logins(tree.state, planned.finding.id)] == ["app"]


def test_of_a_login_it_is_known_where_its_server_is(tree):
    planned = tree.fix("dotenv-committed")
    (login,) = logins.logins(tree.state, planned.finding.id)
    assert login.issuer == "postgresql://db.northlake.example:5432"
    one = logins._login("cache", "rediss://u:p4ssw0rd@127.0.0.1/0")
    assert one is not None and one.issuer == "redis://localhost:6379"
    one = logins._login("any", "postgresql+asyncpg://u:p4ssw0rd@/shop?host=db.northlake.example&prepared=0")
    assert one is not None and one.issuer == "postgresql://db.northlake.example:5432"


def test_where_else_it_lay_is_known_when_it_ends(tree):
    tree.write("other/.env", ENV)
    planned = tree.fix("dotenv-committed")
    assert logins.elsewhere(tree.state, planned.finding.id) == tuple(
        f"{one.path}:{one.line}" for one in planned.elsewhere
    )
    assert planned.elsewhere
