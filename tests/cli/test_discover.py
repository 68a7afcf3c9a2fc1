"""`taskbound discover` as people and scripts type it."""

import json
import os
import re
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from taskbound.cli import main
from taskbound.cli.discover import entered
from tests.posture.standin import Detector, find, standing_in

COMMAND = Path(sys.executable).with_name("taskbound")
TOKEN, OTHER = "tok_aaaa1111", "tok_bbbb2222"


@pytest.fixture
def place(monkeypatch, tmp_path):
    monkeypatch.setenv("TASKBOUND_HOME", str(tmp_path / "state"))
    monkeypatch.setattr("taskbound.app.scanning.Detector", Detector)
    monkeypatch.setattr("taskbound.app.discover.find", find)
    monkeypatch.setattr("taskbound.cli.discover.SAID_AFTER", 600.0)  # a busy machine has no more to say
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    Path("a.conf").write_text(f"agent.TOKEN={TOKEN}\n")
    Path("b.conf").write_text(f"\nTOKEN={TOKEN}\n")
    with standing_in():
        yield tmp_path / "work"


@pytest.fixture
def say(capsys, place):
    def say(*words: object) -> tuple[int, str, str]:
        capsys.readouterr()
        status = main(["discover", *map(str, words)])
        told = capsys.readouterr()
        assert TOKEN not in told.out + told.err and OTHER not in told.out + told.err
        return status, told.out, told.err

    return say


def ids(say, *words) -> dict[str, str]:
    return {one["id"]: one["standing"] for one in json.loads(say("--format", "json", *words)[1])["findings"]}


