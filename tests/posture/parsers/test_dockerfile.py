"""Dockerfiles (taskbound.posture.parsers.dockerfile)."""

import pytest

from taskbound.posture.parsers import parse
from tests.contracts.parser import *  # noqa: F403
from tests.contracts.parser import Form

PIECES = [
    "FROM a\n",
    "ENV ",
    "ARG ",
    "LABEL ",
    "RUN ",
    "CMD [",
    "ONBUILD ",
    "a=b ",
    '"',
    "'",
    "\\\n",
    "\\",
    "#",
    "# x\n",
    "<<A\n",
    "A\n",
]
PIECES += ["# escape=`\n", "`\n", "]", ",", "a=", "ENV a=", "RUN a \\\n", "RUN <<A\n", "ENV a"]


@pytest.fixture(scope="module", params=["Dockerfile", "Dockerfile.prod", "api.dockerfile", "Containerfile"])
def form(request) -> Form:
    def render(pairs):
        styles = ("ENV {}={}", 'ARG {}="{}"', "ENV {} {}", "LABEL x=1 \\\n # remark\n {}='{}'")
        return "\n".join(["FROM a:1", *(styles[n % 4].format(*pair) for n, pair in enumerate(pairs))])

    return Form(request.param, "dockerfile", render, PIECES)


def plain(node):
    if isinstance(node.value, dict):
        return {key: plain(one) for key, one in node.value.items()}
    return [plain(one) for one in node.value] if isinstance(node.value, list) else node.value


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("# syntax=x\nfrom a AS b\nARG V\nARG W=1\n", [{"FROM": "a AS b"}, {"ARG": {"V": None}}, {"ARG": {"W": "1"}}]),
        (
            "ENV A=1 B=\"c d\" C=e\\ f D='g'\\\n E=h\n",
            [{"ENV": {"A": "1", "B": "c d", "C": "e f", "D": "g", "E": "h"}}],
        ),
        ("ENV A b c=d\n", [{"ENV": {"A": "b c=d"}}]),
        ('CMD ["a", "b"]\nENTRYPOINT [a]\n', [{"CMD": ["a", "b"]}, {"ENTRYPOINT": "[a]"}]),
        ("RUN a \\\n  # no\n  && b\nUSER c\n", [{"RUN": "a \n\n  && b"}, {"USER": "c"}]),
        ("RUN <<EOF\nx\nUSER y\nEOF\nUSER z\n", [{"RUN": "<<EOF\nx\nUSER y\nEOF"}, {"USER": "z"}]),
        ("# escape=`\nRUN a `\n b\nCOPY c d\\\n", [{"RUN": "a \n b"}, {"COPY": "c d\\"}]),
        (
            'LABEL "com.example"="x"\nONBUILD ENV A=b\n',
            [{"LABEL": {"com.example": "x"}}, {"ONBUILD": {"ENV": {"A": "b"}}}],
        ),
    ],
)
def test_instructions_are_read_one_by_one(text, meant):
    document = parse("Dockerfile", text.encode())
    assert document.problem == ""
    assert plain(document.roots[0]) == meant


def test_lines_of_what_goes_on_stay_right():
    places = (
        parse("Dockerfile", b"FROM a\nRUN x \\\n # no\n y=1 \\\n z\nENV A=1 \\\n\n  B=2\nRUN \\\n w\n").roots[0].list
    )
    assert [places[1].at("RUN").line_of(n) for n in range(4)] == [2, 3, 4, 5]
    assert (places[2].at("ENV", "A").line, places[2].at("ENV", "B").line, places[3].at("RUN").line) == (6, 8, 10)
