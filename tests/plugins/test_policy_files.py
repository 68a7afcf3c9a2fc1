"""The policy directory on a disk: a broken one leaves the old one in force."""

import os
from pathlib import Path

import pytest

from taskbound.core.errors import InvalidRequest
from taskbound.core.policy_dir import EMPTY
from taskbound.plugins.policies import files
from taskbound.plugins.policies.files import PolicyFiles

START = '@id("start") permit(principal, action == Action::"task/open", resource);\n'


@pytest.fixture
def policy(tmp_path: Path) -> Path:
    (tmp_path / "policy" / "organisation").mkdir(parents=True)
    (tmp_path / "policy" / "organisation" / "start.cedar").write_text(START)
    return tmp_path / "policy"


def test_nothing_is_permitted_before_the_first_load(policy):
    policies = PolicyFiles(policy, {})
    assert policies.current is EMPTY
    assert policies.load() is policies.current
    assert [one.id for one in policies.current.organisation.policies] == ["start"]


def test_a_broken_directory_leaves_the_old_one_in_force(policy):
    policies = PolicyFiles(policy, {})
    before = policies.load()
    (policy / "organisation" / "more.cedar").write_text("permit(principal")
    with pytest.raises(InvalidRequest) as refused:
        policies.load()
    assert refused.value.code == "invalid_policy" and policies.current is before
    (policy / "organisation" / "more.cedar").unlink()
    assert policies.load().version == before.version


def test_what_git_keeps_beside_the_files_is_not_read(policy):
    before = PolicyFiles(policy, {}).load().version
    (policy / ".git").mkdir()
    (policy / ".git" / "HEAD").write_text("x")
    (policy / ".gitignore").write_text("x")
    (policy / "organisation" / ".start.cedar.swp").write_bytes(b"\xff")
    (policy / "profiles").mkdir()
    assert PolicyFiles(policy, {}).load().version == before


def outside(policy):
    (policy.parent / "out.cedar").write_text(START)
    (policy / "organisation" / "out.cedar").symlink_to(policy.parent / "out.cedar")


def folder_outside(policy):
    (policy.parent / "out").mkdir()
    (policy / "profiles").symlink_to(policy.parent / "out", target_is_directory=True)


def folder_inside(policy):
    (policy / "profiles").symlink_to(policy / "organisation", target_is_directory=True)


def dangling(policy):
    (policy / "organisation" / "a.cedar").symlink_to("nowhere")


def circle(policy):
    (policy / "organisation" / "a.cedar").symlink_to("a.cedar")


def pipe(policy):
    os.mkfifo(policy / "organisation" / "a.cedar")


def folder(policy):
    (policy / "organisation" / "more").mkdir()


def unknown(policy):
    (policy / "README.md").write_text("x")


def large(policy):
    (policy / "organisation" / "a.cedar").write_bytes(b" " * (files.FILE_LIMIT + 1))


REFUSED = {
    outside: "it is a symlink out of the directory",
    folder_outside: "it is a symlink out of the directory",
    folder_inside: "unknown folder",
    dangling: "it cannot be read",
    circle: "it cannot be read",
    pipe: "it is no ordinary file",
    folder: "unknown folder",
    unknown: "unknown file",
    large: "it has more than",
}


@pytest.mark.parametrize("plant", REFUSED, ids=lambda plant: plant.__name__)
def test_what_is_no_file_of_the_directory_refuses_the_load(policy, plant):
    plant(policy)
    with pytest.raises(InvalidRequest, match=REFUSED[plant]) as refused:
        PolicyFiles(policy, {}).load()
    assert refused.value.code == "invalid_policy"


def test_a_symlink_within_the_directory_is_a_file(policy):
    (policy / "organisation" / "start.cedar").rename(policy / ".kept")
    (policy / "organisation" / "start.cedar").symlink_to("../.kept")
    assert len(PolicyFiles(policy, {}).load().organisation.policies) == 1


@pytest.mark.parametrize("path", ["none", "policy/organisation/start.cedar"])
def test_no_directory_refuses_the_load(policy, path):
    with pytest.raises(InvalidRequest, match="it cannot be read") as refused:
        PolicyFiles(policy.parent / path, {}).load()
    assert refused.value.hint == "name a directory"


@pytest.mark.parametrize(("limit", "value"), [("FILES_LIMIT", 1), ("DIRECTORY_LIMIT", 100)])
def test_a_directory_that_is_too_large_refuses_the_load(policy, monkeypatch, limit, value):
    (policy / "organisation" / "more.cedar").write_text(START.replace("start", "more"))
    monkeypatch.setattr(files, limit, value)
    with pytest.raises(InvalidRequest, match="the directory is larger than"):
        PolicyFiles(policy, {}).load()
