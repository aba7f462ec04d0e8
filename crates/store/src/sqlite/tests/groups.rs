//! Group commit: what is committed together, how many statements an append takes, and that a job
//! which fails or panics harms only itself.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};

use crate::conformance::fixtures::{batch, create, row, sesn};
use crate::sqlite::SqliteStore;
use crate::{Store, StoreError, limits};

/// Holds the writer inside a job until told to go on, so that others queue up behind it.
async fn hold(store: &SqliteStore, entered: Sender<()>, release: Receiver<()>) {
    let held = store.write(move |_| {
        entered.send(()).unwrap();
        release.recv().unwrap();
        Ok(())
    });
    held.await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn waiting_appends_share_one_commit_and_fail_alone() {
    const SESSIONS: usize = 100;
    let store = Arc::new(SqliteStore::open_in_memory_for_tests().unwrap());
    for n in 0..SESSIONS {
        create(&*store, &row(&format!("s{n}"), 1), 1).await;
    }
    let (entered, inside) = channel();
    let (release, wait) = channel();
    let holder = tokio::spawn({
        let store = Arc::clone(&store);
        async move { hold(&store, entered, wait).await }
    });
    inside.recv().unwrap();
    let before = store.stats();
    let appends: Vec<_> = (0..SESSIONS)
        .map(|n| {
            let store = Arc::clone(&store);
            // Every tenth is stale.
            let epoch = if n % 10 == 0 { 9 } else { 1 };
            tokio::spawn(async move { store.append(epoch, batch(&sesn(&format!("s{n}")), 1, 1)).await })
        })
        .collect();
    let queue = store.writes.as_ref().unwrap();
    while queue.max_capacity() - queue.capacity() < SESSIONS {
        tokio::task::yield_now().await;
    }
    release.send(()).unwrap();
    holder.await.unwrap();
    for (n, append) in appends.into_iter().enumerate() {
        let expected = if n % 10 == 0 { Err(StoreError::Stale) } else { Ok(()) };
        assert_eq!(append.await.unwrap(), expected, "{n}");
    }
    let after = store.stats();
    assert_eq!(after.commits - before.commits, 2, "the holder's and one for all appends");
    assert_eq!(after.writes - before.writes, 91);
    assert_eq!(after.savepoints - before.savepoints, SESSIONS as u64);
    const { assert!(SESSIONS <= limits::GROUP_JOBS) };
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_that_fails_half_way_leaves_nothing_in_the_group() {
    let store = Arc::new(SqliteStore::open_in_memory_for_tests().unwrap());
    let (entered, inside) = channel();
    let (release, wait) = channel();
    let holder = tokio::spawn({
        let store = Arc::clone(&store);
        async move { hold(&store, entered, wait).await }
    });
    inside.recv().unwrap();
    let jobs: Vec<_> = (0..6)
        .map(|n| {
            let store = Arc::clone(&store);
            let work = async move {
                let written = store.write(move |db| {
                    db.execute("INSERT INTO meta (name, value) VALUES (?1, '')", [format!("job{n}")])?;
                    if n % 2 == 0 { Ok(()) } else { Err(StoreError::Stale) }
                });
                written.await
            };
            tokio::spawn(work)
        })
        .collect();
    let queue = store.writes.as_ref().unwrap();
    while queue.max_capacity() - queue.capacity() < jobs.len() {
        tokio::task::yield_now().await;
    }
    release.send(()).unwrap();
    holder.await.unwrap();
    for (n, job) in jobs.into_iter().enumerate() {
        assert_eq!(job.await.unwrap().is_ok(), n % 2 == 0);
    }
    let names = "SELECT name FROM meta WHERE name LIKE 'job%' ORDER BY name";
    let left: Vec<String> = store.read(move |db| db.all(names, [], |row| Ok(row.get(0)?))).await.unwrap();
    assert_eq!(left, ["job0", "job2", "job4"]);
}

#[tokio::test]
async fn an_append_is_three_statements_however_long_the_history() {
    let store = SqliteStore::open_in_memory_for_tests().unwrap();
    create(&store, &row("a", 1), 1).await;
    let mut at = 1;
    for count in [1, 50, 3_000, 1] {
        let before = store.stats();
        store.append(1, batch(&sesn("a"), at, count)).await.unwrap();
        at += count;
        let after = store.stats();
        assert_eq!(after.write_statements - before.write_statements, 3);
        assert_eq!((after.commits - before.commits, after.savepoints - before.savepoints), (1, 0));
    }
    let before = store.stats();
    let mut silent = batch(&sesn("a"), at, 1);
    silent.events.clear();
    store.append(1, silent).await.unwrap();
    assert_eq!(store.stats().write_statements - before.write_statements, 2);
}

#[tokio::test]
async fn a_panicking_job_is_rolled_back_and_the_writer_goes_on() {
    let store = SqliteStore::open_in_memory_for_tests().unwrap();
    let outcome: Result<(), StoreError> = store
        .write(|db| {
            db.execute("INSERT INTO meta (name, value) VALUES ('x', 'y')", [])?;
            panic!("a job that panics on purpose")
        })
        .await;
    assert!(matches!(outcome, Err(StoreError::Unavailable(_))));
    let left = store.read(|db| db.first("SELECT 1 FROM meta WHERE name = 'x'", [], |_| Ok(()))).await;
    assert_eq!(left, Ok(None));
    assert_eq!(store.begin_epoch().await, Ok(1));
}

#[tokio::test]
async fn readers_cannot_write() {
    let store = SqliteStore::open_in_memory_for_tests().unwrap();
    assert!(store.read(|db| db.execute("DELETE FROM meta", [])).await.is_err());
}
