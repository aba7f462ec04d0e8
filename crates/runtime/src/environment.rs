//! What environments of sessions say, on the server's own behalf.

use ostler_core::ids::EnvironmentId;
use ostler_core::resources::environment::EnvironmentBody;
use ostler_core::scope::{Scope, SystemReason};
use ostler_store::Document;

use crate::session::deps::Deps;

/// The kind of their documents.
pub(crate) const ENVIRONMENT: &str = "environment";

/// An environment as it is stored; nothing where it is gone.
pub(crate) async fn document(deps: &Deps, id: &EnvironmentId) -> Result<Option<Document>, String> {
    let found = deps.store.document(&Scope::System(SystemReason::Recovery), ENVIRONMENT, id.as_str()).await;
    found.map_err(|error| unreadable(&error))
}

/// What it says; nothing where it is gone.
pub(crate) async fn body(deps: &Deps, id: &EnvironmentId) -> Result<Option<EnvironmentBody>, String> {
    let document = document(deps, id).await?;
    document.map(|document| serde_json::from_str(&document.body).map_err(|error| unreadable(&error))).transpose()
}

fn unreadable(why: &dyn std::fmt::Display) -> String {
    format!("its environment cannot be read: {why}")
}
