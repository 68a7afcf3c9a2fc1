"""Targets: what a credential opens, as the text beside it says: host:port/database, or what is said of it.

Nothing is said where an "@" stands after the host: what is before it may be a part of a password with "/" in it.
"""

import re

_HOST = re.compile(
    r"(?i)(?:^|[;\s'\"?&,])(?:server|data source|host(?:name)?|addr(?:ess)?|endpoint|account(?:name)?)"
    r"\s?=\s?([^;\s'\"&]{1,200})(?![^;\s'\"&])"
)
_HOSTS = ("server", "source", "host", "addr", "endpoint", "account")  # one of them stands in what _HOST finds
_AUTHORITY = re.compile(r"(?:\[[\da-fA-F:]+\]|[\w.()\\$-]+)(?:[:,]\d{1,5}\b)?")
_REST = re.compile(r"[^\s'\"`<>]*")
_PORT = re.compile(r"(?i)(?:^|[;\s'\"?&])port\s?=\s?(\d{1,5})")
_DATABASE = re.compile(r"(?i)(?:^|[;\s'\"?&])(?:database(?:name)?|initial catalog|dbname)\s?=\s?([^;\s'\"&]{1,100})")
_LOGIN = re.compile(r"(?i)(?:^|[;\s'\"?&,])(?:user(?:name| id)?|uid)\s?=\s?([^;\s'\"&]{1,100})(?![^;\s'\"&])")
_JDBC = re.compile(r"(?i)jdbc:[\w:]{2,40}?:(?://|@(?://)?)([\w.-]{1,200}(?::\d{1,5})?)(?:[:/]([\w$-]{1,100}))?")
_SCHEME = re.compile(r"(?i)^(?:tcp|np|lpc|https?|sb|amqps?|rediss?|postgres(?:ql)?|mysql|mongodb(?:\+srv)?)[:/]{1,3}")


def of_connection(text: str) -> tuple[str, str]:
    """Return the target of a connection string (JDBC, ADO, libpq's keywords) and the login there; "" where not said."""
    where = _target(text)
    login = _LOGIN.search(text) if where else None
    return where, login[1] if login else ""


def _target(text: str) -> str:
    lower = text.lower()
    found = _JDBC.search(text) if "jdbc:" in lower else None
    if found:
        if "@" in text[found.start(1) : _end(text, found.start(1))]:
            return ""
        return found[1] + (f"/{found[2]}" if found[2] else "")
    host = _HOST.search(text) if any(word in lower for word in _HOSTS) else None
    where = _AUTHORITY.match(_SCHEME.sub("", host[1])) if host and "@" not in host[1] else None
    if not where:
        return ""
    port, database = _PORT.search(text), _DATABASE.search(text)
    answer = where[0].replace(",", ":")
    answer += f":{port[1]}" if port and ":" not in answer else ""
    return answer + (f"/{database[1]}" if database else "")


def of_address(rest: str) -> str:
    """Return the target of what follows the "@" of a URL."""
    if "@" in rest:
        return ""
    host, _, path = rest.partition("/")
    host = re.split(r"[?#\\]", host, maxsplit=1)[0].rstrip(".,:")
    name = re.match(r"[\w.%-]*", path)
    return f"{host}/{name[0]}" if name and name[0] and not path[name.end() :].startswith("/") else host


def _end(text: str, start: int) -> int:
    """Return where a URL that goes on at `start` ends."""
    found = _REST.match(text, start)
    return found.end() if found else start
