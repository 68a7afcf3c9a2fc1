"""All guards in one table, each beside a test that is red without it (SECURITY-DESIGN part D, rules 1 and 5).

What refuses is called `require_…`, or is one of the CHECKS; guards with other names are in the table
too. Each is replaced, wherever it is used, by one that lets everything through, in a process of its
own; the test beside it must fail there, in its body, with the words beside it: those of what came through,
not those of another refusal behind it. Where there is one behind it the row says so. With the guard on
the same test is green there. A guard that is missing here fails the build.
"""

import ast
import importlib
import inspect
import io
import os
import random
import signal
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from taskbound.core.call import CHECKS
from tests.postgres import server
from tests.profile import FULL

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "src/taskbound"

SHORT = 4  # tests of the short profile that are run with their guards on, drawn anew in each run

Off = Callable[..., Any]


def nothing(*_: Any, **__: Any) -> None:
    """Let through, as one that found nothing to object to."""


def yes(*_: Any, **__: Any) -> bool:
    """Let through, as one that is satisfied."""
    return True


# fmt: off
GUARDS: dict[str, tuple[Off, str, str]] = {
    "app.fix:require_id": (
        nothing, "app/test_fix.py::test_an_id_leads_to_no_file_elsewhere",
        "DID NOT RAISE InvalidRequest"),
    "app.issuers:_require_public": (
        nothing, "app/test_issuers.py::test_a_password_on_the_command_line_is_refused",
        "DID NOT RAISE InvalidRequest"),
    "app.issuers:_require_verified": (
        nothing, "app/test_issuers.py::test_a_server_beyond_this_machine_has_to_prove_who_it_is",
        "DID NOT RAISE InvalidRequest"),
    "app.logins:_is_what_stood": (
        yes, "app/test_fix.py::test_what_was_put_into_a_target_since_is_never_taken_for_what_stood_in_the_file[login]",
        "DID NOT RAISE Conflict"),
    "app.places:_require_hidden": (
        nothing, "app/test_places.py::test_a_secret_of_the_store_lies_where_run_hides_it",
        "DID NOT RAISE InvalidRequest"),
    "app.targets:require_name": (
        nothing, "app/test_fix.py::test_a_target_has_no_folder_elsewhere",
        "DID NOT RAISE InvalidRequest"),
    "app.targets:require_private": (
        nothing, "app/test_fix.py::test_a_state_directory_that_others_see_is_refused",
        "DID NOT RAISE InvalidRequest"),
    "cli.answer:Parser.require_known": (  # refused by argparse too, which knows no nearest option
        nothing, "cli/test_commands.py::test_a_misspelt_option_gets_the_nearest_as_a_hint",
        "['hint: taskbound task --help'] != ['hint: did you mean --state?']"),
    "cli.discover:require_room": (  # else it is looked at all the same, for nothing
        nothing, "cli/test_discover.py::test_a_folder_that_is_not_there_is_told_before_anything_is_looked_at",
        "TypeError: 'NoneType' object is not callable"),
    "cli.discover:_require_baseline": (
        nothing, "cli/test_discover.py::test_a_baseline_is_written_over_a_baseline_alone",
        "At index 0 diff: 0 != 1"),
    "cli.graph:_require_ours": (
        nothing, "cli/test_graph.py::test_a_picture_takes_the_place_of_a_picture_and_of_nothing_else",
        "assert ((0, '') == (1, '')"),
    "core.call:task_is_open": (
        nothing, "steps/test_decide_call.py::test_a_task_that_ended_cannot_act_however_it_ended",
        "assert '' == 'task_ended'"),
    "core.call:tool_is_pinned": (
        nothing, "core/test_call.py::test_a_definition_that_nobody_pinned_does_not_act",
        "assert '' == 'tool_not_pinned'"),
    "core.call:flow_is_safe": (
        nothing, "core/test_call.py::test_after_a_secret_and_outsiders_text_a_send_asks",
        "assert '' == 'approval_required'"),
    "core.call:within_grants": (  # what no level permits is refused behind it too, as check_failed
        nothing, "core/test_call.py::test_a_grant_that_asks_is_never_used_silently",
        "assert (True, '') == (False, 'approval_required')"),
    "core.call:policy_permits": (
        nothing, "core/test_call.py::test_administration_is_done_outside_every_task",
        "assert '' == 'not_permitted'"),
    "core.call:Decision.require_permit": (
        nothing, "core/test_call.py::test_a_decision_that_says_nothing_permits_nothing",
        "DID NOT RAISE any of (Denied, IndexError)"),
    "core.cedar:_refuse_what_would_crash": (
        nothing, "core/test_policy.py::test_a_text_that_is_not_one_policy_is_refused",
        "-SIGSEGV"),
    "core.errors:bounded": (
        nothing, "core/test_errors.py",
        "DID NOT RAISE InvalidRequest"),
    "core.expectation:_require_name": (
        nothing, "core/test_trial.py::test_a_broken_test_refuses_the_load_and_says_where",
        "DID NOT RAISE InvalidRequest"),
    "core.finding:why_kept": (
        nothing, "steps/test_raise_findings.py::test_what_is_gone_and_not_verified_dead_stays_open_and_says_why",
        "assert (['f"),
    "core.identity:require_facts": (
        nothing, "steps/test_register_identity.py::test_a_bad_name_or_owner_is_refused_and_nothing_happens",
        "DID NOT RAISE InvalidRequest"),
    "core.intent:_require_owned": (
        nothing, "core/test_intent.py::test_a_profile_is_a_person_s",
        "DID NOT RAISE InvalidRequest"),
    "core.intent:require_distinct": (
        nothing, "core/test_intent.py::test_a_profile_that_cannot_be_meant_is_refused",
        "DID NOT RAISE InvalidRequest"),
    "core.organisation:_require_id": (
        nothing, "core/test_policy_dir.py::test_a_policy_that_cannot_be_meant_refuses_the_load",
        "DID NOT RAISE InvalidRequest"),
    "core.refusal:Problems.require_none": (  # a profile's is held by assertions behind it too
        nothing, "core/test_policy_dir.py::test_a_policy_that_cannot_be_meant_refuses_the_load",
        "DID NOT RAISE InvalidRequest"),
    "core.task:Task.require_open": (
        nothing, "steps/test_issue_token.py::test_a_suspended_owner_ends_it",
        "DID NOT RAISE TaskEnded"),
    "edge.api.tasks:_require_own_token": (  # issue_token refuses behind it too, when the task is there
        nothing, "edge/test_claims.py::test_who_joins_for_another_s_work_is_refused_before_there_is_a_task",
        "a task is left that nobody can work in"),
    "edge.claims:is_local": (
        yes, "edge/test_claims.py::test_beyond_this_machine_nobody_is_told_how_it_is",
        "/metrics beyond this machine\nassert 200 == 401"),
    "edge.gateway.asked:Asked.require_live": (
        nothing, "edge/test_gateway.py::test_the_handle_of_a_task_that_ended_is_refused_whatever_is_asked",
        "assert (200 == 401)"),
    "edge.gateway.offers:may_act": (
        yes, "edge/test_gateway.py::test_a_task_that_ended_cannot_act",
        "the upstream was asked"),
    "edge.gateway.running:RunningCalls._require_room": (
        nothing, "edge/test_gateway.py::test_a_task_has_a_bounded_number_of_calls_under_way",
        "one call too many was run"),
    "edge.request:require_local": (
        nothing, "edge/test_http.py::test_a_page_of_another_origin_is_refused[unix-http://evil.example]",
        "assert (200 == 403)"),
    "formats.dpop:is_at": (
        yes, "formats/test_dpop.py::test_a_proof_for_another_address_is_refused",
        "DID NOT RAISE MalformedToken"),
    "formats.jose:require_signature": (
        nothing, "formats/test_jose.py::test_what_is_not_exactly_a_token_of_ours_is_refused",
        "DID NOT RAISE MalformedToken"),
    "formats.libpq:is_verified": (
        yes, "formats/test_libpq.py::test_who_could_be_anybody_is_not",
        "where True = is_verified('postgresql://a:b@db.example/x', {})"),
    "formats.mcp_era:check_request": (
        nothing, "edge/test_gateway_eras.py::test_a_header_that_says_another_thing_than_the_body_is_refused[another method]",  # noqa: E501
        "assert (200 == 400)"),
    "formats.mcp_headers:check": (
        nothing, "formats/test_mcp_headers.py::test_headers_that_say_another_thing_are_refused",
        "DID NOT RAISE MalformedMessage"),
    "formats.tlog:verify_consistency": (
        yes, "formats/test_tlog.py::test_no_forged_proof_is_accepted",
        "where True = verify_consistency("),
    "formats.tlog:verify_inclusion": (
        yes, "formats/test_tlog.py::test_no_forged_proof_is_accepted",
        "where True = verify_inclusion("),
    "plugins.providers.postgres:PostgresProvider._require_fit": (
        nothing, "plugins/test_postgres_provider.py::test_nothing_is_handed_out_that_could_not_be_taken_back",
        "DID NOT RAISE TargetUnavailable"),
    "edge.claims:Holders.silent": (
        lambda *_: [], "edge/test_hold.py::test_what_was_not_listened_to_is_nobodys_silence",
        "assert [] == ["),
    "posture.moved:_require_undoable": (
        nothing, "posture/test_moved.py::test_what_could_not_be_put_back_byte_for_byte_is_not_taken_out",
        "DID NOT RAISE Conflict"),
    "posture.moved:_require_gone": (
        nothing, "posture/test_moved.py::test_a_file_that_would_still_hold_one_is_refused",
        "DID NOT RAISE Conflict"),
    "posture.oidc:_require_same": (
        nothing, "posture/test_oidc.py::test_what_would_change_more_than_was_meant_is_refused",
        "DID NOT RAISE Conflict"),
    "posture.references:_require_small": (
        nothing, "posture/test_references.py::test_a_file_that_is_too_large_is_refused_before_it_is_read",
        "it was parsed"),
    "prove:not_theirs": (
        nothing, "steps/test_hold_task.py::test_who_may_only_see_it_does_not_keep_it_alive",
        "DID NOT RAISE Denied"),
    "prove:is_own": (
        yes, "steps/test_explain.py::test_an_agent_sees_what_is_its_own_and_nothing_of_what_stands_above",
        "DID NOT RAISE Denied"),
    "runner.environment:_is_allowed": (
        yes, "runner/test_environment.py",
        "'AWS_SECRET_ACCESS_KEY': 'canary'"),
    "posture.offboarding:_is_held_by": (
        yes, "posture/test_leaving.py::test_what_is_somebody_elses_is_not_theirs", "assert ((Held("),
    "posture.risks:_inert": (
        lambda text: text,
        "posture/test_risks.py::test_no_cell_of_the_spreadsheet_is_calculated_in_any_country", "] == []"),
    "posture.entries:Looked.covers": (
        yes, "posture/test_entries.py::test_gone_is_only_what_was_looked_for_in_each_place", "assert ['f"),
    "posture.catalogues.server:is_one_everywhere": (
        yes, "steps/test_raise_findings.py::test_what_localhost_never_let_in_is_another_machine_s_and_not_closed_by_this_one",  # noqa: E501
        "assert (Issued("),
    "steps.record_fix:_begun": (
        lambda facts, *_: facts[0], "steps/test_record_fix.py::test_what_was_never_begun_does_not_end_and_what_has_ended_does_not_end_again",  # noqa: E501
        "DID NOT RAISE NotFound"),
    "steps.accept_risk:_require_ahead": (
        nothing, "steps/test_accept_risk.py::test_what_will_not_do_is_refused_and_nothing_happens", "DID NOT RAISE"),
    "steps.accept_risk:_require_living_human": (
        nothing, "steps/test_accept_risk.py::test_who_is_not_live_answers_for_nothing_and_no_longer", "DID NOT RAISE"),
    "steps.issue_lease:_require_holder": (  # a lease of an ended task is refused behind it too, by its own state
        nothing, "steps/test_issue_lease.py::test_an_actor_who_is_stopped_while_its_credential_is_made_gets_none",
        "DID NOT RAISE Denied"),
    "steps.issue_token:_require_issuable": (
        nothing, "steps/test_issue_token.py",
        "DID NOT RAISE TaskEnded"),
    "steps.look_up:permit_administration": (
        nothing, "edge/test_claims.py::test_who_shows_a_token_never_administers",
        "assert 200 == 403"),
    "steps.look_up:require_acting": (
        nothing, "edge/test_api.py::test_a_handle_opens_children_of_its_own_task_only",
        "assert (201, None) == (403, 'not_yours')"),
    "steps.offboard_identity:_require_another": (
        nothing, "steps/test_offboard_identity.py::test_the_operator_is_not_offboarded_by_this_installation",
        "DID NOT RAISE Conflict"),
    "steps.offboard_identity:_left_alone": (
        nothing, "steps/test_offboard_identity.py::test_a_login_ends_only_where_its_server_is_known_to_be_the_one",
        "assert 'alive' == 'unknown'"),
    "steps.offboard_identity:require_room": (
        nothing, "steps/test_offboard_identity.py::test_what_was_ended_is_recorded_however_many_logins_are_asked_about",
        "DID NOT RAISE InvalidRequest"),
    "steps.open_task:_require_own_limits": (
        nothing, "steps/test_open_task_rules.py::test_two_grants_never_share_the_limit_of_the_one_they_descend_from",
        "DID NOT RAISE Denied"),
    "steps.open_task:_require_own_subject": (
        nothing, "steps/test_open_task_intent.py::test_nobody_acts_for_a_person_by_naming_them",
        "DID NOT RAISE Denied"),
    "steps.open_task:_require_room": (
        nothing, "steps/test_open_task.py::test_a_task_has_no_more_children_at_once_than_can_be_ended_at_once",
        "DID NOT RAISE Denied"),
    "steps.require_keys:require_keys": (
        nothing, "steps/test_require_keys.py::test_another_key_is_refused_each_time",
        "DID NOT RAISE Conflict"),
    "steps.require_trust_domain:require_trust_domain": (
        nothing, "steps/test_require_trust_domain.py::test_another_one_than_that_of_the_operators_is_refused",
        "DID NOT RAISE InvalidRequest"),
    "steps.seal_log:_require_seen": (
        nothing, "steps/test_seal_log.py::test_nothing_is_signed_when_the_second_place_has_seen_something_else[memory-longer]",  # noqa: E501
        "DID NOT RAISE Unavailable"),
    "store.memory:MemoryTransaction._require_follows": (
        nothing, "store/test_memory.py::test_a_fact_follows_the_stored_state_or_is_refused",
        "DID NOT RAISE IllegalTransition"),
    "store.migrations:require_current": (
        nothing, "store/test_postgres_rebuilt.py::test_a_database_of_another_version_is_not_migrated_by_who_only_looks",
        "DID NOT RAISE StoreUnavailable"),
    "store.migrations:_require_known": (
        nothing, "store/test_sqlite.py::test_a_newer_database_is_refused_and_untouched",
        "DID NOT RAISE StoreUnavailable"),
    "store.postgres.block:Block._require_name": (
        nothing, "store/test_postgres_name.py::test_what_began_before_writes_nothing_when_the_name_is_gone",
        "DID NOT RAISE StoreUnavailable"),
    "store.postgres.name:Name.require": (
        nothing, "store/test_postgres_name.py::test_what_began_before_writes_nothing_when_the_name_is_gone",
        "DID NOT RAISE StoreUnavailable"),
    "store.sqlite.facts:SqliteTransaction._require_follows": (
        nothing, "store/test_sqlite.py::test_a_fact_follows_the_stored_state_or_is_refused",
        "DID NOT RAISE IllegalTransition"),
}
# These need a place or a database of their own: their control is a test that `make test` runs as it is.
APART: dict[str, str] = {
    "store.postgres.facts:PostgresTransaction._require_left":
        "store/test_postgres_races.py::test_control_without_its_condition_a_call_is_permitted_after_the_end",
    "store.reserve:Reserve.require_room":
        "store/test_full_disk.py::test_control_without_the_reserve_nothing_can_be_ended",
}
# fmt: on


