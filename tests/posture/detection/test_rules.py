"""Each form of a token is found as it stands, and as the value of a variable whose name says nothing."""

from random import Random

import pytest

from taskbound.posture.detection import Detector
from taskbound.posture.detection.forms import PUBLIC
from taskbound.posture.detection.rules import Rule, rules
from tests.posture.detection.made import made

DETECTOR = Detector(lambda value: value)
# GitHub's have checksums; of gitleaks' one has an alternative without its word, one decodes to no header.
NOT_MADE = {"github-pat", "github-oauth", "github-app-token", "github-refresh-token", "sourcegraph-access-token"}
NOT_MADE |= {"jwt-base64", *PUBLIC}
OF_LINES = {"putty-private-key"}  # a third of it is more than one line, which is believed
FORMS = [one for one in rules() if not one.is_password and one.id not in NOT_MADE]


@pytest.mark.parametrize("rule", FORMS, ids=lambda one: one.id)
def test_a_token_of_each_form_is_found_bare_and_in_an_environment_file(rule: Rule):
    for seed in range(4):
        text = made(rule, Random(seed))
        assert DETECTOR.in_text(f"{text}\n".encode()), text
        assert DETECTOR.in_text(f"X={text}\n".encode()), text


@pytest.mark.parametrize(
    "rule", [one for one in FORMS if one.entropy and one.id not in OF_LINES], ids=lambda one: one.id
)
def test_a_form_that_is_filled_with_one_character_is_none(rule: Rule):
    text = made(rule, Random(0))
    filled = text[: len(text) // 3] + "x" * (len(text) - len(text) // 3)
    assert [hit.kind for hit in DETECTOR.in_text(filled.encode()) if hit.kind == rule.id] == []
