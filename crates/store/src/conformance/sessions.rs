//! Stories of session rows.

use ostler_core::time::Timestamp;

use super::fixtures::{RECOVERY, batch, create, event_id, home, row, stranger};
use crate::{
    Cursor, EventQuery, OpenWork, Order, PageRequest, SessionDeletion, SessionFilter, SessionRow, Snapshot, Store, StoreError, TimeRange,
};

fn names(rows: &[SessionRow]) -> Vec<&str> {
    rows.iter().map(|row| row.id.as_str().trim_start_matches("sesn_")).collect()
}

/// What goes in comes out, with what the store sets.
pub async fn a_session_is_stored_and_read_back(store: &dyn Store) {
    let given = SessionRow { deployment_id: Some("depl_1".to_owned()), ..row("a", 4) };
    create(store, &given, 2).await;
    let expected = SessionRow { epoch: 1, last_seq: 2, last_position: 2, updated_at: Timestamp(20), ..given.clone() };
    assert_eq!(store.session(&home(), &given.id).await, Ok(Some(expected.clone())));
    assert_eq!(store.session(&RECOVERY, &given.id).await, Ok(Some(expected)));
    let again = store.create_session(&home(), 1, &given, &batch(&given.id, 0, 1)).await;
    assert!(matches!(again, Err(StoreError::Conflict(_))), "{again:?}");
    let empty = row("b", 4);
    create(store, &empty, 0).await;
    assert_eq!(store.last_position(&home(), &empty.id).await, Ok(Some(0)));
}

/// Walking forward and back again sees every row once, in both orders.
pub async fn session_pages_have_no_gaps(store: &dyn Store) {
    for n in 0..5 {
        create(store, &row(&format!("s{n}"), n / 2), 0).await;
    }
    let all = SessionFilter::default();
    for (order, expected) in [(Order::Ascending, ["s0", "s1", "s2", "s3", "s4"]), (Order::Descending, ["s4", "s3", "s2", "s1", "s0"])] {
        let first = store.sessions(&home(), &all, order, &PageRequest::first(2)).await.unwrap();
        assert_eq!((names(&first.rows), first.has_next, first.has_prev), (expected[..2].to_vec(), true, false));
        let cursor = Cursor::of_session(&first.rows[1]);
        let second = store.sessions(&home(), &all, order, &PageRequest::after(cursor, 3)).await.unwrap();
        assert_eq!((names(&second.rows), second.has_next, second.has_prev), (expected[2..].to_vec(), false, true));
        let cursor = Cursor::of_session(&second.rows[0]);
        let back = store.sessions(&home(), &all, order, &PageRequest::before(cursor, 1)).await.unwrap();
        assert_eq!((names(&back.rows), back.has_next, back.has_prev), (expected[1..2].to_vec(), true, true));
    }
}

/// Each condition of a filter selects.
pub async fn filters_select(store: &dyn Store) {
    create(store, &row("plain", 1), 0).await;
    create(store, &SessionRow { agent_id: "agent_two".parse().unwrap(), agent_version: 7, ..row("agent", 2) }, 0).await;
    create(store, &SessionRow { environment_id: "env_two".parse().unwrap(), ..row("env", 3) }, 0).await;
    create(store, &SessionRow { deployment_id: Some("d".to_owned()), ..row("depl", 4) }, 0).await;
    create(store, &SessionRow { status: "running".to_owned(), ..row("busy", 5) }, 0).await;
    create(store, &SessionRow { archived_at: Some(Timestamp(9)), ..row("old", 6) }, 0).await;
    let none = SessionFilter::default;
    let created = TimeRange { gt: Some(Timestamp(1)), lte: Some(Timestamp(3)), ..TimeRange::default() };
    let cases = [
        (none(), vec!["plain", "agent", "env", "depl", "busy"]),
        (SessionFilter { agent_id: "agent_two".parse().ok(), ..none() }, vec!["agent"]),
        (SessionFilter { agent_id: "agent_two".parse().ok(), agent_version: Some(6), ..none() }, vec![]),
        (SessionFilter { environment_id: "env_two".parse().ok(), ..none() }, vec!["env"]),
        (SessionFilter { deployment_id: Some("d".to_owned()), ..none() }, vec!["depl"]),
        (SessionFilter { statuses: vec!["running".to_owned(), "gone".to_owned()], ..none() }, vec!["busy"]),
        (SessionFilter { created, ..none() }, vec!["agent", "env"]),
        (SessionFilter { include_archived: true, ..none() }, vec!["plain", "agent", "env", "depl", "busy", "old"]),
    ];
    for (filter, expected) in cases {
        let page = store.sessions(&home(), &filter, Order::Ascending, &PageRequest::first(10)).await.unwrap();
        assert_eq!(names(&page.rows), expected, "{filter:?}");
    }
}

