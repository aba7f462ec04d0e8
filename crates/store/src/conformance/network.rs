//! Stories of the network logs of sessions.

use ostler_core::time::Timestamp;

use super::fixtures::{RECOVERY, create, home, row, sesn, stranger};
use crate::{NetworkQuery, NewNetworkLine, OpenWork, SessionDeletion, Store, limits};

fn line(session: &str, at: i64, host: &str, is_allowed: bool) -> NewNetworkLine {
    let body = format!("{{\"at\":{at}}}");
    NewNetworkLine { session: sesn(session), at: Timestamp(at), host: Some(host.to_owned()), is_allowed: Some(is_allowed), body }
}

fn all() -> NetworkQuery {
    NetworkQuery { limit: 100, ..NetworkQuery::default() }
}

/// The times of the lines of a session.
async fn times(store: &dyn Store, session: &str, query: NetworkQuery) -> Vec<i64> {
    store.network_lines(&home(), &sesn(session), &query).await.unwrap().unwrap().iter().map(|line| line.at.0).collect()
}

/// Lines are listed newest first, page by page, by host and by what was decided.
pub async fn network_lines_are_listed_newest_first(store: &dyn Store) {
    create(store, &row("a", 1), 0).await;
    create(store, &row("b", 2), 0).await;
    let lost = NewNetworkLine { host: None, is_allowed: None, ..line("a", 4, "", true) };
    let lines = vec![line("a", 1, "x.com", true), line("b", 2, "x.com", true), line("a", 3, "y.com", false), lost];
    store.add_network_lines(&lines).await.unwrap();
    // Of a session that is gone there is nothing to keep.
    store.add_network_lines(&[line("gone", 9, "x.com", true), line("a", 5, "x.com", false)]).await.unwrap();
    assert_eq!(times(store, "a", all()).await, [5, 4, 3, 1]);
    assert_eq!(times(store, "b", all()).await, [2]);
    let of = |host: Option<&str>, is_allowed| NetworkQuery { host: host.map(str::to_owned), is_allowed, ..all() };
    for (query, expected) in [
        (of(Some("x.com"), None), vec![5, 1]),
        (of(None, Some(false)), vec![5, 3]),
        (of(Some("x.com"), Some(true)), vec![1]),
        (of(Some("z.com"), None), vec![]),
    ] {
        assert_eq!(times(store, "a", query.clone()).await, expected, "{query:?}");
    }
    let first = store.network_lines(&home(), &sesn("a"), &NetworkQuery { limit: 2, ..all() }).await.unwrap().unwrap();
    assert_eq!(first.iter().map(|line| line.body.as_str()).collect::<Vec<_>>(), ["{\"at\":5}", "{\"at\":4}"]);
    let rest = NetworkQuery { before: Some(first[1].position), ..all() };
    assert_eq!(times(store, "a", rest).await, [3, 1]);
    assert!(times(store, "a", NetworkQuery { before: Some(1), ..all() }).await.is_empty());
    assert!(times(store, "a", NetworkQuery { before: Some(0), ..all() }).await.is_empty());
}

/// A log is bounded by its lines and by their age.
pub async fn network_logs_are_bounded(store: &dyn Store) {
    create(store, &row("a", 1), 0).await;
    create(store, &row("b", 2), 0).await;
    store.add_network_lines(&[line("b", 1, "x.com", true)]).await.unwrap();
    let most = limits::NETWORK_LINES_PER_SESSION;
    let lines: Vec<_> = (1..=most + 2).map(|at| line("a", at, "x.com", true)).collect();
    store.add_network_lines(&lines).await.unwrap();
    let before = |position: u64| NetworkQuery { before: Some(position), ..all() };
    assert_eq!(times(store, "a", before(5)).await, [4, 3], "the oldest are gone");
    assert_eq!(times(store, "b", all()).await, [1]);
    assert!(store.forget_network_lines(&home(), Timestamp(5)).await.is_err());
    assert_eq!(store.forget_network_lines(&RECOVERY, Timestamp(5)).await, Ok(3));
    assert_eq!(store.forget_network_lines(&RECOVERY, Timestamp(5)).await, Ok(0));
    assert_eq!(times(store, "a", before(6)).await, [5]);
    assert!(times(store, "b", all()).await.is_empty());
}

/// A log goes with its session, and nobody else sees it.
pub async fn a_network_log_is_of_its_session_alone(store: &dyn Store) {
    create(store, &row("a", 1), 0).await;
    store.add_network_lines(&[line("a", 1, "x.com", true)]).await.unwrap();
    assert_eq!(store.network_lines(&stranger(), &sesn("a"), &all()).await, Ok(None));
    assert_eq!(store.network_lines(&home(), &sesn("none"), &all()).await, Ok(None));
    assert_eq!(store.delete_session(&home(), 1, &sesn("a"), Timestamp(8), OpenWork::Kept).await, Ok(SessionDeletion::Deleted));
    assert_eq!(store.network_lines(&home(), &sesn("a"), &all()).await, Ok(None));
    // A new session may take the place of the deleted one and must inherit nothing of it.
    create(store, &row("new", 3), 0).await;
    assert!(times(store, "new", all()).await.is_empty());
}
