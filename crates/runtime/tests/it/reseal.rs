//! Secrets are closed for a new key while others change their credentials, and never lost.

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use ostler_core::egress::{Terms, Unusable};
use ostler_core::ids::{CredentialId, SessionId, VaultId};
use ostler_core::scope::{Scope, SystemReason};
use ostler_runtime::egress::{Egress, EgressError, Fetched, Owner, TokenAnswer, TokenToRenew};
use ostler_runtime::reseal::{Resealed, keys_in_use, reseal};
use ostler_seal::open::{KeyPair, KeyRing};
use ostler_seal::{Binding, KeyId, PublicKey, Sealed, seal};
use ostler_store::{Document, SqliteStore, Store as _};

use crate::network::credential;
use crate::node::Node;

const SYSTEM: Scope = Scope::System(SystemReason::Recovery);

/// An egress that opens and closes, and while it does so for the first time somebody changes the credential.
#[derive(Debug)]
struct Opener {
    ring: KeyRing,
    store: Arc<SqliteStore>,
    meddles: AtomicBool,
    is_down: AtomicBool,
}

#[async_trait]
impl Egress for Opener {
    fn public_key(&self) -> PublicKey {
        self.ring.public().clone()
    }

    fn key_ids(&self) -> Vec<KeyId> {
        self.ring.ids()
    }

    async fn reseal(&self, of: &Owner, sealed: &Sealed, binding: &Binding) -> Result<Sealed, EgressError> {
        if self.is_down.load(Ordering::Relaxed) {
            return Err(EgressError::Unavailable("it is down".into()));
        }
        if self.meddles.swap(false, Ordering::Relaxed) {
            let document = document(&self.store, &of.credential).await;
            let body = document.body.replace("\"metadata\":{}", "\"metadata\":{\"by\":\"another\"}");
            let changed = Document { lock: document.lock + 1, body, ..document.clone() };
            assert!(self.store.replace_document(&SYSTEM, &changed, document.lock, false).await.unwrap());
        }
        let (bound, secret) = self.ring.open(sealed).map_err(|error| EgressError::Refused(error.to_string()))?;
        assert_eq!((&bound.vault, &bound.credential), (&of.vault, &of.credential));
        Ok(seal(self.ring.public(), binding, secret.expose()).unwrap())
    }

    async fn renew_token(&self, _: TokenToRenew) -> Result<TokenAnswer, EgressError> {
        Err(EgressError::Unavailable("it reaches nobody".into()))
    }

    fn calls(&self) -> Option<&std::path::Path> {
        None
    }

    fn serves_sandboxes(&self) -> bool {
        false
    }

    async fn admit(&self, _: &SessionId, _: &Terms, _: Vec<OwnedFd>) -> Result<Vec<Unusable>, EgressError> {
        Ok(Vec::new())
    }

    async fn change(&self, _: &SessionId, _: &Terms) -> Result<Option<Vec<Unusable>>, EgressError> {
        Ok(None)
    }

    async fn renew(&self, _: &[SessionId]) -> Result<Vec<SessionId>, EgressError> {
        Ok(Vec::new())
    }

    async fn release(&self, _: &SessionId) -> Result<(), EgressError> {
        Ok(())
    }

    async fn records(&self, _: usize) -> Result<Fetched, EgressError> {
        Ok(Fetched::default())
    }
}

async fn document(store: &SqliteStore, id: &CredentialId) -> Document {
    store.document(&SYSTEM, "vault_credential", id.as_str()).await.unwrap().unwrap()
}

/// What is stored of a credential.
async fn sealed(store: &SqliteStore, id: &CredentialId) -> Sealed {
    let text = document(store, id).await.sealed.unwrap();
    serde_json::from_str::<serde_json::Value>(&text).unwrap()["secret_value"].as_str().unwrap().parse().unwrap()
}

#[tokio::test]
async fn every_secret_is_closed_anew_and_no_change_is_lost() {
    let node = Node::start().await;
    let old = KeyRing::new(KeyPair::generate().unwrap(), Vec::new());
    let ring = old.with_new(KeyPair::generate().unwrap());
    let vault: VaultId = "vlt_1".parse().unwrap();
    let one = credential(&node, old.public(), &vault, "ONE", "a.com").await;
    let two = credential(&node, old.public(), &vault, "TWO", "a.com").await;
    let new = credential(&node, ring.public(), &vault, "NEW", "a.com").await;
    let foreign = credential(&node, KeyPair::generate().unwrap().public(), &vault, "FOREIGN", "a.com").await;
    let opener = Opener { ring: ring.clone(), store: Arc::clone(&node.store), meddles: true.into(), is_down: true.into() };
    assert!(reseal(node.store.as_ref(), &opener, &|_| {}).await.unwrap_err().to_string().contains("down"));
    let count = |key: &PublicKey| {
        let (store, key) = (Arc::clone(&node.store), key.id());
        async move { keys_in_use(store.as_ref()).await.unwrap().get(&key).copied().unwrap_or(0) }
    };
    assert_eq!((count(old.public()).await, count(ring.public()).await), (2, 1));
    opener.is_down.store(false, Ordering::Relaxed);
    let before = document(&node.store, &new).await;
    let done = reseal(node.store.as_ref(), &opener, &|_| {}).await.unwrap();
    assert_eq!(done, Resealed { done: 2, stuck: Vec::new(), foreign: vec![foreign.clone()] });
    assert_eq!((count(old.public()).await, count(ring.public()).await), (0, 3));
    assert_eq!(document(&node.store, &new).await, before, "what needs nothing stays");
    let alone = ring.newest_alone();
    for id in [&one, &two] {
        let (binding, secret) = alone.open(&sealed(&node.store, id).await).unwrap();
        assert_eq!((secret.expose(), &binding.credential, binding.version), (&b"hidden"[..], id, document(&node.store, id).await.lock));
    }
    let meddled: Vec<bool> =
        [document(&node.store, &one).await, document(&node.store, &two).await].map(|one| one.body.contains("another")).into();
    assert_eq!(meddled.iter().filter(|is| **is).count(), 1, "the change of another is there");
    // Nothing is left to do, and what does not open is told and stays.
    let stuck = Sealed::clone(&seal(old.public(), &alone.open(&sealed(&node.store, &one).await).unwrap().0, b"x").unwrap());
    let text = stuck.to_string();
    let (head, _) = text.rsplit_once('.').unwrap();
    let at = document(&node.store, &one).await;
    let broken = Document { lock: at.lock + 1, sealed: Some(format!("{{\"secret_value\":\"{head}.AAAA\"}}")), ..at.clone() };
    assert!(node.store.replace_document(&SYSTEM, &broken, at.lock, false).await.unwrap());
    let again = reseal(node.store.as_ref(), &opener, &|_| {}).await.unwrap();
    assert_eq!(again, Resealed { done: 0, stuck: vec![one.clone()], foreign: vec![foreign] });
    assert_eq!(document(&node.store, &one).await, broken);
}
