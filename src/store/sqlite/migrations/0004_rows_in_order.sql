-- Rows of connections are long for a tree that keeps whole rows in its inner pages: four or five to a
-- page, a million rows nine pages deep, and much to balance at each write. As a table with row numbers,
-- a new row is written once, at the end, and what is searched is short: a quarter of the writing, half of
-- the work. Programs of before work with it as with the other.
CREATE TABLE connections_in_order (
    provider           TEXT    NOT NULL,
    user               TEXT    NOT NULL,
    id                 BLOB    NOT NULL CHECK (length(id) = 16),
    generation         INTEGER NOT NULL CHECK (generation >= 0),
    reauth_reason      TEXT,
    reauth_since       INTEGER,
    access             BLOB,
    refresh            BLOB,
    renewed_at         INTEGER,
    access_expires_at  INTEGER,
    refresh_expires_at INTEGER,
    external_id        TEXT,
    organization       TEXT,
    managed_user_id    INTEGER,
    scope              TEXT,
    intent_owner       BLOB,
    intent_redemption  TEXT,
    intent_attempts    INTEGER,
    intent_at          INTEGER,
    -- The attempt before the one in intent_*, for when that one turns out not to have happened.
    before_owner       BLOB,
    before_redemption  TEXT,
    before_at          INTEGER,
    cooldown_until     INTEGER,
    cooldown_failures  INTEGER,
    forced_at          INTEGER,
    created_at         INTEGER NOT NULL,
    updated_at         INTEGER NOT NULL,
    -- Digest of what was last handed in from outside.
    fingerprint        BLOB,
    -- Written out, not generated: SQLite does not answer from an index on a generated column.
    needs_reauth       INTEGER NOT NULL CHECK (needs_reauth = (reauth_reason IS NOT NULL)),
    PRIMARY KEY (provider, user),
    CHECK ((reauth_reason IS NULL) = (reauth_since IS NULL)),
    CHECK ((access IS NULL) = (renewed_at IS NULL)),
    CHECK ((access IS NULL) = (access_expires_at IS NULL)),
    CHECK ((intent_owner IS NULL) = (intent_attempts IS NULL)),
    CHECK ((cooldown_until IS NULL) = (cooldown_failures IS NULL))
) STRICT;
INSERT INTO connections_in_order SELECT * FROM connections;
DROP TABLE connections;
ALTER TABLE connections_in_order RENAME TO connections;

CREATE INDEX connections_by_health ON connections (needs_reauth, provider, user);
CREATE INDEX connections_by_age ON connections (provider, renewed_at)
    WHERE reauth_reason IS NULL AND refresh IS NOT NULL;
CREATE INDEX connections_by_end ON connections (provider, refresh_expires_at)
    WHERE reauth_reason IS NULL AND refresh_expires_at IS NOT NULL;
CREATE INDEX connections_by_account ON connections (provider, external_id)
    WHERE external_id IS NOT NULL;
CREATE INDEX connections_by_managed_user ON connections (provider, managed_user_id)
    WHERE managed_user_id IS NOT NULL;
CREATE INDEX connections_unidentified ON connections (provider, user)
    WHERE external_id IS NULL AND managed_user_id IS NULL AND reauth_reason IS NULL;
