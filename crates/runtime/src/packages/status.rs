//! How it stands with the packages of an environment, for people.

use ostler_core::error::Refusal;
use ostler_core::ids::EnvironmentId;
use ostler_core::scope::Scope;
use ostler_core::time::Timestamp;
use tokio::time::Instant;

use super::{Known, Wanted, begin, layers, wanted};
use crate::environment::ENVIRONMENT;
use crate::error::RuntimeError;
use crate::router::SessionRouter;

/// Whether packages are installed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PackagesState {
    /// Not yet; the next session that needs them has them installed.
    Absent,
    /// They are being installed.
    Building,
    /// They are there, or none are asked for.
    Ready,
    /// They could not be installed.
    Failed,
}

/// How it stands with the packages of an environment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PackagesStatus {
    /// Whether they are installed.
    pub state: PackagesState,
    /// What is done now.
    pub step: Option<String>,
    /// Why they are not.
    pub error: Option<String>,
    /// In how many seconds the next session tries it again.
    pub retry_seconds: Option<u64>,
    /// The digest of what was installed.
    pub digest: Option<String>,
    /// Bytes of it.
    pub bytes: Option<u64>,
    /// When it was installed.
    pub built_at: Option<Timestamp>,
}

impl PackagesStatus {
    const fn of(state: PackagesState) -> Self {
        Self { state, step: None, error: None, retry_seconds: None, digest: None, bytes: None, built_at: None }
    }
}

impl SessionRouter {
    /// How it stands with the packages of an environment.
    ///
    /// # Errors
    /// When there is no such environment in the scope.
    pub async fn packages(&self, scope: &Scope, environment: &EnvironmentId) -> Result<PackagesStatus, RuntimeError> {
        match self.wanted_in(scope, environment).await? {
            Ok(Some(wanted)) => Ok(self.status(&wanted).await),
            Ok(None) => Ok(PackagesStatus::of(PackagesState::Ready)),
            Err(why) => Ok(PackagesStatus { error: Some(why), ..PackagesStatus::of(PackagesState::Failed) }),
        }
    }

    /// Has the packages of an environment installed now, also if that failed just before; those that are there but were changed from
    /// outside are installed anew.
    ///
    /// # Errors
    /// When there is no such environment in the scope, it is archived, or living sandboxes lie on what was changed.
    pub async fn build_packages(&self, scope: &Scope, environment: &EnvironmentId) -> Result<PackagesStatus, RuntimeError> {
        let deps = self.deps();
        if let Ok(Some(wanted)) = self.wanted_in(scope, environment).await? {
            let layers = layers(deps).map_err(RuntimeError::Sandboxes)?;
            match layers.verified(&wanted.key).await {
                Ok(Some(_)) => return Ok(self.status(&wanted).await),
                Ok(None) => {}
                Err(_) => {
                    let _gate = deps.packages.gate.write().await;
                    let (_, in_use) = layers.list().await.map_err(RuntimeError::Sandboxes)?;
                    if in_use.contains(&wanted.key) {
                        return Err(
                            Refusal::conflict("living sandboxes use these packages; end them first (`ostler sandboxes list`)").into()
                        );
                    }
                    layers.remove(&wanted.key).await.map_err(RuntimeError::Sandboxes)?;
                }
            }
            if let Some(Known::Failed { retry, .. }) = deps.packages.lock().get_mut(&wanted.key) {
                *retry = Instant::now();
            }
            // What goes wrong is in the status.
            let _ = begin(deps, &wanted);
        }
        self.packages(scope, environment).await
    }

    async fn wanted_in(&self, scope: &Scope, environment: &EnvironmentId) -> Result<Result<Option<Wanted>, String>, RuntimeError> {
        let document = self.deps().store.document(scope, ENVIRONMENT, environment.as_str()).await?;
        let document = document.ok_or_else(|| Refusal::not_found(format!("no environment {:?}", environment.as_str())))?;
        Ok(wanted(self.deps(), &document).await)
    }

    async fn status(&self, wanted: &Wanted) -> PackagesStatus {
        let deps = self.deps();
        match deps.packages.lock().get(&wanted.key) {
            Some(Known::Building { step, .. }) => {
                return PackagesStatus { step: Some(step.clone()), ..PackagesStatus::of(PackagesState::Building) };
            }
            Some(Known::Failed { why, retry, .. }) => {
                let left = retry.saturating_duration_since(Instant::now()).as_secs();
                return PackagesStatus { error: Some(why.clone()), retry_seconds: Some(left), ..PackagesStatus::of(PackagesState::Failed) };
            }
            None => {}
        }
        let found = match layers(deps) {
            Ok(layers) => layers.verified(&wanted.key).await,
            Err(why) => Err(why),
        };
        match found {
            Ok(Some(layer)) => PackagesStatus {
                digest: Some(layer.digest),
                bytes: Some(layer.bytes),
                built_at: Some(layer.built_at),
                ..PackagesStatus::of(PackagesState::Ready)
            },
            Ok(None) => PackagesStatus::of(PackagesState::Absent),
            Err(why) => PackagesStatus { error: Some(why), ..PackagesStatus::of(PackagesState::Failed) },
        }
    }
}
