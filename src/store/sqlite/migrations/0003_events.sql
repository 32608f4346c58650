-- From accounts to connections, and connections whose account is not known yet.
CREATE INDEX connections_by_account ON connections (provider, external_id)
    WHERE external_id IS NOT NULL;
CREATE INDEX connections_by_managed_user ON connections (provider, managed_user_id)
    WHERE managed_user_id IS NOT NULL;
CREATE INDEX connections_unidentified ON connections (provider, user)
    WHERE external_id IS NULL AND managed_user_id IS NULL AND reauth_reason IS NULL;

-- Records that are found by the digest of a secret. What they hold is ciphertext.
CREATE TABLE expiring (
    purpose TEXT NOT NULL,
    digest  BLOB NOT NULL CHECK (length(digest) = 32),
    record  BLOB NOT NULL,
    -- NULL: stays until it is taken.
    ends_at INTEGER,
    PRIMARY KEY (purpose, digest)
) STRICT, WITHOUT ROWID;
CREATE INDEX expiring_by_end ON expiring (ends_at) WHERE ends_at IS NOT NULL;

CREATE TABLE jobs (
    kind       TEXT    NOT NULL,
    provider   TEXT    NOT NULL,
    user       TEXT    NOT NULL,
    -- Ciphertext.
    state      BLOB,
    -- When it is due; while it is claimed, when the claim runs out. NULL: waits for being asked for.
    due_at     INTEGER,
    -- When due_at was set: if that is in the future, the clock was set back.
    since      INTEGER NOT NULL,
    owner      BLOB    CHECK (length(owner) = 16),
    -- For when it was asked for while it was worked on.
    wanted_at  INTEGER,
    updated_at INTEGER NOT NULL,
    PRIMARY KEY (kind, provider, user),
    CHECK (owner IS NULL OR due_at IS NOT NULL),
    CHECK (owner IS NOT NULL OR wanted_at IS NULL)
) STRICT, WITHOUT ROWID;
CREATE INDEX jobs_by_due ON jobs (kind, due_at) WHERE due_at IS NOT NULL;
CREATE INDEX jobs_by_since ON jobs (since) WHERE due_at IS NOT NULL;

-- Events, each once by what was signed. Payloads are ciphertext.
CREATE TABLE events (
    n           INTEGER PRIMARY KEY,
    id          BLOB    NOT NULL CHECK (length(id) = 16),
    dedupe      BLOB    NOT NULL UNIQUE CHECK (length(dedupe) = 32),
    provider    TEXT    NOT NULL,
    name        TEXT    NOT NULL,
    accepted_at INTEGER NOT NULL,
    payload     BLOB    NOT NULL
) STRICT;

-- One row per event and user, or one without a user if the event is nobody's. Numbers are never
-- reused. A forgotten one keeps who got an event for as long as the event.
CREATE TABLE deliveries (
    id             INTEGER PRIMARY KEY AUTOINCREMENT,
    event          INTEGER NOT NULL,
    user           TEXT,
    status         TEXT    NOT NULL
                   CHECK (status IN ('pending', 'delivered', 'dead', 'unrouted', 'forgotten')),
    -- In the line of its user, while it is pending.
    place          INTEGER NOT NULL,
    attempts       INTEGER NOT NULL DEFAULT 0,
    first_tried_at INTEGER,
    at             INTEGER NOT NULL,
    last_error     TEXT,
    -- As in its event, for lists.
    provider       TEXT    NOT NULL,
    accepted_at    INTEGER NOT NULL,
    UNIQUE (event, user),
    CHECK (user IS NULL OR status <> 'unrouted'),
    CHECK (user IS NOT NULL OR status IN ('unrouted', 'forgotten'))
) STRICT;

-- What is first in a line; what a user has; what has a status that few have; what is old.
CREATE INDEX deliveries_in_line ON deliveries (user, place) WHERE status = 'pending';
CREATE INDEX deliveries_by_user ON deliveries (user, id) WHERE user IS NOT NULL;
CREATE INDEX deliveries_by_status ON deliveries (status, id, accepted_at)
    WHERE status IN ('pending', 'dead', 'unrouted');
CREATE INDEX deliveries_by_time ON deliveries (accepted_at);
CREATE INDEX deliveries_delivered ON deliveries (at, accepted_at) WHERE status = 'delivered';

-- The lines in which deliveries are pending.
CREATE TABLE lines (
    user   TEXT    NOT NULL PRIMARY KEY,
    -- The last place that was given away.
    tail   INTEGER NOT NULL,
    -- When the first delivery is due; while the line is claimed, when the claim runs out.
    due_at INTEGER NOT NULL,
    -- When due_at was set: if that is in the future, the clock was set back.
    since  INTEGER NOT NULL,
    owner  BLOB    CHECK (length(owner) = 16)
) STRICT, WITHOUT ROWID;
CREATE INDEX lines_by_due ON lines (due_at);
CREATE INDEX lines_by_since ON lines (since);

-- Which accounts an event that is nobody's waits for.
CREATE TABLE waiting (
    provider TEXT    NOT NULL,
    account  TEXT    NOT NULL,
    event    INTEGER NOT NULL,
    PRIMARY KEY (provider, account, event)
) STRICT, WITHOUT ROWID;
CREATE INDEX waiting_by_event ON waiting (event);

-- What is personal in a meeting is ciphertext.
CREATE TABLE meetings (
    provider    TEXT    NOT NULL,
    user        TEXT    NOT NULL,
    external_id TEXT    NOT NULL,
    status      TEXT    NOT NULL,
    is_over     INTEGER NOT NULL CHECK (is_over IN (0, 1)),
    starts_at   INTEGER NOT NULL,
    ends_at     INTEGER NOT NULL,
    version     INTEGER NOT NULL,
    details     BLOB    NOT NULL,
    UNIQUE (user, provider, external_id)
) STRICT;
CREATE INDEX meetings_by_time ON meetings (user, starts_at, provider, external_id);
CREATE INDEX meetings_by_end ON meetings (ends_at);
