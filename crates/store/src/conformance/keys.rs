//! Stories of the node, of tenancy and of API keys.

use ostler_core::scope::{Scope, SystemReason};
use ostler_core::time::Timestamp;

use super::fixtures::{home, new_key, stranger};
use crate::{Bootstrap, Store, StoreError};

const BOOTSTRAP: Scope = Scope::System(SystemReason::Bootstrap);
const AUTHENTICATION: Scope = Scope::System(SystemReason::Authentication);

/// Epochs only grow; the install id is made once.
pub async fn epochs_grow_and_the_install_id_stays(store: &dyn Store) {
    assert_eq!(store.begin_epoch().await, Ok(1));
    assert_eq!(store.begin_epoch().await, Ok(2));
    let id = store.install_id().await.unwrap();
    assert!(id.len() == 16 && id.bytes().all(|b| b.is_ascii_hexdigit()), "{id}");
    assert_eq!(store.install_id().await, Ok(id));
    assert!(store.space().free_bytes > 0 && store.space().total_bytes >= store.space().free_bytes);
}

/// The second bootstrap makes nothing, whatever it names.
pub async fn bootstrap_happens_once(store: &dyn Store) {
    let first = |name: &str| Bootstrap {
        organization: format!("org_{name}").parse().unwrap(),
        workspace: format!("wrkspc_{name}").parse().unwrap(),
        key: new_key(name, 5),
    };
    assert!(matches!(store.bootstrap(&home(), &first("home")).await, Err(StoreError::OutOfScope(_))));
    assert_eq!(store.bootstrap(&BOOTSTRAP, &first("home")).await, Ok(true));
    assert_eq!(store.bootstrap(&BOOTSTRAP, &first("other")).await, Ok(false));
    let key = store.api_key(&AUTHENTICATION, &new_key("home", 0).id).await.unwrap().unwrap();
    assert_eq!((key.workspace.as_str(), key.sha256, key.revoked_at), ("wrkspc_home", [7; 32], None));
    assert_eq!(store.api_key(&AUTHENTICATION, &new_key("other", 0).id).await, Ok(None));
}

/// Keys are seen, revoked and listed in their own workspace only.
pub async fn keys_stay_in_their_workspace(store: &dyn Store) {
    let (home, stranger) = (home(), stranger());
    for (name, at) in [("a", 1), ("b", 2)] {
        store.add_api_key(&home, new_key(name, at)).await.unwrap();
    }
    assert!(matches!(store.add_api_key(&stranger, new_key("a", 3)).await, Err(StoreError::Conflict(_))));
    let id = new_key("a", 0).id;
    assert_eq!(store.api_key(&stranger, &id).await, Ok(None));
    assert_eq!(store.api_keys(&stranger).await, Ok(Vec::new()));
    assert_eq!(store.revoke_api_key(&stranger, &id, Timestamp(9)).await, Ok(false));
    assert_eq!(store.revoke_api_key(&home, &id, Timestamp(9)).await, Ok(true));
    assert_eq!(store.revoke_api_key(&home, &id, Timestamp(10)).await, Ok(true));
    let keys = store.api_keys(&home).await.unwrap();
    let seen: Vec<_> = keys.iter().map(|key| (key.name.as_str(), key.revoked_at)).collect();
    assert_eq!(seen, [("b", None), ("a", Some(Timestamp(9)))]);
    assert!(store.document(&AUTHENTICATION, "agent", "x").await.is_err());
    assert!(store.api_keys(&AUTHENTICATION).await.is_err());
}
