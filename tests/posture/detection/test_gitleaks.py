"""gitleaks' rules are shipped as they are published, translated: none lost, none that cannot be used."""

import tomllib

import hyperscan
import pytest

from taskbound.posture.detection.rules import gitleaks, rules
from tests.posture.detection.gitleaks import LEFT_OUT, MADE, SOURCE, pythons, translated


def test_what_is_shipped_is_what_the_source_says():
    assert MADE.read_text() == translated(), "stale: .venv/bin/python -m tests.posture.detection.gitleaks"


def test_each_rule_is_shipped_or_has_a_reason():
    published = {one["id"] for one in tomllib.loads(SOURCE.read_text())["rules"]}
    assert len(published) == 222
    assert {one["id"] for one in gitleaks()["rules"]} == published - set(LEFT_OUT)


@pytest.mark.parametrize("rule", rules(), ids=lambda one: one.id)
def test_each_rule_compiles_in_both_engines(rule):
    assert rule.compiled.groups >= rule.group
    assert all(one.search("") is None or True for _, one in rule.allowed)
    for expression, flags in rule.anchors:
        database = hyperscan.Database(mode=hyperscan.HS_MODE_BLOCK)
        begins = hyperscan.HS_FLAG_SOM_LEFTMOST
        database.compile(
            expressions=[expression.encode()], flags=[begins | hyperscan.HS_FLAG_CASELESS if flags else begins]
        )


@pytest.mark.parametrize(
    ("go", "python"),
    [
        (r"\b(LTAI(?i)[a-z]{2})$", r"\b(LTAI(?i:[a-z]{2}))\Z"),
        (r"(?i)a[[:alnum:]]\z", r"(?i)a[a-zA-Z0-9]\Z"),
        (r"[a[]$", r"[a\[]\Z"),
        (r"[$]", r"[$]"),
        (r"\$", r"\$"),
        (r"a(?i)b", r"a(?i:b)"),
    ],
)
def test_what_is_written_for_go_is_read_by_python(go, python):
    assert pythons(go) == python
