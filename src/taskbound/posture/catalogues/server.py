"""Server: how the address of one is written, so that a file and a catalogue that mean the same one say the same."""

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
