-- What a receipt tells of a lease (INTERFACES 11): when it was cut and clean, and what the target
-- answered when its dead credential was presented. NULL and '': not yet, or before this was kept.
ALTER TABLE leases ADD COLUMN cut INTEGER;
ALTER TABLE leases ADD COLUMN cleaned INTEGER;
ALTER TABLE leases ADD COLUMN probe TEXT NOT NULL DEFAULT '';

-- The receipt of a closed task: a signed note, verbatim. '': not closed.
ALTER TABLE tasks ADD COLUMN receipt TEXT NOT NULL DEFAULT '';
