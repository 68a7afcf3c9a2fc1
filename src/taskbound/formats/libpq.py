"""The address of a PostgreSQL database, as libpq and asyncpg read it (PostgreSQL documentation, 34.1.1)."""

from collections.abc import Mapping
from ipaddress import ip_address
from urllib.parse import parse_qs, unquote, urlsplit


def is_verified(url: str, environment: Mapping[str, str]) -> bool:
    """Whether whoever answers there must prove to be the server of that name, or can only be on this machine.

    A server in between could otherwise say what the database says, and ask for the password. Raises ValueError.
    """
    asked = urlsplit(url)
    query = {name: values[-1] for name, values in parse_qs(asked.query).items()}
    named = asked.netloc.rpartition("@")[2] or query.get("host") or environment.get("PGHOST", "")  # as asyncpg reads it
    mode = query.get("sslmode") or environment.get("PGSSLMODE", "")
    is_elsewhere = "service" in query or "PGSERVICE" in environment or not all(map(_is_here, named.split(",")))
    return mode == "verify-full" or not is_elsewhere


def _is_here(host: str) -> bool:
    """Whether a host of an address, with its port, is a socket's folder or of this machine alone."""
    name = unquote(host)
    if name.startswith("["):
        name = name[1:].partition("]")[0]
    elif name.count(":") == 1:
        name = name.partition(":")[0]
    try:
        return name in ("", "localhost") or name.startswith("/") or ip_address(name).is_loopback
    except ValueError:
        return False
