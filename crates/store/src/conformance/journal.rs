//! Stories of records, events, snapshots and ownership.

use ostler_core::time::Timestamp;

use super::fixtures::{batch, create, event_id, home, row, sesn};
use crate::{EventQuery, Order, Snapshot, Store, StoreError, StoredEvent, TimeRange};

fn positions(events: Option<Vec<StoredEvent>>) -> Vec<u64> {
    events.unwrap().iter().map(|event| event.position).collect()
}

/// A batch that repeats, skips or steps back in position is stale and writes nothing.
pub async fn an_append_must_continue_the_journal(store: &dyn Store) {
    let id = sesn("a");
    create(store, &row("a", 1), 2).await;
    for after_seq in [0, 1, 3] {
        assert_eq!(store.append(1, batch(&id, after_seq, 1)).await, Err(StoreError::Stale), "{after_seq}");
    }
    let mut repeated = batch(&id, 2, 1);
    repeated.events[0].position = 2;
    assert_eq!(store.append(1, repeated).await, Err(StoreError::Stale));
    assert_eq!(store.append(1, batch(&sesn("unknown"), 0, 1)).await, Err(StoreError::NotFound));
    store.append(1, batch(&id, 2, 3)).await.unwrap();
    let seqs: Vec<_> = store.records(&id, 0, &[], 10).await.unwrap().iter().map(|record| record.seq).collect();
    assert_eq!(seqs, [1, 2, 3, 4, 5]);
    assert_eq!(store.last_position(&home(), &id).await, Ok(Some(5)));
}

/// Whoever claimed later owns the session; the earlier owner can neither append nor claim back.
pub async fn a_later_epoch_fences_the_earlier(store: &dyn Store) {
    let id = sesn("a");
    create(store, &row("a", 1), 1).await;
    assert_eq!(store.append(2, batch(&id, 1, 1)).await, Err(StoreError::Stale));
    let claimed = store.claim(&home(), 2, &id, 1).await.unwrap().unwrap();
    assert_eq!((claimed.row.epoch, claimed.tail.len()), (2, 1));
    assert_eq!(store.append(1, batch(&id, 1, 1)).await, Err(StoreError::Stale));
    assert_eq!(store.claim(&home(), 1, &id, 1).await, Err(StoreError::Stale));
    store.append(2, batch(&id, 1, 1)).await.unwrap();
    assert_eq!(store.claim(&home(), 2, &id, 1).await.unwrap().unwrap().tail.len(), 2);
    assert_eq!(store.claim(&home(), 2, &sesn("unknown"), 1).await, Ok(None));
}

/// Appends that are sent together: the stale one fails, its neighbours do not.
pub async fn a_stale_batch_fails_alone(store: &dyn Store) {
    for name in ["a", "b", "c"] {
        create(store, &row(name, 1), 1).await;
    }
    for round in 1..20 {
        let (a, b, c) = tokio::join!(
            store.append(1, batch(&sesn("a"), round, 1)),
            store.append(9, batch(&sesn("b"), 1, 1)),
            store.append(1, batch(&sesn("c"), round, 1))
        );
        assert_eq!((a, b, c), (Ok(()), Err(StoreError::Stale), Ok(())));
    }
    assert_eq!(store.records(&sesn("a"), 0, &[], 100).await.unwrap().len(), 20);
    assert_eq!(store.records(&sesn("b"), 0, &[], 100).await.unwrap().len(), 1);
}

/// Gaps and disorder are refused before the database is asked.
pub async fn malformed_batches_are_refused(store: &dyn Store) {
    create(store, &row("a", 1), 0).await;
    let good = batch(&sesn("a"), 0, 3);
    let mut gap = good.clone();
    gap.records.remove(1);
    let mut disorder = good.clone();
    disorder.events.swap(0, 1);
    let mut zero = good.clone();
    zero.events[0].position = 0;
    for bad in [gap, disorder, zero] {
        assert!(matches!(store.append(1, bad).await, Err(StoreError::Invalid(_))));
    }
    let mut far = good.clone();
    far.after_seq = u64::MAX;
    assert!(store.append(1, far).await.is_err());
    store.append(1, good).await.unwrap();
}

/// Snapshots only move forward, and one of another version is as none.
pub async fn a_claim_is_a_snapshot_and_its_tail(store: &dyn Store) {
    let id = sesn("a");
    create(store, &row("a", 1), 5).await;
    let snapshot = |seq, version| Snapshot { seq, version, body: format!("{{\"at\":{seq}}}") };
    let claim = |version| async move {
        let claimed = store.claim(&home(), 1, &sesn("a"), version).await.unwrap().unwrap();
        (claimed.snapshot.map(|snapshot| snapshot.seq), claimed.tail.first().map(|record| record.seq), claimed.tail.len())
    };
    assert_eq!(claim(1).await, (None, Some(1), 5));
    store.save_snapshot(&id, snapshot(3, 1)).await.unwrap();
    assert_eq!(claim(1).await, (Some(3), Some(4), 2));
    store.save_snapshot(&id, snapshot(2, 1)).await.unwrap();
    store.save_snapshot(&id, snapshot(6, 1)).await.unwrap();
    assert_eq!(claim(1).await, (Some(3), Some(4), 2), "neither an older one nor one ahead of the journal");
    assert_eq!(claim(2).await, (None, Some(1), 5));
    store.save_snapshot(&id, snapshot(5, 2)).await.unwrap();
    assert_eq!(claim(2).await, (Some(5), None, 0));
    store.save_snapshot(&sesn("unknown"), snapshot(1, 1)).await.unwrap();
}

