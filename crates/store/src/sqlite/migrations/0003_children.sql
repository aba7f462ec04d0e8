-- Documents that belong to another one, such as the credentials of a vault: whose they are, and what only one
-- active child of it may have.
ALTER TABLE documents ADD COLUMN parent TEXT;
ALTER TABLE documents ADD COLUMN child_key TEXT;
-- What is secret in a document, sealed; gone once it is archived.
ALTER TABLE documents ADD COLUMN sealed TEXT;
CREATE UNIQUE INDEX documents_child_key ON documents (kind, parent, child_key) WHERE parent IS NOT NULL AND archived_at IS NULL;
CREATE INDEX documents_by_parent ON documents (parent, kind, created_at, id) WHERE parent IS NOT NULL;
