"""Addresses and headers: passwords in URLs, Authorization headers, user:password arguments, netrc."""

import re
from collections.abc import Iterator
from html import unescape
from urllib.parse import unquote

from taskbound.posture.detection import exempt, target
from taskbound.posture.detection.found import ADDRESS, Found, text_of
from taskbound.posture.detection.names import PASSWORD, TOKEN, is_believed, is_random
from taskbound.posture.detection.structure import password_of_basic

_URL = re.compile(
    rb"""([A-Za-z][A-Za-z0-9+.-]{1,30}):\\?/\\?/([^\s:/@'"`<>]{0,128}):([^\s/'"`<>]{1,256})@([^\s'"`<>,;)\]}]{1,512})"""
)
_SCHEMES = {
    "postgresql": "postgres",
    "mariadb": "mysql",
    "mssql": "sqlserver",
    "rediss": "redis",
    "amqps": "amqp",
    "https": "http",
    "ldaps": "ldap",
    "smtps": "smtp",
    "sftp": "ftp",
    "ftps": "ftp",
}
_HERE = re.compile(
    r"(?:localhost|127\.\d+\.\d+\.\d+|\[?::1\]?|0\.0\.0\.0|host\.docker\.internal|(?:[\w-]+\.)*example(?:\.\w+)?)(?:[:/?]|$)",
    re.I,
)
_ELSEWHERE = re.compile(r"[\w-]+(?:\.[\w-]+)+(?:[:/?]|$)")
_WEAK = re.compile(r"(?=.{8})[a-z]{4,12}\d{1,4}")  # a word and a number: a password where the host is a real one
_NO_PASSWORD = re.compile(
    r"^(?:[a-z]{1,12}\d{0,4}|[A-Z_]{1,40}|.{1,3}|\d{1,6})$|^\d{1,5},|[{}$<>\[\]*()|]|%[sdv(]|\.\.\."
)


def address(data: bytes, start: int, end: int) -> Iterator[Found]:
    at = max(data.rfind(slashes, max(0, end - 500), end) for slashes in (b"//", b"/\\/"))
    if at < 0:
        return
    first = max(0, at - 36)
    found = next((one for one in _URL.finditer(data, first, at + 1024) if one.start() < at), None)
    if not found:
        return
    scheme, user, password, rest = (text_of(one) for one in found.groups())
    kind = scheme.lower().rpartition(":")[2].split("+")[0]
    kind = _SCHEMES.get(kind, kind)
    value = unquote(unescape(password) if "&" in password else password)
    here = bool(_HERE.match(rest))
    is_weak = not here and bool(_WEAK.fullmatch(value) and _ELSEWHERE.match(rest))
    if (
        len(value) < 4
        or exempt.is_placeholder(value)
        or exempt.is_reference(value)
        or (_NO_PASSWORD.search(value) and not is_weak)
        or value == unquote(user)
        or (here and not is_believed(PASSWORD, value))
    ):
        return
    encoding = "url" if value != password else "plain"
    login = unquote(user) or ("default" if kind == "redis" else "")
    yield Found(f"{kind}-password", value, *found.span(3), ADDRESS, encoding, target.of_address(rest), login)


_SCHEME_AND_TOKEN = re.compile(rb"(?i)(bearer|basic|token|bot|apikey|api-key)[ \t]{1,4}([\w=~@.+/-]{8,2000})")
_HEADER = re.compile(rb"(?i)(?:authorization|auth|x-[a-z-]{2,30}|header|cookie|curl)[^\n]{0,80}$")


def authorization(data: bytes, start: int, end: int) -> Iterator[Found]:
    found = _SCHEME_AND_TOKEN.match(data, start)
    if not found or (start and data[start - 1 : start].isalnum()):
        return
    value = text_of(found[2])
    if found[1].lower() == b"basic":
        password = password_of_basic(value)
        if (
            password
            and len(password) >= 4
            and not exempt.is_placeholder(password)
            and not exempt.is_reference(password)
        ):
            yield Found("authorization-basic", password, *found.span(2), ADDRESS, "base64")
        return
    named = bool(_HEADER.search(data, max(0, start - 100), start))
    value = value.rstrip(".")
    believed = (
        is_believed(TOKEN, value)
        if named
        else found[1].lower() == b"bearer" and is_random(value, 3.6, 20) and is_believed(TOKEN, value)
    )
    if believed:
        yield Found("authorization-bearer", value, found.start(2), found.start(2) + len(value), ADDRESS)


