-- Everything lives in a schema of its own, so that the database may be shared with the app. Where it
-- is there, it was made by somebody who may; asking for it again would need the right to.
DO $$ BEGIN
    IF NOT EXISTS (SELECT FROM pg_catalog.pg_namespace WHERE nspname = 'daypass') THEN
        CREATE SCHEMA daypass;
    END IF;
END $$;

-- Which migrations were applied, and the oldest version of daypass that can work with the outcome.
CREATE TABLE daypass.schema_versions (
    version    int8 PRIMARY KEY,
    min_reader int8 NOT NULL
);

-- One row per user and provider. Tokens are ciphertext. Times are milliseconds since the epoch.
CREATE TABLE daypass.connections (
    provider           text COLLATE "C" NOT NULL,
    user_id            text COLLATE "C" NOT NULL,
    id                 bytea NOT NULL CHECK (octet_length(id) = 16),
    generation         int8 NOT NULL CHECK (generation >= 0),
    reauth_reason      text,
    reauth_since       int8,
    access             bytea,
    refresh            bytea,
    renewed_at         int8,
    access_expires_at  int8,
    refresh_expires_at int8,
    external_id        text,
    organization       text,
    managed_user_id    int8,
    scope              text,
    intent_owner       bytea,
    intent_redemption  text,
    intent_attempts    int8,
    intent_at          int8,
    -- The attempt before the one in intent_*, for when that one turns out not to have happened.
    before_owner       bytea,
    before_redemption  text,
    before_at          int8,
    cooldown_until     int8,
    cooldown_failures  int8,
    forced_at          int8,
    created_at         int8 NOT NULL,
    updated_at         int8 NOT NULL,
    -- Digest of what was last handed in from outside.
    fingerprint        bytea,
    -- Who renews it, until when, and for how long that was taken: more cannot be left of it. In the
    -- same row, so that taking the lease and reading what is under it are one step.
    lease_owner        bytea,
    lease_until        int8,
    lease_ttl          int8,
    needs_reauth       bool NOT NULL GENERATED ALWAYS AS (reauth_reason IS NOT NULL) STORED,
    PRIMARY KEY (provider, user_id),
    CHECK ((reauth_reason IS NULL) = (reauth_since IS NULL)),
    CHECK ((access IS NULL) = (renewed_at IS NULL)),
    CHECK ((access IS NULL) = (access_expires_at IS NULL)),
    CHECK (num_nulls(intent_owner, intent_redemption, intent_attempts, intent_at) IN (0, 4)),
    CHECK (num_nulls(before_owner, before_redemption, before_at) IN (0, 3)),
    CHECK (num_nulls(lease_owner, lease_until, lease_ttl) IN (0, 3)),
    CHECK ((cooldown_until IS NULL) = (cooldown_failures IS NULL))
) WITH (fillfactor = 80); -- room for the next version of a row in the page of the last one

-- The census, and pages of those that need their user.
CREATE INDEX connections_by_health ON daypass.connections (needs_reauth, provider, user_id);

-- The keep-alive sweep: grants by age, and by the end of their refresh token.
CREATE INDEX connections_by_age ON daypass.connections (provider, renewed_at)
    WHERE reauth_reason IS NULL AND refresh IS NOT NULL;
CREATE INDEX connections_by_end ON daypass.connections (provider, refresh_expires_at)
    WHERE reauth_reason IS NULL AND refresh_expires_at IS NOT NULL;

-- What changed, for other processes; only the newest entries are kept. `xid` is the transaction that
-- wrote the entry: entries become visible in the order of commits, which `seq` does not show.
CREATE TABLE daypass.changes (
    seq      int8 GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    xid      int8 NOT NULL DEFAULT (pg_current_xact_id()::text::int8),
    provider text COLLATE "C" NOT NULL,
    user_id  text COLLATE "C" NOT NULL
);
CREATE INDEX changes_by_transaction ON daypass.changes (xid);

-- The newest transaction of which entries of the log were dropped.
CREATE TABLE daypass.feed (
    id     int8 PRIMARY KEY CHECK (id = 1),
    pruned int8 NOT NULL
);
INSERT INTO daypass.feed (id, pruned) VALUES (1, 0);

-- Written to find out whether the store can be written to.
CREATE TABLE daypass.probe (
    id    int8 PRIMARY KEY CHECK (id = 1),
    count int8 NOT NULL
);
INSERT INTO daypass.probe (id, count) VALUES (1, 0);
