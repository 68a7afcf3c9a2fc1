"""Archives: gz, tar and zip, taken apart within bounds. Each file in one is handed to who looks at texts."""

import gzip
import io
import tarfile
import zipfile
import zlib
from collections.abc import Callable

from taskbound.plugins.discoverers.files.streams import Budget, Bytes, Unpacked, Unreadable, Whole, read_up_to

MEMBERS = 10_000  # files in an archive
ZIPPED = 32 << 20  # bytes of a zip file, which has to be held in memory
NOT_UNPACKED = {
    b"BZh": "bzip2",
    b"\xfd7zXZ\x00": "xz",
    b"(\xb5/\xfd": "zstd",
    b"7z\xbc\xaf\x27\x1c": "7z",
    b"Rar!\x1a\x07": "rar",
}
_MAGIC = tuple(NOT_UNPACKED)
BROKEN = (EOFError, zlib.error, gzip.BadGzipFile, tarfile.TarError, zipfile.BadZipFile, NotImplementedError)

Read = Callable[[Unpacked, str], bool]  # reads one file of an archive, at its path; whether it was a text or an archive
Tell = Callable[[str, str], None]  # path and reason of what is not read, or not to its end
Unpack = Callable[[Bytes, str, Budget, Read, Tell], None]  # an archive and its path


def unpacker(head: bytes) -> Unpack | None:
    """Return what takes a file that begins so apart; None for what is no archive. Raises Unreadable."""
    if head.startswith(_MAGIC):
        kind = next(name for magic, name in NOT_UNPACKED.items() if head.startswith(magic))
        raise Unreadable(f"{kind} is not unpacked")
    if head[:2] == b"\x1f\x8b":
        return _gz
    if head[:4] == b"PK\x03\x04":
        return _zip
    return _tar if head[257:262] == b"ustar" else None


def broken(error: Exception) -> str:
    """Return why what is packed could not be read to its end."""
    return f"it cannot be unpacked to its end ({type(error).__name__})"


def _gz(stream: Bytes, path: str, budget: Budget, read: Read, tell: Tell) -> None:
    with gzip.GzipFile(fileobj=Whole(stream)) as inner:
        if not read(Unpacked(inner, budget), path):
            raise Unreadable("no text is packed in it")


def _tar(stream: Bytes, path: str, budget: Budget, read: Read, tell: Tell) -> None:
    with tarfile.open(fileobj=Whole(stream), mode="r|") as archive:
        for count, member in enumerate(archive):
            if count >= MEMBERS:
                raise Unreadable(f"of its files {MEMBERS} were looked at")
            inner = archive.extractfile(member) if member.isreg() else None
            if inner:
                _member(Unpacked(inner, budget), f"{path}!/{member.name}", budget, read, tell)


def _zip(stream: Bytes, path: str, budget: Budget, read: Read, tell: Tell) -> None:
    data = read_up_to(stream, ZIPPED + 1)
    if len(data) > ZIPPED:
        raise Unreadable(f"a zip file is looked into up to {ZIPPED >> 20} MiB")
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        for count, member in enumerate(archive.infolist()):
            if count >= MEMBERS:
                raise Unreadable(f"of its files {MEMBERS} were looked at")
            if member.is_dir():
                continue
            where = f"{path}!/{member.filename}"
            if member.flag_bits & 1:
                tell(where, "it is encrypted")
                continue
            try:
                with archive.open(member) as inner:
                    _member(Unpacked(inner, budget), where, budget, read, tell)
            except BROKEN as error:  # its members do not depend on one another, as those of a stream do
                tell(where, broken(error))


def _member(stream: Unpacked, where: str, budget: Budget, read: Read, tell: Tell) -> None:
    """Read one file of an archive. What is wrong with it alone stops none of the others."""
    try:
        read(stream, where)
    except Unreadable as error:
        if budget.is_spent:
            raise
        tell(where, str(error))
