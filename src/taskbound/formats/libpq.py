"""The address of a PostgreSQL database, as libpq and asyncpg read it (PostgreSQL documentation, 34.1.1)."""

from collections.abc import Mapping
from urllib.parse import parse_qs, urlsplit

from taskbound.formats.hosts import is_here


def is_verified(url: str, environment: Mapping[str, str]) -> bool:
    """Whether whoever answers there must prove to be the server of that name, or can only be on this machine.

    A server in between could otherwise say what the database says, and ask for the password. Raises ValueError.
    """
    asked = urlsplit(url)
    query = {name: values[-1] for name, values in parse_qs(asked.query).items()}
    named = asked.netloc.rpartition("@")[2] or query.get("host") or environment.get("PGHOST", "")  # as asyncpg reads it
    mode = query.get("sslmode") or environment.get("PGSSLMODE", "")
    is_elsewhere = "service" in query or "PGSERVICE" in environment or not all(map(is_here, named.split(",")))
    return mode == "verify-full" or not is_elsewhere
