-- One row per user and provider. Tokens are ciphertext. Times are milliseconds since the epoch.
CREATE TABLE connections (
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
) STRICT, WITHOUT ROWID;

-- The census, and pages of those that need their user.
CREATE INDEX connections_by_health ON connections (needs_reauth, provider, user);

-- The keep-alive sweep: grants by age, and by the end of their refresh token.
CREATE INDEX connections_by_age ON connections (provider, renewed_at)
    WHERE reauth_reason IS NULL AND refresh IS NOT NULL;
CREATE INDEX connections_by_end ON connections (provider, refresh_expires_at)
    WHERE reauth_reason IS NULL AND refresh_expires_at IS NOT NULL;

-- Who renews which connection. Beside the connections, so that a lease outlives a reconnect.
CREATE TABLE leases (
    provider TEXT    NOT NULL,
    user     TEXT    NOT NULL,
    owner    BLOB    NOT NULL CHECK (length(owner) = 16),
    until    INTEGER NOT NULL,
    -- How long it was taken for, in milliseconds: more than this cannot be left of it.
    ttl      INTEGER NOT NULL,
    PRIMARY KEY (provider, user)
) STRICT, WITHOUT ROWID;

-- What changed, for other processes; only the newest entries are kept. Numbers are never reused.
CREATE TABLE changes (
    seq      INTEGER PRIMARY KEY AUTOINCREMENT,
    provider TEXT NOT NULL,
    user     TEXT NOT NULL
) STRICT;

-- Written to find out whether the store can be written to.
CREATE TABLE probe (
    id    INTEGER PRIMARY KEY CHECK (id = 1),
    count INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
INSERT INTO probe (id, count) VALUES (1, 0);
