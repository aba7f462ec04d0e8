//! Budgets that the sessions of a workspace share.

use std::sync::Arc;

use ostler_core::cost::Cost;
use ostler_core::time::Timestamp;

use super::fixtures::{RECOVERY, batch, create, home, row, stranger};
use crate::{OpenWork, Reserve, SessionBatch, Spend, Store, StoreError, WorkspaceBudget};

fn spending(name: &str, after_seq: u64, release: u64, charge: u64, reserve: Reserve) -> SessionBatch {
    let mut next = batch(&row(name, 1).id, after_seq, 1);
    next.row.reserved = match reserve {
        Reserve::Amount(amount) => amount,
        Reserve::Nothing | Reserve::Unpriced => Cost::ZERO,
    };
    next.row.spend = Some(Spend { release: Cost(release), charge: Cost(charge), reserve });
    next
}

fn amount(nanos: u64) -> Reserve {
    Reserve::Amount(Cost(nanos))
}

fn budget(cap: Option<u64>, spent: u64, reserved: u64) -> WorkspaceBudget {
    WorkspaceBudget { cap: cap.map(Cost), spent: Cost(spent), reserved: Cost(reserved) }
}

/// With and without a cap, and only in the workspace's own account.
pub async fn what_is_spent_and_set_aside_adds_up(store: &dyn Store) {
    assert_eq!(store.workspace_budget(&home()).await, Ok(WorkspaceBudget::default()));
    create(store, &row("a", 1), 0).await;
    store.append(1, spending("a", 0, 0, 0, amount(100))).await.unwrap();
    assert_eq!(store.workspace_budget(&home()).await, Ok(budget(None, 0, 100)));
    store.append(1, spending("a", 1, 100, 30, amount(50))).await.unwrap();
    assert_eq!(store.workspace_budget(&home()).await, Ok(budget(None, 30, 50)));
    assert_eq!(store.set_workspace_cap(&home(), Some(Cost(500))).await, Ok(budget(Some(500), 30, 50)));
    store.append(1, spending("a", 2, 50, 70, Reserve::Nothing)).await.unwrap();
    assert_eq!(store.workspace_budget(&home()).await, Ok(budget(Some(500), 100, 0)));
    assert_eq!(store.set_workspace_cap(&home(), None).await, Ok(budget(None, 100, 0)));
    assert_eq!(store.workspace_budget(&stranger()).await, Ok(WorkspaceBudget::default()));
}

/// The request that reaches the cap was the last; what it is charged is written whatever the cap.
pub async fn a_cap_admits_nothing_once_it_is_reached(store: &dyn Store) {
    create(store, &row("a", 1), 0).await;
    create(store, &row("b", 2), 0).await;
    store.set_workspace_cap(&home(), Some(Cost(100))).await.unwrap();
    store.append(1, spending("a", 0, 0, 0, amount(99))).await.unwrap();
    store.append(1, spending("b", 0, 0, 0, amount(60))).await.unwrap();
    let refused = spending("a", 1, 99, 99, amount(1));
    assert_eq!(store.append(1, refused.clone()).await, Err(StoreError::CapReached));
    assert_eq!(store.workspace_budget(&home()).await, Ok(budget(Some(100), 0, 159)), "nothing of a refused batch is written");
    store.append(1, spending("a", 1, 99, 30, Reserve::Nothing)).await.unwrap();
    store.append(1, spending("a", 2, 0, 0, amount(1))).await.unwrap();
    store.set_workspace_cap(&home(), Some(Cost(10))).await.unwrap();
    assert_eq!(store.append(1, spending("b", 1, 60, 1, amount(1))).await, Err(StoreError::CapReached));
    store.set_workspace_cap(&home(), None).await.unwrap();
    store.append(1, spending("b", 1, 60, 1, amount(1))).await.unwrap();
    assert_eq!(store.workspace_budget(&home()).await, Ok(budget(None, 31, 2)));
}

