//! Packages of environments: installed once into a layer of their workspace, which the sandboxes of its sessions lie on. A layer is
//! built when an environment asks for it, or when a session needs it; whoever needs it meanwhile waits for the one build.

mod build;
mod layers;
pub(crate) mod needed;
mod status;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use ostler_core::ids::{EnvironmentId, OrganizationId, WorkspaceId};
use ostler_core::packages;
use ostler_core::resources::environment::{EnvironmentBody, Packages};
use ostler_store::Document;
use tokio::sync::{OnceCell, RwLock, watch};
use tokio::time::Instant;

use crate::environment;
use crate::limits;
use crate::session::deps::Deps;
use crate::turns::Turns;

pub use layers::{BuiltLayer, PackageLayers};
pub use status::{PackagesState, PackagesStatus};

/// A layer that an environment asks for.
#[derive(Debug, Clone)]
struct Wanted {
    key: String,
    organization: OrganizationId,
    workspace: WorkspaceId,
    environment: EnvironmentId,
    body: EnvironmentBody,
    /// The image that is the system; none: the host's own.
    image: Option<String>,
}

impl Wanted {
    fn packages(&self) -> Packages {
        self.body.packages().cloned().unwrap_or_default()
    }
}

/// What became of a build; nothing while it goes on.
type Outcome = Option<Result<(), String>>;

#[derive(Debug)]
enum Known {
    Building {
        /// What is done now, for people.
        step: String,
        outcome: watch::Receiver<Outcome>,
    },
    Failed {
        why: String,
        /// How often in a row.
        times: u32,
        /// Before which it is not tried again by itself.
        retry: Instant,
    },
}

/// Builds that go on, and those that failed last.
#[derive(Debug)]
pub(crate) struct Builds {
    known: Mutex<HashMap<String, Known>>,
    places: Turns,
    /// Held for reading while a sandbox is started on a layer, and for writing while layers are removed.
    gate: RwLock<()>,
    /// What the host's system is, for the life of a server.
    host: OnceCell<String>,
}

impl Default for Builds {
    fn default() -> Self {
        Self { known: Mutex::default(), places: Turns::new(limits::PACKAGE_BUILDS), gate: RwLock::default(), host: OnceCell::new() }
    }
}

impl Builds {
    fn lock(&self) -> MutexGuard<'_, HashMap<String, Known>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn step(&self, key: &str, now: &str) {
        if let Some(Known::Building { step, .. }) = self.lock().get_mut(key) {
            now.clone_into(step);
        }
    }

    /// Held by who starts a sandbox on a layer, so that it is not removed meanwhile.
    pub(crate) async fn hold(&self) -> tokio::sync::RwLockReadGuard<'_, ()> {
        self.gate.read().await
    }
}

/// The key of the layer that sandboxes of an environment lie on, once it is there; nothing where it has no packages.
pub(crate) async fn layer(deps: &Arc<Deps>, id: &EnvironmentId) -> Result<Option<String>, String> {
    let Some(document) = environment::document(deps, id).await? else { return Ok(None) };
    let Some(wanted) = wanted(deps, &document).await? else { return Ok(None) };
    let ready = tokio::time::timeout(limits::PACKAGES_WAIT, ensure(deps, &wanted)).await;
    let late = || {
        format!(
            "its packages were not installed within {} minutes; see `ostler environments packages {id}`",
            limits::PACKAGES_WAIT.as_secs() / 60
        )
    };
    ready.unwrap_or_else(|_| Err(late()))?;
    Ok(Some(wanted.key))
}

/// The layer that an environment asks for, if it asks for packages.
async fn wanted(deps: &Deps, document: &Document) -> Result<Option<Wanted>, String> {
    let body: EnvironmentBody = serde_json::from_str(&document.body).map_err(|error| format!("its environment cannot be read: {error}"))?;
    let Some(packages) = body.packages() else { return Ok(None) };
    let layers = layers(deps)?;
    let image = deps.policy.spec(body.sandbox.as_ref()).image;
    let system = match &image {
        Some(image) => layers.system(Some(image)).await?,
        None => deps.packages.host.get_or_try_init(|| layers.system(None)).await?.clone(),
    };
    let environment = document.id.parse().map_err(|_| "its environment has no id".to_owned())?;
    let (organization, workspace) = (document.organization.clone(), document.workspace.clone());
    let key = packages::key(&workspace, &system, packages);
    Ok(Some(Wanted { key, organization, workspace, environment, body, image }))
}

fn layers(deps: &Deps) -> Result<Arc<dyn PackageLayers>, String> {
    deps.sandboxes.layers().ok_or_else(|| "packages cannot be installed here: sandboxes of this server have no layers".to_owned())
}

/// Waits until a layer is there.
async fn ensure(deps: &Arc<Deps>, wanted: &Wanted) -> Result<(), String> {
    if layers(deps)?.verified(&wanted.key).await?.is_some() {
        return Ok(());
    }
    let mut outcome = begin(deps, wanted)?;
    match outcome.wait_for(Option::is_some).await {
        Ok(outcome) => outcome.clone().unwrap_or(Ok(())),
        Err(_) => Err("installing its packages ended inside the server; see its log".to_owned()),
    }
}

/// Joins the build of a layer, or starts it. One that failed just now is not tried again.
fn begin(deps: &Arc<Deps>, wanted: &Wanted) -> Result<watch::Receiver<Outcome>, String> {
    let mut known = deps.packages.lock();
    let times = match known.get(&wanted.key) {
        Some(Known::Building { outcome, .. }) => return Ok(outcome.clone()),
        Some(Known::Failed { why, retry, .. }) if *retry > Instant::now() => {
            let left = retry.saturating_duration_since(Instant::now()).as_secs() + 1;
            return Err(format!("{why}\n(not tried again for {left} seconds)"));
        }
        Some(Known::Failed { times, .. }) => *times,
        None => 0,
    };
    let (sender, outcome) = watch::channel(None);
    known.insert(wanted.key.clone(), Known::Building { step: "waiting".to_owned(), outcome: outcome.clone() });
    drop(known);
    let (deps, wanted) = (Arc::clone(deps), wanted.clone());
    tokio::spawn(async move {
        let inner = {
            tokio::spawn({
                let (deps, wanted) = (Arc::clone(&deps), wanted.clone());
                async move { build::build(&deps, &wanted).await }
            })
        };
        let done = inner.await.unwrap_or_else(|_| Err("installing packages died inside the server; see its log".to_owned()));
        {
            let mut known = deps.packages.lock();
            match &done {
                Ok(()) => {
                    known.remove(&wanted.key);
                }
                Err(why) => {
                    let retry = Instant::now() + backoff(times);
                    known.insert(wanted.key.clone(), Known::Failed { why: why.clone(), times: times.saturating_add(1), retry });
                }
            }
        }
        // Nobody may wait any more.
        let _ = sender.send(Some(done));
    });
    Ok(outcome)
}

/// How long after so many failures in a row it is tried again.
fn backoff(times: u32) -> Duration {
    limits::PACKAGES_RETRY.saturating_mul(1 << times.min(16)).min(limits::PACKAGES_RETRY_MOST)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_fails_again_and_again_is_tried_less_often() {
        let waits: Vec<u64> = [0, 1, 2, 3, 60].map(|times| backoff(times).as_secs()).into();
        assert_eq!(waits, [15, 30, 60, 120, 900]);
    }
}
