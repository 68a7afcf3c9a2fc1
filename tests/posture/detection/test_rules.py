"""Each form of a token is found wherever people write one, whole; and what only looks like one is none."""

from random import Random

import pytest

from taskbound.posture.detection import Detector
from taskbound.posture.detection.forms import PUBLIC
from taskbound.posture.detection.rules import Rule, rules
from taskbound.posture.located import located
from taskbound.posture.parsers import parse
from tests.posture.detection.made import WORD, made, of_words

DETECTOR = Detector(lambda value: value)
# GitHub's have checksums; of gitleaks' one has an alternative without its word.
NOT_MADE = {"github-pat", "github-oauth", "github-app-token", "github-refresh-token", "sourcegraph-access-token"}
NOT_MADE |= PUBLIC
OF_LINES = {"putty-private-key"}  # a third of it is more than one line, which is believed
FORMS = [one for one in rules() if not one.is_password and one.id not in NOT_MADE]
# Of our own: those that say where a token begins and ends.
TOKENS = [one for one in FORMS if one.expression.startswith("(?<!") and one.expression.endswith("<end>")]
# With "/" in it, or in a name that it needs, a token has no end in a path.
NO_SEGMENT = {"asana-token", "aws-session-token", "confluent-api-secret", "devin-api-key", "docker-swarm-key"}
NO_SEGMENT |= {"google-refresh-token", "slack-token", "stripe-webhook-secret", "teamwork-token", "twitter-bearer-token"}
# What is drawn as words here says too little: it begins with capitals, is cut, or has rows of consonants.
UNSPOKEN = {"aikido-secret", "circleci-token", "confluent-api-secret", "onesignal-key", "square-secret"}
UNSPOKEN |= {"val-town-token", "twitter-bearer-token"}
ENDLESS = {one.id for one in FORMS if one not in TOKENS}  # gitleaks names them alike, and says no end
PLACES = (
    ("a/.env", "A=1\nX={}\nB=2\n"),
    ("a/.env", 'A=1\r\nX="{}"\r\n'),
    ("a/conf.yaml", "a:\n  - b: {}\n"),
    ("a/conf.yaml", "a: '{}'\n"),
    ("a/conf.json", '{{"a": ["{}"]}}\n'),
    ("a/conf.toml", 'a = "{}"\n'),
    ("a/conf.xml", "<a><b>{}</b></a>\n"),
    ("a/main.tf", 'resource "a" "b" {{\n  x = "{}"\n}}\n'),
    ("a/main.py", 'client = Client("{}")\n'),
    ("a/main.ts", "const c = new Client(`{}`);\n"),
    ("a/run.sh", 'curl -H "X-Of: {}" "$HOST"\n'),
    ("a/notes.md", "Take `{}`.\n"),
    ("a/notes.md", "It is {}.\n"),
    ("a/notes.md", "https://api.host.io/v1?k={}&x=1\n"),
)


def found(path: str, text: str) -> set[tuple[str, str]]:
    data = text.encode()
    return {(hit.kind, hit.mark) for hit, _ in located(parse(path, data), data, DETECTOR, listed=False).hits}


def marks(path: str, text: str) -> set[str]:
    return {mark for _, mark in found(path, text)}


@pytest.mark.parametrize("rule", FORMS, ids=lambda one: one.id)
def test_a_token_of_each_form_is_found_bare_and_in_an_environment_file(rule: Rule):
    for seed in range(4):
        text = made(rule, Random(seed))
        assert DETECTOR.in_text(f"{text}\n".encode()), text
        assert DETECTOR.in_text(f"X={text}\n".encode()), text


@pytest.mark.parametrize("rule", TOKENS, ids=lambda one: one.id)
def test_a_token_of_each_form_is_found_whole_wherever_it_is_written(rule: Rule):
    for seed in range(3):
        text = made(rule, Random(seed))
        for path, place in PLACES:
            assert text in marks(path, place.format(text)), (text, place)
        if rule.id not in NO_SEGMENT:
            assert text in marks("a/main.py", f'URL = "https://api.host.io/v1/{text}/x"\n'), text


@pytest.mark.parametrize("rule", TOKENS, ids=lambda one: one.id)
def test_a_part_of_something_longer_is_no_token(rule: Rule):
    for seed in range(3):
        random = Random(seed)
        text = made(rule, random)
        more = "".join(random.choices(WORD, k=2000))
        if rule.id not in ENDLESS:
            assert rule.id not in {kind for kind, _ in found("a/main.py", f'x = "{text}{more}"\n')}, text
        before = "7" if rule.id == "telegram-bot-token" else "Q"
        assert (rule.id, text) not in found("a/main.py", f'x = "{more}{before}{text}"\n'), text


@pytest.mark.parametrize("rule", TOKENS, ids=lambda one: one.id)
def test_words_behind_the_beginning_of_a_token_are_none(rule: Rule):
    for seed in range(3):
        text = of_words(rule, Random(seed))
        if text and rule.id not in UNSPOKEN:
            assert found("a/main.ts", f"const x = el('{text}');\n") == set(), text


@pytest.mark.parametrize(
    "rule", [one for one in FORMS if one.entropy and one.id not in OF_LINES], ids=lambda one: one.id
)
def test_a_form_that_is_filled_with_one_character_is_none(rule: Rule):
    text = made(rule, Random(0))
    filled = text[: len(text) // 3] + "x" * (len(text) - len(text) // 3)
    assert [hit.kind for hit in DETECTOR.in_text(filled.encode()) if hit.kind == rule.id] == []