def switch_off(guard: str, instead: Off) -> None:
    """Replace a guard, "module:name" or "module:Class.name", in its module and in all that took it from there."""
    module, name = guard.split(":")
    *path, last = name.split(".")
    owner: Any = importlib.import_module(f"taskbound.{module}")
    for part in path:
        owner = getattr(owner, part)
    original = vars(owner)[last]
    new = _awaitable(instead) if inspect.iscoroutinefunction(original) else instead
    setattr(owner, last, new)
    for known in [one for name, one in sys.modules.items() if name.startswith(("taskbound", "tests"))]:
        for key, value in list(vars(known).items()):
            if value is original:
                setattr(known, key, new)
            elif isinstance(value, tuple) and original in value:
                setattr(known, key, tuple(new if one is original else one for one in value))


def _awaitable(instead: Off) -> Off:
    async def answer(*given: Any, **named: Any) -> Any:
        return instead(*given, **named)

    return answer


class Failures:
    """A pytest plug-in that writes what failed, and where: `call` is the body of a test, `setup` a fixture."""

    def __init__(self, writing: int) -> None:
        self.writing = writing

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed:
            crash = getattr(report.longrepr, "reprcrash", None)
            os.write(self.writing, f"{report.when}: {crash.message if crash else report.longrepr}\n".encode())


