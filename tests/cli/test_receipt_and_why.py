"""`receipt` and `why` as people and scripts type them; a receipt is verified with nobody to ask."""

import asyncio
import json
import subprocess
import sys

import pytest

from taskbound.steps.close_task import close_task, read_receipt
from taskbound.steps.decide_call import CallAsk, decide_call
from taskbound.steps.end_task import end_task
from taskbound.steps.explain import explain
from taskbound.steps.issue_lease import LeaseAsk, issue_lease
from taskbound.steps.open_task import open_task
from taskbound.steps.revoke_lease import due_leases, revoke_lease
from tests.cli.test_commands import api, say, state  # noqa: F401
from tests.rig import ALICE, Rig
from tests.stories.story import REFUND, claim_of

ORDER = {"id": "4711"}


@pytest.fixture(scope="module")
def told():
    """What a server tells of one task: its receipt, and why of a permit, a denial, a lease and the task."""
    return asyncio.run(_told())


async def _told():
    rig = Rig()
    await rig.people()
    world = rig.world
    task, handle = await open_task(world, rig.door, ALICE, REFUND)
    agent = claim_of(handle)
    lease, _ = await issue_lease(world, rig.door, agent, LeaseAsk("shopdb/reader"))
    _, permit, _ = await decide_call(world, rig.door, agent, CallAsk("crm/get_order", ORDER))
    _, denial, _ = await decide_call(world, rig.door, agent, CallAsk("crm/get_order", {"id": "4712"}))
    why = {one.id: await explain(world, rig.door, ALICE, one.id) for one in (task, lease, permit, denial)}
    await end_task(world, rig.door, ALICE, task.id, "done")
    for due in await due_leases(world, rig.lane):
        await revoke_lease(world, rig.lane, due)
    await close_task(world, rig.lane, task.id)
    receipt, key = await read_receipt(world, rig.door, ALICE, task.id)
    ids = {"task": task.id, "lease": lease.id, "permit": permit.id, "denial": denial.id, "name": lease.name}
    return {"receipt": {"task": task.id, "receipt": receipt, "vkey": str(key)}, "why": why, **ids}


@pytest.fixture
def served(api, told):  # noqa: F811
    api.answers[f"GET /v1/tasks/{told['task']}/receipt"] = (200, told["receipt"])
    for id, why in told["why"].items():
        api.answers[f"GET /v1/why/{id}"] = (200, dict(why))
    return api


@pytest.fixture
def files(served, told, say, tmp_path):  # noqa: F811
    """A receipt that was written to a file, and the key beside it."""
    status, out, _ = say("receipt", "show", told["task"], "--out", tmp_path / "receipt")
    assert (status, out) == (0, "")
    return tmp_path / "receipt", tmp_path / "receipt.vkey"


def test_a_receipt_is_told_to_people(served, told, say):  # noqa: F811
    status, document, out = say("receipt", "show", told["task"])
    assert (status, json.loads(document)) == (0, told["receipt"])
    assert told["name"] in out and "presented dead by the broker" in out and "cut 2026-" in out
    assert "closed by the task's state, nobody knocked before this was made" in out
    assert out.splitlines()[-1] == "1 credential: 1 presented dead and refused, 0 not presented"


def test_on_a_terminal_a_receipt_is_told_and_not_printed(served, told, say, monkeypatch):  # noqa: F811
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    status, out, err = say("receipt", "show", told["task"])
    assert (status, out) == (0, "") and told["name"] in err
    assert err.splitlines()[-1] == "the signed receipt itself: --out FILE keeps it, --json prints it"
    assert say("receipt", "show", told["task"], "--json")[1] != ""


def test_a_receipt_is_told_to_scripts(served, told, say):  # noqa: F811
    status, out, _ = say("receipt", "show", told["task"], "--json")
    assert (status, json.loads(out)) == (0, told["receipt"])


def test_a_receipt_that_is_kept_is_not_written_over(files, told, say):  # noqa: F811
    note, key = files
    before = note.read_bytes(), key.read_bytes()
    status, out, err = say("receipt", "show", told["task"], "--out", note)
    assert (status, out) == (1, "") and err.startswith(f"{note} exists already (conflict)")
    note.unlink()
    assert say("receipt", "show", told["task"], "--out", note)[0] == 1  # a key alone would be another's
    assert not note.exists() and key.read_bytes() == before[1]
    (note.parent / "link").symlink_to(note.parent / "elsewhere")
    assert say("receipt", "show", told["task"], "--out", note.parent / "link")[0] == 1
    assert not (note.parent / "elsewhere").exists()


def test_what_show_prints_verifies_as_it_is(served, told, say, tmp_path):  # noqa: F811
    _, document, _ = say("receipt", "show", told["task"])
    (tmp_path / "receipt").write_text(document)
    assert say("receipt", "verify", str(tmp_path / "receipt"))[0] == 0
    changed = document.replace("last_permit_at", "last_permit_or", 1)
    assert changed != document
    (tmp_path / "receipt").write_text(changed)
    assert say("receipt", "verify", str(tmp_path / "receipt"))[0] == 4


def test_a_file_that_there_is_not_is_said_with_what_to_do(say, tmp_path):  # noqa: F811
    status, out, err = say("receipt", "verify", str(tmp_path / "none"))
    assert (status, out) == (1, "") and "No such file" in err and "hint: name a file that there is" in err


def test_a_task_that_is_not_closed_has_none(api, say):  # noqa: F811
    answer = {
        "error": "not_closed",
        "error_description": "task t1 ended",
        "hint": "taskbound lease list",
        "request": "r",
    }
    api.answers["GET /v1/tasks/t1/receipt"] = (404, answer)
    status, _, err = say("receipt", "show", "t1")
    assert (status, "not_closed" in err, "hint: taskbound lease list" in err) == (1, True, True)


