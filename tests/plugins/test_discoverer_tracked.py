"""Whether git has a file, against git itself."""

import subprocess
from pathlib import Path

import pytest

from taskbound.plugins.discoverers.tracked import is_untracked

NAMES = ("a.env", "deep/.env", "n" * 200 + "/" + "m" * 250 + "/" + "k" * 250 + ".env", "deep/b.env")


def git(at: Path, *words: str) -> None:
    who = ("-c", "user.name=a", "-c", "user.email=a@example.org", "-c", "protocol.file.allow=always")
    subprocess.run(("git", *who, *words), cwd=at, check=True, capture_output=True)


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    git(tmp_path, "init", "-q", "shop")
    for name in NAMES:
        file = tmp_path / "shop" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("A=1\n")
    git(tmp_path / "shop", "add", *NAMES[:-1])
    git(tmp_path / "shop", "commit", "-qm", "first")
    return tmp_path / "shop"


@pytest.mark.parametrize("version", ["2", "3", "4"])
def test_what_the_index_does_not_name_is_untracked(checkout: Path, version: str) -> None:
    if version == "3":
        git(checkout, "add", "-N", "deep/b.env")  # an intent to add is what makes git write that version
        git(checkout, "rm", "-q", "--cached", "a.env")
        told = {name: name == "a.env" for name in NAMES}
    else:
        git(checkout, "update-index", "--index-version", version)
        told = {name: name == "deep/b.env" and version != "4" for name in NAMES}
    assert (checkout / ".git/index").read_bytes()[4:8] == int(version).to_bytes(4, "big")
    assert {name: is_untracked(checkout / name) for name in NAMES} == told
    (checkout / "env").write_text("")
    assert is_untracked(checkout / "env") == (version != "4"), "the end of a name is no name"


def test_worktrees_and_submodules_have_an_index_elsewhere(checkout: Path, tmp_path: Path) -> None:
    git(checkout, "worktree", "add", "-q", str(tmp_path / "tree"))
    (tmp_path / "tree/new.env").write_text("")
    assert is_untracked(tmp_path / "tree/new.env") and not is_untracked(tmp_path / "tree/a.env")
    git(checkout, "submodule", "add", "-q", str(checkout), "sub")
    (checkout / "sub/new.env").write_text("")
    assert is_untracked(checkout / "sub/new.env") and not is_untracked(checkout / "sub/a.env")


def test_where_it_cannot_be_told_nothing_is_said(checkout: Path, tmp_path: Path) -> None:
    (tmp_path / "x.env").write_text("")
    assert not is_untracked(tmp_path / "x.env"), "there is no checkout"
    (checkout / "x.env").write_text("")
    assert is_untracked(checkout / "x.env")
    git(checkout, "update-index", "--split-index")
    assert not is_untracked(checkout / "x.env"), "a part of the index is elsewhere"
    (checkout / ".git/index").write_bytes(b"none")
    assert not is_untracked(checkout / "x.env")
    (checkout / ".git/index").unlink()
    assert is_untracked(checkout / "x.env"), "nothing was added"
    (checkout / ".git/HEAD").unlink()
    assert not is_untracked(checkout / "x.env")
