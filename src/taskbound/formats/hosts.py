"""Hosts of addresses: which of them are this machine alone."""

from ipaddress import ip_address
from urllib.parse import unquote


def is_here(host: str) -> bool:
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