_BETWEEN = (b" ", b"\t", b"\n", b'"', b"'", b",", b"[", b"`", b"(")
_USER_ARGUMENT = re.compile(
    rb"""(?:-u|--user|--proxy-user)(?:["'],)?[ \t=]{0,3}["']?([\w.@+~-]{1,80}):([^\s"']{4,200})"""
)


def user_argument(data: bytes, start: int, end: int) -> Iterator[Found]:
    if start and data[start - 1 : start] not in _BETWEEN:  # core-util@npm:… is a name
        return
    found = _USER_ARGUMENT.match(data, start)
    if found and re.search(rb"\b(?:curl|wget|http|https)\b", data[max(0, start - 300) : start]):
        value = text_of(found[2])
        if not exempt.is_placeholder(value) and not exempt.is_reference(value) and not _NO_PASSWORD.search(value):
            yield Found("user-and-password-argument", value, *found.span(2), ADDRESS)


# Clients that take a password as a word after a short option, by their manual pages: how the command begins, the
# option, and what may stand between them (what mysql is told after a space is a database).
_CLIENTS = (
    (r"(?:mysql|mariadb)(?:-?(?:dump|admin|import|show|check|slap))?", "-p", r""),
    (r"sshpass", "-p", r"[ \t]{0,4}"),
    (r"(?:docker|podman|nerdctl|buildah|skopeo|helm|oras|crane)[ \t]{1,4}(?:(?:registry|auth)[ \t]{1,4})?login", "-p",
     r"[ \t]{0,4}"),
    (r"(?:az|oc|cf|argocd)[ \t]{1,4}(?:acr[ \t]{1,4})?login", "-p", r"[ \t]{1,4}"),
    (r"mongo(?:sh|dump|restore|export|import)?", "-p", r"[ \t]{0,4}"),
    (r"(?:redis|keydb|valkey)-(?:cli|benchmark)", "-a", r"[ \t]{1,4}"),
    (r"(?:sqlcmd|bcp|isql|mosquitto_(?:pub|sub)|ipmitool)", "-P", r"[ \t]{0,4}"),
    (r"ldap(?:search|modify|add|delete|whoami|passwd)", "-w", r"[ \t]{0,4}"),
    (r"(?:plink|pscp|psftp)", "-pw", r"[ \t]{1,4}"),
)  # fmt: skip
CLIENTS = tuple(rf"\b{name}[ \t]" for name, _, _ in _CLIENTS)  # what hyperscan finds of them
_BEFORE = r"(?:(?:\\\n|[^\n;|&]){0,300}?[ \t])?"
_WORD = r"""(["']?)([^\s"'`;|&<>]{6,200})\1(?=[\s;|&)`"'\\]|\Z)"""
_CLIENT = tuple(re.compile(rf"{name}[ \t]{_BEFORE}{option}{gap}{_WORD}".encode()) for name, option, gap in _CLIENTS)


def client_argument(data: bytes, start: int, end: int) -> Iterator[Found]:
    """Find what a client is given as a password on its command line; a port, a file or a variable is none."""
    for one in _CLIENT:
        if (found := one.match(data, start)) and is_believed(PASSWORD, value := text_of(found[2])):
            yield Found("password-argument", value, *found.span(2), ADDRESS)
            return


_NETRC = re.compile(rb"machine\s{1,8}([^\s]{1,200})\s{1,8}login\s{1,8}[^\s]{1,200}\s{1,8}password\s{1,8}([^\s]{4,400})")


def netrc(data: bytes, start: int, end: int) -> Iterator[Found]:
    found = _NETRC.match(data, start)
    if found:
        value = text_of(found[2])
        if is_believed(PASSWORD, value):
            yield Found("netrc-password", value, *found.span(2), ADDRESS, target=text_of(found[1]))
