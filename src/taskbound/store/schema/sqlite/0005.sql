-- The process that holds the task open, as JSON {pid, started}. NULL: nobody holds it, or over TCP.
ALTER TABLE tasks ADD COLUMN holder TEXT;
