"""An identity is made by a proof that holds, and by nothing else (D15)."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from taskbound.core.errors import IllegalTransition, InvalidRequest, Unauthenticated
from taskbound.core.event import Kind
from taskbound.core.identity import (
    Claim,
    Facts,
    Registration,
    Token,
    identify,
    proof_of,
    registration_of,
    require_facts,
)
from taskbound.core.policy_dir import RegistrationEntry
from taskbound.core.thing import advance

WHEN: dict[str, str | int] = {"uid": 1000, "path": "/usr/bin/python3.11"}


def registration(**fields):
    base: dict[str, Any] = {
        "id": "i" + "a" * 20, "org": "main", "spiffe_id": "spiffe://example.org/agent/nightly", "kind": "agent",
        "owner": "spiffe://example.org/human/alice", "purpose": "", "environment": "dev", "groups": ("ci",),
        "attestor": "unix", "when": WHEN,
    }  # fmt: skip
    return advance(Registration(**{**base, **fields}), Kind.IDENTITY_REGISTERED)


def claim(**of):
    return Claim("main", facts=Facts("unix", {**WHEN, **of}))


def test_facts_prove_the_registration_they_match():
    proven = identify(claim(pid=4), registration(), None, ())
    assert (proven.name, proven.assurance, proven.facts["pid"], proven.task) == ("agent/nightly", "unix", 4, None)


def test_a_handle_proves_the_actor_of_its_task():
    proven = identify(Claim("main", handle="0" * 64), registration(), "t1", ("spiffe://example.org/agent/boss",))
    assert (proven.assurance, proven.task, proven.act) == ("handle", "t1", ("spiffe://example.org/agent/boss",))


@pytest.mark.parametrize(
    ("what", "known", "task"),
    [
        (claim(uid=1001), registration(), None),
        (claim(uid="1000"), registration(), None),
        (claim(path=""), registration(), None),
        (Claim("main", facts=Facts("oidc", WHEN)), registration(), None),
        (Claim("main", facts=Facts("unix", {})), registration(), None),
        (Claim("main"), registration(), None),
        (Claim("main"), registration(), "t1"),
        (Claim("main", handle="0" * 64), registration(), None),
        (claim(), registration(), "t1"),
        (claim(), registration(when={}), None),
        (claim(), advance(registration(), Kind.IDENTITY_SUSPENDED), None),
        (claim(), advance(registration(), Kind.IDENTITY_RETIRED), None),
        (Claim("main", handle="0" * 64), advance(registration(), Kind.IDENTITY_SUSPENDED), "t1"),
    ],
)
def test_anything_less_proves_nothing(what, known, task):
    with pytest.raises(Unauthenticated):
        identify(what, known, task, ())


def test_what_is_stated_in_a_file_and_what_is_asked_become_the_same_registration():
    stated = RegistrationEntry("agent/nightly", "human/alice", "", "dev", ("ci",), "unix", WHEN)
    made = registration_of("i" + "a" * 20, "main", "example.org", stated)
    assert advance(made, Kind.IDENTITY_REGISTERED) == registration()


@pytest.mark.parametrize(
    ("attestor", "when", "says", "hint"),
    [
        ("unix", {"uid": "1000"}, "the fact 'uid' is a number", "use uid = 1000"),
        ("unix", {"uid": True}, "the fact 'uid' is a number", "use uid = 1000"),
        ("unix", {"uid": 1000, "path": 5}, "the fact 'path' is a text", 'use path = "…"'),
        ("operator", {"name": 5}, "the fact 'name' is a text", 'use name = "…"'),
    ],
)
def test_a_fact_of_another_type_would_match_nobody_and_is_refused(attestor, when, says, hint):
    with pytest.raises(InvalidRequest, match=says) as refused:
        require_facts("human/alice", attestor, when)
    assert refused.value.hint == hint


@pytest.mark.parametrize("name", ["agent/nightly", "service/ci"])
def test_nobody_but_a_human_is_registered_with_the_operator_s_facts(name):
    """Where two match nobody does: the operator could neither administer nor take it back."""
    with pytest.raises(InvalidRequest, match="no 'operator'"):
        registration_of(
            "i1", "main", "example.org", RegistrationEntry(name, "human/alice", "", "", (), "operator", {"uid": 1000})
        )
    own = RegistrationEntry("human/alice", "human/alice", "", "", (), "operator", {"uid": 1000})
    assert registration_of("i1", "main", "example.org", own).attestor == "operator"


def test_who_is_registered_anew_has_other_facts_and_is_no_more_live_than_before():
    anew = advance(registration(), Kind.IDENTITY_REGISTERED, when={"uid": 2})
    assert (anew.state, anew.when) == ("registered", {"uid": 2})
    suspended = advance(advance(registration(), Kind.IDENTITY_SUSPENDED), Kind.IDENTITY_REGISTERED, when={"uid": 2})
    assert (suspended.state, suspended.when) == ("suspended", {"uid": 2})
    with pytest.raises(IllegalTransition):
        advance(advance(registration(), Kind.IDENTITY_RETIRED), Kind.IDENTITY_REGISTERED)


# --- a token, and the key that it is bound to ------------------------------------------------------

AT = datetime(2026, 11, 24, 12, tzinfo=UTC)
TOKEN = Token("j1", "main", "t1", "spiffe://example.org/agent/nightly", "the key", AT, AT + timedelta(minutes=5))


def test_a_token_and_its_key_prove_who_works_in_the_task():
    proven = identify(Claim("main", token=TOKEN, key="the key"), registration(), "t1", ())
    assert (proven.assurance, proven.task, dict(proven.facts)) == (
        "token",
        "t1",
        {"token": "j1", "key": "the key", "until": int(TOKEN.until.timestamp())},
    )


@pytest.mark.parametrize(
    ("what", "task"),
    [
        (Claim("main", token=TOKEN), "t1"),
        (Claim("main", token=TOKEN, key="another key"), "t1"),
        (Claim("main", token=TOKEN, key=""), "t1"),
        (Claim("main", key="the key"), "t1"),
        (Claim("main", token=TOKEN, key="the key"), "t2"),
        (Claim("main", token=TOKEN, key="the key"), None),
        (Claim("main", token=replace(TOKEN, org="other"), key="the key"), "t1"),
        (Claim("main", token=replace(TOKEN, actor="spiffe://example.org/agent/support"), key="the key"), "t1"),
    ],
)
def test_a_token_without_its_key_or_its_task_proves_nothing(what, task):
    with pytest.raises(Unauthenticated):
        identify(what, registration(), task, ())


def test_a_proof_is_of_its_key_and_lives_by_its_own_moment():
    window, ahead = timedelta(seconds=60), timedelta(seconds=10)
    first, second = (proof_of(key, "the id", AT, window, ahead) for key in ("a", "b"))
    assert first.value != second.value, "nobody uses up another's"
    assert proof_of("ab", "c", AT, window, ahead).value != proof_of("a", "bc", AT, window, ahead).value
    assert (first.since, first.until) == (AT - ahead, AT + window)
