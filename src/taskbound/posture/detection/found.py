"""Found: a secret and its place, while it is in this package; finders, which make them."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

# What wins where two rules found the same: structure, an issuer's form, an address or header, an issuer's name, a name.
STRUCTURE, FORM, ADDRESS, VENDOR, NAME = 5, 4, 3, 2, 1


@dataclass(frozen=True, slots=True)
class Found:
    """A secret. `value` is the canonical one; `start` and `end` are where it stands, in bytes of what was searched."""

    kind: str
    value: str = field(repr=False)
    start: int
    end: int
    rank: int
    encoding: str = "plain"
    target: str = ""
    login: str = ""  # whose it is there, where that is said beside it
    is_identifier: bool = False
    life: tuple[int, int] | None = None  # of what says so (JWT, SAS): issued and expires, Unix seconds; 0: not said


Finder = Callable[[bytes, int, int], Iterable[Found]]  # data, where the anchor begins and ends


def text_of(data: bytes) -> str:
    return data.decode("utf-8", "replace")
