"""Unlisted: tables among exported lists that nobody understood. Nothing is found in them, and that is said."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence

from taskbound.posture.facts import text
from taskbound.posture.seen import Unread
from taskbound.posture.sighting import Remark, Sighting

SHARE = 3  # at least every third table of a folder is understood where exports are kept
NAMED = 12  # columns that are named


def unlisted(sightings: Iterable[Sighting], exports: Sequence[str] = ()) -> Iterator[Unread]:
    """Yield the tables that nobody understood, of folders of exports: the `exports` that were named, and those in which
    other tables are lists.
    """
    folders = defaultdict[str, dict[str, str]](dict)
    for one in sightings:
        if isinstance(one, Remark) and one.topic == "table":
            tables, path = folders[one.place.path.rpartition("/")[0]], one.place.path
            tables[path] = text(one, "columns") if tables.get(path, "x") else ""  # one part understood: all of it
    for folder, tables in sorted(folders.items()):
        unknown = {path: columns for path, columns in sorted(tables.items()) if columns}
        named = any(not one or folder == one or folder.startswith(f"{one}/") for one in exports)
        if named or len(tables) <= SHARE * (len(tables) - len(unknown)):
            for path, columns in unknown.items():
                yield Unread(path, f"not understood as a list: columns {_short(columns)}")


def _short(columns: str) -> str:
    names = columns.split(", ")
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return ", ".join(one[:40] for one in names[:NAMED]) + more
