"""`taskbound audit`: export, verify, erase and tail, as an operator and an auditor type them."""

import asyncio
import json
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from taskbound import app
from taskbound.cli import main
from taskbound.core.event import Kind
from taskbound.core.identity import door
from tests.cli.nobody import as_nobody, let_through

COMMAND = Path(sys.executable).with_name("taskbound")


class Place:
    """A state directory, its second place, and commands on them."""

    def __init__(self, root: Path) -> None:
        self.state, self.second, self.root = root / "state", root / "second", root
        self.second.mkdir(parents=True)

    def record(self, n: int, *, days_ago: int = 0) -> None:
        async def go() -> None:
            async with app.open_state(
                self.state, self.second, clock=lambda: datetime.now(UTC) - timedelta(days=days_ago)
            ) as world:
                lane = door("example.org", "lane/test", "main")
                async with world.store.transaction(lane) as tx:
                    for at in range(n):
                        await tx.record(Kind.NODE_STARTED, id=f"n{at}", who="alice@example.org")

        asyncio.run(go())

    def run(self, verb: str, *words: object) -> int:
        where = [] if verb == "verify" else ["--state", self.state, "--checkpoints", self.second]
        return main(["audit", verb, *map(str, (*words, *where))])

    def export(self, name: str = "export") -> Path:
        assert self.run("export", self.root / name) == 0
        return self.root / name


@pytest.fixture
def place(tmp_path):
    place = Place(tmp_path)
    place.record(300, days_ago=100)
    return place


def test_an_export_has_the_standards_layout_and_verifies(place, capsys):
    export = place.export()
    files = {str(path.relative_to(export)) for path in export.rglob("*") if path.is_file()}
    assert files == {
        "checkpoint", "vkey", "bodies.jsonl", "tile/0/000", "tile/0/001.p/44", "tile/1/000.p/1",
        "tile/entries/000", "tile/entries/001.p/44",
    }  # fmt: skip
    capsys.readouterr()
    assert place.run("verify", export) == 0
    assert capsys.readouterr().out.splitlines()[-2:] == [
        f"{(place.state / 'instance').read_text()}/main: 300 events: verified",
        "key taken from the export: integrity, not origin",
    ]
    assert place.run("verify", export, "--vkey", (export / "vkey").read_text().strip(), "--json") == 0
    said = json.loads(capsys.readouterr().out)
    assert (said["verified"], said["size"], said["key_from"], said["problems"]) == (True, 300, "given", [])


def test_verify_needs_nothing_but_the_files(place, tmp_path):
    export = place.export()
    done = subprocess.run(
        [COMMAND, "audit", "verify", export], capture_output=True, text=True, timeout=30, check=False, env={}, cwd="/"
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_a_tamper_is_answered_with_4_and_names_the_event(place, capsys):
    export = place.export()
    entries = export / "tile/entries/000"
    entries.write_bytes(entries.read_bytes().replace(b'"n7"', b'"n8"', 1))
    capsys.readouterr()
    assert place.run("verify", export) == 4
    out = capsys.readouterr().out
    assert "event 7: it is not the one that was sealed\n" in out and "300 events: NOT verified" in out
    assert place.run("verify", export, "--json") == 4
    said = json.loads(capsys.readouterr().out)
    assert (said["verified"], said["first"], said["problems"][0]["first"]) == (False, 7, 7)


def test_a_key_or_a_checkpoint_from_elsewhere_tells_a_forged_log(place, capsys):
    export = place.export()
    kept = place.root / "kept"
    kept.write_bytes((export / "checkpoint").read_bytes())
    other = Place(place.root / "other")
    other.record(301)
    forged = other.export()
    assert other.run("verify", forged) == 0
    assert other.run("verify", forged, "--vkey", (export / "vkey").read_text().strip()) == 4
    assert other.run("verify", forged, "--from", kept) == 4
    place.record(5)
    assert place.run("verify", place.export("later"), "--from", kept) == 0


def test_erased_bodies_are_gone_and_everything_still_verifies(place, capsys):
    place.record(5)
    capsys.readouterr()
    assert place.run("erase", "--older-than", "90d", "--json") == 0
    assert json.loads(capsys.readouterr().out) == {"erased": 300}
    export = place.export()
    assert (export / "bodies.jsonl").read_text().count("alice@example.org") == 5
    assert b"alice@example.org" not in (export / "tile/entries/000").read_bytes()
    capsys.readouterr()
    assert place.run("verify", export) == 0
    assert "306 events, 300 bodies erased: verified" in capsys.readouterr().out
    lines = (export / "bodies.jsonl").read_bytes().splitlines(keepends=True)
    (export / "bodies.jsonl").write_bytes(b"".join(lines[1:]))
    assert place.run("verify", export) == 4
    assert "event 300: its body is absent, and no body.erased names it" in capsys.readouterr().out


def test_tail_prints_each_event_once_and_a_file_gets_what_it_lacks(place, capsys):
    assert place.run("tail", "--after", 297) == 0
    assert [json.loads(line)["index"] for line in capsys.readouterr().out.splitlines()] == [298, 299]
    file = place.root / "events.jsonl"
    assert place.run("tail", "--to", file) == 0
    place.record(2)
    assert place.run("tail", "--to", file) == 0
    assert [json.loads(line)["index"] for line in file.read_text().splitlines()] == list(range(302))


def test_the_checkpoint_is_in_the_second_place_and_an_older_store_is_refused(place, capsys):
    place.export()
    instance = (place.state / "instance").read_text()
    assert [path.name for path in (place.second / instance / "main").iterdir()] == ["300"]
    old = (place.state / "taskbound.db").read_bytes()
    place.record(1)
    place.export("later")
    (place.state / "taskbound.db").write_bytes(old)
    capsys.readouterr()
    assert place.run("export", place.root / "rolled-back") == 4
    assert "the log ends at 300 events, the second place has seen 301 (log_broken)" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "code"),
    [
        ([], 2), (["fly"], 2), (["verify"], 2), (["erase", "--older-than", "soon"], 2), (["erase"], 2),
        (["export", "x", "--no-such"], 2), (["--help"], 0), (["tail", "--help"], 0),
        (["verify", "no-such-directory"], 1),
        (["export", "x", "--state", "no-such-directory"], 1), (["verify", ".", "--vkey", "no key"], 1),
        (["verify", ".", "--from", "no-such-file"], 1),
    ],
)  # fmt: skip
def test_what_cannot_be_done_is_said_with_the_right_code(words, code, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["audit", *words]) == code
    told = capsys.readouterr()
    assert told.err or code == 0


