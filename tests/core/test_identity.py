"""An identity is made by a proof that holds, and by nothing else (D15)."""

from typing import Any

import pytest

from taskbound.core.errors import IllegalTransition, Unauthenticated
from taskbound.core.event import Kind
from taskbound.core.identity import Claim, Facts, Registration, identify, registration_of
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


def test_who_is_registered_anew_has_other_facts_and_is_no_more_live_than_before():
    anew = advance(registration(), Kind.IDENTITY_REGISTERED, when={"uid": 2})
    assert (anew.state, anew.when) == ("registered", {"uid": 2})
    suspended = advance(advance(registration(), Kind.IDENTITY_SUSPENDED), Kind.IDENTITY_REGISTERED, when={"uid": 2})
    assert (suspended.state, suspended.when) == ("suspended", {"uid": 2})
    with pytest.raises(IllegalTransition):
        advance(advance(registration(), Kind.IDENTITY_RETIRED), Kind.IDENTITY_REGISTERED)
