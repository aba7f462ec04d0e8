//! Numbered migrations and the settings of a connection. Queries are not here.

use std::time::Duration;

use rusqlite::Connection;

use crate::{StoreError, limits};

/// Every migration in order; its number is its place, counted from 1.
const MIGRATIONS: &[&str] = &[
    include_str!("migrations/0001_first.sql"),
    include_str!("migrations/0002_budgets.sql"),
    include_str!("migrations/0003_children.sql"),
    include_str!("migrations/0004_network.sql"),
];

/// The schema this binary reads and writes.
pub(super) fn newest() -> u32 {
    u32::try_from(MIGRATIONS.len()).unwrap_or(u32::MAX)
}

/// Settings of the one writing connection.
pub(super) fn set_up_writer(conn: &Connection) -> Result<(), StoreError> {
    set_up(conn)?;
    conn.pragma_update(None, "journal_mode", "WAL")?;
    conn.pragma_update(None, "synchronous", "FULL")?;
    conn.pragma_update(None, "journal_size_limit", limits::WAL_KEPT_BYTES)?;
    conn.pragma_update(None, "wal_autocheckpoint", limits::CHECKPOINT_PAGES)?;
    // What a savepoint could roll back is small and need not go through files.
    conn.pragma_update(None, "temp_store", "MEMORY")?;
    Ok(())
}

/// Settings of a reading connection.
pub(super) fn set_up_reader(conn: &Connection) -> Result<(), StoreError> {
    set_up(conn)?;
    conn.pragma_update(None, "query_only", true)?;
    Ok(())
}

fn set_up(conn: &Connection) -> Result<(), StoreError> {
    conn.busy_timeout(Duration::from_millis(limits::BUSY_TIMEOUT_MS))?;
    conn.set_prepared_statement_cache_capacity(limits::STATEMENT_CACHE);
    conn.pragma_update(None, "trusted_schema", false)?;
    Ok(())
}

/// Brings the database to the newest schema, each migration in a transaction of its own. A
/// database of a newer binary is refused untouched.
pub(super) fn migrate(conn: &mut Connection) -> Result<(), StoreError> {
    let found: u32 = conn.pragma_query_value(None, "user_version", |row| row.get(0))?;
    if found > newest() {
        return Err(StoreError::Incompatible { found, known: newest() });
    }
    for (number, sql) in (1..).zip(MIGRATIONS).filter(|(number, _)| *number > found) {
        let transaction = conn.transaction()?;
        transaction.execute_batch(sql)?;
        transaction.pragma_update(None, "user_version", number)?;
        transaction.commit()?;
        tracing::info!(schema = number, "database migrated");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_newer_database_is_refused_and_an_old_one_migrated_once() {
        let mut conn = Connection::open_in_memory().unwrap();
        migrate(&mut conn).unwrap();
        migrate(&mut conn).unwrap();
        conn.pragma_update(None, "user_version", newest() + 1).unwrap();
        let refused = migrate(&mut conn).unwrap_err();
        assert_eq!(refused, StoreError::Incompatible { found: newest() + 1, known: newest() });
    }
}
