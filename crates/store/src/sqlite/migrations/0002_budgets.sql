-- Amounts are billionths of a US dollar.

-- What the workspace's sessions spent and set aside, and the most that they may together.
CREATE TABLE budgets (
    workspace_id TEXT PRIMARY KEY,
    cap          INTEGER,
    spent        INTEGER NOT NULL,
    reserved     INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- What a session's request under way has set aside, and whether it waits for budget.
ALTER TABLE sessions ADD COLUMN reserved INTEGER NOT NULL DEFAULT 0;
ALTER TABLE sessions ADD COLUMN capped INTEGER NOT NULL DEFAULT 0;
CREATE INDEX sessions_capped ON sessions (workspace_id, number) WHERE capped = 1;
