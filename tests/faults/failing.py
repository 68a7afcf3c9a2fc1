"""Crossings of which one fails, by a crash or by an error that a port has."""

from dataclasses import dataclass, field

from tests.rig import Crash, Crossings

AWAY = "it is away"


@dataclass
class Failing(Crossings):
    """Crossings of which one raises this error, before or after its effect."""

    error: BaseException = field(default_factory=lambda: Crash(AWAY))

    def before(self, name: str) -> None:
        try:
            super().before(name)
        except Crash:
            raise self.error from None

    def done(self) -> None:
        try:
            super().done()
        except Crash:
            raise self.error from None

    @property
    def has_failed(self) -> bool:
        return self.crash_at is not None and len(self.names) >= self.crash_at
