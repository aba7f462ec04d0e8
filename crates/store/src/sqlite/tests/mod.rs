//! What is particular to SQLite: the conformance suite run on it, group commit, crashes, a full
//! disk, query plans, files.

mod crash;
mod full_disk;
mod groups;
mod plans;

use std::os::unix::fs::PermissionsExt;

use super::{SqliteConfig, SqliteStore};
use crate::conformance::fixtures::{batch, create, home, row, sesn};
use crate::{Store, StoreError};

crate::conformance_suite!(SqliteStore::open_in_memory_for_tests().unwrap());

#[tokio::test]
async fn everything_is_there_after_reopening() {
    let dir = tempfile::tempdir().unwrap();
    let first = SqliteStore::open(SqliteConfig::new(dir.path())).unwrap();
    assert_eq!(first.begin_epoch().await, Ok(1));
    let install = first.install_id().await.unwrap();
    create(&first, &row("a", 1), 3).await;
    let claimed = first.claim(&home(), 1, &sesn("a"), 1).await.unwrap();
    drop(first);
    let second = SqliteStore::open(SqliteConfig::new(dir.path())).unwrap();
    assert_eq!(second.begin_epoch().await, Ok(2));
    assert_eq!(second.install_id().await, Ok(install));
    assert_eq!(second.claim(&home(), 1, &sesn("a"), 1).await.unwrap(), claimed);
}

#[tokio::test]
async fn files_are_closed_to_other_users() {
    let outer = tempfile::tempdir().unwrap();
    let dir = outer.path().join("data");
    let store = SqliteStore::open(SqliteConfig::new(&dir)).unwrap();
    store.begin_epoch().await.unwrap();
    let mode = |path: &std::path::Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&dir), 0o700);
    let files: Vec<_> = std::fs::read_dir(&dir).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert!(files.len() >= 2, "database and log: {files:?}");
    for file in files {
        assert_eq!(mode(&file), 0o600, "{}", file.display());
    }
}

#[tokio::test]
async fn a_full_database_acknowledges_nothing_and_recovers() {
    let dir = tempfile::tempdir().unwrap();
    let small = SqliteConfig { max_pages: Some(200), ..SqliteConfig::new(dir.path()) };
    let store = SqliteStore::open(small).unwrap();
    create(&store, &row("a", 1), 1).await;
    let mut stored = 1;
    let full = loop {
        let mut next = batch(&sesn("a"), stored, 1);
        next.records[0].body = format!("\"{}\"", "x".repeat(50_000));
        match store.append(1, next).await {
            Ok(()) => stored += 1,
            Err(error) => break error,
        }
        assert!(stored < 1_000, "the database never filled up");
    };
    assert_eq!(full, StoreError::Full);
    assert_eq!(store.session(&home(), &sesn("a")).await.unwrap().unwrap().last_seq, stored);
    assert_eq!(store.records(&sesn("a"), 0, &[], 1_000).await.unwrap().len() as u64, stored);
    drop(store);
    let store = SqliteStore::open(SqliteConfig::new(dir.path())).unwrap();
    store.append(1, batch(&sesn("a"), stored, 1)).await.unwrap();
}

#[tokio::test]
async fn a_damaged_file_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join(super::FILE), "this is not a database, but it is long enough to look at".repeat(100)).unwrap();
    assert!(matches!(SqliteStore::open(SqliteConfig::new(dir.path())), Err(StoreError::Corrupt(_))));
}
