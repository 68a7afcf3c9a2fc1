"""Ids: of the form that INTERFACES 1 gives them, every letter as likely as the others."""

import re
from collections import Counter

from taskbound.app import world


def test_an_id_is_its_kind_and_twenty_letters():
    drawn = [world.new_id("c") for _ in range(1_000)]
    assert all(re.fullmatch("c[a-z2-7]{20}", id) for id in drawn)
    assert len(set(drawn)) == len(drawn)


def test_every_byte_drawn_is_a_letter_and_every_letter_is_as_likely():
    letters = Counter(bytes(range(256)).translate(world._LETTER).decode())
    assert letters == dict.fromkeys("abcdefghijklmnopqrstuvwxyz234567", 8)