def test_an_export_goes_into_a_directory_of_its_own(place, capsys):
    export = place.export()
    assert place.run("export", export) == 1
    assert "is not empty" in capsys.readouterr().err


def test_a_directory_without_an_export_is_refused(place, capsys):
    (place.root / "empty").mkdir()
    assert place.run("verify", place.root / "empty") == 1
    assert "empty is no export: there is no checkpoint" in capsys.readouterr().err


def test_a_second_place_that_never_saw_the_log_is_refused(place, capsys):
    place.export()
    (place.root / "other").mkdir()
    (place.root / "no-log").write_text("")
    for wrong in ("mistyped", "other", "no-log"):
        words = ["audit", "tail", "--state", str(place.state), "--checkpoints", str(place.root / wrong)]
        assert main(words) == 1
        assert f"{wrong} holds no checkpoint of this log" in capsys.readouterr().err
        assert not (place.root / wrong / (place.state / "instance").read_text()).exists()
    assert place.run("tail") == 0


def test_a_place_that_is_not_there_is_not_begun_for_a_log_that_was_never_sealed_either(place, capsys):
    words = ["audit", "tail", "--state", str(place.state), "--checkpoints", str(place.root / "mistyped")]
    assert main(words) == 1
    assert "mistyped holds no checkpoint of this log" in capsys.readouterr().err
    assert not (place.root / "mistyped").exists()


def test_the_usual_second_place_is_begun_once_and_never_again(place, capsys, monkeypatch):
    monkeypatch.setenv("XDG_DATA_HOME", str(place.root / "data"))
    usual, words = place.root / "data/taskbound/checkpoints", ["audit", "tail", "--state", str(place.state)]
    assert main(words) == 0
    assert [path.name for path in usual.rglob("main/*")] == ["300"]
    usual.rename(place.root / "gone")
    capsys.readouterr()
    assert main(words) == 1
    assert capsys.readouterr().err == (
        f"{usual} holds no checkpoint of this log (invalid_request)\nhint: name the one it has with --checkpoints\n"
    )
    assert main([*words, "--checkpoints", str(place.root / "gone")]) == 0


def test_an_export_whose_checkpoint_was_taken_away_does_not_verify(place, capsys):
    export = place.export()
    (export / "checkpoint").unlink()
    capsys.readouterr()
    assert place.run("verify", export) == 4
    assert "there is no checkpoint" in capsys.readouterr().out


def test_the_second_place_is_the_configured_one(place, capsys):
    (place.state / "taskbound.toml").write_text(f'checkpoints = "file:{place.second}"\n')
    assert main(["audit", "export", "--state", str(place.state), str(place.root / "export")]) == 0
    assert [path.name for path in place.second.rglob("main/*")] == ["300"]


def test_a_log_that_may_not_be_read_is_refused_by_name(place, capfd):
    let_through(place.root)
    place.state.chmod(0o755)
    (place.state / "taskbound.db").chmod(0o600)
    assert as_nobody(lambda: main(["audit", "tail", "--state", str(place.state)])) == 1
    told = capfd.readouterr()
    assert f"{place.state}/taskbound.db: Permission denied" in told.err
    assert f"hint: {place.state}/taskbound.db belongs to uid 0 and has mode 0600; you are uid 65534\n" in told.err
    place.state.chmod(0o700)
    assert as_nobody(lambda: main(["audit", "tail", "--state", str(place.state), "--json"])) == 1
    said = json.loads(capfd.readouterr().out)
    assert said["error_description"].endswith("Permission denied")
    assert said["hint"] == f"{place.state} belongs to uid 0 and has mode 0700; you are uid 65534"
