-- Who did what. Ids are in the order of their times. Programs of before know nothing of it.
CREATE TABLE daypass.audit (
    id       bytea PRIMARY KEY CHECK (octet_length(id) = 16),
    at       int8  NOT NULL,
    via      text  NOT NULL,
    who      text  NOT NULL,
    action   text  COLLATE "C" NOT NULL,
    provider text  COLLATE "C",
    user_id  text  COLLATE "C",
    outcome  text  NOT NULL,
    reason   text,
    detail   text
);
CREATE INDEX audit_by_user ON daypass.audit (user_id, id) WHERE user_id IS NOT NULL;
CREATE INDEX audit_by_action ON daypass.audit (action, id);
