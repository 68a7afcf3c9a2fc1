"""Server: how the address of one is written, so that a file and a catalogue that mean the same one say the same."""

import re
from ipaddress import ip_address

HERE = frozenset({"localhost", "127.0.0.1", "[::1]", "::1", ""})
PORTS = {"postgres": 5432, "redis": 6379}  # by the beginning of a credential's kind


def server(target: str, kind: str) -> str:
    """Return host:port of what a credential opens, "" where it is not said whole. Names of this machine are one."""
    where = target.partition("/")[0].lower()
    host, colon, port = where.rpartition(":")
    if not colon or port.endswith("]"):
        host = where
        port = str(next((number for name, number in PORTS.items() if kind.startswith(name)), ""))
    host = host.rstrip(".")
    return f"{'localhost' if host in HERE else host}:{port}" if target and port.isdigit() else ""


# Ends of names that mean another machine in each network: RFC 6761, 6762 (with its appendix G), 8375, and Kubernetes'.
_NEAR = re.compile(r"(?:^|\.)(?:local(?:host|domain)?|test|invalid|internal|intranet|private|corp|home|lan|svc|arpa)$")


def is_one_everywhere(address: str) -> bool:
    """Whether an address, postgresql://host:port, means the same server to whoever reads it, on whichever machine.

    `localhost`, `db`, 10.0.0.7 and `shop.internal` say where somebody stands; a name of the public DNS does not.
    """
    host = address.rpartition("://")[2].rpartition(":")[0].lower().strip("[]").rstrip(".")
    try:
        return ip_address(host).is_global
    except ValueError:
        return "." in host and not _NEAR.search(host)
