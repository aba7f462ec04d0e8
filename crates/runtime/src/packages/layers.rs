//! What the runtime needs of the place where layers of packages lie, and its implementation by `ostler-sandbox`.

use std::collections::HashSet;
use std::sync::Arc;

use async_trait::async_trait;
use ostler_core::ids::{IncarnationId, SessionId};
use ostler_core::time::Timestamp;
pub use ostler_sandbox::Layer as BuiltLayer;
use ostler_sandbox::{SandboxSpec, Sandboxes};

use crate::sandbox::SandboxLink;

/// Builds, keeps and removes layers of packages. Errors say what to do.
#[async_trait]
pub trait PackageLayers: Send + Sync + std::fmt::Debug {
    /// What tells one system from another: the host's, or an image's.
    async fn system(&self, image: Option<&str>) -> Result<String, String>;
    /// A layer that is what was built.
    async fn verified(&self, key: &str) -> Result<Option<BuiltLayer>, String>;
    /// Starts the sandbox of a build, under a name of its own.
    async fn begin(&self, spec: &SandboxSpec) -> Result<(SessionId, IncarnationId, Arc<dyn SandboxLink>), String>;
    /// Ends a build and makes what it wrote a layer.
    async fn keep(&self, build: &SessionId, key: &str, image: Option<&str>, now: Timestamp) -> Result<BuiltLayer, String>;
    /// Ends a build; nothing of it is left.
    async fn abandon(&self, build: &SessionId) -> Result<(), String>;
    /// The keys of all layers, and of those that living sandboxes lie on.
    async fn list(&self) -> Result<(Vec<String>, HashSet<String>), String>;
    /// Removes a layer, if it is there.
    async fn remove(&self, key: &str) -> Result<(), String>;
}

#[async_trait]
impl PackageLayers for Sandboxes {
    async fn system(&self, image: Option<&str>) -> Result<String, String> {
        Self::system(self, image).await.map_err(|error| error.to_string())
    }

    async fn verified(&self, key: &str) -> Result<Option<BuiltLayer>, String> {
        self.verified_layer(key).await.map_err(|error| error.to_string())
    }

    async fn begin(&self, spec: &SandboxSpec) -> Result<(SessionId, IncarnationId, Arc<dyn SandboxLink>), String> {
        let (id, incarnation) = self.build_names().map_err(|error| error.to_string())?;
        match self.create(&id, &incarnation, spec).await {
            Ok(connection) => Ok((id, incarnation, Arc::new(connection))),
            Err(error) => {
                // Why it did not start is what is told.
                let _ = Sandboxes::remove(self, &id).await;
                Err(error.to_string())
            }
        }
    }

    async fn keep(&self, build: &SessionId, key: &str, image: Option<&str>, now: Timestamp) -> Result<BuiltLayer, String> {
        self.keep_layer(build, key, image, now).await.map_err(|error| error.to_string())
    }

    async fn abandon(&self, build: &SessionId) -> Result<(), String> {
        Sandboxes::remove(self, build).await.map_err(|error| error.to_string())
    }

    async fn list(&self) -> Result<(Vec<String>, HashSet<String>), String> {
        let in_use = self.layers_in_use().await.map_err(|error| error.to_string())?;
        Ok((self.list_layers().map_err(|error| error.to_string())?, in_use))
    }

    async fn remove(&self, key: &str) -> Result<(), String> {
        self.remove_layer(key).await.map_err(|error| error.to_string())
    }
}
