-- Who did what. Ids are in the order of their times. Programs of before know nothing of it.
CREATE TABLE audit (
    id       BLOB    NOT NULL PRIMARY KEY CHECK (length(id) = 16),
    at       INTEGER NOT NULL,
    via      TEXT    NOT NULL,
    who      TEXT    NOT NULL,
    action   TEXT    NOT NULL,
    provider TEXT,
    user     TEXT,
    outcome  TEXT    NOT NULL,
    reason   TEXT,
    detail   TEXT
) STRICT, WITHOUT ROWID;
CREATE INDEX audit_by_user ON audit (user, id) WHERE user IS NOT NULL;
CREATE INDEX audit_by_action ON audit (action, id);
