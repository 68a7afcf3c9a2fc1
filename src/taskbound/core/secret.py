"""Secret: a value that is delivered once and shown nowhere (S6, D20).

It cannot be printed, formatted, logged, compared by accident, serialised or copied into a
record; only `reveal()`, called where the value is delivered or presented, gives it out.
"""

from typing import NoReturn


class Secret:
    """A credential's value in memory."""

    __slots__ = ("__value",)

    def __init__(self, value: str) -> None:
        self.__value = value

    def reveal(self) -> str:
        """Return the value. Each caller is a place where a secret leaves: keep them few."""
        return self.__value

    def __repr__(self) -> str:
        return "Secret(***)"

    def _refuse(self, *_: object) -> NoReturn:
        raise TypeError("a Secret is not text: call reveal() where it is delivered")

    # `str()` and f-strings raise instead of masking: a masked secret in a message hides the bug.
    __str__ = __format__ = _refuse
    __eq__ = __hash__ = __bool__ = __len__ = _refuse
    __reduce_ex__ = __copy__ = __deepcopy__ = _refuse
