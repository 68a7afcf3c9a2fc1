"""One value of a file becomes another, and not one byte more; what would change anything else is not done."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from taskbound.posture import splice as module

splice: Any = module.splice
texts_of: Any = module.texts_of
SECRET, REFERENCE = "ghp_secret-canary-0123456789", "taskbound://github_token"
JSONC = '{\r\n  // the canary: see below\r\n  "mcpServers": {\r\n    \'gh\': { "env": '
JSONC += '{"TOKEN" :\t"%s",}, },\r\n  },\r\n}'
CASES: dict[str, Any] = {
    "json with remarks, commas, CRLF and no end": ("a.json", JSONC, (0, ("mcpServers", "gh", "env", "TOKEN"))),
    "json on one line, twice": ("a.json", '{"a":"%s","b":"%s"}', (0, ("b",))),
    "dotenv with a remark": (".env", "# remark\nexport TOKEN=%s  # mine\nOTHER='x'\n", (0, ("TOKEN",))),
    "dotenv in quotes": (".env", "A=1\nTOKEN='%s'\n", (0, ("TOKEN",))),
    "yaml plain": ("compose.yml", "services:\n  a:\n    environment:\n      TOKEN: %s # mine\n", ()),
    "yaml in a list": ("compose.yml", "services:\n  a:\n    environment:\n      - TOKEN=%s\n      - B=1\n", ()),
    "yaml block": ("compose.yml", "a: |\n  one\n  %s\n  three\nb: 2\n", (0, ("a",))),
    "yaml flow": ("compose.yml", "a: {TOKEN: %s, B: 1}\n", (0, ("a", "TOKEN"))),
    "toml": ("config.toml", '[mcp_servers.gh.env]\nTOKEN = "%s" # mine\n', (0, ("mcp_servers", "gh", "env", "TOKEN"))),
    "a mark at the beginning": (".env", "\ufeffTOKEN=%s\n", (0, ("TOKEN",))),
}


@pytest.mark.parametrize("case", CASES, ids=list(CASES))
def test_only_the_value_changes(case):
    path, text, key = CASES[case]
    before = text.replace("%s", SECRET).encode()
    key = key or next(one for one, value in texts_of(path, before).items() if SECRET in value)
    change = splice(path, before, key, SECRET, REFERENCE)
    after = change.on(before)
    assert len(after) == len(before) - len(SECRET) + len(REFERENCE)
    assert after == before[: change.at] + REFERENCE.encode() + before[change.at + len(SECRET) :]
    assert texts_of(path, after)[key] == texts_of(path, before)[key].replace(SECRET, REFERENCE)
    back = splice(path, after, key, REFERENCE, SECRET)
    assert back.on(after) == before


def test_the_second_of_two_equal_values_is_the_one_that_was_asked_for():
    data = b'{"a":"%s","b":"%s"}' % (SECRET.encode(), SECRET.encode())
    assert splice("a.json", data, (0, ("b",)), SECRET, REFERENCE).on(data) == (
        b'{"a":"%s","b":"%s"}' % (SECRET.encode(), REFERENCE.encode())
    )


def test_a_remark_with_the_value_on_the_same_line_is_not_taken_for_it():
    data = f"TOKEN: {SECRET} # was {SECRET}\n".encode()
    assert splice("a.yml", data, (0, ("TOKEN",)), SECRET, REFERENCE).on(data) == (
        f"TOKEN: {REFERENCE} # was {SECRET}\n".encode()
    )


@pytest.mark.parametrize("hostile", ['x", "command": "sh', "x\ny: 1", "x' # ", "x }", "a: b", "- x", "#x", "&a x", '"'])
@pytest.mark.parametrize(
    ("path", "text", "key"),
    [
        ("a.json", '{"env": {"TOKEN": "%s"}}', (0, ("env", "TOKEN"))),
        ("a.yml", "env:\n  TOKEN: %s\n  B: 1\n", (0, ("env", "TOKEN"))),
        ("a.yml", "env: {TOKEN: '%s', B: 1}\n", (0, ("env", "TOKEN"))),
        (".env", "TOKEN=%s\nB=1\n", (0, ("TOKEN",))),
    ],
)
def test_a_value_never_breaks_out_of_its_place(path, text, key, hostile):
    data = text.replace("%s", REFERENCE).encode()
    before = texts_of(path, data)
    change = splice(path, data, key, REFERENCE, hostile)
    if change is not None:
        assert texts_of(path, change.on(data)) == {**before, key: hostile}


@settings(max_examples=60)
@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20))
def test_what_is_written_is_what_is_read(value):
    for path, text in (("a.json", '{"a": ["%s"], "b": 1}'), ("a.yml", "a:\n- '%s'\nb: 1\n"), (".env", "a=%s\nb=1\n")):
        data = text.replace("%s", REFERENCE).encode()
        key = next(one for one, found in texts_of(path, data).items() if found == REFERENCE)
        if change := splice(path, data, key, REFERENCE, value):
            assert texts_of(path, change.on(data)) == {**texts_of(path, data), key: value}


def test_an_alias_changes_with_what_it_stands_for():
    data = f"a: &t {SECRET}\nb: *t\nc: {SECRET}\n".encode()
    after = splice("a.yml", data, (0, ("b",)), SECRET, REFERENCE)
    assert after is None or texts_of("a.yml", after.on(data))[0, ("c",)] == SECRET
    after = splice("a.yml", data, (0, ("a",)), SECRET, REFERENCE)
    assert texts_of("a.yml", after.on(data)) == {(0, ("a",)): REFERENCE, (0, ("b",)): REFERENCE, (0, ("c",)): SECRET}


def test_a_file_that_cannot_be_read_to_its_end_is_left_alone():
    assert splice("a.json", f'{{"a": "{SECRET}", '.encode(), (0, ("a",)), SECRET, REFERENCE) is None
