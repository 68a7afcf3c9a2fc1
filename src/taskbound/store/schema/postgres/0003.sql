-- The idempotency key that a task was opened with (core.task), out of its intent, so that a repeated request finds it.
-- It stands near the end of the text; what people wrote before it cannot look so, since its quotes are escaped. As
-- jsonb a text with U+0000 would be refused.
ALTER TABLE tasks ADD COLUMN asked text
    GENERATED ALWAYS AS (substring(intent from '"asked":"([0-9a-f]+)","request":"[0-9a-f]*"}$')) STORED;
CREATE INDEX tasks_by_asked ON tasks (org, asked) WHERE asked IS NOT NULL;
