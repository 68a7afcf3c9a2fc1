"""Tokens made up for a form: what its expression matches, of characters taken at random, or of words."""

from random import Random
from re import _constants as op  # type: ignore[attr-defined]
from re import _parser as parser  # type: ignore[attr-defined]
from string import ascii_letters, ascii_lowercase, ascii_uppercase, digits
from typing import Any

from taskbound.posture.detection.rules import Rule

WORD = ascii_letters + digits
CLASSES = {
    op.CATEGORY_WORD: WORD,
    op.CATEGORY_NOT_WORD: "-",
    op.CATEGORY_DIGIT: digits,
    op.CATEGORY_NOT_DIGIT: ascii_letters,
    op.CATEGORY_SPACE: " ",
    op.CATEGORY_NOT_SPACE: WORD,
}
_WORDS_ARE = "account active button client column container content footer handler header index layout manager user"
WORDS = _WORDS_ARE.split()


class Speaking(Random):
    """Draws words where a form takes letters in a row."""

    is_silent = False  # what was asked for takes no words

    def row(self, characters: str, size: int) -> str:
        """Return words of these characters: apart where one of them can part words, else each with a capital."""
        if not set(ascii_lowercase) <= set(characters):
            self.is_silent = True
            return "".join(self.choices(characters, k=size))
        sign = next((one for one in "-_./" if one in characters), "")
        is_split = bool(sign) or not set(ascii_uppercase) <= set(characters)
        text = sign.join(one if is_split else one.capitalize() for one in self.choices(WORDS, k=size))[:size]
        last = text.rpartition(sign)[2] if sign else text
        return text if len(last) > 2 else text[: -len(last) - 1].ljust(size, "e")


def of_words(rule: Rule, random: Random) -> str:
    """Return a text that a rule's expression matches and that is made of words; "" where it takes none."""
    speaking = Speaking(random.random())
    text = made(rule, speaking)
    return "" if speaking.is_silent else text


def made(rule: Rule, random: Random) -> str:
    """Return a text that a rule's expression matches. Raises AssertionError where none of some hundreds is one."""
    parts = parser.parse(rule.expression.replace("<is>", "=").replace("<end>", ""))
    for _ in range(400):  # what looks ahead may want what was not drawn
        text = _of(parts, {}, random)
        if rule.compiled.match(text.encode()):
            return text
    raise AssertionError(f"nothing is made that {rule.id} matches")


def _of(parts: Any, groups: dict[int, str], random: Random) -> str:
    return "".join(_one(name, value, groups, random) for name, value in parts)


def _one(name: Any, value: Any, groups: dict[int, str], random: Random) -> str:
    match name, value:
        case op.LITERAL, int(code):
            return chr(code)
        case op.NOT_LITERAL, _:
            return random.choice(WORD)
        case op.ANY, _:
            return "."
        case op.IN, list(several):
            return random.choice(_characters(several))
        case ((op.MAX_REPEAT | op.MIN_REPEAT | op.POSSESSIVE_REPEAT), (least, most, parts)):
            # Of what may be there often: neither the fewest nor more than a token has.
            count = least if most in (least, 1) else min(most, max(least, 24))
            if isinstance(random, Speaking) and count > 3 and parts[0][0] == op.IN:
                return random.row(_characters(parts[0][1]), count)
            return "".join(_of(parts, groups, random) for _ in range(count))
        case op.SUBPATTERN, (group, *_, parts):
            text = _of(parts, groups, random)
            if group:
                groups[group] = text
            return text
        case op.BRANCH, (_, branches):
            return _of(random.choice(branches), groups, random)
        case op.GROUPREF, int(group):
            return groups[group]
        case op.CATEGORY, category:
            return random.choice(CLASSES[category])
    return ""  # what looks around, and takes nothing


def _characters(several: list[tuple[Any, Any]]) -> str:
    found, is_negated = "", False
    for name, value in several:
        match name, value:
            case op.NEGATE, _:
                is_negated = True
            case op.LITERAL, int(code):
                found += chr(code)
            case op.RANGE, (first, last):
                found += "".join(map(chr, range(first, last + 1)))
            case op.CATEGORY, category:
                found += CLASSES[category]
    return "".join(sorted(set(WORD + "-./:") - set(found))) or "," if is_negated else found
