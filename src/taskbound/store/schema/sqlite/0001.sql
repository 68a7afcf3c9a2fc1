-- The first schema (INTERFACES 9 and 12). The organisation is the first part of every key (D22).
-- Moments are microseconds since 1970 in UTC. Text columns named *JSON* hold one JSON value.

-- What has happened: the header of each leaf. Its body lies beside it, bound by
-- commitment = SHA-256(salt || body), so that a body can be erased and every proof still verifies.
CREATE TABLE events (
    id         INTEGER PRIMARY KEY,
    org        TEXT NOT NULL,
    kind       TEXT NOT NULL,
    at         INTEGER NOT NULL,
    "by"       TEXT NOT NULL,
    noun       TEXT NOT NULL,
    thing      TEXT NOT NULL,
    request    TEXT NOT NULL,
    commitment BLOB NOT NULL CHECK (length(commitment) = 32)
) STRICT;
CREATE INDEX events_of_thing ON events (org, thing);

-- A fact stays as it was stated, whatever a later program believes.
CREATE TRIGGER events_stay BEFORE UPDATE OF id, org, kind, at, "by", noun, thing, request, commitment ON events
    BEGIN SELECT RAISE(ABORT, 'an event never changes'); END;
CREATE TRIGGER events_are_kept BEFORE DELETE ON events
    BEGIN SELECT RAISE(ABORT, 'an event is never removed'); END;

-- The rowid is the event's: bodies are appended, never spread over the tree.
CREATE TABLE bodies (
    event INTEGER PRIMARY KEY REFERENCES events (id),
    org   TEXT NOT NULL,
    salt  BLOB NOT NULL CHECK (length(salt) = 32),
    body  BLOB NOT NULL  -- JSON {value, detail, spent, shared, via}, verbatim
) STRICT;
CREATE TRIGGER bodies_stay BEFORE UPDATE ON bodies
    BEGIN SELECT RAISE(ABORT, 'a body is erased, never changed'); END;

-- One table per noun: its newest value, a column per field.
CREATE TABLE identities (
    id          TEXT NOT NULL,
    org         TEXT NOT NULL,
    spiffe_id   TEXT NOT NULL,
    kind        TEXT NOT NULL,
    owner       TEXT NOT NULL,
    purpose     TEXT NOT NULL,
    environment TEXT NOT NULL,
    groups      TEXT NOT NULL,  -- JSON
    attestor    TEXT NOT NULL,
    "when"      TEXT NOT NULL,  -- JSON
    state       TEXT NOT NULL,
    PRIMARY KEY (org, id)
) STRICT;
CREATE INDEX identities_by_spiffe_id ON identities (org, spiffe_id);
CREATE INDEX identities_by_owner ON identities (org, owner);
CREATE INDEX identities_by_attestor ON identities (org, attestor);
CREATE INDEX identities_by_state ON identities (org, state);

CREATE TABLE tasks (
    id       TEXT NOT NULL,
    org      TEXT NOT NULL,
    actor    TEXT NOT NULL,
    subject  TEXT,
    intent   TEXT NOT NULL,  -- JSON
    grants   TEXT NOT NULL,  -- JSON
    opened   INTEGER NOT NULL,
    deadline INTEGER NOT NULL,
    due      INTEGER,
    handle   TEXT NOT NULL,
    root     TEXT NOT NULL,
    parent   TEXT,
    cause    TEXT,
    depth    INTEGER NOT NULL,
    act      TEXT NOT NULL,  -- JSON
    ended    INTEGER,
    reason   TEXT NOT NULL,
    state    TEXT NOT NULL,
    PRIMARY KEY (org, id),
    FOREIGN KEY (org, parent) REFERENCES tasks (org, id)
) STRICT;
CREATE INDEX tasks_by_actor ON tasks (org, actor);
CREATE INDEX tasks_by_subject ON tasks (org, subject);
CREATE INDEX tasks_by_parent ON tasks (org, parent);
CREATE INDEX tasks_by_root ON tasks (org, root);
CREATE INDEX tasks_by_handle ON tasks (org, handle);
CREATE INDEX tasks_by_state ON tasks (org, state, due);
CREATE INDEX tasks_by_due ON tasks (org, due) WHERE due IS NOT NULL;

CREATE TABLE leases (
    id        TEXT NOT NULL,
    org       TEXT NOT NULL,
    instance  TEXT NOT NULL,
    task      TEXT,
    target    TEXT NOT NULL,
    "grant"   TEXT NOT NULL,
    recipe    TEXT NOT NULL,  -- JSON
    expires   INTEGER NOT NULL,
    create_by INTEGER NOT NULL,
    due       INTEGER,
    activated INTEGER,
    state     TEXT NOT NULL,
    PRIMARY KEY (org, id),
    FOREIGN KEY (org, task) REFERENCES tasks (org, id)
) STRICT;
CREATE INDEX leases_by_task ON leases (org, task);
CREATE INDEX leases_by_target ON leases (org, target);
CREATE INDEX leases_by_state ON leases (org, state, due);
CREATE INDEX leases_by_due ON leases (org, due) WHERE due IS NOT NULL;

-- The narrow index of calls. Every field of a call is here, not only in the body of its event:
-- all of them are narrow, none says what was asked with, and a body may be erased.
CREATE TABLE calls (
    id       TEXT NOT NULL,
    org      TEXT NOT NULL,
    task     TEXT,
    root     TEXT,
    action   TEXT NOT NULL,
    resource TEXT NOT NULL,
    at       INTEGER NOT NULL,
    code     TEXT NOT NULL,
    policy   TEXT NOT NULL,
    grants   TEXT NOT NULL,  -- JSON
    labels   TEXT NOT NULL,  -- JSON
    state    TEXT NOT NULL,
    event    INTEGER NOT NULL REFERENCES events (id),
    PRIMARY KEY (org, id),
    FOREIGN KEY (org, task) REFERENCES tasks (org, id)
) STRICT;
CREATE INDEX calls_by_task ON calls (org, task, at);
CREATE INDEX calls_by_state ON calls (org, state, at);

-- What is left of each quantity of a task's budget.
CREATE TABLE budgets (
    org      TEXT NOT NULL,
    task     TEXT NOT NULL,
    quantity TEXT NOT NULL,
    "left"   INTEGER NOT NULL CHECK ("left" >= 0),
    PRIMARY KEY (org, task, quantity),
    FOREIGN KEY (org, task) REFERENCES tasks (org, id)
) STRICT, WITHOUT ROWID;

-- What the tree of tasks under a root has read. Only grows (D30).
CREATE TABLE labels (
    org   TEXT NOT NULL,
    root  TEXT NOT NULL,
    label TEXT NOT NULL,
    PRIMARY KEY (org, root, label)
) STRICT, WITHOUT ROWID;

-- One-time values that were seen (S7).
CREATE TABLE once (
    org     TEXT NOT NULL,
    purpose TEXT NOT NULL,
    value   TEXT NOT NULL,
    until   INTEGER NOT NULL,
    PRIMARY KEY (org, purpose, value)
) STRICT, WITHOUT ROWID;
CREATE INDEX once_by_until ON once (org, until);

-- The latest moment that was given out without an event of its own (D12). One row.
CREATE TABLE clock (
    one    INTEGER PRIMARY KEY CHECK (one = 1),
    latest INTEGER NOT NULL
) STRICT;
INSERT INTO clock (one, latest) VALUES (1, 0);
