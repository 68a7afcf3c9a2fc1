-- The first schema (INTERFACES 9 and 12): what SQLite's first five give. The organisation is the first
-- part of every key (D22). Moments are microseconds since 1970 in UTC. Columns marked *JSON* hold one
-- JSON value as text: jsonb would refuse what a text may say (\u0000) and change how a number is spelled.
-- Keys are ordered by their bytes (COLLATE "C"), as Python and SQLite do.
CREATE SCHEMA taskbound;

CREATE TABLE version (
    one    integer PRIMARY KEY CHECK (one = 1),
    number integer NOT NULL
);
INSERT INTO version (one, number) VALUES (1, 0);

CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS
    $$ BEGIN RAISE EXCEPTION '%', TG_ARGV[0]; END $$;

-- What has happened: the header of each leaf. Its body lies beside it, bound by
-- commitment = SHA-256(salt || body), so that a body can be erased and every proof still verifies.
-- Rows commit out of the order of their ids: nobody may follow them by `id > last` (D13).
CREATE SEQUENCE events_id;
CREATE TABLE events (
    id         bigint PRIMARY KEY,
    org        text COLLATE "C" NOT NULL,
    kind       text NOT NULL,
    at         bigint NOT NULL,
    "by"       text NOT NULL,
    noun       text NOT NULL,
    thing      text COLLATE "C" NOT NULL,
    request    text NOT NULL,
    commitment bytea NOT NULL CHECK (length(commitment) = 32),
    "index"    bigint  -- NULL until seal_log gives the event its place; dense from 0 in each organisation, given once
) WITH (fillfactor = 80);
CREATE INDEX events_of_thing ON events (org, thing);
CREATE UNIQUE INDEX events_by_index ON events (org, "index") WHERE "index" IS NOT NULL;
CREATE INDEX events_unsealed ON events (org, id) WHERE "index" IS NULL;

-- A fact stays as it was stated, whatever a later program believes.
CREATE TRIGGER events_stay BEFORE UPDATE OF id, org, kind, at, "by", noun, thing, request, commitment ON events
    FOR EACH ROW EXECUTE FUNCTION refuse('an event never changes');
CREATE TRIGGER events_are_kept BEFORE DELETE ON events
    FOR EACH ROW EXECUTE FUNCTION refuse('an event is never removed');
CREATE TRIGGER events_are_all_kept BEFORE TRUNCATE ON events
    FOR EACH STATEMENT EXECUTE FUNCTION refuse('an event is never removed');
CREATE TRIGGER places_stay BEFORE UPDATE OF "index" ON events FOR EACH ROW WHEN (old."index" IS NOT NULL)
    EXECUTE FUNCTION refuse('a place in the log never changes');

CREATE TABLE bodies (
    event bigint PRIMARY KEY REFERENCES events (id),
    org   text COLLATE "C" NOT NULL,
    salt  bytea NOT NULL CHECK (length(salt) = 32),
    body  bytea NOT NULL  -- JSON {value, detail, spent, shared, via}, verbatim
);
CREATE TRIGGER bodies_stay BEFORE UPDATE ON bodies
    FOR EACH ROW EXECUTE FUNCTION refuse('a body is erased, never changed');

-- One table per noun: its newest value, a column per field.
CREATE TABLE identities (
    id          text COLLATE "C" NOT NULL,
    org         text COLLATE "C" NOT NULL,
    spiffe_id   text COLLATE "C" NOT NULL,
    kind        text NOT NULL,
    owner       text COLLATE "C" NOT NULL,
    purpose     text NOT NULL,
    environment text NOT NULL,
    groups      text NOT NULL,  -- JSON
    attestor    text COLLATE "C" NOT NULL,
    "when"      text NOT NULL,  -- JSON
    state       text COLLATE "C" NOT NULL,
    PRIMARY KEY (org, id)
);
CREATE UNIQUE INDEX identities_by_spiffe_id ON identities (org, spiffe_id);  -- of two nodes one registers a name
CREATE INDEX identities_by_owner ON identities (org, owner);
CREATE INDEX identities_by_attestor ON identities (org, attestor);
CREATE INDEX identities_by_state ON identities (org, state);

CREATE TABLE tasks (
    id       text COLLATE "C" NOT NULL,
    org      text COLLATE "C" NOT NULL,
    actor    text COLLATE "C" NOT NULL,
    subject  text COLLATE "C",
    intent   text NOT NULL,  -- JSON
    grants   text NOT NULL,  -- JSON
    opened   bigint NOT NULL,
    deadline bigint NOT NULL,
    due      bigint,
    handle   text COLLATE "C" NOT NULL,
    root     text COLLATE "C" NOT NULL,
    parent   text COLLATE "C",
    cause    text,
    depth    bigint NOT NULL,
    act      text NOT NULL,  -- JSON
    ended    bigint,
    reason   text NOT NULL,
    holder   text,  -- JSON {pid, started} of the process that holds it open. NULL: nobody, or over TCP
    receipt  text NOT NULL,  -- a signed note, verbatim. '': not closed
    state    text COLLATE "C" NOT NULL,
    PRIMARY KEY (org, id),
    FOREIGN KEY (org, parent) REFERENCES tasks (org, id)
);
CREATE INDEX tasks_by_actor ON tasks (org, actor);
CREATE INDEX tasks_by_subject ON tasks (org, subject);
CREATE INDEX tasks_by_parent ON tasks (org, parent);
CREATE INDEX tasks_by_root ON tasks (org, root);
CREATE INDEX tasks_by_handle ON tasks (org, handle);
CREATE INDEX tasks_by_state ON tasks (org, state, due);
CREATE INDEX tasks_by_due ON tasks (org, due) WHERE due IS NOT NULL;
-- What refers to a task need not lock it to be sure that it stays.
CREATE TRIGGER tasks_are_kept BEFORE DELETE ON tasks
    FOR EACH ROW EXECUTE FUNCTION refuse('a task is never removed');

