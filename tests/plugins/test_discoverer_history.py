"""Credentials that were taken out of the files are found in the history, and nothing of a repository is run."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from taskbound.plugins.discoverers import history as module
from taskbound.plugins.discoverers.history import SPOT, History
from taskbound.plugins.discoverers.history import git as asked
from taskbound.posture.seen import Seen
from taskbound.posture.sighting import Credential, Holder, Place
from tests.posture.standin import begin, mark, standing_in

KEY = b"k" * 32
OLD, KEPT, STASHED = "tok_aaaa1111", "tok_bbbb2222", "tok_cccc3333"
GIT = {
    **{f"GIT_{who}_{what}": "x@y.example" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")},
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_CONFIG_GLOBAL": os.devnull,
    "PATH": os.environ["PATH"],
}


@pytest.fixture(autouse=True)
def _standing_in():
    with standing_in():
        yield


def git(folder: Path, *words: str) -> str:
    ran = subprocess.run(["git", "-C", folder, *words], env=GIT, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    return ran.stdout.strip()


def commit(folder: Path, **files: str | None) -> str:
    for name, text in files.items():
        (folder / name).unlink(missing_ok=True) if text is None else (folder / name).write_text(text)
    git(folder, "add", "-A")
    git(folder, "commit", "-q", "-m", "one more")
    return git(folder, "rev-parse", "HEAD")


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    folder = tmp_path / "top" / "shop"
    folder.mkdir(parents=True)
    git(folder, "init", "-q", "-b", "main")
    return folder


def look(root: Path, *present: Credential) -> Seen:
    parts = list(History([(root, "")], begin, KEY, present).discover())
    return Seen(
        sightings=tuple(one for part in parts for one in part.sightings),
        unread=tuple(one for part in parts for one in part.unread),
    )


def held(seen: Seen) -> list[tuple[str, str, int]]:
    found = [one for one in seen.sightings if isinstance(one, Credential)]
    return sorted((one.last4, one.place.path, one.place.line) for one in found)


def in_file(value: str, path: str) -> Credential:
    return Credential(mark(value), "demo-token", value[-4:], Place(path, 1), Holder("file", path), "file")


def test_what_was_removed_is_told_once_with_the_oldest_commit_its_path_and_line(shop):
    first = commit(shop, env=f"\n{OLD}\n")
    commit(shop, env=f"\n{OLD}\nmore\n")
    commit(shop, env="nothing\n")
    seen = look(shop.parent)
    assert held(seen) == [("1111", f"shop/.git!/{first[:10]}:env", 2)]
    assert {(one.spot, one.holder) for one in seen.sightings if isinstance(one, Credential)} == {
        (SPOT, Holder("file", "history:shop", "shop"))
    }
    assert seen.unread == ()


def test_what_the_files_have_too_is_not_told_again_unless_they_are_another_checkout(shop):
    commit(shop, env=f"{OLD}\n{KEPT}\n")
    commit(shop, env=f"{KEPT}\n")
    assert [last4 for last4, *_ in held(look(shop.parent, in_file(KEPT, "shop/env")))] == ["1111"]
    assert [last4 for last4, *_ in held(look(shop.parent, in_file(KEPT, "shopping/env")))] == ["1111", "2222"]


def test_stashes_and_what_only_a_reflog_has_are_read(shop):
    commit(shop, a="x\n")
    commit(shop, b=f"{OLD}\n")
    git(shop, "reset", "-q", "--hard", "HEAD~1")
    (shop / "a").write_text(f"{STASHED}\n")
    git(shop, "stash", "-q")
    assert [last4 for last4, *_ in held(look(shop.parent))] == ["1111", "3333"]


def test_other_branches_packed_refs_and_merges_are_read(shop):
    commit(shop, a="x\n")
    git(shop, "checkout", "-q", "-b", "side")
    commit(shop, b=f"{OLD}\n")
    git(shop, "checkout", "-q", "main")
    commit(shop, c="y\n")
    git(shop, "merge", "-q", "--no-commit", "side")
    commit(shop, d=f"{KEPT}\n")  # only the merge itself brings it in
    git(shop, "gc", "-q")
    (shop / ".git/logs/HEAD").unlink()
    assert [last4 for last4, *_ in held(look(shop.parent))] == ["1111", "2222"]


def test_a_bare_repository_has_what_its_head_has_as_files(shop, tmp_path):
    commit(shop, gone=f"{OLD}\n")
    commit(shop, gone=None, env=f"{KEPT}\n")
    git(tmp_path, "clone", "-q", "--bare", str(shop), str(tmp_path / "bare" / "shop.git"))
    found = {one.last4: one.spot for one in look(tmp_path / "bare").sightings if isinstance(one, Credential)}
    assert found == {"1111": SPOT, "2222": "file"}


def test_worktrees_are_one_repository_and_what_one_of_them_has_is_in_the_files(shop):
    commit(shop, env=f"{OLD}\n")
    git(shop, "worktree", "add", "-q", "-b", "side", str(shop.parent / "tree"))
    commit(shop, env="x\n")
    assert len(held(look(shop.parent))) == 1
    assert held(look(shop.parent, in_file(OLD, "tree/env"))) == []


def test_nothing_that_a_repository_says_is_run_and_its_alternates_are_not_followed(shop, tmp_path):
    ran = tmp_path / "ran"
    script = tmp_path / "script"
    script.write_text(f"#!/bin/sh\ntouch {ran}\n")
    script.chmod(0o755)
    commit(shop, env=f"{OLD}\n", kept="x\n")
    other = tmp_path / "other"
    git(tmp_path, "clone", "-q", "--no-local", str(shop), str(other))
    missing = git(shop, "rev-parse", "HEAD:kept")
    for name, value in {
        "core.fsmonitor": script,
        "core.sshCommand": script,
        "core.pager": script,
        "diff.external": script,
        "filter.x.smudge": script,
        "filter.x.clean": script,
        "diff.x.textconv": script,
        "core.hooksPath": tmp_path,
        "extensions.partialClone": "origin",
        "remote.origin.promisor": "true",
        "remote.origin.url": f"ext::{script}",
        "protocol.ext.allow": "always",
        "include.path": "/dev/zero",
    }.items():
        with (shop / ".git/config").open("a") as config:
            section, _, last = str(name).rpartition(".")
            head, _, sub = section.partition(".")
            quoted = f' "{sub}"' if sub else ""
            config.write(f"[{head}{quoted}]\n\t{last} = {value}\n")
    (shop / ".git/info/attributes").write_text("* filter=x diff=x\n")
    (shop / ".git/objects" / missing[:2] / missing[2:]).unlink()
    (shop / ".git/objects/info/alternates").write_text(f"{other}/.git/objects\n")
    seen = look(shop.parent)
    assert [last4 for last4, *_ in held(seen)] == ["1111"]
    assert not ran.exists()
    assert sorted(one.why for one in seen.unread) == [
        "1 of its blobs are not there",
        "a part of its objects lies in another repository (alternates), which is not looked into",
    ]


def test_what_is_broken_is_named_and_stops_nothing(shop):
    commit(shop, env=f"{OLD}\n")
    commit(shop, env="x\n")
    for name, content in {"a/.git": "gitdir: nowhere\n", "b/.git": "nonsense", "c/.git/HEAD": "ref: x\n"}.items():
        (shop.parent / name).parent.mkdir(parents=True)
        (shop.parent / name).write_text(content)
    (shop.parent / "d/.git/objects").mkdir(parents=True)
    (shop.parent / "d/.git/HEAD").write_text("1" * 40 + "\n")
    seen = look(shop.parent)
    assert [last4 for last4, *_ in held(seen)] == ["1111"]
    assert sorted(one.path for one in seen.unread) == ["a/.git", "b/.git", "c/.git", "d/.git"]


def test_a_blob_that_ends_its_process_or_fails_is_named_and_the_others_are_read(shop):
    commit(shop, a="END ME\n", b=f"{OLD}\n", c=f"RAISE {KEPT}\n")
    seen = look(shop.parent)
    assert [last4 for last4, *_ in held(seen)] == ["1111"]
    assert sorted(one.path.rpartition(":")[2] for one in seen.unread) == ["a", "c"]
    assert KEPT not in repr(seen)


def test_bounds_of_size_and_time_are_told(shop, monkeypatch):
    commit(shop, a="x" * 100, b=f"{OLD}\n")
    monkeypatch.setattr(asked, "WHOLE", 50)
    assert [one.why for one in look(shop.parent).unread] == ["1 of its blobs are larger than 0 MiB"]
    monkeypatch.setattr(asked, "WHOLE", 1 << 20)
    monkeypatch.setattr(asked, "TOTAL", 50)
    assert [one.why for one in look(shop.parent).unread] == ["it has more than is looked at"]
    monkeypatch.setattr(module, "PATIENCE", 0.0)
    assert look(shop.parent).unread != ()


def test_the_command_tells_it_with_commit_path_and_line_and_without_its_value(shop):
    value = "ghp_" + "".join("hX7cQ2vLm9RtB4wZ8kJ3nY6sD1fG5pA0eU7i"[n] for n in range(36))
    first = commit(shop, env=f"GITHUB_TOKEN={value}\n")
    commit(shop, env="x\n")
    command = [str(Path(sys.executable).with_name("taskbound")), "discover", ".", "--format", "json"]
    for words, cases in (([], []), (["--history"], ["secret-in-git-history"])):
        ran = subprocess.run([*command, *words], cwd=shop, capture_output=True, text=True)
        told = json.loads(ran.stdout)
        assert [one["case"] for one in told["findings"]] == cases
        assert value not in ran.stdout + ran.stderr
    assert told["findings"][0]["places"] == [{"path": f".git!/{first[:10]}:env", "line": 1}]
    assert told["findings"][0]["says"].endswith("removed from the files, still in the history.")
