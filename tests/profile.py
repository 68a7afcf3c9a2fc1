"""Two profiles: `make test` is the short one, `make test FULL=1` has the promises' full figures."""

import os

FULL = os.environ.get("FULL", "") not in ("", "0")


def trials(full: int, short: int) -> int:
    """Return how often something is tried in this run."""
    return full if FULL else short
