-- From accounts to connections, and connections whose account is not known yet. An index holds no more
-- than so much of a text.
CREATE INDEX connections_by_account ON daypass.connections (provider, left(external_id, 256))
    WHERE external_id IS NOT NULL;
CREATE INDEX connections_by_managed_user ON daypass.connections (provider, managed_user_id)
    WHERE managed_user_id IS NOT NULL;
CREATE INDEX connections_unidentified ON daypass.connections (provider, user_id)
    WHERE external_id IS NULL AND managed_user_id IS NULL AND reauth_reason IS NULL;

-- Records that are found by the digest of a secret. What they hold is ciphertext.
CREATE TABLE daypass.expiring (
    purpose text  COLLATE "C" NOT NULL,
    digest  bytea NOT NULL CHECK (octet_length(digest) = 32),
    record  bytea NOT NULL,
    -- NULL: stays until it is taken.
    ends_at int8,
    PRIMARY KEY (digest, purpose)
);
CREATE INDEX expiring_by_end ON daypass.expiring (ends_at) WHERE ends_at IS NOT NULL;

CREATE TABLE daypass.jobs (
    kind       text  COLLATE "C" NOT NULL,
    provider   text  COLLATE "C" NOT NULL,
    user_id    text  COLLATE "C" NOT NULL,
    -- Ciphertext.
    state      bytea,
    -- When it is due; while it is claimed, when the claim runs out. NULL: waits for being asked for.
    due_at     int8,
    -- When due_at was set: if that is in the future, the clock was set back.
    since      int8  NOT NULL,
    owner      bytea CHECK (octet_length(owner) = 16),
    -- For when it was asked for while it was worked on.
    wanted_at  int8,
    updated_at int8  NOT NULL,
    PRIMARY KEY (kind, provider, user_id),
    CHECK (owner IS NULL OR due_at IS NOT NULL),
    CHECK (owner IS NOT NULL OR wanted_at IS NULL)
);
CREATE INDEX jobs_by_due ON daypass.jobs (kind, due_at) WHERE due_at IS NOT NULL;
CREATE INDEX jobs_by_since ON daypass.jobs (since) WHERE due_at IS NOT NULL;

-- Events, each once by what was signed. Payloads are ciphertext: nothing would be won by compressing
-- them, and those of usual size stay in the row.
CREATE TABLE daypass.events (
    n           int8  GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    id          bytea NOT NULL CHECK (octet_length(id) = 16),
    dedupe      bytea NOT NULL UNIQUE CHECK (octet_length(dedupe) = 32),
    provider    text  COLLATE "C" NOT NULL,
    name        text  NOT NULL,
    accepted_at int8  NOT NULL,
    payload     bytea NOT NULL
) WITH (toast_tuple_target = 8160);
ALTER TABLE daypass.events ALTER COLUMN payload SET STORAGE EXTERNAL;

-- One row per event and user, or one without a user if the event is nobody's. A forgotten one keeps
-- who got an event for as long as the event.
CREATE TABLE daypass.deliveries (
    id             int8 GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    event          int8 NOT NULL,
    user_id        text COLLATE "C",
    status         text COLLATE "C" NOT NULL
                   CHECK (status IN ('pending', 'delivered', 'dead', 'unrouted', 'forgotten')),
    -- In the line of its user, while it is pending.
    place          int8 NOT NULL,
    attempts       int8 NOT NULL DEFAULT 0,
    first_tried_at int8,
    at             int8 NOT NULL,
    last_error     text,
    -- As in its event, for lists.
    provider       text COLLATE "C" NOT NULL,
    accepted_at    int8 NOT NULL,
    UNIQUE (event, user_id),
    CHECK (user_id IS NULL OR status <> 'unrouted'),
    CHECK (user_id IS NOT NULL OR status IN ('unrouted', 'forgotten'))
);

-- What is first in a line; what a user has; what has a status that few have; what is old.
CREATE INDEX deliveries_in_line ON daypass.deliveries (user_id, place) WHERE status = 'pending';
CREATE INDEX deliveries_by_user ON daypass.deliveries (user_id, id) WHERE user_id IS NOT NULL;
-- Numbers are turned round so that no other index has their order: the server would rather read all
-- newer ones, taking those of one status to be everywhere.
CREATE INDEX deliveries_by_status ON daypass.deliveries (status, (-id)) INCLUDE (accepted_at)
    WHERE status IN ('pending', 'dead', 'unrouted');
CREATE INDEX deliveries_by_time ON daypass.deliveries (accepted_at);
CREATE INDEX deliveries_delivered ON daypass.deliveries (at) INCLUDE (accepted_at)
    WHERE status = 'delivered';

-- The lines in which deliveries are pending, and those in which some were: whoever writes to a line
-- locks its row first.
CREATE TABLE daypass.lines (
    user_id text  COLLATE "C" PRIMARY KEY,
    -- The last place that was given away.
    tail    int8  NOT NULL,
    -- When the first delivery is due; while the line is claimed, when the claim runs out. NULL: nothing
    -- is pending.
    due_at  int8,
    -- When due_at was set: if that is in the future, the clock was set back.
    since   int8  NOT NULL,
    owner   bytea CHECK (octet_length(owner) = 16),
    CHECK (owner IS NULL OR due_at IS NOT NULL)
) WITH (autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 1000);
CREATE INDEX lines_by_due ON daypass.lines (due_at) WHERE due_at IS NOT NULL;
CREATE INDEX lines_by_since ON daypass.lines (since) WHERE due_at IS NOT NULL;

-- Which accounts an event that is nobody's waits for.
CREATE TABLE daypass.waiting (
    provider text COLLATE "C" NOT NULL,
    account  text COLLATE "C" NOT NULL,
    event    int8 NOT NULL
);
CREATE INDEX waiting_by_account ON daypass.waiting (provider, left(account, 256));
CREATE INDEX waiting_by_event ON daypass.waiting (event);

-- What is personal in a meeting is ciphertext.
CREATE TABLE daypass.meetings (
    provider    text  COLLATE "C" NOT NULL,
    user_id     text  COLLATE "C" NOT NULL,
    external_id text  COLLATE "C" NOT NULL,
    status      text  NOT NULL,
    is_over     bool  NOT NULL,
    starts_at   int8  NOT NULL,
    ends_at     int8  NOT NULL,
    version     int8  NOT NULL,
    details     bytea NOT NULL,
    PRIMARY KEY (user_id, provider, external_id)
);
CREATE INDEX meetings_by_time ON daypass.meetings (user_id, starts_at, provider, external_id);
CREATE INDEX meetings_by_end ON daypass.meetings (ends_at);
