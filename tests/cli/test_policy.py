"""`taskbound policy` without a server: check, test, explain and schema, as people and scripts use them."""

import json
import re
import shutil

import cedarpy
import pytest

from taskbound.app.places import only_one
from taskbound.cli import main
from taskbound.policy_pack import init_files
from tests.rig import POLICY

CONFIG = """
[[target]]
name = "shopdb"
provider = "postgres"
admin = "env:NOT_SET"
owner = "o"
quarantine = "q"
environment = "dev"
[target.grants.reader]
member_of = ["shop_reader"]
"""


@pytest.fixture
def say(capsys, monkeypatch, tmp_path):
    monkeypatch.setenv("TASKBOUND_HOME", str(tmp_path / "state"))
    (tmp_path / "state").mkdir(mode=0o700)

    def say(*words: object) -> tuple[int, str, str]:
        capsys.readouterr()
        status = main(["policy", *map(str, words)])
        told = capsys.readouterr()
        return status, told.out, told.err

    return say


@pytest.fixture
def pack(tmp_path):
    """What init writes."""
    for path, data in init_files().items():
        (tmp_path / "state/policy" / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "state/policy" / path).write_bytes(data)
    return tmp_path / "state/policy"


@pytest.fixture
def demo(tmp_path):
    (tmp_path / "state/taskbound.toml").write_text(CONFIG)
    return ["--policy", POLICY]


# --- test ------------------------------------------------------------------------------------------


def test_what_init_writes_passes_its_own_tests(say):
    assert say("init")[0] == 0
    status, out, err = say("test")
    assert (status, out, err) == (0, "5 of 5 tests pass\n", "")
    status, out, _ = say("test", "--json")
    found = {one["name"]: one for one in json.loads(out)["tests"]}
    leased = found["an agent of development leases nothing of production"]
    assert (leased["got"]["verdict"], leased["got"]["policies"], leased["passed"]) == ("deny", ["nhi8"], True)


def test_init_closes_a_state_directory_that_was_just_made_and_no_other_folder(say, tmp_path):
    state = tmp_path / "state"
    state.chmod(0o755)  # as mkdir makes it
    (state / "taskbound.toml").write_text("")
    status, _, err = say("init")
    assert (status, state.stat().st_mode & 0o777) == (0, 0o700)
    assert err == f"{state} was open to others: its mode is 0700 now\n"
    with only_one(state):  # which `up` asks for
        pass
    shutil.rmtree(state / "policy")
    state.chmod(0o755)
    (state / "mine.txt").write_text("")
    assert (say("init")[0], state.stat().st_mode & 0o777) == (0, 0o755)


def test_a_policy_taken_out_fails_the_test_that_names_it(say, pack):
    start = pack / "organisation/start.cedar"
    start.write_text(re.sub(r'@id\("nhi8"\).*?;\n', "", start.read_text(), flags=re.DOTALL))
    status, out, err = say("test")
    assert status == 1 and "nhi8" in err and "no policy has the @id" in err, "a dead reference refuses the load"
    tests = pack / "tests/start.toml"
    tests.write_text(tests.read_text().replace('policy = "nhi8"\n', ""))
    status, out, err = say("test")
    lines = out.splitlines()
    assert (status, err) == (1, "") and lines[0].split() == ["FILE", "TEST", "WRONG", "REASON"]
    assert (
        "an agent of development leases nothing of production" in lines[1] and "expected deny, got permit" in lines[1]
    )
    assert lines[-1] == "4 of 5 tests pass"
    status, out, _ = say("test", "--json")
    (failed,) = [one for one in json.loads(out)["tests"] if not one["passed"]]
    assert (status, failed["expected"]["verdict"], failed["got"]["verdict"]) == (1, "deny", "permit")


def test_only_those_that_are_asked_for_are_run(say, pack):
    assert say("test", "--only", "a person")[1] == "1 of 1 tests pass\n"
    assert say("test", "--only", "nothing like it") == (0, "0 of 0 tests pass\n", "there are no tests\n")


def test_a_directory_may_be_named_as_its_owner_likes(say, pack):
    strange = pack.with_name("of {x} and {}")
    pack.rename(strange)
    status, out, _ = say("check", strange)
    assert status == 0 and out.startswith(f"{strange}: policy ")


