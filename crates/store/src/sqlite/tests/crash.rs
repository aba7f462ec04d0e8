//! A process that dies around a commit: what was acknowledged is there, what was not is there
//! whole or not at all. The dying process is this test binary, started again on one ignored test.

use std::fs::OpenOptions;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use crate::conformance::fixtures::{batch, create, home, row, sesn};
use crate::sqlite::{FaultPoint, SqliteConfig, SqliteStore};
use crate::{EventQuery, Store};

const DIR: &str = "OSTLER_STORE_TEST_DIR";
const POINT: &str = "OSTLER_STORE_TEST_POINT";
const SESSIONS: usize = 8;
const RECORDS_PER_BATCH: u64 = 3;
/// Commits after which the child dies.
const COMMITS: u32 = 40;

fn name(n: usize) -> String {
    format!("s{n}")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "started by the crash tests, dies on purpose"]
async fn dying_child() {
    let Some(dir) = std::env::var_os(DIR).map(PathBuf::from) else { return };
    let point = match std::env::var(POINT).unwrap().as_str() {
        "before" => FaultPoint::BeforeCommit,
        _ => FaultPoint::AfterCommit,
    };
    let commits = AtomicU32::new(0);
    let fault = move |reached| {
        if reached == point && commits.fetch_add(1, Ordering::Relaxed) >= COMMITS {
            std::process::abort();
        }
    };
    let config = SqliteConfig { fault: Some(Arc::new(fault)), ..SqliteConfig::new(&dir) };
    let store = Arc::new(SqliteStore::open(config).unwrap());
    for n in 0..SESSIONS {
        create(&*store, &row(&name(n), 1), 0).await;
    }
    let writers: Vec<_> = (0..SESSIONS)
        .map(|n| {
            let (store, dir) = (Arc::clone(&store), dir.clone());
            tokio::spawn(async move { append_for_ever(&store, &dir, n).await })
        })
        .collect();
    for writer in writers {
        writer.await.unwrap();
    }
}

/// Appends batch after batch and notes each acknowledged one in a file, one byte each.
async fn append_for_ever(store: &SqliteStore, dir: &Path, n: usize) {
    let mut noted = OpenOptions::new().create(true).append(true).open(dir.join(format!("acked-{n}"))).unwrap();
    for round in 0..10_000 {
        store.append(1, batch(&sesn(&name(n)), round * RECORDS_PER_BATCH, RECORDS_PER_BATCH)).await.unwrap();
        noted.write_all(b".").unwrap();
    }
}

async fn survives(point: &str) {
    let dir = tempfile::tempdir().unwrap();
    let child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "sqlite::tests::crash::dying_child", "--ignored"])
        .env(DIR, dir.path())
        .env(POINT, point)
        .output()
        .unwrap();
    assert!(!child.status.success(), "the child was to die: {child:?}");
    let store = SqliteStore::open(SqliteConfig::new(dir.path())).unwrap();
    let mut acknowledged = 0;
    for n in 0..SESSIONS {
        let acked = std::fs::metadata(dir.path().join(format!("acked-{n}"))).map_or(0, |file| file.len());
        let id = sesn(&name(n));
        let row = store.session(&home(), &id).await.unwrap().unwrap();
        let records = store.records(&id, 0, &[], 100_000).await.unwrap();
        let events = store.events(&home(), &id, &EventQuery::after(0, 10_000)).await.unwrap().unwrap();
        assert!(row.last_seq >= acked * RECORDS_PER_BATCH, "session {n} lost acknowledged batches");
        assert!(row.last_seq <= (acked + 1) * RECORDS_PER_BATCH, "session {n} has more than was sent");
        assert_eq!(row.last_seq % RECORDS_PER_BATCH, 0, "session {n} has half a batch");
        assert_eq!((records.len() as u64, events.len() as u64), (row.last_seq, row.last_position));
        acknowledged += acked;
    }
    assert!(acknowledged > 0, "the child died too early to show anything");
}

#[tokio::test]
async fn death_before_a_commit_loses_nothing_acknowledged() {
    survives("before").await;
}

#[tokio::test]
async fn death_after_a_commit_loses_nothing_acknowledged() {
    survives("after").await;
}
