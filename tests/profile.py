"""Two profiles: `make test` is the short one, `make test FULL=1` has the promises' full figures. Two workers each."""

import os
from collections.abc import Sequence
from itertools import product
from typing import TypeVar

A = TypeVar("A")
B = TypeVar("B")

WORKER = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))  # which of them runs here, from 0
FULL = os.environ.get("FULL", "") not in ("", "0")


def trials(full: int, short: int) -> int:
    """Return how often something is tried in this run."""
    return full if FULL else short


def pairs(firsts: Sequence[A], seconds: Sequence[B]) -> list[tuple[A, B]]:
    """Return which go together in this run: each with each, or in the short profile as few as hold every value."""
    if FULL:
        return list(product(firsts, seconds))
    return [(firsts[n % len(firsts)], seconds[n % len(seconds)]) for n in range(max(len(firsts), len(seconds)))]
