"""Encodings (taskbound.posture.detection.decode): what is passed over at a glance holds nothing."""

from base64 import b64encode, urlsafe_b64encode

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from taskbound.posture.detection.decode import decodings, is_perhaps_encoded


@settings(max_examples=400, deadline=None)
@given(st.text(min_size=6), st.sampled_from([b64encode, urlsafe_b64encode, lambda one: one.hex().encode()]))
def test_what_is_encoded_is_taken_for_it(text, encoded):
    whole = encoded(text.encode()).decode()
    if any(True for _ in decodings(whole.encode())):
        assert is_perhaps_encoded(whole)


@settings(max_examples=1000, deadline=None)
@given(st.text(alphabet="AGHabghvwz059+/-_=%\\ .", min_size=8, max_size=20))
def test_what_is_not_taken_for_it_is_none(whole):
    if len(whole.strip()) >= 8 and not is_perhaps_encoded(whole):
        assert not list(decodings(whole.strip().encode()))


@pytest.mark.parametrize("word", ["production", "Github_Actions", "true", "a.b.c.d.e.f", "two words of it"])
def test_words_are_none(word):
    assert not is_perhaps_encoded(word)
