"""The policy directory on a disk: a broken one leaves the old one in force."""

import os
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest

from taskbound.core.catalogue import pin_of
from taskbound.core.cedar import Entity, Uid
from taskbound.core.config import TargetConfig
from taskbound.core.errors import InvalidRequest, Unavailable
from taskbound.core.organisation import operator_policy
from taskbound.core.policy import Request, authorize
from taskbound.core.policy_dir import EMPTY, read_policy_dir
from taskbound.plugins.policies import files
from taskbound.plugins.policies.files import PolicyFiles
from taskbound.policy_pack import init_files

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


# --- built in ------------------------------------------------------------------------------------

ADMIN = operator_policy("human/alice")


def asks(policies, who, action, kind="System", resource="taskbound"):
    parents = (Uid("Upstream", resource.partition("/")[0]),) if kind == "Tool" else ()
    attrs = (("effect", ""),) if kind == "Tool" else ()
    about = Entity(Uid(kind, resource), attrs, parents)
    context = {"task": "", "depth": 0, "assurance": "operator", "labels": [], "hour": 1, "effect": "", "args": {}}
    request = Request(Entity(Uid("Human", who)), Uid("Action", action), about, {**context, "origin": {}})
    return authorize(policies.current.organisation, request).permitted


def test_what_is_built_in_is_in_force_before_and_after_a_load(policy):
    policies = PolicyFiles(policy, {}, ADMIN)
    for _ in range(2):
        assert asks(policies, "human/alice", "policy/load")
        assert asks(policies, "human/alice", "tool/pin", "Tool", "new/tool")
        assert asks(policies, "human/alice", "identity/suspend", "Agent", "agent/a")
        assert not asks(policies, "human/bob", "policy/load")
        assert not asks(policies, "human/alice", "tools/call", "Tool", "new/tool")
        policies.load()
    assert [one.id for one in policies.current.organisation.policies] == ["admin-operator", "start"]


def test_what_is_built_in_counts_into_the_version(policy):
    versions = {PolicyFiles(policy, {}, text).load().version for text in ("", ADMIN, operator_policy("human/bob"))}
    assert len(versions) == 3


def test_a_file_cannot_take_the_place_of_what_is_built_in(policy):
    (policy / "organisation" / "more.cedar").write_text(ADMIN)
    with pytest.raises(InvalidRequest, match=r"organisation/more.cedar line 1 @id admin-operator: the same @id"):
        PolicyFiles(policy, {}, ADMIN).load()
    (policy / "organisation" / "more.cedar").unlink()
    (policy / "built-in").mkdir()
    (policy / "built-in" / "operator.cedar").write_text(START)
    with pytest.raises(InvalidRequest, match="unknown file"):
        PolicyFiles(policy, {}).load()


def test_an_operators_name_is_text_and_nothing_else(policy):
    name = 'human/a" , action, resource); permit(principal == Human::"x'
    (one,) = read_policy_dir({}, {}, operator_policy(name)).organisation.policies
    assert one.scope.principal == ("==", "Human", name)


# --- written -------------------------------------------------------------------------------------

PIN = pin_of({"name": "get"})
TOOLS = {
    "tools/crm.toml": f'[get]\npin = "{PIN}"\neffect = "read"\n'.encode(),
    "tools/crm.json": b'{"get":{"name":"get"}}',
}


def test_what_is_written_is_read(policy):
    policies = PolicyFiles(policy, {})
    before = policies.load()
    policies.write(TOOLS)
    assert policies.current is before, "what is written is not in force"
    assert list(policies.tools("crm")) == ["get"] and policies.tools("mail") == {}
    assert list(policies.load().tools) == ["crm/get"]
    assert sorted(path.name for path in policy.rglob("*")) == [
        "crm.json",
        "crm.toml",
        "organisation",
        "start.cedar",
        "tools",
    ], "nothing else is left behind"


def test_a_directory_that_is_not_there_is_made(tmp_path):
    policies = PolicyFiles(tmp_path / "state" / "policy", {})
    policies.write({"organisation/start.cedar": START.encode(), **TOOLS})
    assert list(policies.load().tools) == ["crm/get"]


def test_an_upstreams_tools_are_read_where_another_file_is_broken(policy):
    policies = PolicyFiles(policy, {})
    policies.write(TOOLS)
    (policy / "organisation" / "more.cedar").write_text("permit(principal")
    assert list(policies.tools("crm")) == ["get"]
    (policy / "tools" / "crm.json").write_text("{")
    with pytest.raises(InvalidRequest, match=r"tools/crm\.json: not JSON"):
        policies.tools("crm")


@pytest.mark.parametrize(
    "path",
    ["a", "../a.cedar", "organisation/../../a.cedar", "/etc/passwd", "organisation/.x.cedar", "tools/x.cedar", ""],
)
def test_nothing_but_files_of_the_layout_is_written(policy, path):
    before = sorted(policy.parent.rglob("*"))
    with pytest.raises(InvalidRequest, match="unknown file"):
        PolicyFiles(policy, {}).write({"organisation/a.cedar": b"", path: b""})
    assert sorted(policy.parent.rglob("*")) == before


