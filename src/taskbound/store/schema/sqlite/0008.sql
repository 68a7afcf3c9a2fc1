-- The heartbeat that holds the task, as JSON {grace, on_lost, node}. NULL: none does.
ALTER TABLE tasks ADD COLUMN heartbeat TEXT;
