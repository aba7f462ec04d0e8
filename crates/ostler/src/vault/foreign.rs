//! Secrets that are sealed for a key that is not here, such as after a restore without it.

use ostler_runtime::egress::Egress;
use ostler_runtime::reseal::keys_in_use;
use ostler_store::Store;

/// Logs once that there are some, and what can be done.
pub(crate) async fn report(store: &dyn Store, egress: &dyn Egress) {
    let known = egress.key_ids();
    if known.len() > 1 {
        tracing::info!(keys = known.len(), "there are former keys of vaults; `ostler vault rotate-key` seals what still needs them anew");
    }
    match keys_in_use(store).await {
        Ok(keys) => {
            for (key, credentials) in keys.into_iter().filter(|(key, _)| !known.contains(key)) {
                tracing::warn!(
                    %key,
                    credentials,
                    "credentials are sealed for a key that is not here and cannot be used: put that key behind the present one in the key file and restart, or update the credentials with their secrets"
                );
            }
        }
        Err(error) => tracing::warn!(%error, "it cannot be looked whether all secrets can be opened"),
    }
}
