"""The pre-commit hook and the action: no name of a file or folder is an option, and no action of others is a tag."""

import json
import os
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from taskbound.cli import main

ROOT = Path(__file__).parents[2]
STRIPE = "sk_live_" + "51Hq7zKLw2eZvKYlo2C0" * 2
NAMES = ("--output=stolen", "-h", "--fail-on", "a.conf")


def documented() -> dict[str, Any]:
    """Return the hook's entry in docs/discover.md, as somebody copies it."""
    text = (ROOT / "docs/discover.md").read_text()
    begin = text.index("    - repo: <where this repository is>")
    (entry,) = yaml.safe_load(text[begin : text.index("\n\n", begin)])
    (hook,) = entry["hooks"]
    return hook  # type: ignore[no-any-return]


@pytest.mark.parametrize("args", ["its own", "of the documentation"])
def test_a_file_of_a_commit_is_no_option_of_the_hook(args, tmp_path, monkeypatch, capsys):
    (hook,) = yaml.safe_load((ROOT / ".pre-commit-hooks.yaml").read_text())
    command, *words = hook["entry"].split()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TASKBOUND_HOME", str(tmp_path / "state"))
    Path(".taskbound").mkdir()
    Path(".taskbound/baseline.json").write_text('{"taskbound_baseline": 2, "findings": []}')
    for name in NAMES:
        Path(name).write_text("nothing\n")
    said = hook["args"] if args == "its own" else documented()["args"]
    assert command == "taskbound" and main([*words, *said, *NAMES]) == 0
    assert "in 4 files" in capsys.readouterr().out and not Path("stolen").exists()


def committed(folder: Path, capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str]:
    """Run the hook as pre-commit does: in the checkout, with the names of the files of the commit."""
    (hook,) = yaml.safe_load((ROOT / ".pre-commit-hooks.yaml").read_text())
    _, *entry = hook["entry"].split()
    files = sorted(str(one.relative_to(folder)) for one in folder.rglob("*.*") if one.is_file())
    capsys.readouterr()
    status = main([*entry, *(words or hook["args"]), *files])
    return status, capsys.readouterr().out


@pytest.fixture
def checkout(tmp_path, monkeypatch):
    monkeypatch.setenv("TASKBOUND_HOME", str(tmp_path / "state"))
    for folder in (tmp_path / "shop", tmp_path / "a.copy"):
        (folder / ".git").mkdir(parents=True)
        (folder / ".taskbound").mkdir()
        server = {"command": "uvx", "args": ["shop-mcp==1.0"], "env": {"KEY": STRIPE}}
        (folder / ".mcp.json").write_text(json.dumps({"mcpServers": {"shop": server}}))
        for n in range(40):
            (folder / f"page-{n}.txt").write_text("nothing\n")
    monkeypatch.chdir(tmp_path / "shop")
    return tmp_path / "shop"


def test_what_the_baseline_of_the_checkout_knows_stops_no_commit(checkout, monkeypatch, capsys):
    assert committed(checkout, capsys)[0] == 1
    baseline = Path(".taskbound/baseline.json")
    assert main(["discover", ".", "--write-baseline", str(baseline)]) == 0
    for folder in (checkout, checkout.parent / "a.copy"):
        (folder / baseline).write_bytes((checkout / baseline).read_bytes())
        monkeypatch.chdir(folder)
        assert committed(folder, capsys, *documented()["args"])[0] == 0
        (folder / "more.env").write_text(f"STRIPE_KEY={STRIPE}\n")
        assert committed(folder, capsys, *documented()["args"])[0] == 1


def test_what_the_checkout_suppresses_stops_no_commit(checkout, capsys):
    found = json.loads(committed(checkout, capsys, "--format", "json", "--")[1])["findings"]
    lines = (f'[[suppression]]\nid = "{one["id"]}"\nreason = "x"\nuntil = 2999-01-01\n' for one in found)
    Path(".taskbound/suppressions.toml").write_text("\n".join(lines))
    assert found and committed(checkout, capsys)[0] == 0


def test_what_is_in_other_files_is_not_told_as_gone(checkout, capsys):
    """Nobody has looked at them."""
    baseline = Path(".taskbound/baseline.json")
    assert main(["discover", ".", "--write-baseline", str(baseline)]) == 0
    Path(".taskbound/suppressions.toml").write_text(
        '[[suppression]]\nid = "0123456789ab"\nreason = "x"\nuntil = 2999-01-01\n'
    )
    Path(".mcp.json").unlink()
    status, told = committed(checkout, capsys, *documented()["args"])
    assert (status, "baseline gone" in told, "hides nothing" in told) == (0, False, False)
    capsys.readouterr()
    assert main(["discover", ".", "--baseline", str(baseline)]) == 0
    told = capsys.readouterr().out
    assert "baseline gone" in told and "hides nothing" in told


def test_what_is_typed_next_names_the_files_of_the_finding_alone(checkout, capsys):
    told = committed(checkout, capsys)[1].splitlines()
    assert "(.mcp.json, page-0.txt and 39 more, " in told[0]
    (command,) = {re.sub(" +--dry-run|^next: |^  fix +|  \\(.*", "", one) for one in told if "taskbound fix" in one}
    assert re.fullmatch(r"taskbound fix [0-9a-f]{12} \.mcp\.json", command)
    assert main([*command.split()[1:], "--dry-run"]) == 0
    assert "would keep a value" in capsys.readouterr().err


@pytest.mark.parametrize("path", [".", "--output=stolen", "/srv/work"])
def test_the_path_of_the_action_is_no_option(path, tmp_path):
    steps = yaml.safe_load((ROOT / "action.yml").read_text())["runs"]["steps"]
    (step,) = (one for one in steps if one["name"] == "Discover")
    stand_in = tmp_path / "taskbound/bin/taskbound"
    stand_in.parent.mkdir(parents=True)
    stand_in.write_text("#!/bin/sh\nprintf '%s\\n' \"$@\"\n")
    stand_in.chmod(0o700)
    inputs = {"LOOK_AT": path, "FAIL_ON": "high", "BASELINE": "b", "SARIF": "s", "RUNNER_TEMP": str(tmp_path)}
    words = ["bash", "-c", step["run"]]
    done = subprocess.run(words, env=os.environ | inputs, capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.splitlines() == [
        "discover", "--format", "sarif", "--output=s", "--fail-on=high", "--baseline=b", "--", path,
    ]  # fmt: skip


def test_every_action_that_we_show_to_be_copied_is_named_by_its_commit():
    """Our own rule calls a tag weak: whoever takes over its owners' account moves it."""
    files = [ROOT / "action.yml", ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]
    shown = [one for file in files for one in re.findall(r"^ *-? *uses: *([^<\n]+)$", file.read_text(), re.MULTILINE)]
    assert len(shown) >= 2
    assert [one for one in shown if not re.fullmatch(r"[\w./-]+@[0-9a-f]{40}  # v[0-9.]+", one)] == []