def ended(test: str, guard: str = "", instead: Off = nothing) -> str:
    """Return how a test ends in a copy of this process, without a guard: "green", what failed, or "-SIGNAL"."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        status = 99
        try:
            os.close(reading)
            sys.stdout = sys.stderr = io.StringIO()
            os.environ.pop("PYTEST_XDIST_WORKER", None)
            if guard:
                switch_off(guard, instead)
            options = ["-q", "-x", "-p", "no:cacheprovider", "-p", "no:xdist", f"--rootdir={ROOT}"]
            status = int(pytest.main([*options, f"{ROOT}/tests/{test}"], plugins=[Failures(writing)]))
        finally:
            try:
                server.end()
            finally:
                os._exit(status)
    os.close(writing)
    with open(reading, "rb") as pipe:
        failures = pipe.read().decode()
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert not list(Path(tempfile.gettempdir()).glob(f"taskbound-{child}-*")), "the folder of its PostgreSQL is left"
    if status < 0:
        return f"-{signal.Signals(-status).name}"
    return "green" if status == pytest.ExitCode.OK else failures or f"exit {status}"


def is_red(said: str, sign: str) -> bool:
    """Whether a test failed as it says: by that signal, or in its body with these words."""
    return said == sign if sign.startswith("-") else said.startswith("call: ") and sign in said


@pytest.mark.parametrize("guard", GUARDS)
def test_without_the_guard_its_test_is_red(guard: str) -> None:
    instead, test, sign = GUARDS[guard]
    said = ended(test, guard, instead)
    assert is_red(said, sign), f"without {guard} its test is not red as it should be: {said}"


def test_with_the_guard_its_test_is_green() -> None:
    tests = sorted({test for _, test, _ in GUARDS.values()})
    for test in tests if FULL else random.sample(tests, SHORT):
        assert ended(test) == "green", test


def test_control_a_test_that_asks_for_no_guard_stays_green() -> None:
    assert ended("core/test_secret.py", "core.call:task_is_open") == "green"


@pytest.mark.parametrize("said", [
    "green", "setup: Failed: DID NOT RAISE Denied\n", "-SIGKILL", "exit 4", "call: KeyError: 'purpose'\n",
    "call: Failed: DID NOT RAISE TaskEnded\n",
], ids=["green", "fixture", "killed", "not run", "broken", "another refusal"])  # fmt: skip
def test_control_what_is_broken_in_another_way_is_not_red(said: str) -> None:
    assert not is_red(said, "DID NOT RAISE Denied") and not is_red(said, "-SIGSEGV")
    assert is_red("call: Failed: DID NOT RAISE Denied\n", "DID NOT RAISE Denied") and is_red("-SIGSEGV", "-SIGSEGV")


@pytest.mark.parametrize(("body", "said"), [
    ("import os, signal\ndef test_one():\n    os.kill(os.getpid(), signal.SIGKILL)\n", "-SIGKILL"),
    ("def test_one(nothing_gives_this):\n    pass\n", "setup: "),
    ("def test_one():\n    assert 1 == 2\n", "call: assert 1 == 2"),
], ids=["a signal", "a fixture", "the body"])  # fmt: skip
def test_control_how_a_test_ended_is_told_apart(tmp_path: Path, body: str, said: str) -> None:
    (tmp_path / "test_it.py").write_text(body)
    assert ended(os.path.relpath(tmp_path / "test_it.py", ROOT / "tests")).startswith(said)


def _functions(tree: ast.AST, within: str = "") -> Iterator[str]:
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.ClassDef):
            yield from _functions(node, f"{within}{node.name}.")
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield within + node.name


def test_every_guard_is_in_the_table() -> None:
    found = {f"core.call:{check.__name__}" for check in CHECKS}
    for file in sorted(SOURCE.rglob("*.py")):
        module = ".".join(file.relative_to(SOURCE).with_suffix("").parts).removesuffix(".__init__")
        names = _functions(ast.parse(file.read_text()))
        found |= {f"{module}:{name}" for name in names if name.rpartition(".")[2].lstrip("_").startswith("require_")}
    assert found <= GUARDS.keys() | APART.keys()


@pytest.mark.parametrize("guard", APART)
def test_the_control_of_each_other_guard_is_there(guard: str) -> None:
    file, _, name = APART[guard].partition("::")
    names = set(_functions(ast.parse((ROOT / "tests" / file).read_text())))
    module, _, qualified = guard.partition(":")
    assert name in names and name.startswith("test_")
    found: Any = importlib.import_module(f"taskbound.{module}")
    for part in qualified.split("."):
        found = getattr(found, part)
    assert callable(found)
