"""A second place in memory; for tests and for trying out."""

from taskbound.core.errors import Unavailable


class MemoryCheckpoints:
    """Checkpoints by origin and size."""

    def __init__(self) -> None:
        self.kept: dict[tuple[str, int], bytes] = {}

    async def put(self, origin: str, size: int, checkpoint: bytes) -> None:
        if self.kept.setdefault((origin, size), checkpoint) != checkpoint:
            raise Unavailable(f"another checkpoint of size {size} is kept", code="log_broken")

    async def newest(self, origin: str) -> bytes | None:
        sizes = [size for known, size in self.kept if known == origin]
        return self.kept[origin, max(sizes)] if sizes else None
