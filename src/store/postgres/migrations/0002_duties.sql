-- Who does which job for all, until when, and for how long that was taken: more cannot be left of it.
CREATE TABLE daypass.duties (
    name  text  COLLATE "C" PRIMARY KEY,
    owner bytea NOT NULL CHECK (octet_length(owner) = 16),
    until int8  NOT NULL,
    ttl   int8  NOT NULL
);
