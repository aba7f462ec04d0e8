//! Tenants, rows and batches for the stories. No expectations here.

use ostler_core::cost::Cost;
use ostler_core::ids::{ApiKeyId, EventId, SessionId};
use ostler_core::scope::{Principal, Scope, SystemReason, Tenant};
use ostler_core::time::Timestamp;

use crate::{Document, Family, NewApiKey, RowUpdate, SessionBatch, SessionRow, StoredEvent, StoredRecord};

/// The platform looking for work to take up.
pub const RECOVERY: Scope = Scope::System(SystemReason::Recovery);

/// A tenant: organization and workspace of this name.
pub fn tenant(name: &str) -> Scope {
    Scope::Tenant(Tenant {
        organization: format!("org_{name}").parse().unwrap(),
        workspace: format!("wrkspc_{name}").parse().unwrap(),
        principal: Principal::System,
    })
}

/// The tenant most stories act as.
pub fn home() -> Scope {
    tenant("home")
}

/// A tenant that must see nothing of [`home`].
pub fn stranger() -> Scope {
    tenant("stranger")
}

/// A session id.
pub fn sesn(name: &str) -> SessionId {
    format!("sesn_{name}").parse().unwrap()
}

/// The id of an event of a session.
pub fn event_id(session: &SessionId, position: u64) -> EventId {
    format!("sevt_{}-{position}", session.as_str().trim_start_matches("sesn_")).parse().unwrap()
}

/// A key.
pub fn new_key(name: &str, at: i64) -> NewApiKey {
    let id: ApiKeyId = format!("apikey_{name}").parse().unwrap();
    NewApiKey { id, sha256: [7; 32], name: name.to_owned(), created_at: Timestamp(at) }
}

/// An agent of [`home`], first version.
pub fn agent(id: &str, at: i64) -> Document {
    Document {
        kind: "agent".to_owned(),
        id: id.to_owned(),
        organization: "org_home".parse().unwrap(),
        workspace: "wrkspc_home".parse().unwrap(),
        version: 1,
        lock: 1,
        created_at: Timestamp(at),
        updated_at: Timestamp(at),
        archived_at: None,
        body: format!("{{\"name\":\"{id}\"}}"),
        family: None,
        sealed: None,
    }
}

/// A child of an agent, with something secret.
pub fn child(id: &str, parent: &str, key: &str, at: i64) -> Document {
    let family = Some(Family { parent: parent.to_owned(), key: key.to_owned() });
    Document { kind: "child".to_owned(), family, sealed: Some(format!("sealed-{id}")), ..agent(id, at) }
}

/// The next lock and version of a document.
pub fn revised(doc: &Document) -> Document {
    let body = format!("{{\"version\":{}}}", doc.version + 1);
    Document { version: doc.version + 1, lock: doc.lock + 1, body, ..doc.clone() }
}

/// An idle session of [`home`].
pub fn row(name: &str, at: i64) -> SessionRow {
    SessionRow {
        id: sesn(name),
        organization: "org_home".parse().unwrap(),
        workspace: "wrkspc_home".parse().unwrap(),
        agent_id: "agent_one".parse().unwrap(),
        agent_version: 1,
        environment_id: "env_one".parse().unwrap(),
        deployment_id: None,
        status: "idle".to_owned(),
        title: Some(name.to_owned()),
        agent: "{\"model\":\"m\"}".to_owned(),
        view: "{}".to_owned(),
        created_at: Timestamp(at),
        updated_at: Timestamp(at),
        archived_at: None,
        epoch: 0,
        last_seq: 0,
        last_position: 0,
        unfinished: false,
        recoveries: 0,
    }
}

/// An update to an idle row without progress.
pub fn idle(at: i64) -> RowUpdate {
    RowUpdate {
        status: "idle".to_owned(),
        unfinished: false,
        progress: false,
        updated_at: Some(Timestamp(at)),
        archived_at: None,
        title: None,
        view: None,
        agent: None,
        reserved: Cost::ZERO,
        capped: false,
        spend: None,
    }
}

/// A batch of `count` records after `after_seq`, each with an event at the position of its number.
pub fn batch(session: &SessionId, after_seq: u64, count: u64) -> SessionBatch {
    let seqs = after_seq + 1..=after_seq + count;
    let at = |seq: u64| Timestamp(i64::try_from(seq).unwrap() * 10);
    let kind = |seq: u64| if seq.is_multiple_of(2) { "even" } else { "odd" }.to_owned();
    let record = |seq| StoredRecord { seq, kind: kind(seq), at: at(seq), body: format!("{{\"seq\":{seq}}}") };
    let event = |seq| StoredEvent {
        position: seq,
        id: event_id(session, seq),
        kind: kind(seq),
        at: at(seq),
        thread: seq.is_multiple_of(2).then(|| "sthr_side".to_owned()),
        body: format!("{{\"position\":{seq}}}").into(),
    };
    SessionBatch {
        session: session.clone(),
        after_seq,
        records: seqs.clone().map(record).collect(),
        events: seqs.map(event).collect(),
        row: idle(at(after_seq + count).0),
    }
}

/// Stores an idle session with `count` records and events, owned by epoch 1.
pub async fn create(store: &dyn crate::Store, row: &SessionRow, count: u64) {
    let mut first = batch(&row.id, 0, count);
    first.row.status.clone_from(&row.status);
    first.row.archived_at = row.archived_at;
    first.row.unfinished = row.unfinished;
    let scope =
        Scope::Tenant(Tenant { organization: row.organization.clone(), workspace: row.workspace.clone(), principal: Principal::System });
    store.create_session(&scope, 1, row, &first).await.unwrap();
}
