"""A receipt says what was recorded and nothing else, and a byte that was changed is found."""

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from taskbound.core.call import Call
from taskbound.core.receipt import (
    MalformedReceipt,
    not_presented,
    origin_of,
    parse_receipt,
    refused_probe,
    render_receipt,
    verify_receipt,
)
from taskbound.formats import canonical
from taskbound.formats.note import Signature, make_key, render_note
from tests.contracts.store import lease, task

AT = datetime(2026, 11, 24, 12, tzinfo=UTC)
PRIVATE = Ed25519PrivateKey.from_private_bytes(b"k" * 32)
KEY = make_key(origin_of("abcdef", "main"), PRIVATE.public_key().public_bytes_raw())


def after(seconds):
    return AT + timedelta(seconds=seconds)


def ended(**changed):
    return replace(
        task(at=AT), **({"ended": after(10), "state": "ended", "due": None, "deadline": after(600)} | changed)
    )


def taken_back(id="l" + "a" * 20, probe=None, **changed):
    done = {"state": "revoked", "activated": after(1), "cut": after(11), "cleaned": after(12), "due": None}
    probe = refused_probe("refused, SQLSTATE 28000", after(11.5)) if probe is None else probe
    return replace(lease(task(at=AT), id), **(done | {"probe": probe} | changed))


def called(at, resource="crm/refund", action="tools/call", state="permitted", code=""):
    return Call(f"c{at}", "main", "t1", "t1", action, resource, after(at), code=code, state=state)


def refused(at, resource="crm/refund", code="task_ended", **more):
    return called(at, resource, state="denied", code=code, **more)


def signed(text, key=PRIVATE, name=KEY):
    return render_note(text, [Signature(name.name, name.id, key.sign(text.encode()))])


def made(leases=(), calls=(), tokens=(), checkpoint=b"abcdef/main\n3\nroot\n", of=None):
    return json.loads(render_receipt(of or ended(), leases, calls, dict(tokens), checkpoint))


def test_it_has_exactly_the_members_that_are_fixed():
    told = made([taken_back()], [called(2)])
    members = {"v", "task", "org", "ended_at", "checkpoint", "leases", "doors", "tokens", "not_presented"}
    assert told.keys() == members
    assert told["leases"][0].keys() == {"id", "target", "class", "name", "cut_at", "clean_at", "probe"}
    assert told["leases"][0]["probe"].keys() == {"by", "at", "answer"}
    assert told["doors"][0].keys() == {"name", "last_permit_at", "first_refusal_at", "refused_by"}
    text = render_receipt(ended(), [taken_back()], [], {}, None)
    assert text.encode() == canonical.render(json.loads(text)) + b"\n"


def test_a_token_that_outlived_its_task_is_listed_as_not_presented():
    over = ended().ended
    told = made(tokens=[("j" + "b" * 20, over + timedelta(seconds=1)), ("j" + "a" * 20, over - timedelta(seconds=1))])
    assert told["tokens"] == [{"jti": "j" + "b" * 20, "exp": "2026-11-24T12:00:11.000000Z", "refused_at": None}]
    assert told["not_presented"] == 1


def test_what_was_not_presented_says_why_and_is_counted():
    leases = [taken_back(), taken_back("l" + "b" * 20, not_presented("it was lost")), taken_back("l" + "c" * 20, "")]
    told = made(leases)
    answers = [one["probe"]["answer"] for one in told["leases"]]
    assert answers[:2] == ["refused, SQLSTATE 28000", "not_presented: it was lost"]
    assert answers[2].startswith("not_presented: ") and told["not_presented"] == 2
    assert told["leases"][1]["probe"]["at"] is None is told["leases"][1]["probe"]["by"]


def test_a_moment_that_nobody_recorded_is_not_invented():
    told = made([taken_back(cut=None, cleaned=None)])
    assert (told["leases"][0]["cut_at"], told["leases"][0]["clean_at"]) == (None, None)
    assert made(checkpoint=None)["checkpoint"] is None


def doors(*calls, leases=(), of=None):
    return {door.pop("name"): door for door in made(leases, calls, of=of)["doors"]}


def test_a_door_that_was_knocked_at_after_the_end_says_when_it_refused_first():
    told = doors(called(2), called(4), refused(12), refused(11), refused(13))["tools/call crm"]
    assert told == {"last_permit_at": _moment(4), "first_refusal_at": _moment(11), "refused_by": "presented"}


