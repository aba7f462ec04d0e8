-- What sandboxes did in the network. key = session number * 2^32 + position, as of records and events.
CREATE TABLE network_lines (
    key     INTEGER PRIMARY KEY,
    at      INTEGER NOT NULL,
    host    TEXT,
    allowed INTEGER,
    body    TEXT NOT NULL
) STRICT;
CREATE INDEX network_lines_by_age ON network_lines (at);
