-- Findings of scans: what is wrong, who answers for it until when, and why it is still open.
CREATE TABLE findings (
    id          text COLLATE "C" NOT NULL,
    org         text COLLATE "C" NOT NULL,
    seen_as     text COLLATE "C" NOT NULL,
    "case"      text NOT NULL,
    severity    text NOT NULL,
    says        text NOT NULL,
    subjects    text NOT NULL,  -- JSON
    places      text NOT NULL,  -- JSON [{path, line}]
    issued      text NOT NULL,  -- JSON [{mark, kind, issuer, login}]; no value of a credential
    owner       text NOT NULL,
    next        text NOT NULL,
    raised      bigint NOT NULL,
    kept        text NOT NULL,
    accepted_by text COLLATE "C" NOT NULL,
    reason      text NOT NULL,
    due         bigint,  -- until when it is accepted
    state       text COLLATE "C" NOT NULL,
    PRIMARY KEY (org, id)
);
CREATE INDEX findings_by_seen_as ON findings (org, seen_as);
CREATE INDEX findings_by_accepted_by ON findings (org, accepted_by);
CREATE INDEX findings_by_state ON findings (org, state, due);
CREATE INDEX findings_by_due ON findings (org, due) WHERE due IS NOT NULL;
