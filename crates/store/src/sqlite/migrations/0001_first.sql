-- Times are microseconds since the Unix epoch. Bodies are JSON text that only the program reads.

CREATE TABLE meta (
    name  TEXT PRIMARY KEY,
    value TEXT NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE organizations (
    id         TEXT PRIMARY KEY,
    created_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE workspaces (
    id              TEXT PRIMARY KEY,
    organization_id TEXT NOT NULL,
    created_at      INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE api_keys (
    id              TEXT PRIMARY KEY,
    organization_id TEXT NOT NULL,
    workspace_id    TEXT NOT NULL,
    name            TEXT NOT NULL,
    sha256          BLOB NOT NULL CHECK (length(sha256) = 32),
    created_at      INTEGER NOT NULL,
    revoked_at      INTEGER
) STRICT, WITHOUT ROWID;
CREATE INDEX api_keys_by_workspace ON api_keys (workspace_id, created_at);

-- Bodies may be large, so these two keep their rowid and find rows through an index.
CREATE TABLE documents (
    kind            TEXT NOT NULL,
    id              TEXT NOT NULL,
    organization_id TEXT NOT NULL,
    workspace_id    TEXT NOT NULL,
    version         INTEGER NOT NULL,
    lock            INTEGER NOT NULL,
    created_at      INTEGER NOT NULL,
    updated_at      INTEGER NOT NULL,
    archived_at     INTEGER,
    body            TEXT NOT NULL,
    PRIMARY KEY (kind, id)
) STRICT;
CREATE INDEX documents_by_creation ON documents (workspace_id, kind, created_at, id);

CREATE TABLE document_versions (
    kind            TEXT NOT NULL,
    id              TEXT NOT NULL,
    organization_id TEXT NOT NULL,
    workspace_id    TEXT NOT NULL,
    version         INTEGER NOT NULL,
    lock            INTEGER NOT NULL,
    created_at      INTEGER NOT NULL,
    updated_at      INTEGER NOT NULL,
    archived_at     INTEGER,
    body            TEXT NOT NULL,
    PRIMARY KEY (kind, id, version)
) STRICT;

-- What an append changes is here; no index below covers a column that changes with every append.
CREATE TABLE sessions (
    number          INTEGER PRIMARY KEY,
    id              TEXT NOT NULL UNIQUE,
    organization_id TEXT NOT NULL,
    workspace_id    TEXT NOT NULL,
    agent_id        TEXT NOT NULL,
    agent_version   INTEGER NOT NULL,
    environment_id  TEXT NOT NULL,
    deployment_id   TEXT,
    status          TEXT NOT NULL,
    title           TEXT,
    view            TEXT NOT NULL,
    created_at      INTEGER NOT NULL,
    updated_at      INTEGER NOT NULL,
    archived_at     INTEGER,
    epoch           INTEGER NOT NULL,
    last_seq        INTEGER NOT NULL,
    last_position   INTEGER NOT NULL,
    unfinished      INTEGER NOT NULL,
    recoveries      INTEGER NOT NULL
) STRICT;
CREATE INDEX sessions_by_creation ON sessions (workspace_id, created_at, id);
CREATE INDEX sessions_by_agent ON sessions (workspace_id, agent_id, created_at, id);
CREATE INDEX sessions_by_environment ON sessions (workspace_id, environment_id, created_at, id);
CREATE INDEX sessions_by_deployment ON sessions (workspace_id, deployment_id, created_at, id)
    WHERE deployment_id IS NOT NULL;
CREATE INDEX sessions_unfinished ON sessions (number) WHERE unfinished = 1;

-- The resolved agent is large and hardly ever changes: an append must not rewrite it.
CREATE TABLE session_agents (
    number INTEGER PRIMARY KEY,
    agent  TEXT NOT NULL
) STRICT;

-- key = session number * 2^32 + sequence number (or position): one tree, a session's rows side by
-- side, and no second index to keep.
CREATE TABLE records (
    key  INTEGER PRIMARY KEY,
    kind TEXT NOT NULL,
    at   INTEGER NOT NULL,
    body TEXT NOT NULL
) STRICT;

CREATE TABLE events (
    key    INTEGER PRIMARY KEY,
    id     TEXT NOT NULL,
    kind   TEXT NOT NULL,
    at     INTEGER NOT NULL,
    thread TEXT,
    body   TEXT NOT NULL
) STRICT;
CREATE INDEX events_by_id ON events (id);

CREATE TABLE snapshots (
    number  INTEGER PRIMARY KEY,
    seq     INTEGER NOT NULL,
    version INTEGER NOT NULL,
    body    TEXT NOT NULL
) STRICT;

CREATE TABLE tombstones (
    id           TEXT PRIMARY KEY,
    workspace_id TEXT NOT NULL,
    deleted_at   INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
