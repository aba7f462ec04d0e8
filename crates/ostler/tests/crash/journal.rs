//! The journal of a session as it lies on the disk, read without the server.

use std::path::Path;

use ostler_core::call::CallEnd;
use ostler_core::ids::SessionId;
use ostler_core::resources::session::SessionStatus;
use ostler_core::session::record::{Record, RecordBody};
use ostler_core::session::state::State;
use ostler_store::{SqliteConfig, SqliteStore, Store};

/// Records read at a time.
const PAGE: usize = 500;

/// Every record parses, their sequence is dense, they fold to an idle session, and no call's
/// outcome is unknown.
pub(crate) async fn verify(data_dir: &Path, session: &str) {
    let store = SqliteStore::open(SqliteConfig::new(data_dir)).unwrap();
    let id: SessionId = session.parse().unwrap();
    let mut records = Vec::new();
    loop {
        let page = store.records(&id, records.len() as u64, &[], PAGE).await.unwrap();
        for stored in &page {
            assert_eq!(stored.seq, records.len() as u64 + 1);
            let record: Record =
                serde_json::from_str(&stored.body).unwrap_or_else(|error| panic!("record {}: {error}: {}", stored.seq, stored.body));
            assert_ne!(record.body, RecordBody::Unknown, "record {}", stored.seq);
            records.push(record);
        }
        if page.is_empty() {
            break;
        }
    }
    let state = State::fold(&records).expect("the journal begins with the session");
    assert_eq!((state.status(), state.is_unfinished(), state.set_aside), (SessionStatus::Idle, false, false));
    let ends: Vec<CallEnd> = records
        .iter()
        .filter_map(|record| match &record.body {
            RecordBody::CallSettled { outcome, .. } => Some(outcome.end),
            _ => None,
        })
        .collect();
    assert!(ends.iter().all(|end| *end == CallEnd::Finished), "{ends:?}");
}