def test_a_terminal_that_knows_no_unicode_gets_it_spelled_out(place):
    environ = {**os.environ, "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "PYTHONIOENCODING": "ascii"}
    Path("c.env").write_text("PASSWORD=ghq8Fk2Lw91xZtR4\n")
    for form in ("table", "json"):
        done = subprocess.run([COMMAND, "discover", "--format", form], env=environ, capture_output=True, check=False)
        assert (done.returncode, done.stderr.count(b"Error")) == (0, 0), done.stderr
        assert b"\\u2026" in done.stdout and done.stdout.isascii()
    assert "…" in str(json.loads(done.stdout))


@pytest.mark.parametrize("name", ["a b", "\u00e9\u2028", "half a pair \ud800"])
def test_names_of_any_characters_are_told_as_json(say, monkeypatch, name):
    told = {"name": name, "empty": [], "many": [{"n": 1}, {}]}
    monkeypatch.setattr("taskbound.posture.report.json.as_json", lambda *_: told)
    assert say("--format", "json")[1] == json.dumps(told, indent=1) + "\n"


# --- what is looked at -----------------------------------------------------------------------------


def test_without_a_path_it_is_this_folder(say):
    status, out, err = say()
    lines = out.splitlines()
    assert (status, err) == (0, "") and lines[0].startswith("2 agents and MCP servers, 2 workloads in 2 files")
    assert lines[1] == "1 credential lies open in 2 places of 2 files"
    assert lines[2] == "1 is shared: demo-token …1111 by mcp:a.conf and env:b.conf"
    assert lines[3] == "worst: critical: A credential is shared, a.conf:1" and lines[4].startswith(
        "next: taskbound fix"
    )
    assert lines[-1] == "3 findings: 1 critical, 2 high"


def paths(say, *words) -> set[str]:
    about = json.loads(say("--format", "json", *words)[1])
    return {one["path"] for held in about["credentials"] for one in held["places"]}


def test_paths_are_relative_to_one_folder_and_as_named_where_there_are_several(say, place):
    Path("sub").mkdir()
    Path("sub/c.conf").write_text(f"T={OTHER}\n")
    assert paths(say, ".") == paths(say, place) == {"a.conf", "b.conf", "sub/c.conf"}
    assert paths(say, "sub") == paths(say, place / "sub") == {"c.conf"}
    assert paths(say, "./a.conf", "sub") == {"a.conf", "sub/c.conf"}
    assert paths(say, place / "a.conf") == {"a.conf"}
    os.chdir("sub")
    assert paths(say, place / "a.conf") == {str(place / "a.conf")}


def test_what_was_named_and_is_not_there_is_an_error(say):
    status, out, err = say("nowhere")
    assert (status, out) == (1, "") and err.startswith("nowhere: No such file or directory (not_possible)")
    assert say("--export", "nowhere")[0] == 1


def test_an_export_is_read_as_such_wherever_it_lies(say, place, monkeypatch, tmp_path):
    for folder in (place / "exports", tmp_path / "lists"):
        folder.mkdir()
        (folder / "people.conf").write_text(f"x={OTHER}\n")
    assert paths(say, ".", "--export", "exports") == {"a.conf", "b.conf", "exports/people.conf"}
    assert paths(say, "a.conf", "--export", tmp_path / "lists") == {"a.conf", str(tmp_path / "lists/people.conf")}
    assert paths(say, "--export", "exports") == {"exports/people.conf"}
    Path("repos").mkdir()
    Path("repos/c.conf").write_text(f"T={OTHER}\n")
    assert paths(say, "repos", "--export", "exports") == {"repos/c.conf", "exports/people.conf"}


def test_home_reads_this_persons_own_places_and_nothing_else_does(say, place, monkeypatch, tmp_path):
    home = tmp_path / "home"
    for name in (".netrc", ".aws/credentials", ".claude/projects/p/one.jsonl", "Documents/diary.txt", ".ssh/id_x",
                 ".config/Code/User/globalStorage/some.client/settings/cline_mcp_settings.json"):  # fmt: skip
        (home / name).parent.mkdir(parents=True, exist_ok=True)
        (home / name).write_text(f"x {OTHER}\n")
    monkeypatch.setenv("HOME", str(home))
    assert paths(say, "--home") == {
        "~/.netrc", "~/.aws/credentials", "~/.claude/projects/p/one.jsonl", "~/.ssh/id_x",
        "~/.config/Code/User/globalStorage/some.client/settings/cline_mcp_settings.json",
    }  # fmt: skip
    assert paths(say) == {"a.conf", "b.conf"}
    assert paths(say, ".", "--home") > {"a.conf", "~/.netrc"}


# --- what is printed -------------------------------------------------------------------------------


def test_each_format_says_the_same_and_no_value(say):
    status, out, err = say("--format", "sarif")
    results = json.loads(out)["runs"][0]["results"]
    assert (status, err, len(results)) == (0, "", 3)
    assert results[0]["locations"][0]["physicalLocation"]["artifactLocation"]["uri"] == "a.conf"
    page = say("--format", "html")[1]
    assert page.startswith("<!doctype html>") and "a.conf:1" in page
    assert len(json.loads(say("--json")[1])["findings"]) == 3


def test_a_report_goes_to_a_file_of_its_owner_and_the_first_lines_are_said(say, place):
    for form in ("table", "json", "sarif", "html"):
        status, out, err = say("--format", form, "--output", "report")
        assert (status, out) == (0, "") and err.splitlines()[-1] == "written to report"
        assert err.splitlines()[0].split(" (")[0].endswith("in 2 files"), "the last report is not read"
        assert err.splitlines()[1] == "1 credential lies open in 2 places of 2 files"
        assert stat.S_IMODE(Path("report").stat().st_mode) == 0o600 and Path("report").stat().st_size > 400
        assert TOKEN not in Path("report").read_text()
    assert sorted(one.name for one in place.iterdir()) == ["a.conf", "b.conf", "report"]
    assert say("--output", "no/where")[0] == 1


def test_a_day_that_is_none_and_words_that_are_not_known_are_usage(say):
    assert say("--as-of", "yesterday")[0] == 2 and say("--format", "pdf")[0] == 2 and say("--fail-on", "bad")[0] == 2
    assert "--fail-on" in say("--fail-onn", "high")[2]


def test_a_folder_that_is_not_there_is_told_before_anything_is_looked_at(say, monkeypatch):
    monkeypatch.setattr("taskbound.app.discover.discover", None)
    for option in ("--output", "--write-baseline"):
        assert say(option, "no where/x") == (
            1, "", "there is no folder no where (invalid_request)\nhint: mkdir -p 'no where'\n",
        )  # fmt: skip


# --- what counts -----------------------------------------------------------------------------------


def test_fail_on_is_exit_1_where_something_that_bad_is_open(say):
    assert [say("--fail-on", one)[0] for one in ("critical", "high", "low")] == [1, 1, 1]
    Path("b.conf").unlink()
    assert [say("--fail-on", one)[0] for one in ("critical", "high", "low")] == [0, 1, 1]
    Path("a.conf").unlink()
    assert say("--fail-on", "low")[0] == 0


def test_a_baseline_makes_what_is_there_known(say):
    status, _, err = say("--write-baseline", "base.json", "--fail-on", "low")
    assert status == 1 and "3 findings written to base.json" in err
    assert say("--baseline", "base.json", "--fail-on", "low")[0] == 0
    Path("c.conf").write_text(f"x={OTHER}\n")
    status, out, _ = say("--baseline", "base.json", "--fail-on", "low")
    assert status == 1 and out.splitlines()[-1] == "1 finding: 1 high; 3 in the baseline"
    Path("a.conf").unlink()
    assert "2 findings of the baseline gone" in say("--baseline", "base.json")[1]
    assert TOKEN not in Path("base.json").read_text()


def test_a_baseline_is_written_over_a_baseline_alone(say):
    for name in ("new.json", "new.json"):
        assert say("--write-baseline", name)[0] == 0
    Path("empty").touch()
    assert say("--write-baseline", "empty")[0] == 0
    before = Path("a.conf").read_bytes()
    assert say("--write-baseline", "a.conf") == (
        1, "", "a.conf exists, and is no baseline (conflict)\nhint: choose another file, or remove it\n",
    )  # fmt: skip
    assert Path("a.conf").read_bytes() == before


def test_ids_depend_on_no_key(say):
    assert ids(say) == ids(say)


def suppress(file: Path, id: str, until: str) -> None:
    file.parent.mkdir(exist_ok=True)
    file.write_text(f'[[suppression]]\nid = "{id}"\nreason = "accepted by kaya"\nuntil = {until}\n')


def test_a_suppression_hides_until_its_day_and_is_told_then(say, place):
    first = next(iter(ids(say)))
    suppress(place / ".taskbound/suppressions.toml", first, "2026-11-01")
    assert ids(say, "--as-of", "2026-11-01")[first] == "suppressed"
    assert "critical" not in say("--as-of", "2026-11-01")[1].splitlines()[-1]
    status, out, _ = say("--as-of", "2026-11-02", "--fail-on", "critical")
    assert status == 1 and f"{first}  EXPIRED on 2026-11-01" in out
    told = f"suppression of {first} expired on 2026-11-01: accepted by kaya"
    assert told in say("--as-of", "2026-11-02", "--format", "sarif")[2]
    assert told in say("--as-of", "2026-11-02", "--output", "report")[2]
    suppress(place / "other.toml", "f-other", "2030-01-01")
    assert ids(say, "--suppress", "other.toml", "--as-of", "2026-11-01")[first] == "open", "the file named counts alone"


def test_a_folders_own_suppressions_are_small_and_lie_in_it(say, place):
    first, *_ = ids(say)
    suppress(place.parent / "elsewhere.toml", first, "2099-11-01")
    (place / ".taskbound").mkdir()
    own = place / ".taskbound/suppressions.toml"
    own.symlink_to(place.parent / "elsewhere.toml")
    assert ids(say)[first] == "open"
    own.unlink()
    own.write_text("a" + ".a" * 40_000 + " = 1")
    status, _, err = say()
    assert status == 2 and "has more than 64 KiB" in err


def test_a_broken_baseline_or_suppression_is_refused_before_anything_is_read(say, place):
    Path("base.json").write_text("{}")
    status, out, err = say("--baseline", "base.json")
    assert (status, out) == (2, "") and "base.json is no baseline (invalid_config)" in err
    Path("s.toml").write_text('[[suppression]]\nid = "x"\n')
    assert say("--suppress", "s.toml")[0] == 2 and say("--suppress", "none.toml")[0] == 1


# --- the key ---------------------------------------------------------------------------------------


def marks(say) -> list[str]:
    return [one["id"] for one in json.loads(say("--json")[1])["credentials"]]


def test_without_an_installation_the_key_lives_as_long_as_the_run(say, tmp_path):
    assert marks(say) != marks(say) and not (tmp_path / "state").exists()


def test_beside_the_keys_of_an_installation_it_is_made_once(say, tmp_path):
    (tmp_path / "state/keys").mkdir(parents=True)
    first = marks(say)
    key = tmp_path / "state/keys/discover.key"
    assert marks(say) == first and len(key.read_bytes()) == 32 and stat.S_IMODE(key.stat().st_mode) == 0o600
    assert [one.name for one in (tmp_path / "state/keys").iterdir()] == ["discover.key"]
    key.write_bytes(b"short")
    assert marks(say) != marks(say), "a broken one is not used, and not written over"
    assert key.read_bytes() == b"short"


def test_nothing_is_changed(say, place):
    before = {one: (one.stat().st_mtime_ns, one.read_bytes()) for one in place.rglob("*")}
    say()
    assert {one: (one.stat().st_mtime_ns, one.read_bytes()) for one in place.rglob("*")} == before


# --- the command itself ----------------------------------------------------------------------------


def test_it_runs_where_there_is_nothing_but_the_command(tmp_path):
    for number in range(200):
        (tmp_path / f"{number}.txt").write_text("nothing\n")
    environment = {"PATH": "/usr/bin:/bin", "HOME": str(tmp_path)}
    words = [COMMAND, "discover", tmp_path]
    done = subprocess.run(words, capture_output=True, text=True, timeout=60, env=environment, cwd="/")
    assert done.returncode == 0
    # A slow machine tells how far it is; a warning or a traceback would be told too.
    assert not [line for line in done.stderr.splitlines() if not re.fullmatch(r"\d+ of 200 files, .* so far", line)]
    assert "200 files" in done.stdout.splitlines()[0] and re.search(r"0 findings$", done.stdout)


def test_a_terminal_gets_a_bar_and_a_pipe_does_not(tmp_path):
    import pty

    for number in range(200):
        (tmp_path / f"{number}.txt").write_text("nothing\n")
    ours, theirs = pty.openpty()
    done = subprocess.run([COMMAND, "discover", tmp_path], stdout=subprocess.PIPE, stderr=theirs, timeout=60)
    os.close(theirs)
    shown = os.read(ours, 65536).decode()
    assert done.returncode == 0 and "looking …" in shown and "of 200 files" in shown and shown.endswith("\x1b[K")
    assert b"\x1b" not in done.stdout


def test_a_state_directory_that_is_another_users_is_as_good_as_none(say, tmp_path, monkeypatch):
    def shut(*_, **__):
        raise PermissionError(13, "Permission denied")

    assert say()[0] == 0  # and everything is imported
    nothing: Any = None
    with monkeypatch.context() as there:
        there.setattr("os.stat", shut)
        said = entered(nothing, nothing)
    assert said == ""


def test_inside_a_task_nothing_goes_to_the_registry(say, place, monkeypatch):
    (place.parent / "state/run").mkdir(parents=True)
    (place.parent / "state/run/api.sock").touch()
    monkeypatch.setenv("TASKBOUND_TASK", "t1")
    nothing: Any = None
    assert entered(nothing, nothing) == ""
