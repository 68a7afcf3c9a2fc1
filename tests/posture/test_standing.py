"""Which findings count, after a baseline and suppressions."""

import re
from dataclasses import replace
from datetime import date

import pytest

from taskbound.core.errors import InvalidRequest
from taskbound.posture.sighting import Place
from taskbound.posture.standing import Suppression, judge, read_baseline, read_suppressions, render_baseline
from tests.posture.standin import finding

DAY = date(2026, 11, 1)
A, B, C = (finding("token", "high", (Place(path, 1),)) for path in "abc")


def test_each_finding_is_open_known_or_suppressed():
    told = judge([A, B, C], {B.id: (), "gone": ()}, [Suppression(C.id, "why", DAY)], DAY)
    assert (told.open, told.known, told.gone) == ((A,), (B,), ("gone",))
    assert [one.id for one, _ in told.suppressed] == [C.id] and not told.expired


ONE, TWO = (replace(A, holds=("stripe-key STRIPE_KEY", *more)) for more in ((), ("github-pat TOKEN",)))


def test_what_comes_to_a_finding_that_is_known_is_not_known():
    assert judge([ONE], {A.id: ONE.holds}, [], DAY).known == (ONE,)
    assert judge([ONE], {A.id: TWO.holds}, [], DAY).known == (ONE,), "one was taken away"
    told = judge([TWO], {A.id: ONE.holds}, [], DAY)
    assert (told.open, told.known, dict(told.added)) == ((TWO,), (), {A.id: ("github-pat TOKEN",)})
    assert read_baseline("f", render_baseline([TWO])) == {A.id: TWO.holds}


def test_what_comes_to_a_finding_that_is_suppressed_is_open():
    why = Suppression(A.id, "why", DAY)
    assert judge([ONE], None, [why], DAY).suppressed == ((ONE, why),)
    told = judge([TWO], {A.id: ONE.holds}, [why], DAY)
    assert (told.open, told.suppressed, told.outgrown, told.idle) == ((TWO,), (), ((TWO, why),), ())
    both = replace(why, holds=2)
    assert judge([TWO], None, [both], DAY).suppressed == ((TWO, both),)


def test_a_suppression_hides_nothing_after_its_last_day():
    late = Suppression(A.id, "why", date(2026, 10, 31))
    told = judge([A], None, [late, Suppression("nothing", "why", DAY)], DAY)
    assert (told.open, told.expired, [one.id for one in told.idle]) == ((A,), (late,), ["nothing"])
    assert judge([B], None, [late], DAY).expired == (), "what is gone needs none"


def test_where_both_speak_of_one_the_suppression_ends():
    told = judge([A], {A.id: ()}, [Suppression(A.id, "why", DAY)], DAY)
    assert (told.known, len(told.suppressed)) == ((), 1)


def test_a_baseline_is_read_as_it_was_written():
    data = render_baseline([B, A])
    assert read_baseline("f", data) == {A.id: (), B.id: ()} and data == render_baseline([A, B])


@pytest.mark.parametrize("data", [b"", b"[]", b"{}", b'{"taskbound_baseline": 1, "findings": []}', b"[" * 100_000])
def test_what_is_no_baseline_is_refused(data):
    with pytest.raises(InvalidRequest, match="f is no baseline") as refused:
        read_baseline("f", data)
    assert refused.value.hint == "taskbound discover --write-baseline FILE", "f is not to be written over"
    assert refused.value.code == "invalid_config"


WHOLE = '[[suppression]]\nid = "f-1"\nreason = "accepted"\nuntil = 2027-01-31\n'


def test_a_suppression_is_read():
    assert read_suppressions("f", WHOLE.encode()) == (Suppression("f-1", "accepted", date(2027, 1, 31)),)


@pytest.mark.parametrize(
    "broken",
    [
        WHOLE.replace("reason", "raeson"),
        WHOLE.replace('reason = "accepted"\n', ""),
        WHOLE.replace("accepted", " "),
        WHOLE.replace("until = 2027-01-31\n", ""),
        WHOLE.replace("2027-01-31", '"2027-01-31"'),
        WHOLE.replace("2027-01-31", "2027-01-31T00:00:00Z"),
        WHOLE.replace("[[suppression]]", "[[supression]]"),
        "suppression = 1",
        "suppression = [1]",
        "[[suppression",
    ],
)
def test_a_suppression_without_reason_or_end_is_refused(broken):
    with pytest.raises(InvalidRequest) as refused:
        read_suppressions("f", broken.encode())
    assert refused.value.code == "invalid_config" and re.match(r"f( line \d)?: ", str(refused.value))
    assert "[[suppression]]" in refused.value.hint or "no TOML" in str(refused.value)


@pytest.mark.parametrize(
    ("wrong", "said", "hint"),
    [
        (WHOLE.replace("reason", "raeson"), "f line 3: suppression 1: unknown key 'raeson'", "did you mean 'reason'?"),
        (WHOLE + WHOLE.replace("id =", "ids ="), "f line 6: suppression 2: unknown key 'ids'", "did you mean 'id'?"),
        (f"#\n[[supression]]\n{WHOLE}", "f line 2: unknown key 'supression'", "did you mean 'suppression'?"),
        (
            WHOLE + WHOLE.replace("until = 2027-01-31\n", ""),
            "f line 5: suppression 2: without until",
            "each is spelled",
        ),
    ],
)
def test_a_typo_in_a_suppressions_file_is_told_with_its_line_and_what_was_meant(wrong, said, hint):
    with pytest.raises(InvalidRequest) as refused:
        read_suppressions("f", wrong.encode())
    assert (str(refused.value), refused.value.code) == (said, "invalid_config") and refused.value.hint.startswith(hint)


def test_a_suppressions_file_that_nests_without_end_is_refused():
    with pytest.raises(InvalidRequest, match="no TOML"):
        read_suppressions("f", b"a = " + b"[" * 30_000)