CREATE TABLE leases (
    id        text COLLATE "C" NOT NULL,
    org       text COLLATE "C" NOT NULL,
    instance  text NOT NULL,
    task      text COLLATE "C",
    target    text COLLATE "C" NOT NULL,
    "grant"   text NOT NULL,
    recipe    text NOT NULL,  -- JSON
    expires   bigint NOT NULL,
    create_by bigint NOT NULL,
    due       bigint,
    activated bigint,
    overdue   bigint,  -- when it was said that it is taken back late (S3). NULL: it was not, or not yet
    cut       bigint,  -- when it was cut, and clean; NULL: not yet
    cleaned   bigint,
    probe     text NOT NULL,  -- what the target answered when its dead credential was presented. '': not yet
    state     text COLLATE "C" NOT NULL,
    PRIMARY KEY (org, id),
    FOREIGN KEY (org, task) REFERENCES tasks (org, id)
);
CREATE INDEX leases_by_task ON leases (org, task);
CREATE INDEX leases_by_target ON leases (org, target);
CREATE INDEX leases_by_state ON leases (org, state, due);
CREATE INDEX leases_by_due ON leases (org, due) WHERE due IS NOT NULL;

-- The narrow index of calls. No foreign key: its check would lock the task's row and write to it at
-- every call. The statement that writes a call asks for the task itself, and a task is never removed.
CREATE TABLE calls (
    id       text COLLATE "C" NOT NULL,
    org      text COLLATE "C" NOT NULL,
    task     text COLLATE "C",
    root     text COLLATE "C",
    action   text NOT NULL,
    resource text NOT NULL,
    at       bigint NOT NULL,
    code     text NOT NULL,
    policy   text NOT NULL,
    grants   text NOT NULL,  -- JSON
    labels   text NOT NULL,  -- JSON
    state    text COLLATE "C" NOT NULL,
    event    bigint NOT NULL,  -- the row of its event, written by the same statement
    PRIMARY KEY (org, id)
);
CREATE INDEX calls_by_task ON calls (org, task, at);
CREATE INDEX calls_by_state ON calls (org, state, at);

-- What is left of each quantity of a task's budget.
CREATE TABLE budgets (
    org      text COLLATE "C" NOT NULL,
    task     text COLLATE "C" NOT NULL,
    quantity text COLLATE "C" NOT NULL,
    "left"   bigint NOT NULL CHECK ("left" >= 0),
    PRIMARY KEY (org, task, quantity),
    FOREIGN KEY (org, task) REFERENCES tasks (org, id)
) WITH (fillfactor = 50);

-- What the tree of tasks under a root has read. Only grows (D30).
CREATE TABLE labels (
    org   text COLLATE "C" NOT NULL,
    root  text COLLATE "C" NOT NULL,
    label text COLLATE "C" NOT NULL,
    PRIMARY KEY (org, root, label)
);

-- One-time values that were seen (S7), as SHA-256: an index entry has no room for any length.
CREATE TABLE once (
    org     text COLLATE "C" NOT NULL,
    purpose text COLLATE "C" NOT NULL,
    value   bytea NOT NULL CHECK (length(value) = 32),
    until   bigint NOT NULL,
    PRIMARY KEY (org, purpose, value)
);
CREATE INDEX once_by_until ON once (org, until);

-- The latest moment that a node read from this database's clock (D12). One row.
CREATE TABLE clock (
    one    integer PRIMARY KEY CHECK (one = 1),
    latest bigint NOT NULL
) WITH (fillfactor = 10);
INSERT INTO clock (one, latest) VALUES (1, 0);

-- C2SP tiles: up to 256 hashes of 32 bytes. A tile only grows.
CREATE TABLE tiles (
    org    text COLLATE "C" NOT NULL,
    level  bigint NOT NULL,
    tile   bigint NOT NULL,
    hashes bytea NOT NULL CHECK (length(hashes) % 32 = 0 AND length(hashes) BETWEEN 32 AND 8192),
    PRIMARY KEY (org, level, tile)
);
CREATE TRIGGER tiles_grow BEFORE UPDATE ON tiles FOR EACH ROW
    WHEN (substring(new.hashes FROM 1 FOR length(old.hashes)) IS DISTINCT FROM old.hashes)
    EXECUTE FUNCTION refuse('a tile only grows');
CREATE TRIGGER tiles_are_kept BEFORE DELETE ON tiles
    FOR EACH ROW EXECUTE FUNCTION refuse('a tile is never removed');
CREATE TRIGGER tiles_are_all_kept BEFORE TRUNCATE ON tiles
    FOR EACH STATEMENT EXECUTE FUNCTION refuse('a tile is never removed');

-- One row per organisation: who extends its log or publishes holds it meanwhile. NULL: no checkpoint yet.
CREATE TABLE checkpoints (
    org  text COLLATE "C" PRIMARY KEY,
    note bytea  -- the newest signed note, verbatim
);

-- The six characters that every name at a target carries (INTERFACES 1): one per database, for ever.
CREATE TABLE installation (
    one      integer PRIMARY KEY CHECK (one = 1),
    instance text NOT NULL CHECK (instance ~ '^[a-z2-7]{6}$')
);
CREATE TRIGGER installation_stays BEFORE UPDATE OR DELETE ON installation
    FOR EACH ROW EXECUTE FUNCTION refuse('the instance never changes');
