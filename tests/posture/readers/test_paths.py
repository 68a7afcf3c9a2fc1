"""Paths by which files are known: one question that answers no answers it for all."""

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from taskbound.posture import readers
from taskbound.posture.document import CODE
from taskbound.posture.readers.paths import any_of


@pytest.mark.parametrize("pattern", readers.PATTERNS, ids=lambda one: one.pattern[:60])
@settings(max_examples=150, deadline=None)
@given(st.data())
def test_no_path_that_a_reader_knows_is_passed_over(pattern, data):
    path = data.draw(st.from_regex(pattern)) + data.draw(st.sampled_from(("", *CODE)))
    if pattern.search(path):
        assert readers.may_be_known(path)
    if path.lower().endswith(CODE) and pattern.search(path):
        assert readers.may_read_code(path)


def test_the_question_has_cases():
    """Of most patterns no path of source code is known: these are."""
    known = [".env.js", "a/Dockerfile.py", "Jenkinsfile.rb", ".claude/projects/a/x.py", "goose/sessions/a.ts"]
    known += ["opencode/log/a.go", "x/saoudrizwan.claude-dev/tasks/1/a.py", ".cursor/rules/a.py"]
    for path in known:
        assert any(one.search(path) for one in readers.PATTERNS), path
        assert readers.may_read_code(path)
    assert not readers.may_read_code("src/taskbound/posture/scan.py")
    assert not readers.may_be_known("src/charts/LICENSE")


def test_any_of_finds_what_one_of_its_patterns_finds():
    asked = any_of([re.compile(r"(?:^|/)a\.b$", re.I), re.compile(r"\.c$")])
    assert [bool(asked.search(one)) for one in ("A.B", "x/a.b", "xa.b", "x.c", "x.C")] == [
        True,
        True,
        False,
        True,
        False,
    ]
