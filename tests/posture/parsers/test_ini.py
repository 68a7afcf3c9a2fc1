"""Sections of keys with values (taskbound.posture.parsers.ini)."""

import pytest

from taskbound.posture.parsers import parse
from tests.contracts.parser import *  # noqa: F403
from tests.contracts.parser import Form

PIECES = [
    "[a]\n",
    "[a",
    '[a "b"]\n',
    "a = ",
    "a: ",
    "a",
    "=",
    ":",
    " ",
    "\n ",
    ";",
    "#",
    '"',
    "'",
    "\\",
    "\\\n",
    " #",
    " b = c\n",
]


@pytest.fixture(
    scope="module",
    params=["prod.ini", ".npmrc", "a.properties", ".aws/credentials", "app.conf", "setup.cfg", ".pypirc"],
)
def form(request) -> Form:
    def render(pairs):
        styles = ("{} = {}", "{}={}", "{} =   {}  ")
        return "\n".join(["# remark", *(styles[n % 3].format(*pair) for n, pair in enumerate(pairs))])

    return Form(request.param, "ini", render, PIECES)


def plain(node):
    if isinstance(node.value, dict):
        return {key: plain(one) for key, one in node.value.items()}
    return [plain(one) for one in node.value] if isinstance(node.value, list) else node.value


@pytest.mark.parametrize(
    ("path", "text", "meant"),
    [
        ("a.ini", "a = 1\n[x y]\nb: 'c # d'  # e\n; f\ng\n[x y]\nh = \"i\"\n",
         {"a": "1", "x y": {"b": "c # d", "g": "", "h": "i"}}),
        ("a.ini", "[x]\na = b\n   c\n\n   d\ne =\n  f\n", {"x": {"a": "b\nc\n\nd", "e": "f"}}),
        (".gitconfig", '[user]\n\tname = N\n\tmail = m\n[remote "a"]\n\turl = https://u:p@h.example/x\n',
         {"user": {"name": "N", "mail": "m"}, "remote": {"a": {"url": "https://u:p@h.example/x"}}}),
        (".aws/config", "[profile p]\nregion = r\ns3 =\n  endpoint = e\n  limit = 1\nrole = q\n",
         {"profile p": {"region": "r", "s3": {"endpoint": "e", "limit": "1"}, "role": "q"}}),
        (".npmrc", "//registry.example/:_authToken=npm_x=\nregistry=https://r.example\n",
         {"//registry.example/:_authToken": "npm_x=", "registry": "https://r.example"}),
        ("redis.conf", "requirepass foo\nsave 900 1\n", {"requirepass": "foo", "save": "900 1"}),
        (".ssh/config", "Host a\n  User b\n  Port 22\nHost *\n  IdentityFile ~/.ssh/c\n",
         {"Host a": {"User": "b", "Port": "22"}, "Host *": {"IdentityFile": "~/.ssh/c"}}),
        ("a.service", "[Service]\nEnvironment=A=1\nEnvironment=B=2\n",
         {"Service": {"Environment (line 2)": "A=1", "Environment": "B=2"}}),
        ("a.properties", "a.b=c # d\ne : f\\\n   g\n! no\nh\\:i j\nk=\\u00e9\\ud800\n",
         {"a.b": "c # d", "e": "fg", "h:i": "j", "k": "\u00e9\ufffd"}),
        (".netrc",
         'machine a.example login b password "c d"\nmacdef x\n put y\n\n'
         "machine e\n password f#g # h\ndefault login i\n",
         {"a.example": {"login": "b", "password": "c d"}, "e": {"password": "f#g"}, "default": {"login": "i"}}),
        (".pgpass", "# no\nh.example:5432:d:u:p\\:w\n*:*:*:v:x:y\n",
         [{"hostname": "h.example", "port": "5432", "database": "d", "username": "u", "password": "p:w"},
          {"hostname": "*", "port": "*", "database": "*", "username": "v", "password": "x"}]),
    ],
)  # fmt: skip
def test_what_stands_there_is_read_as_its_tool_means_it(path, text, meant):
    document = parse(path, text.encode())
    assert (document.format, document.problem) == ("ini", "")
    assert plain(document.roots[0]) == meant


def test_lines_are_those_where_values_stand():
    root = parse("a.ini", b"[x]\na = b\n\n  c\nd =\n  e\n").roots[0]
    assert [root.at("x", "a").line_of(n) for n in range(3)] == [2, 3, 4]
    assert root.at("x", "d").line == 6
    assert parse("a.properties", b"a=\\\n  b\nc=d\\\n  e\n").roots[0].at("a").line == 2
    netrc = parse(".netrc", b"machine a\n login b\n password\n c\n").roots[0]
    assert (netrc.at("a").line, netrc.at("a", "login").line, netrc.at("a", "password").line) == (1, 2, 4)