def test_check_counts_tests_and_refuses_a_broken_one(say, pack):
    status, out, _ = say("check")
    assert (
        status == 0 and "4 policies" not in out and out.endswith("5 policies, 0 profiles, 0 tools, 5 tests: in order\n")
    )
    (pack / "tests/mine.toml").write_text('[[test]]\nname = "x"\nexpct = "deny"\n')
    status, _, err = say("check")
    assert (status, err.splitlines()) == (1, [
        "tests/mine.toml line 3: test 1: unknown key 'expct' (invalid_policy)", "hint: did you mean 'expect'?",
    ])  # fmt: skip


# --- check -----------------------------------------------------------------------------------------


def test_check_tells_every_problem_with_its_hint(say, pack):
    (pack / "organisation/more.cedar").write_text('permit(principal, action, resource);\n@id("b") forbid(;\n')
    (pack / "registrations.toml").write_text('[[registration]]\nid = "bob"\n')
    status, out, err = say("check")
    assert (status, out) == (1, "") and err.splitlines()[-1] == "2 problems (invalid_policy)"
    assert "organisation/more.cedar line 2: " in err and "registrations.toml line 1: registration 1: " in err
    status, out, err = say("check", "--json")
    told = json.loads(out)
    assert (status, err, told["error"], len(told["problems"])) == (1, "", "invalid_policy", 2)
    assert told["error_description"] == told["problems"][0]["error_description"]


# --- explain ---------------------------------------------------------------------------------------


def test_a_profile_is_explained_with_what_is_bound_and_which_policies_meet_it(say, demo):
    status, out, err = say("explain", "refund-order", *demo, "--set", "order_id=4711", "max=50", "--levels", "2")
    assert (status, err) == (0, "")
    lines = out.splitlines()
    assert lines[0].startswith("profile refund-order: ") and "to be reviewed by" in lines[1] and "life " in lines[2]
    assert any(line.startswith("  budget calls ") for line in lines)
    assert any(re.match(r"  parameter max = 50\.0: amount, decimal", line) for line in lines)
    assert any("amount <= 50" in line for line in lines) and 'context.grant["1"]' in out
    assert any(line.startswith("  policies that may permit it: ") and "none" not in line for line in lines)


def test_without_values_the_parameters_stay_open_and_a_script_gets_it_all(say, demo):
    status, out, _ = say("explain", "refund-order", *demo, "--json")
    about = json.loads(out)
    assert status == 0 and {one["name"] for one in about["parameters"]} == {"order_id", "max"}
    assert all(one["value"] is None for one in about["parameters"])
    (refund,) = [grant for grant in about["grants"] if grant["resource"] == "crm/refund"]
    assert (
        "amount <= max" in refund["said"]
        and list(refund["text"]) == ["0"]
        and refund["text"]["0"].startswith("permit(")
    )
    assert {one["effect"] for one in refund["policies"]} <= {"permit", "forbid"} and refund["policies"]


def test_an_unknown_profile_and_a_value_that_does_not_fit_are_refused(say, demo):
    status, _, err = say("explain", "refund-ordr", *demo)
    assert status == 1 and "did you mean 'refund-order'?" in err
    status, _, err = say("explain", "refund-order", *demo, "--set", "order_id=4711", "max=x")
    assert status == 1 and "parameter 'max'" in err


# --- schema ----------------------------------------------------------------------------------------


def test_the_schema_of_a_tool_is_what_the_engine_reads(say, demo):
    for words in ((), ("crm/refund",), ("crm/refund", "--profile", "refund-order")):
        status, out, err = say("schema", *words, *demo)
        assert (status, err) == (0, "")
        cedarpy.Schema.from_str(out)
        assert ('"amount"' in out, '"grant"' in out) == (len(words) > 0, len(words) > 1)
    assert say("schema", *demo)[1].startswith("// What all actions share.")
    status, _, err = say("schema", "crm/refnd", *demo)
    assert status == 1 and "did you mean 'crm/refund'?" in err
    assert say("schema", "--profile", "x", *demo)[0] == 2


def test_the_common_schema_validates_what_every_action_shares(say, pack):
    _, out, _ = say("schema")
    policies = (pack / "organisation/start.cedar").read_text()
    result = cedarpy.validate_policies(policies, cedarpy.Schema.from_str(out))
    assert result.validation_passed, result.errors
    typo = 'forbid(principal, action == Action::"task/open", resource) when { context.houre < 6 };'
    assert not cedarpy.validate_policies(typo, cedarpy.Schema.from_str(out)).validation_passed
