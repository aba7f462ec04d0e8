//! A file system that is really full, not only a database with a limit. It is a small tmpfs in a
//! mount namespace of a child, which is this test binary started again on one ignored test.

use std::path::PathBuf;
use std::process::Command;

use crate::conformance::fixtures::{batch, create, home, row, sesn};
use crate::sqlite::{SqliteConfig, SqliteStore};
use crate::{Store, StoreError};

const DIR: &str = "OSTLER_STORE_TEST_FULL_DIR";
/// The exit status of a child that could not mount.
const NO_MOUNT: i32 = 77;

#[tokio::test]
#[ignore = "started by the test below, inside a mount namespace"]
async fn child_on_a_small_disk() {
    let Some(dir) = std::env::var_os(DIR).map(PathBuf::from) else { return };
    let filler = dir.join("filler");
    std::fs::write(&filler, vec![1; 4 << 20]).unwrap();
    let store = SqliteStore::open(SqliteConfig::new(&dir)).unwrap();
    create(&store, &row("a", 1), 1).await;
    let mut stored = 1;
    let large = |after_seq| {
        let mut next = batch(&sesn("a"), after_seq, 1);
        next.records[0].body = format!("\"{}\"", "x".repeat(50_000));
        next
    };
    let full = loop {
        match store.append(1, large(stored)).await {
            Ok(()) => stored += 1,
            Err(error) => break error,
        }
        assert!(stored < 1_000, "the disk never filled up");
    };
    assert_eq!(full, StoreError::Full);
    assert!(store.space().free_bytes < 256 * 1024, "{:?}", store.space());
    assert_eq!(store.session(&home(), &sesn("a")).await.unwrap().unwrap().last_seq, stored);
    std::fs::remove_file(&filler).unwrap();
    store.append(1, large(stored)).await.unwrap();
    drop(store);
    let store = SqliteStore::open(SqliteConfig::new(&dir)).unwrap();
    assert_eq!(store.records(&sesn("a"), 0, &[], 1_000).await.unwrap().len() as u64, stored + 1);
}

#[test]
fn a_full_disk_acknowledges_nothing_and_recovers_without_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let script = format!("mount -t tmpfs -o size=8m tmpfs \"${DIR}\" || exit {NO_MOUNT}; exec \"$0\" --exact \"$1\" --ignored");
    let child = Command::new("unshare")
        .args(["--map-root-user", "--mount", "sh", "-c", &script])
        .arg(std::env::current_exe().unwrap())
        .arg("sqlite::tests::full_disk::child_on_a_small_disk")
        .env(DIR, dir.path())
        .output();
    let Ok(child) = child else { return skip("there is no unshare") };
    let output = String::from_utf8_lossy(&child.stdout);
    if !child.status.success() && !output.contains("running 1 test") {
        return skip(&String::from_utf8_lossy(&child.stderr));
    }
    assert!(child.status.success() && output.contains("1 passed"), "{output}");
}

#[expect(clippy::print_stderr, reason = "a skipped test says so")]
fn skip(why: &str) {
    eprintln!("skipped: no small file system to fill: {why}");
}