/// What a batch says of the row is there; what it leaves out stays.
pub async fn the_row_follows_the_batch(store: &dyn Store) {
    let id = sesn("a");
    create(store, &row("a", 1), 1).await;
    let mut next = batch(&id, 1, 0);
    next.row.status = "running".to_owned();
    next.row.view = Some("{\"usage\":1}".to_owned());
    next.row.agent = Some("{\"model\":\"n\"}".to_owned());
    next.row.archived_at = Some(Timestamp(7));
    store.append(1, next).await.unwrap();
    let seen = store.session(&home(), &id).await.unwrap().unwrap();
    assert_eq!((seen.status.as_str(), seen.view.as_str(), seen.agent.as_str()), ("running", "{\"usage\":1}", "{\"model\":\"n\"}"));
    assert_eq!((seen.title.as_deref(), seen.archived_at, seen.last_seq, seen.last_position), (Some("a"), Some(Timestamp(7)), 1, 1));
    let mut next = batch(&id, 1, 1);
    next.row.title = Some(None);
    store.append(1, next).await.unwrap();
    let seen = store.session(&home(), &id).await.unwrap().unwrap();
    assert_eq!((seen.title, seen.view.as_str(), seen.archived_at), (None, "{\"usage\":1}", None));
}

/// Cursors are exclusive, conditions combine, both orders work, and sessions do not mix.
pub async fn events_are_queried_by_position_kind_and_time(store: &dyn Store) {
    let id = sesn("b");
    for name in ["a", "b", "c"] {
        create(store, &row(name, 1), 6).await;
    }
    let all = EventQuery::after(0, 100);
    let down = Order::Descending;
    let span = TimeRange { gt: Some(Timestamp(20)), lte: Some(Timestamp(50)), ..TimeRange::default() };
    let cases = [
        (all.clone(), vec![1, 2, 3, 4, 5, 6]),
        (EventQuery::after(4, 100), vec![5, 6]),
        (EventQuery::after(u64::MAX, 100), vec![]),
        (EventQuery { before: Some(3), ..all.clone() }, vec![1, 2]),
        (EventQuery { before: Some(6), limit: 2, order: down, ..all.clone() }, vec![5, 4]),
        (EventQuery { kinds: vec!["even".to_owned()], order: down, ..all.clone() }, vec![6, 4, 2]),
        (EventQuery { created: span, ..all.clone() }, vec![3, 4, 5]),
        (EventQuery { created: span, kinds: vec!["odd".to_owned()], ..all.clone() }, vec![3, 5]),
    ];
    for (query, expected) in cases {
        assert_eq!(positions(store.events(&home(), &id, &query).await.unwrap()), expected, "{query:?}");
    }
    let event = store.event(&home(), &id, &event_id(&id, 4)).await.unwrap().unwrap();
    assert_eq!((event.position, event.thread.as_deref()), (4, Some("sthr_side")));
    assert_eq!(store.event(&home(), &id, &event_id(&sesn("a"), 4)).await, Ok(None));
    let odd = store.records(&id, 1, &["odd"], 1).await.unwrap();
    assert_eq!(odd.iter().map(|record| record.seq).collect::<Vec<_>>(), [3]);
}

/// Nothing of a body is interpreted on the way: spaces, escapes, other scripts, long texts.
pub async fn bodies_are_kept_byte_for_byte(store: &dyn Store) {
    let id = sesn("a");
    create(store, &row("a", 1), 0).await;
    let long = format!("\"{}\"", "x".repeat(300_000));
    let bodies = ["{ \"a\" :\t1.0e2 }", "\"\\u0000 \\\\ \\\" \u{2028} æ 😀\"", "null", "12345678901234567890", &long];
    let mut next = batch(&id, 0, bodies.len() as u64);
    for (n, body) in bodies.iter().enumerate() {
        next.records[n].body = (*body).to_owned();
        next.events[n].body = (*body).into();
    }
    store.append(1, next.clone()).await.unwrap();
    assert_eq!(store.records(&id, 0, &[], 10).await, Ok(next.records));
    assert_eq!(store.events(&home(), &id, &EventQuery::after(0, 10)).await, Ok(Some(next.events)));
}
