"""Scanning: what looks at files, as it is made in each process that does. Everything else starts without it."""

import hmac
from collections.abc import Callable
from functools import lru_cache, partial
from mmap import mmap

from taskbound.posture.detection import Detector
from taskbound.posture.scan import scan
from taskbound.posture.seen import Scan, Scanned
from taskbound.posture.twice import TABLE, Twice


@lru_cache(maxsize=1)
def scanner(key: bytes) -> Scan:
    """Return what scans a file, with rules that are compiled already: a process that is forked does not do it again."""
    made = scanner_of(partial(mark_of, key))
    made("", b"-", "", True)
    return made


def scanner_of(mark: Callable[[str], str]) -> Scan:
    """Return what scans a file and calls what it finds by these marks."""
    # Memory of nobody's file: what is forked afterwards shares it.
    return partial(_scan, Detector(mark), mark, Twice(mmap(-1, TABLE)))


def mark_of(key: bytes, text: str) -> str:
    return hmac.digest(key, text.encode(errors="surrogatepass"), "sha256").hex()


def _scan(
    detector: Detector,
    mark: Callable[[str], str],
    twice: Twice,
    path: str,
    data: bytes,
    repository: str,
    whole: bool,
) -> Scanned:
    return scan(path, data, repository, detector, mark, whole=whole, twice=twice)
