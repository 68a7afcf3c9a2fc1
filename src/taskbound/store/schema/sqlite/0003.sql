-- When it was said that a lease is taken back late (S3). NULL: it was not, or not yet.
ALTER TABLE leases ADD COLUMN overdue INTEGER;
