"""One text has one reading, and one value one canonical form."""

import json

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from taskbound.formats import canonical
from taskbound.formats.canonical import Malformed, digest, digest_parts, parse, render

# RFC 8785 3.2.2 and 3.2.3
SAMPLE = '{"numbers":[333333333.33333329,1E30,4.50,2e-3,0.000000000000000000000000001],"literals":[null,true,false]}'
CANONICAL = b'{"literals":[null,true,false],"numbers":[333333333.3333333,1e+30,4.5,0.002,1e-27]}'


def test_the_rfc_sample_has_the_rfc_form():
    assert render(parse(SAMPLE)) == CANONICAL


@pytest.mark.parametrize("value", [None, True, 0, -1, "", "ü\u2028\u0000", [], {}, {"a": [1, {"b": None}]}, 1.5])
def test_what_is_rendered_parses_to_itself(value):
    assert parse(render(value)) == value


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('{"a":1,"a":2}', "twice"),
        ('[{"x":{"b":1,"b":1}}]', "twice"),
        ("NaN", "NaN"),
        ("[Infinity]", "Infinity"),
        ("[-Infinity]", "-Infinity"),
        ("1e999", "large"),
        ("1" * 4301, "digits"),
        ("[" + "1" * 4301 + "]", "digits"),
        ('{"a":1,"a":1}', "twice"),
        ('"\\ud800"', "UTF-8"),
        ('{"\\udfff":1}', "UTF-8"),
        (b'"\xff"', "UTF-8"),
        ("[" * 100 + "]" * 100, "deep"),
        ("[" * 100000 + "]" * 100000, "deep"),
        ("{", "line 1 column 2"),
        ("", "line 1"),
        ("1 2", "line 1"),
        (b"\xef\xbb\xbf1", "JSON"),
    ],
)
def test_a_text_with_two_readings_is_refused(text, says):
    with pytest.raises(Malformed, match=says):
        parse(text)


SCALARS = st.one_of(
    st.none(), st.booleans(), st.integers(), st.integers(2**60, 2**200), st.floats(allow_nan=False), st.text(max_size=5)
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3), inner, max_size=4),
    max_leaves=12,
)
# Texts of JSON in most spellings; and of what is none, among which are names that stand twice.
PIECES = st.sampled_from(
    ["{", "}", "[", "]", ",", ":", '"a"', '"a":1', '"\\u0061":1', "-0", "0", "-0.0", "1e5", "1E5", "1.50", "1e400",
     "NaN", "null", "true", '"\\ud800"', '"/"', '"\\/"', '"\x7f"', '"\u2028"', " ", "9007199254740993.0", "0.1"]
)  # fmt: skip
TEXTS = st.one_of(
    st.builds(json.dumps, VALUES, ensure_ascii=st.booleans(), separators=st.sampled_from([(",", ":"), (", ", ": ")])),
    st.lists(PIECES, max_size=9).map("".join),
)


@given(TEXTS)
@example('{"a":1,"a":1}')
@example('{"a":1,"\\u0061":1}')
def test_what_is_read_fast_is_what_the_strict_reader_reads(text):
    fast = canonical._unspaced(text.encode("utf-8", "surrogatepass"))
    if fast is not canonical._ANOTHER:
        assert repr(fast) == repr(canonical._strict(text))


def test_control_a_message_as_most_programs_write_it_is_read_fast():
    message = {"id": 7, "params": {"name": "refund", "arguments": {"amount": 12.5, "to": "Zoë \n"}, "x": [None, True]}}
    text = json.dumps(message, ensure_ascii=False, separators=(",", ":"))
    assert canonical._unspaced(text.encode()) == message


def test_a_text_is_read_up_to_its_limit():
    assert parse(b"[1,2]", limit=5) == [1, 2]
    with pytest.raises(Malformed, match="5 bytes, at most 4"):
        parse(b"[1,2]", limit=4)


def test_digests_keep_order_out_and_borders_in():
    assert digest({"b": 1, "a": 2}) == digest({"a": 2, "b": 1})
    assert digest_parts(b"ab", b"c") != digest_parts(b"a", b"bc")
    assert digest_parts(b"") != digest_parts()