def test_a_symlink_is_replaced_and_never_followed(policy):
    outside = policy.parent / "outside"
    outside.write_text("untouched")
    start = policy / "organisation" / "start.cedar"
    start.unlink()
    start.symlink_to(outside)
    PolicyFiles(policy, {}).write({"organisation/start.cedar": START.encode()})
    assert outside.read_text() == "untouched" and not start.is_symlink() and start.read_text() == START


def test_a_symlink_beside_the_file_is_never_followed(policy):
    outside = policy.parent / "outside"
    outside.write_text("untouched")
    (policy / "organisation" / ".start.cedar.new").symlink_to(outside)
    PolicyFiles(policy, {}).write({"organisation/start.cedar": b"// new"})
    assert outside.read_text() == "untouched"
    assert (policy / "organisation" / "start.cedar").read_text() == "// new"


def test_a_folder_that_is_a_symlink_is_refused(policy):
    (policy.parent / "out").mkdir()
    (policy / "tools").symlink_to(policy.parent / "out", target_is_directory=True)
    with pytest.raises(Unavailable, match="cannot be written"):
        PolicyFiles(policy, {}).write(TOOLS)
    assert list((policy.parent / "out").iterdir()) == []


class Killed(BaseException):
    pass


@pytest.mark.parametrize("call", ["fsync", "rename"])
@pytest.mark.parametrize("nth", [1, 2, 3])
def test_a_file_is_the_old_one_or_the_new_one(policy, monkeypatch, call, nth):
    """The process dies before the n-th such call: each file is whole, and its temporary name is never read."""
    policies = PolicyFiles(policy, {})
    policies.write(TOOLS)
    old = {path: (policy / path).read_bytes() for path in TOOLS}
    new = {path: data + b"\n" for path, data in TOOLS.items()}
    made, calls = getattr(os, call), []

    def dies(*args, **kwargs):
        calls.append(args)
        if len(calls) == nth:
            raise Killed
        return made(*args, **kwargs)

    monkeypatch.setattr(os, call, dies)
    with suppress(Killed):
        policies.write(new)
    monkeypatch.undo()
    for path in TOOLS:
        assert (policy / path).read_bytes() in (old[path], new[path])
    policies.load()
    policies.write(new)  # what was left behind is in nobody's way
    assert {path: (policy / path).read_bytes() for path in TOOLS} == new


def test_a_full_disk_is_the_worlds_trouble(policy, monkeypatch):
    def full(*args, **kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(Unavailable, match="cannot be written: No space left"):
        PolicyFiles(policy, {}).write({"organisation/start.cedar": b"x"})
    assert (policy / "organisation" / "start.cedar").read_text() == START


# --- what `policy init` writes -------------------------------------------------------------------

TARGET = TargetConfig("db", "postgres", "env:A", "o", "q", "production", {"reader": ("r",)})


def leases(policies, principal, assurance="unix"):
    target = policies.targets["db/reader"]
    context = {"task": "t", "depth": 0, "assurance": assurance, "labels": [], "hour": 1, "effect": "", "args": {}}
    request = Request(
        principal, Uid("Action", "lease/issue"), target.entity, {**context, "origin": {}}, others=(target.parent,)
    )
    return authorize(policies.organisation, request).permitted


def workload(kind, environment="production"):
    attrs = (("owner", Uid("Human", "human/alice")), ("environment", environment))
    return Entity(Uid(kind, f"{kind.lower()}/a"), attrs)


@pytest.mark.parametrize("targets", [{}, TARGET.targets()], ids=["no targets", "a target"])
def test_what_policy_init_writes_loads_as_it_is(tmp_path, targets):
    policies = PolicyFiles(tmp_path / "policy", targets, ADMIN)
    policies.write(init_files())
    ids = [one.id for one in policies.load().organisation.policies]
    assert ids == ["admin-operator", "start", "nhi8", "nhi10", "nhi4"]


def test_what_policy_init_writes_forbids_what_it_says(tmp_path):
    held_by_people = replace(TARGET, holders=("human", "agent"))
    policies = PolicyFiles(tmp_path / "policy", TARGET.targets())
    policies.write(init_files())
    loaded = policies.load()
    assert leases(loaded, workload("Agent")) and leases(loaded, workload("Service"))
    assert not leases(loaded, workload("Agent", "dev"))  # nhi8
    assert not leases(loaded, Entity(Uid("Human", "human/alice")))  # nhi10
    assert not leases(loaded, workload("Agent"), "join_token")  # nhi4
    people = read_policy_dir(init_files(), held_by_people.targets())
    assert leases(people, Entity(Uid("Human", "human/alice"))) and not leases(people, workload("Service"))
    assert not asks(policies, "human/alice", "policy/load"), "nobody administers by it"
