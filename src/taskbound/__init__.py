"""Access that begins and ends with a task."""
