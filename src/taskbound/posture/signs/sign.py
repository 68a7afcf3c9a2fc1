"""A sign: a few words that say by themselves that something is weak, wherever they stand: in code, in a script, in a
connection string, in any configuration. What makes it none is told by the line and by what stands around it."""

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property

# Between a name and its value: "=", ":", "=>", "," and quotes; also the next line's `value:` of a list of variables.
IS = r"""["'\]]{0,2}(?:[ \t]*(?:=>|:=|[:=,])[ \t]*|,?\s{1,60}["']?value["']?[ \t]*[:=][ \t]*)["'\\]{0,2}"""
NO = r"(?:false|no|off|0|disabled?|none)\b"
YES = r"(?:true|yes|on|1|enabled?)\b"


@dataclass(frozen=True)
class Spot:
    """Where a sign stands."""

    path: str
    environment: str  # as names on the path tell
    found: "re.Match[str]"
    line: str
    around: str  # some lines before and after, this one included
    above: str  # what stands before the line, some dozens of lines
    after: str  # from the sign on, some hundred characters


@dataclass(frozen=True)
class Sign:
    """`expression` is of Python, without regard to case; `anchor`, which lies in it, is of hyperscan and finds it.

    Without one it is what stands before the first IS, or the expression: long expressions take hyperscan long to learn.
    `says` goes on after the file's name.

    `none`: where it finds something in the line it is none. `only`: a test of the place; an answer other than "" or
    None is what is said instead of `says`.
    """

    case: str
    expression: str
    says: str
    none: str = ""
    only: Callable[[Spot], object] = field(default=lambda spot: True)
    anchor: str = ""

    @cached_property
    def goes_back(self) -> bool:
        """Whether it may begin on a line before the one where its anchor ends."""
        return r"\s{1," in self.expression.replace(IS, "")

    @property
    def looked_for(self) -> str:
        """What hyperscan is asked for."""
        return (self.anchor or re.sub(r"\(\?P<\w+>", "(?:", self.expression.partition(IS)[0])).replace(r"\b", "")

    @cached_property
    def compiled(self) -> "re.Pattern[str]":
        return re.compile(self.expression, re.I)

    @cached_property
    def excused(self) -> "re.Pattern[str] | None":
        return re.compile(self.none, re.I) if self.none else None
