"""Shapes: what is weak by how parts of a document stand to each other, whoever's format it is in.

Each reader says by `ANCHOR` (an expression of hyperscan) in which files it could find anything; no other is walked.
"""

from collections.abc import Callable

from taskbound.posture.document import Document
from taskbound.posture.readers.reading import Notes
from taskbound.posture.shapes import assignments, ends, forks, oauth_clients, policies, rbac, vault_roles

Shape = Callable[[Document, Notes], None]

SHAPES: tuple[tuple[str, Shape], ...] = tuple(
    (one.ANCHOR, one.read) for one in (assignments, ends, forks, oauth_clients, policies, rbac, vault_roles)
)
