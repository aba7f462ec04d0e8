//! Secrets that are closed for keys that are not the newest: found, and closed anew while everything goes on.

use std::collections::{BTreeMap, HashMap, HashSet};

use ostler_core::ids::{CredentialId, VaultId};
use ostler_core::scope::{Scope, SystemReason};
use ostler_seal::{Binding, KeyId, Sealed};
use ostler_store::{Cursor, Document, DocumentFilter, PageRequest, Store, StoreError};

use crate::egress::{Egress, EgressError, Owner};
use crate::limits;
use crate::mcp::McpLinks;
use crate::mcp::credential::CREDENTIAL;
use crate::network::Changed;
use crate::router::SessionRouter;

const SCOPE: Scope = Scope::System(SystemReason::Recovery);

/// Why secrets could not be closed anew. What was done stays done.
#[derive(Debug, thiserror::Error)]
pub enum ResealError {
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Egress.
    #[error(transparent)]
    Egress(#[from] EgressError),
    /// A credential that changes all the time.
    #[error("the credential {0} is being changed by others all the time; try again")]
    Contended(CredentialId),
}

/// What closing secrets anew came to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Resealed {
    /// Credentials whose secrets are closed for the newest key now, and were not.
    pub done: usize,
    /// Credentials with a secret of a known key that it does not open.
    pub stuck: Vec<CredentialId>,
    /// Credentials with a secret of a key that is not known.
    pub foreign: Vec<CredentialId>,
}

/// Closes every stored secret for the newest key. Who changes a credential meanwhile loses nothing.
///
/// # Errors
/// When the store or egress does not answer; it can be begun again.
pub async fn reseal(store: &dyn Store, egress: &dyn Egress, progress: &(dyn Fn(usize) + Sync)) -> Result<Resealed, ResealError> {
    reseal_beside(store, egress, None, progress).await
}

/// The same beside those who renew tokens, if there are any.
async fn reseal_beside(
    store: &dyn Store,
    egress: &dyn Egress,
    renewing: Option<&McpLinks>,
    progress: &(dyn Fn(usize) + Sync),
) -> Result<Resealed, ResealError> {
    let mut all = Resealed::default();
    let (newest, known) = (egress.public_key().id(), egress.key_ids());
    let mut page = PageRequest::first(limits::RESEALED_AT_ONCE);
    loop {
        let found = store.documents(&SCOPE, CREDENTIAL, &DocumentFilter::default(), &page).await?;
        for document in &found.rows {
            let Ok(credential) = document.id.parse::<CredentialId>() else { continue };
            let turn = renewing.map(|links| links.turn(&credential));
            let _turn = match &turn {
                Some(turn) => Some(turn.lock().await),
                None => None,
            };
            anew(store, egress, (credential, document.clone()), (&newest, &known), &mut all).await?;
        }
        progress(all.done);
        match found.rows.last().filter(|_| found.has_next) {
            Some(last) => page = PageRequest::after(Cursor::of_document(last), limits::RESEALED_AT_ONCE),
            None => return Ok(all),
        }
    }
}

async fn anew(
    store: &dyn Store,
    egress: &dyn Egress,
    (credential, first): (CredentialId, Document),
    (newest, known): (&KeyId, &[KeyId]),
    all: &mut Resealed,
) -> Result<(), ResealError> {
    let mut next = Some(first);
    for _ in 0..limits::RESEAL_TRIES {
        let Some(document) = next.take() else { return Ok(()) };
        let Some(vault) = document.family.as_ref().and_then(|family| family.parent.parse::<VaultId>().ok()) else { return Ok(()) };
        // Those that cannot be read stay as they are.
        let mut parts = parts(&document);
        let owner = Owner { workspace: document.workspace.clone(), vault: vault.clone(), credential: credential.clone() };
        let (mut is_changed, mut is_stuck, mut is_foreign) = (false, false, false);
        for text in parts.values_mut() {
            let Some(sealed) = text.parse::<Sealed>().ok().filter(|sealed| sealed.key() != newest) else { continue };
            let Some(binding) = sealed.claimed().filter(|_| known.contains(sealed.key())) else {
                let is_known = known.contains(sealed.key());
                (is_stuck, is_foreign) = (is_stuck || is_known, is_foreign || !is_known);
                continue;
            };
            match egress.reseal(&owner, &sealed, &Binding { version: document.lock + 1, ..binding }).await {
                Ok(closed) => (*text, is_changed) = (closed.to_string(), true),
                Err(EgressError::Refused(why)) => {
                    tracing::warn!(%credential, why, "a secret does not open with the key that it was sealed for");
                    is_stuck = true;
                }
                Err(error) => return Err(error.into()),
            }
        }
        if is_changed {
            let after = Document { lock: document.lock + 1, sealed: serde_json::to_string(&parts).ok(), ..document.clone() };
            if !store.replace_document(&SCOPE, &after, document.lock, false).await? {
                // Somebody was faster: what they wrote is looked at.
                next = store.document(&SCOPE, CREDENTIAL, credential.as_str()).await?;
                continue;
            }
            tracing::info!(%credential, key = %newest, "a credential was sealed for the newest key");
            all.done += 1;
        }
        all.stuck.extend(is_stuck.then(|| credential.clone()));
        all.foreign.extend(is_foreign.then(|| credential.clone()));
        return Ok(());
    }
    Err(ResealError::Contended(credential))
}

/// How many credentials have a secret of which key.
///
/// # Errors
/// When the store does not answer.
pub async fn keys_in_use(store: &dyn Store) -> Result<HashMap<KeyId, usize>, StoreError> {
    let mut keys = HashMap::new();
    let mut page = PageRequest::first(limits::RESEALED_AT_ONCE);
    loop {
        let found = store.documents(&SCOPE, CREDENTIAL, &DocumentFilter::default(), &page).await?;
        for document in &found.rows {
            let of_one: HashSet<KeyId> =
                parts(document).values().filter_map(|text| Some(text.parse::<Sealed>().ok()?.key().clone())).collect();
            for key in of_one {
                *keys.entry(key).or_default() += 1;
            }
        }
        match found.rows.last().filter(|_| found.has_next) {
            Some(last) => page = PageRequest::after(Cursor::of_document(last), limits::RESEALED_AT_ONCE),
            None => return Ok(keys),
        }
    }
}

/// The secrets of a credential as they are stored.
fn parts(document: &Document) -> BTreeMap<String, String> {
    document.sealed.as_deref().and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default()
}

impl SessionRouter {
    /// Closes every stored secret for the newest key, and has egress know the new seals before this returns.
    ///
    /// # Errors
    /// As [`reseal`].
    pub async fn reseal(&self, progress: &(dyn Fn(usize) + Sync)) -> Result<Resealed, ResealError> {
        let deps = self.deps();
        let resealed = reseal_beside(deps.store.as_ref(), deps.egress.as_ref(), Some(&deps.mcp), progress).await;
        // All of them, because an earlier try may have ended before it came to this: what sandboxes are known with must not need a
        // key that may be gone next.
        self.changed(Changed::Everything).await;
        resealed
    }

    /// Held by who seals, from asking for the key until the seal is stored.
    pub async fn sealing(&self) -> tokio::sync::RwLockReadGuard<'_, ()> {
        self.deps().sealing.read().await
    }

    /// While this is held nobody seals: a key that no stored secret needs now is needed by none.
    pub async fn no_sealing(&self) -> tokio::sync::RwLockWriteGuard<'_, ()> {
        self.deps().sealing.write().await
    }
}
