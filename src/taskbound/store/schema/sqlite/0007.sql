-- The idempotency key that a task was opened with (core.task), out of its intent, so that a repeated request finds it.
-- A row that somebody edited into nonsense is still read: it is found by comparing it with the log.
ALTER TABLE tasks ADD COLUMN asked TEXT GENERATED ALWAYS AS (
    CASE WHEN json_valid(intent) THEN nullif(json_extract(intent, '$.asked'), '') END
) VIRTUAL;
CREATE INDEX tasks_by_asked ON tasks (org, asked);
