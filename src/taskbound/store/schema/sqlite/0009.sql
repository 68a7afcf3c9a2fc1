-- Findings of scans: what is wrong, who answers for it until when, and why it is still open.
CREATE TABLE findings (
    id          TEXT NOT NULL,
    org         TEXT NOT NULL,
    seen_as     TEXT NOT NULL,
    "case"      TEXT NOT NULL,
    severity    TEXT NOT NULL,
    says        TEXT NOT NULL,
    subjects    TEXT NOT NULL,  -- JSON
    places      TEXT NOT NULL,  -- JSON [{path, line}]
    issued      TEXT NOT NULL,  -- JSON [{mark, kind, issuer, login}]; no value of a credential
    owner       TEXT NOT NULL,
    next        TEXT NOT NULL,
    raised      INTEGER NOT NULL,
    kept        TEXT NOT NULL,
    accepted_by TEXT NOT NULL,
    reason      TEXT NOT NULL,
    due         INTEGER,  -- until when it is accepted
    state       TEXT NOT NULL,
    PRIMARY KEY (org, id)
) STRICT;
CREATE INDEX findings_by_seen_as ON findings (org, seen_as);
CREATE INDEX findings_by_accepted_by ON findings (org, accepted_by);
CREATE INDEX findings_by_state ON findings (org, state, due);
CREATE INDEX findings_by_due ON findings (org, due) WHERE due IS NOT NULL;
