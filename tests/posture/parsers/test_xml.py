"""XML (taskbound.posture.parsers.xml)."""

import pytest

from taskbound.posture.parsers import parse
from tests.contracts.parser import *  # noqa: F403
from tests.contracts.parser import Form

PIECES = [
    "<a>",
    "</a>",
    "<a/>",
    "<a b='c'>",
    "<b>",
    "</b>",
    "<!--",
    "-->",
    "<![CDATA[",
    "]]>",
    "<?",
    "?>",
    "<!DOCTYPE",
    "[",
    "]>",
    ">",
]
PIECES += ["&amp;", "&#65;", "&#xD800;", "&#x110000;", "&x;", "<", "'", '"', "=", "<a ", '<a b="', "</", "<!"]


@pytest.fixture(scope="module")
def form() -> Form:
    def render(pairs):
        styles = ("<{0}>{1}</{0}>", "<{0}>\n {1}\n</{0}>", "<!-- a\n b --><{0}><![CDATA[{1}]]></{0}>")
        return "\n".join(
            ['<?xml version="1.0"?>', "<s>", *(styles[n % 3].format(*pair) for n, pair in enumerate(pairs)), "</s>"]
        )

    return Form("settings.xml", "xml", render, PIECES)


def plain(node):
    if isinstance(node.value, dict):
        return {key: plain(one) for key, one in node.value.items()}
    return [plain(one) for one in node.value] if isinstance(node.value, list) else node.value


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ('<a b="1&amp;2" c=\'"\'>x<d/>y</a>', {"a": {"@b": "1&2", "@c": '"', "d": {}, "#text": "xy"}}),
        ("<a><b>1</b><b>2</b><b>3</b></a>", {"a": {"b": ["1", "2", "3"]}}),
        (
            '<!DOCTYPE a [<!ENTITY x "y"> <!ENTITY z SYSTEM "file:///etc/passwd">]><a>&x;&z;&#65;&#x42;</a>',
            {"a": "&x;&z;AB"},
        ),
        ("<a>1 < 2 &amp;lt; <![CDATA[<b>]]></a>", {"a": "1 < 2 &lt; <b>"}),
        ("<n:a n:b='c>d'/>", {"n:a": {"@n:b": "c>d"}}),
    ],
)
def test_elements_are_mappings_below_their_names(text, meant):
    document = parse("a.xml", text.encode())
    assert document.problem == ""
    assert plain(document.roots[0]) == meant


def test_lines_are_those_where_texts_stand():
    root = parse("a.xml", b"<a\n b='1'\n c='2'>\n\n <d>\n  x\n  y</d>\n</a>").roots[0]
    assert (root.at("a").line, root.at("a", "@b").line, root.at("a", "@c").line) == (1, 2, 3)
    assert [root.at("a", "d").line_of(n) for n in range(2)] == [6, 7]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("<a><b>1</b>\n<c>", "line 2: the text ends within an element"),
        ("<a><b>1</b>\n<c d='", "line 2: a tag does not end"),
        ("<a><b>1</b>\n<!-- ", "line 2: a <!-- does not end"),
        ("<a><b>1</b></c>\n</a>", "line 1: an element ends that is not open"),
        ("<a><e><b>1</b>\n</a>", "line 1: an element does not end"),
    ],
)
def test_a_broken_text_has_what_was_read_and_says_where_it_breaks(text, problem):
    document = parse("a.xml", text.encode())
    assert document.problem == problem
    assert [node.value for keys, node in document.roots[0].scalars() if keys[-1] == "b"] == ["1"]