/// A thousand sessions ask at once for ten each under a cap of a thousand: a hundred get it.
pub async fn a_cap_holds_under_concurrency(store: &dyn Store) {
    const SESSIONS: usize = 1_000;
    store.set_workspace_cap(&home(), Some(Cost(1_000))).await.unwrap();
    let names: Vec<Arc<str>> = (0..SESSIONS).map(|n| Arc::from(format!("s{n}"))).collect();
    futures::future::join_all(names.iter().map(|name| async { create(store, &row(name, 1), 0).await })).await;
    let asked = names.iter().map(|name| store.append(1, spending(name, 0, 0, 0, amount(10))));
    let admitted = futures::future::join_all(asked).await;
    let (yes, no): (Vec<_>, Vec<_>) = admitted.into_iter().partition(Result::is_ok);
    assert_eq!((yes.len(), no.len()), (100, SESSIONS - 100));
    assert!(no.iter().all(|refused| *refused == Err(StoreError::CapReached)), "{no:?}");
    assert_eq!(store.workspace_budget(&home()).await, Ok(budget(Some(1_000), 0, 1_000)));
}

/// Nonsense of a provider breaks no later append.
pub async fn absurd_amounts_are_bounded(store: &dyn Store) {
    create(store, &row("a", 1), 0).await;
    for seq in 0..300 {
        store.append(1, spending("a", seq, 0, u64::MAX, amount(u64::MAX))).await.unwrap();
    }
    assert_eq!(store.workspace_budget(&home()).await, Ok(budget(None, 1 << 55, 1 << 55)));
}

/// What has no price is admitted only where nobody counts.
pub async fn a_cap_needs_prices(store: &dyn Store) {
    create(store, &row("a", 1), 0).await;
    store.append(1, spending("a", 0, 0, 0, Reserve::Unpriced)).await.unwrap();
    store.set_workspace_cap(&home(), Some(Cost(1_000))).await.unwrap();
    assert_eq!(store.append(1, spending("a", 1, 0, 0, Reserve::Unpriced)).await, Err(StoreError::CapNeedsPrice));
    store.set_workspace_cap(&home(), None).await.unwrap();
    store.append(1, spending("a", 1, 0, 0, Reserve::Unpriced)).await.unwrap();
}

/// Its spending stays; its reservation is charged, because nobody will say what became of it.
pub async fn a_deleted_session_has_spent_what_it_set_aside(store: &dyn Store) {
    create(store, &row("a", 1), 0).await;
    store.append(1, spending("a", 0, 0, 5, amount(100))).await.unwrap();
    store.delete_session(&home(), 1, &row("a", 1).id, Timestamp(9), OpenWork::Deleted).await.unwrap();
    assert_eq!(store.workspace_budget(&home()).await, Ok(budget(None, 105, 0)));
}

/// Found while they wait, by their own workspace.
pub async fn sessions_that_wait_for_budget_are_found(store: &dyn Store) {
    create(store, &row("a", 1), 0).await;
    create(store, &row("b", 2), 0).await;
    let mut waits = batch(&row("a", 1).id, 0, 1);
    waits.row.capped = true;
    store.append(1, waits).await.unwrap();
    assert_eq!(store.capped_sessions(&home()).await, Ok(vec![row("a", 1).id]));
    assert_eq!(store.capped_sessions(&stranger()).await, Ok(Vec::new()));
    let found = store.capped_workspaces(&RECOVERY).await.unwrap();
    assert_eq!(found.iter().map(|(_, workspace)| workspace.as_str()).collect::<Vec<_>>(), ["wrkspc_home"]);
    assert!(store.capped_workspaces(&home()).await.is_err());
    store.append(1, batch(&row("a", 1).id, 1, 1)).await.unwrap();
    assert_eq!(store.capped_sessions(&home()).await, Ok(Vec::new()));
}
