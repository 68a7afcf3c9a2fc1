"""Lines of JSON: transcripts, logs (taskbound.posture.parsers.json)."""

import pytest

from tests.contracts.parser import *  # noqa: F403
from tests.contracts.parser import Form


@pytest.fixture(scope="module")
def form() -> Form:
    def render(pairs):
        return "\n".join(['{"begin": 1}', *(f'{{"message": {{"{name}": "{marker}"}}}}' for name, marker in pairs)])

    return Form(
        "session.jsonl", "jsonl", render, ['{"a":1}', "{", "}", "[", '"', "\\", "a", "\n", '{"a":', "{\n", "[1,"]
    )
