//! Queries of the node, of tenancy and of API keys.

use ostler_core::time::Timestamp;
use rusqlite::{Row, params};

use super::access::scoped;
use super::convert::{id, optional_time, time};
use super::db::Db;
use crate::{ApiKey, Bootstrap, Epoch, NewApiKey, StoreError, limits};

const NEXT_EPOCH: &str = "INSERT INTO meta (name, value) VALUES ('epoch', '1') \
    ON CONFLICT (name) DO UPDATE SET value = CAST(CAST(value AS INTEGER) + 1 AS TEXT) RETURNING value";

macro_rules! key_columns {
    () => {
        "id, organization_id, workspace_id, name, sha256, created_at, revoked_at"
    };
}

const KEY: &str = scoped!(concat!("SELECT ", key_columns!(), " FROM api_keys WHERE id = ?1"));

const KEYS: &str = concat!("SELECT ", key_columns!(), " FROM api_keys WHERE workspace_id = ?1 ORDER BY created_at DESC, id DESC LIMIT ?2");

const ADD_KEY: &str = concat!("INSERT INTO api_keys (", key_columns!(), ") VALUES (?1, ?2, ?3, ?4, ?5, ?6, NULL)");

const REVOKE: &str = "UPDATE api_keys SET revoked_at = coalesce(revoked_at, ?3) WHERE id = ?1 AND workspace_id = ?2";

pub(super) fn begin_epoch(db: &Db<'_>) -> Result<Epoch, StoreError> {
    let text: Option<String> = db.first(NEXT_EPOCH, [], |row| Ok(row.get(0)?))?;
    let text = text.ok_or_else(|| StoreError::Corrupt("the epoch was not stored".to_owned()))?;
    text.parse().map_err(|_| StoreError::Corrupt("the epoch is not a number".to_owned()))
}

pub(super) fn install_id(db: &Db<'_>) -> Result<Option<String>, StoreError> {
    db.first("SELECT value FROM meta WHERE name = 'install_id'", [], |row| Ok(row.get(0)?))
}

pub(super) fn make_install_id(db: &Db<'_>, made: &str) -> Result<String, StoreError> {
    db.execute("INSERT INTO meta (name, value) VALUES ('install_id', ?1) ON CONFLICT (name) DO NOTHING", [made])?;
    install_id(db)?.ok_or_else(|| StoreError::Corrupt("the install id was not stored".to_owned()))
}

pub(super) fn bootstrap(db: &Db<'_>, first: &Bootstrap) -> Result<bool, StoreError> {
    if db.first("SELECT 1 FROM organizations LIMIT 1", [], |_| Ok(()))?.is_some() {
        return Ok(false);
    }
    let (organization, workspace) = (first.organization.as_str(), first.workspace.as_str());
    let at = first.key.created_at.0;
    db.execute("INSERT INTO organizations (id, created_at) VALUES (?1, ?2)", params![organization, at])?;
    db.execute("INSERT INTO workspaces (id, organization_id, created_at) VALUES (?1, ?2, ?3)", params![workspace, organization, at])?;
    insert_key(db, organization, workspace, &first.key)?;
    Ok(true)
}

pub(super) fn api_key(db: &Db<'_>, key: &str, workspace: Option<&str>) -> Result<Option<ApiKey>, StoreError> {
    db.first(KEY, params![key, workspace], read_key)
}

pub(super) fn api_keys(db: &Db<'_>, workspace: &str) -> Result<Vec<ApiKey>, StoreError> {
    db.all(KEYS, params![workspace, limits::API_KEYS_LISTED], read_key)
}

pub(super) fn add(db: &Db<'_>, organization: &str, workspace: &str, key: &NewApiKey) -> Result<(), StoreError> {
    let live = "SELECT count(*) FROM api_keys WHERE workspace_id = ?1 AND revoked_at IS NULL";
    let live: Option<i64> = db.first(live, [workspace], |row| Ok(row.get(0)?))?;
    if live.unwrap_or(0) >= limits::LIVE_API_KEYS {
        return Err(StoreError::Invalid("the workspace has too many API keys; revoke some".to_owned()));
    }
    insert_key(db, organization, workspace, key)
}

fn insert_key(db: &Db<'_>, organization: &str, workspace: &str, key: &NewApiKey) -> Result<(), StoreError> {
    db.execute(ADD_KEY, params![key.id.as_str(), organization, workspace, key.name, &key.sha256[..], key.created_at.0])?;
    Ok(())
}

pub(super) fn revoke(db: &Db<'_>, key: &str, workspace: &str, at: Timestamp) -> Result<bool, StoreError> {
    Ok(db.execute(REVOKE, params![key, workspace, at.0])? == 1)
}

fn read_key(row: &Row<'_>) -> Result<ApiKey, StoreError> {
    let sha256: Vec<u8> = row.get(4)?;
    Ok(ApiKey {
        id: id(row, 0)?,
        organization: id(row, 1)?,
        workspace: id(row, 2)?,
        name: row.get(3)?,
        sha256: sha256.try_into().map_err(|_| StoreError::Corrupt("a key's hash has the wrong length".to_owned()))?,
        created_at: time(row, 5)?,
        revoked_at: optional_time(row, 6)?,
    })
}
