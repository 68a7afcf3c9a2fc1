"""Rules: what is wrong, by what it is seen from. Each takes the inventory and yields drafts of findings."""