/// After a deletion only the fact of it is left, and the id is not used again.
pub async fn deletion_leaves_a_tombstone_only(store: &dyn Store) {
    let (gone, kept) = (row("gone", 1), row("kept", 2));
    let busy = SessionRow { unfinished: true, ..row("busy", 3) };
    create(store, &busy, 1).await;
    assert_eq!(store.delete_session(&home(), 2, &busy.id, Timestamp(8), OpenWork::Kept).await, Ok(SessionDeletion::Unfinished));
    assert!(store.session(&home(), &busy.id).await.unwrap().is_some());
    let whatever = store.delete_session(&home(), 2, &busy.id, Timestamp(8), OpenWork::Deleted).await;
    assert_eq!(whatever, Ok(SessionDeletion::Deleted));
    create(store, &gone, 3).await;
    create(store, &kept, 2).await;
    store.save_snapshot(&gone.id, Snapshot { seq: 2, version: 1, body: "{}".to_owned() }).await.unwrap();
    assert_eq!(store.delete_session(&home(), 0, &gone.id, Timestamp(8), OpenWork::Kept).await, Err(StoreError::Stale));
    assert_eq!(store.delete_session(&home(), 2, &gone.id, Timestamp(8), OpenWork::Kept).await, Ok(SessionDeletion::Deleted));
    assert_eq!(store.delete_session(&home(), 2, &gone.id, Timestamp(9), OpenWork::Kept).await, Ok(SessionDeletion::NotFound));
    assert_eq!(store.session(&home(), &gone.id).await, Ok(None));
    assert_eq!(store.events(&home(), &gone.id, &EventQuery::after(0, 10)).await, Ok(None));
    assert_eq!(store.records(&gone.id, 0, &[], 10).await, Ok(Vec::new()));
    assert_eq!(store.append(2, batch(&gone.id, 3, 1)).await, Err(StoreError::NotFound));
    assert_eq!(store.deleted_session(&home(), &gone.id).await, Ok(Some(Timestamp(8))));
    assert_eq!(store.deleted_session(&home(), &kept.id).await, Ok(None));
    let again = store.create_session(&home(), 2, &gone, &batch(&gone.id, 0, 1)).await;
    assert!(matches!(again, Err(StoreError::Conflict(_))), "{again:?}");
    // A new session may take the place of the deleted one and must inherit nothing of it.
    create(store, &row("new", 3), 0).await;
    let claimed = store.claim(&home(), 1, &row("new", 3).id, 1).await.unwrap().unwrap();
    assert!(claimed.snapshot.is_none() && claimed.tail.is_empty());
    assert_eq!(store.records(&kept.id, 0, &[], 10).await.unwrap().len(), 2);
}

/// Recoveries are counted durably, and forgotten when the session gets further.
pub async fn recoveries_count_until_progress(store: &dyn Store) {
    let busy = SessionRow { unfinished: true, ..row("busy", 1) };
    create(store, &busy, 1).await;
    create(store, &row("idle", 2), 1).await;
    assert!(store.unfinished_sessions(&home()).await.is_err());
    assert_eq!(store.note_recovery(&RECOVERY, &busy.id).await, Ok(1));
    assert_eq!(store.note_recovery(&RECOVERY, &busy.id).await, Ok(2));
    let found = store.unfinished_sessions(&RECOVERY).await.unwrap();
    assert_eq!(found.iter().map(|found| (&found.id, found.recoveries)).collect::<Vec<_>>(), [(&busy.id, 2)]);
    let mut next = batch(&busy.id, 1, 1);
    next.row.unfinished = true;
    store.append(1, next.clone()).await.unwrap();
    assert_eq!(store.unfinished_sessions(&RECOVERY).await.unwrap()[0].recoveries, 2);
    let mut next = batch(&busy.id, 2, 1);
    next.row.unfinished = true;
    next.row.progress = true;
    store.append(1, next).await.unwrap();
    assert_eq!(store.unfinished_sessions(&RECOVERY).await.unwrap()[0].recoveries, 0);
    store.append(1, batch(&busy.id, 3, 1)).await.unwrap();
    assert_eq!(store.unfinished_sessions(&RECOVERY).await, Ok(Vec::new()));
}

/// Every operation on a foreign session answers as on an unknown one.
pub async fn a_foreign_session_is_unknown(store: &dyn Store) {
    let scope = stranger();
    let mine = row("mine", 1);
    assert!(matches!(store.create_session(&scope, 1, &mine, &batch(&mine.id, 0, 1)).await, Err(StoreError::OutOfScope(_))));
    create(store, &mine, 2).await;
    assert_eq!(store.session(&scope, &mine.id).await, Ok(None));
    let all = SessionFilter { include_archived: true, ..SessionFilter::default() };
    assert!(store.sessions(&scope, &all, Order::Ascending, &PageRequest::first(10)).await.unwrap().rows.is_empty());
    assert_eq!(store.claim(&scope, 9, &mine.id, 1).await, Ok(None));
    assert_eq!(store.events(&scope, &mine.id, &EventQuery::after(0, 10)).await, Ok(None));
    assert_eq!(store.event(&scope, &mine.id, &event_id(&mine.id, 1)).await, Ok(None));
    assert_eq!(store.last_position(&scope, &mine.id).await, Ok(None));
    assert_eq!(store.note_recovery(&scope, &mine.id).await, Err(StoreError::NotFound));
    assert_eq!(store.delete_session(&scope, 9, &mine.id, Timestamp(1), OpenWork::Kept).await, Ok(SessionDeletion::NotFound));
    assert_eq!(store.delete_session(&home(), 9, &mine.id, Timestamp(1), OpenWork::Kept).await, Ok(SessionDeletion::Deleted));
    assert_eq!(store.deleted_session(&scope, &mine.id).await, Ok(None));
}