def _moment(seconds):
    return f"{after(seconds):%Y-%m-%dT%H:%M:%S.%f}Z"


@pytest.mark.parametrize(
    "call",
    [refused(12, code="outside_grants"), refused(9), refused(12, "mail/send")],
    ids=["refused for another reason", "refused before the end", "refused elsewhere"],
)
def test_control_a_refusal_that_says_nothing_of_the_end_closes_no_door(call):
    told = doors(called(2), call)["tools/call crm"]
    assert told == {"last_permit_at": _moment(2), "first_refusal_at": None, "refused_by": "state"}


def test_a_refusal_after_the_deadline_counts_though_the_end_was_recorded_later():
    of = ended(deadline=after(9.5))
    assert doors(called(2), refused(9.7), of=of)["tools/call crm"]["refused_by"] == "presented"


def test_places_are_told_apart_by_upstream_and_target_and_ids_are_no_places():
    read = [refused(at, f"t{at}", action="audit/read") for at in (12, 13)]
    calls = (called(2), called(3, "mail/send"), *read)
    assert sorted(doors(*calls, leases=[taken_back()])) == [
        "audit/read", "lease/issue shopdb", "tools/call crm", "tools/call mail",
    ]  # fmt: skip


def test_a_receipt_that_is_whole_verifies():
    verdict = verify_receipt(signed(render_receipt(ended(), [taken_back()], [called(2)], {}, None)), KEY)
    assert verdict.problems == () and verdict.receipt is not None and verdict.receipt["org"] == "main"


def test_each_flipped_byte_is_found():
    note = signed(render_receipt(ended(), [taken_back()], [], {}, None))
    for at in range(len(note)):
        flipped = note[:at] + bytes([note[at] ^ 1]) + note[at + 1 :]
        assert verify_receipt(flipped, KEY).problems, f"byte {at} was changed"


def test_it_is_said_what_is_wrong():
    text = render_receipt(ended(), [taken_back()], [], {}, None)
    (one, two) = verify_receipt(signed(text).replace(b'"org":"main"', b'"org":"mein"'), KEY).problems
    assert one.startswith(f"the signature of {KEY.name} is not one of bytes 0 to {len(text.encode()) - 1}: ")
    assert two == "the key abcdef/main/receipt is not one for receipts of mein"
    other = Ed25519PrivateKey.generate()
    stranger = make_key("other/main/receipt", other.public_key().public_bytes_raw())
    (problem,) = verify_receipt(signed(text, other, stranger), KEY).problems
    assert problem.startswith("it is signed by other/main/receipt+")


@pytest.mark.parametrize(
    ("change", "what"),
    [
        (lambda said: said | {"more": 1}, "members"),
        (lambda said: said | {"v": 2}, "members"),
        (lambda said: said | {"not_presented": 1}, "number"),
        (lambda said: said | {"tokens": [{}]}, "another type"),
        (lambda said: said | {"task": None}, "another type"),
        (lambda said: said | {"leases": [said["leases"][0] | {"name": "tb_abcdef_" + "z" * 20}]}, "another's name"),
        (lambda said: said | {"leases": [said["leases"][0] | {"probe": "refused"}]}, "another type"),
        (lambda said: said | {"doors": [{}]}, "another type"),
    ],
)
def test_what_is_no_receipt_is_refused_though_it_is_signed(change, what):
    said = json.loads(render_receipt(ended(), [taken_back()], [], {}, None))
    text = canonical.render(change(said)).decode() + "\n"
    with pytest.raises(MalformedReceipt, match=what):
        parse_receipt(text)
    assert len(verify_receipt(signed(text), KEY).problems) == 1


def test_one_value_has_one_spelling():
    text = render_receipt(ended(), [], [], {}, None)
    at = text.index(',"doors"')
    with pytest.raises(MalformedReceipt, match=f"byte {at + 1} "):
        parse_receipt(text[: at + 1] + " " + text[at + 1 :])
    with pytest.raises(MalformedReceipt, match="twice"):
        parse_receipt('{"v":1,"v":1}\n')


def test_what_no_note_can_hold_is_said():
    with pytest.raises(MalformedReceipt, match="has more than"):
        render_receipt(ended(), [taken_back(f"l{n:020}") for n in range(4000)], [], {}, None)
