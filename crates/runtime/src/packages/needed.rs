//! Which layers are needed: those that environments ask for and those that living sandboxes lie on. The others are removed.

use std::collections::HashSet;
use std::sync::Arc;

use ostler_core::ids::{EnvironmentId, WorkspaceId};
use ostler_core::scope::{Scope, SystemReason};
use ostler_store::{Cursor, DocumentFilter, PageRequest};

use super::{Known, Wanted, ensure, layers, wanted};
use crate::environment::{self, ENVIRONMENT};
use crate::limits;
use crate::router::SessionRouter;
use crate::session::deps::Deps;

impl SessionRouter {
    /// An environment is new, or was changed: what it asks for is installed in the background. Who needs it hears what goes wrong.
    pub fn prepare_packages(&self, environment: &EnvironmentId) {
        let (deps, id) = (Arc::clone(self.deps()), environment.clone());
        tokio::spawn(async move {
            let document = environment::document(&deps, &id).await.ok().flatten();
            let Some(document) = document.filter(|document| document.archived_at.is_none()) else { return };
            match wanted(&deps, &document).await {
                Ok(Some(wanted)) => drop(ensure(&deps, &wanted).await),
                Ok(None) => {}
                Err(why) => tracing::warn!(environment = %id, why, "packages cannot be installed"),
            }
            sweep(&deps).await;
        });
    }

    /// Compares all layers with what was built, so that no session has to wait for that. What differs is said when it is needed.
    pub async fn check_packages(self) {
        let Ok(layers) = layers(self.deps()) else { return };
        for key in layers.list().await.map(|(all, _)| all).unwrap_or_default() {
            if let Err(why) = layers.verified(&key).await {
                tracing::error!(key, why, "a layer of packages is refused");
            }
        }
    }

    /// An environment is archived or gone: what only it asked for is removed in the background.
    pub fn drop_packages(&self) {
        let deps = Arc::clone(self.deps());
        tokio::spawn(async move { sweep(&deps).await });
    }
}

/// Removes layers that nobody needs. What cannot be found out now stays for the next time.
pub(crate) async fn sweep(deps: &Deps) {
    if let Err(why) = swept(deps).await {
        tracing::warn!(why, "layers of packages that nobody needs stay until the next look");
    }
}

async fn swept(deps: &Deps) -> Result<(), String> {
    let Ok(layers) = layers(deps) else { return Ok(()) };
    // Nobody starts a sandbox on one meanwhile.
    let _gate = deps.packages.gate.write().await;
    let (all, in_use) = layers.list().await?;
    if all.is_empty() {
        return Ok(());
    }
    let asked_for = asked_for(deps, None).await?;
    for key in all {
        let is_built = matches!(deps.packages.lock().get(&key), Some(Known::Building { .. }));
        if !is_built && !in_use.contains(&key) && !asked_for.contains(&key) {
            layers.remove(&key).await?;
            tracing::info!(key, "a layer of packages that nobody needs is removed");
        }
    }
    Ok(())
}

/// The keys of the layers that environments ask for, of one workspace or of all.
pub(super) async fn asked_for(deps: &Deps, of: Option<&WorkspaceId>) -> Result<HashSet<String>, String> {
    let scope = Scope::System(SystemReason::Recovery);
    let mut keys = HashSet::new();
    let mut request = PageRequest::first(limits::ENVIRONMENTS_AT_ONCE);
    loop {
        let page =
            deps.store.documents(&scope, ENVIRONMENT, &DocumentFilter::default(), &request).await.map_err(|error| error.to_string())?;
        for document in page.rows.iter().filter(|document| of.is_none_or(|workspace| document.workspace == *workspace)) {
            // Where its image is gone, nothing can be started in it.
            if let Ok(Some(Wanted { key, .. })) = wanted(deps, document).await {
                keys.insert(key);
            }
        }
        match page.rows.last() {
            Some(last) if page.has_next => request = PageRequest::after(Cursor::of_document(last), limits::ENVIRONMENTS_AT_ONCE),
            _ => return Ok(keys),
        }
    }
}
