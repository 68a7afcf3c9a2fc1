-- The log (INTERFACES 9, D19): each event's place, the tree over the headers, the newest checkpoint.
-- A leaf is made from its event's row, so that a row that was edited no longer matches the tree.

-- NULL until seal_log gives the event its place; dense from 0 in each organisation, given once.
ALTER TABLE events ADD COLUMN "index" INTEGER;
CREATE UNIQUE INDEX events_by_index ON events (org, "index") WHERE "index" IS NOT NULL;
CREATE INDEX events_unsealed ON events (org, id) WHERE "index" IS NULL;
CREATE TRIGGER places_stay BEFORE UPDATE OF "index" ON events WHEN old."index" IS NOT NULL
    BEGIN SELECT RAISE(ABORT, 'a place in the log never changes'); END;

-- C2SP tiles: up to 256 hashes of 32 bytes. A tile only grows.
CREATE TABLE tiles (
    org    TEXT NOT NULL,
    level  INTEGER NOT NULL,
    tile   INTEGER NOT NULL,
    hashes BLOB NOT NULL CHECK (length(hashes) % 32 = 0 AND length(hashes) BETWEEN 32 AND 8192),
    PRIMARY KEY (org, level, tile)
) STRICT;
CREATE TRIGGER tiles_grow BEFORE UPDATE ON tiles
    WHEN substr(new.hashes, 1, length(old.hashes)) IS NOT old.hashes
    BEGIN SELECT RAISE(ABORT, 'a tile only grows'); END;
CREATE TRIGGER tiles_are_kept BEFORE DELETE ON tiles
    BEGIN SELECT RAISE(ABORT, 'a tile is never removed'); END;

-- The newest checkpoint: a signed note, verbatim.
CREATE TABLE checkpoints (
    org  TEXT NOT NULL PRIMARY KEY,
    note BLOB NOT NULL
) STRICT;
