-- Seconds in which nothing happens in a task, after which it ends. NULL: never, as before.
ALTER TABLE tasks ADD COLUMN idle INTEGER;