def test_the_file_is_verified_and_it_is_said_where_the_key_is_from(files, told, say):  # noqa: F811
    note, key = files
    assert (note.read_text(), key.read_text()) == (told["receipt"]["receipt"], told["receipt"]["vkey"] + "\n")
    status, out, _ = say("receipt", "verify", note)
    assert status == 0
    assert out.splitlines() == [
        f"the receipt of {told['task']}: verified", "key taken from the receipt: integrity, not origin",
    ]  # fmt: skip
    status, out, _ = say("receipt", "verify", note, "--vkey", told["receipt"]["vkey"])
    assert (status, out.splitlines()) == (0, [f"the receipt of {told['task']}: verified"])


def test_a_flipped_byte_is_found_and_named(files, told, say):  # noqa: F811
    note, _ = files
    whole = note.read_bytes()
    at = whole.index(told["name"].encode()) + 12
    note.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
    status, out, _ = say("receipt", "verify", note)
    assert status == 4 and "NOT verified" in out and "one of them was changed" in out
    status, out, _ = say("receipt", "verify", note, "--json")
    verdict = json.loads(out)
    assert (status, verdict["verified"], verdict["key_from"]) == (4, False, "receipt") and verdict["problems"]
    note.write_bytes(whole[:-1])
    assert say("receipt", "verify", note)[0] == 4


def test_another_key_than_the_signers_is_no_key_of_it(files, say):  # noqa: F811
    other = "abcdef/main/receipt+00000000+AQ=="
    assert say("receipt", "verify", files[0], "--vkey", other)[0] == 1
    files[1].write_text("nothing\n")
    status, _, err = say("receipt", "verify", files[0])
    assert (status, "this is no key" in err, "hint: a key is one line" in err) == (1, True, True)
    files[1].unlink()
    status, _, err = say("receipt", "verify", files[0])
    assert (status, "hint: give the key with --vkey KEY" in err) == (1, True)
    assert say("receipt", "verify", files[0].with_name("nothing"), "--vkey", other)[0] == 1


def test_verifying_asks_nobody_and_loads_no_server_and_no_engine(files):
    code = (
        "import sys; from taskbound.cli import main; status = main(['receipt', 'verify', sys.argv[1]]);"
        "print(sorted(one for one in sys.modules if one.split('.')[0] in"
        " ('cedarpy', 'starlette', 'asyncpg', 'aiohttp') or one.startswith(('taskbound.app', 'taskbound.st'))))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, files[0]], capture_output=True, text=True, env={"TASKBOUND_HOME": "/nowhere"}
    )
    assert done.stdout.splitlines()[0].endswith(": verified"), done.stderr
    assert done.stdout.splitlines()[-1] == "[]"


# --- why -------------------------------------------------------------------------------------------


def test_a_permit_is_one_page(served, told, say):  # noqa: F811
    status, out, _ = say("why", told["permit"])
    lines = out.splitlines()
    assert status == 0 and len(lines) <= 12
    assert lines[0] == f"d{told['permit'][1:]}  tools/call crm/get_order  permitted"
    for part in (
        "human/alice",
        "agent/support acts",
        "refund-order",
        "order_id = 4711",
        "by grant",
        "start",
        "not sealed",
    ):
        assert part in out


def test_a_denial_says_the_reason_the_hint_and_the_command(served, told, say):  # noqa: F811
    _, out, _ = say("why", told["denial"])
    lines = [line.strip() for line in out.splitlines()]
    assert lines[0].endswith("DENIED (outside_grants)")
    assert f"because     task {told['task']} was not granted crm/get_order with these arguments" in lines
    assert any(line.startswith("hint") and "it was granted id = " in line for line in lines)
    assert "to do       taskbound task open --profile refund-order --set max=… order_id=…" in lines


def test_a_lease_and_a_task_say_what_became_of_them(served, told, say):  # noqa: F811
    _, out, _ = say("why", told["lease"])
    assert f"{told['name']} active: expires " in out and "shopdb/reader" in out
    _, out, _ = say("why", told["task"])
    assert "open: opened " in out and out.count("granted") == 3


def test_what_was_erased_is_said(api, told, say):  # noqa: F811
    why = dict(told["why"][told["denial"]])
    why |= {"erased": True, "what": {**why["what"], "arguments": None}}
    why["decision"] = {**why["decision"], "reason": "", "objections": []}
    api.answers["GET /v1/why/d1"] = (200, why)
    _, out, _ = say("why", "d1")
    assert "because     outside_grants; its reason was erased" in out and "the body of the event was erased" in out


def test_an_explanation_is_json_for_scripts_and_steers_no_terminal(api, told, say):  # noqa: F811
    why = dict(told["why"][told["permit"]])
    api.answers["GET /v1/why/d1"] = (200, why)
    status, out, _ = say("why", "d1", "--json")
    assert (status, json.loads(out)) == (0, why)
    level = why["chain"][0]
    hostile = {**level, "intent": {**level["intent"], "text": "\x1b[2J\nforged line"}}
    api.answers["GET /v1/why/d1"] = (200, {**why, "chain": [hostile]})
    _, out, _ = say("why", "d1")
    assert "\x1b" not in out and not any(line.startswith("forged") for line in out.splitlines())


def test_nothing_to_explain_is_refused_and_the_words_are_checked(api, say):  # noqa: F811
    assert say("why", "d1")[0] == 1
    assert say("why")[0] == 2
    assert say("receipt", "shw")[0] == 2
