-- Who does which job for all, until when, and for how long that was taken: more cannot be left of it.
CREATE TABLE duties (
    name  TEXT    NOT NULL PRIMARY KEY,
    owner BLOB    NOT NULL CHECK (length(owner) = 16),
    until INTEGER NOT NULL,
    ttl   INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
