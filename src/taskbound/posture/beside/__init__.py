"""Beside: what a file says that counts only together with what others say. Whose a key is, when something was to end,
which account is production, which identity is used where, what a person typed.

Each reader looks only at documents of its formats that have one of its words in their bytes, and yields `Remark`s of
the topics that its own file documents, and weaknesses that one document shows alone.
"""

from collections.abc import Callable, Iterator, Set

from taskbound.posture.beside import (
    accounts,
    aws_details,
    cluster,
    jenkins,
    pipelines,
    roles,
    settings,
    ssh,
    terms,
    typed,
)
from taskbound.posture.document import Document
from taskbound.posture.sighting import Sighting

Reader = Callable[[Document, bytes, str], Iterator[Sighting]]

DATA = frozenset({"json", "yaml", "hcl", "toml", "ini"})
LINES = frozenset({"text", "shell"})
EVERY = DATA | LINES | frozenset({"markdown", "csv", "jsonl", "dotenv", "xml", "dockerfile"})

# Formats, words of which one must be there, and who reads it then.
TABLE: tuple[tuple[frozenset[str], tuple[bytes, ...], Reader], ...] = (
    (EVERY, (b" AAAA",), ssh.read),
    (frozenset({"json", "yaml", "hcl"}), terms.WORDS, terms.read),
    (DATA, accounts.WORDS, accounts.read),
    (frozenset({"yaml", "json"}), cluster.WORDS, cluster.read),
    (frozenset({"yaml"}), pipelines.WORDS, pipelines.read),
    (frozenset({"hcl", "json"}), roles.WORDS, roles.read),
    (frozenset({"json", "yaml"}), aws_details.WORDS, aws_details.read),
    (DATA | {"dotenv"}, settings.WORDS, settings.read),
    (LINES, typed.WORDS, typed.read),
    (LINES, jenkins.WORDS, jenkins.read),
)


def beside(document: Document, data: bytes, repository: str, worded: Set[int]) -> Iterator[Sighting]:
    """Yield what a document says beside what its own readers read. `worded`: numbers of the rows with a word there."""
    for number in sorted(worded):
        formats, _, read = TABLE[number]
        if document.format in formats:
            yield from read(document, data, repository)
