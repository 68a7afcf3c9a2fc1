"""What is known of a server: how it speaks, and what it offered last. Its sessions share that.

A list of tools is taken for what the server offers *now* only by who waited for it since before it
was asked for (T4.6): a question never gets a list that was asked for before the question came. So
one list answers all who wait, and a busy server is asked as often as one list takes, not as often
as it is called. How long a server says that a list stays fresh (`ttlMs`) is not believed: by that
word a changed definition would be called.
"""

import asyncio
import itertools
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from taskbound.formats.mcp_headers import Mark
from taskbound.plugins.upstreams.mcp_http.exchange import Told

Tools = list[Mapping[str, Any]]


@dataclass(frozen=True, slots=True)
class Listed:
    """A list of tools."""

    text: bytes = b""  # by which it is known again
    tools: Tools = field(default_factory=list)
    marks: Mapping[str, tuple[Mark, ...]] = field(default_factory=dict)  # by tool: arguments that headers mirror
    told: Told | None = None  # by the one answer that it came in: who tells the same offers the same


class Listing:
    """The newest list of tools, as it is shown to one credential, or to none."""

    def __init__(self) -> None:
        self.newest = Listed()
        self._begun = self._done = 0  # lists that were asked for, and the newest of them that came
        self._asking = asyncio.Lock()

    async def now(self, ask: Callable[[], Awaitable[Listed]]) -> Listed:
        """Return a list that was asked for after this was called; its tools are the same object while its text is.

        Raises what `ask` raises; who waits beside then asks for itself.
        """
        before = self._begun
        async with self._asking:
            if self._done <= before:
                self._begun += 1
                mine = self._begun
                found = await ask()
                if found is not self.newest and found.text == self.newest.text:
                    found = replace(found, tools=self.newest.tools)
                self.newest, self._done = found, mine
            return self.newest


class Known:
    """What the sessions with one server share."""

    def __init__(self) -> None:
        self.version = ""  # of the protocol, that it spoke last; "" before it is known
        self.ids = itertools.count(1)  # of requests: no session's answer can be taken for another's
        self.listing = Listing()  # what it offers to who shows no credential
        self.notices: set[asyncio.Task[None]] = set()  # what has no answer, on its way to it
