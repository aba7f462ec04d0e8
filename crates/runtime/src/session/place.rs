//! The session's sandbox: started, found, forgotten and ended here. It may be started ahead of the record
//! that asks for it, while the model still says what it is for.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use ostler_core::ids::{EnvironmentId, IncarnationId, SessionId, WorkspaceId};
use ostler_core::session::step::Input;
use ostler_sandbox::SandboxSpec;
use tokio::sync::Mutex;

use super::deps::Deps;
use super::effects::{Results, supervised};
use crate::environment;
use crate::limits;
use crate::network;
use crate::packages;
use crate::policy;
use crate::sandbox::{AttachFailure, SandboxLink};

/// A life and the way to it.
type Life = (IncarnationId, Arc<dyn SandboxLink>);

/// The way to the session's sandbox. Held while it is looked for, so that it is looked for once.
#[derive(Debug, Clone, Default)]
pub(crate) struct Link {
    lives: Arc<Mutex<Lives>>,
    /// Whether one was started ahead and may not be taken yet.
    is_ahead: Arc<AtomicBool>,
}

#[derive(Debug, Default)]
struct Lives {
    known: Option<Life>,
    /// Started ahead; nothing was given to it and no record names it.
    ahead: Option<Life>,
}

impl Link {
    /// The way to the sandbox, if it is known.
    pub(crate) async fn known(&self) -> Option<Arc<dyn SandboxLink>> {
        self.lives.lock().await.known.as_ref().map(|(_, alive)| Arc::clone(alive))
    }
}

/// Whose sandbox.
#[derive(Debug, Clone)]
pub(crate) struct Whose {
    pub(crate) session: SessionId,
    pub(crate) workspace: WorkspaceId,
    pub(crate) environment: EnvironmentId,
}

/// Starts a sandbox before it is asked for.
#[derive(Debug)]
pub(crate) struct Ahead {
    pub(crate) deps: Arc<Deps>,
    pub(crate) whose: Whose,
    pub(crate) link: Link,
}

impl Ahead {
    /// Starts it in the background. Why it cannot be had is found again, and said, when it is asked for.
    pub(crate) fn start(self) {
        let Self { deps, whose, link } = self;
        link.is_ahead.store(true, Ordering::Relaxed);
        tokio::spawn(async move {
            let mut lives = link.lives.lock().await;
            if lives.known.is_none() && lives.ahead.is_none() && link.is_ahead.load(Ordering::Relaxed) {
                lives.ahead = create(&deps, &whose).await.ok();
            }
        });
    }
}

/// Ends what was started ahead and is not needed, because the session has nothing to do.
pub(crate) fn drop_ahead(deps: &Arc<Deps>, session: &SessionId, link: &Link) {
    if !link.is_ahead.swap(false, Ordering::Relaxed) {
        return;
    }
    let (deps, session, link) = (Arc::clone(deps), session.clone(), link.clone());
    tokio::spawn(async move {
        // Held until it is gone, so that it is not taken for the next one.
        let mut lives = link.lives.lock().await;
        if lives.ahead.take().is_some() {
            stop(&deps, &session).await;
        }
    });
}

/// Starts the sandbox's next life, or takes the one that was started ahead.
pub(crate) fn start_sandbox(deps: &Arc<Deps>, whose: Whose, link: &Link, results: Results) {
    let (deps, link) = (Arc::clone(deps), link.clone());
    let died = Input::SandboxFailed { message: "starting it failed inside the server; see its log".into() };
    supervised(results, died, async move {
        let mut lives = link.lives.lock().await;
        link.is_ahead.store(false, Ordering::Relaxed);
        let started = match lives.ahead.take() {
            Some(life) => Ok(life),
            None => create(&deps, &whose).await,
        };
        match started {
            Ok(life) => {
                let incarnation = life.0.clone();
                lives.known = Some(life);
                Input::SandboxStarted { incarnation }
            }
            Err(message) => Input::SandboxFailed { message },
        }
    });
}

async fn create(deps: &Arc<Deps>, whose: &Whose) -> Result<Life, String> {
    let incarnation = IncarnationId::mint(&mut deps.ambient.ids());
    let mut spec = spec(deps, whose).await?;
    spec.packages = packages::layer(deps, &whose.environment).await?;
    // Many at once would take the machine from those that run; in each workspace's turn.
    let place = tokio::time::timeout(limits::SANDBOX_TURN, deps.starts.take(&whose.workspace)).await;
    let busy = || format!("its turn to start did not come within {} seconds; the machine is overloaded", limits::SANDBOX_TURN.as_secs());
    let _place = place.map_err(|_| busy())?;
    room(deps, &spec).await?;
    // What is removed just now is found to be missing, and not removed from below it.
    let _held = match &spec.packages {
        Some(_) => Some(deps.packages.hold().await),
        None => None,
    };
    let started = tokio::time::timeout(limits::SANDBOX_START, deps.sandboxes.create(&whose.session, &incarnation, &spec)).await;
    let late = || format!("it did not start within {} seconds; the machine may be overloaded", limits::SANDBOX_START.as_secs());
    let link = started.map_err(|_| late())??;
    if let Err(why) = network::introduce(deps, &whose.session, &link).await {
        stop(deps, &whose.session).await;
        return Err(why);
    }
    Ok((incarnation, link))
}

/// Waits until the machine has room for it, in the place that lets nobody else start.
pub(crate) async fn room(deps: &Deps, spec: &SandboxSpec) -> Result<(), String> {
    let until = tokio::time::Instant::now() + limits::SANDBOX_TURN;
    loop {
        let Err(lacks) = deps.sandboxes.room(spec).await else { return Ok(()) };
        if tokio::time::Instant::now() >= until {
            return Err(format!("{lacks}; end some sandboxes (`ostler sandboxes list`), or let them rest earlier (sandbox.idle_seconds)"));
        }
        tokio::time::sleep(limits::ROOM_LOOK).await;
    }
}

/// What its environment asks, within what the server allows.
pub(crate) async fn spec(deps: &Deps, whose: &Whose) -> Result<SandboxSpec, String> {
    let body = environment::body(deps, &whose.environment).await?;
    let mut spec = deps.policy.spec(body.and_then(|body| body.sandbox).as_ref());
    if deps.store.has_several_workspaces().await.map_err(|error| format!("the store cannot be read: {error}"))? {
        policy::for_several_workspaces(&mut spec);
    }
    Ok(spec)
}

/// The living sandbox: the known way to it, or a new one to a life that survived the last server.
pub(super) async fn reach(
    deps: &Arc<Deps>,
    session: &SessionId,
    link: &Link,
    incarnation: &IncarnationId,
) -> Result<Arc<dyn SandboxLink>, AttachFailure> {
    let mut lives = link.lives.lock().await;
    if let Some((life, alive)) = lives.known.as_ref()
        && life == incarnation
    {
        return Ok(Arc::clone(alive));
    }
    let mut tries = 0;
    let alive = loop {
        match deps.sandboxes.attach(session, incarnation).await {
            Ok(alive) => break alive,
            Err(AttachFailure::Unreachable(why)) if tries < limits::ATTACH_TRIES => {
                tries += 1;
                tracing::warn!(%session, %why, tries, "a sandbox does not answer; trying again");
                tokio::time::sleep(limits::ATTACH_PAUSE).await;
            }
            Err(failure) => return Err(failure),
        }
    };
    network::introduce(deps, session, &alive).await.map_err(AttachFailure::Unreachable)?;
    lives.known = Some((incarnation.clone(), Arc::clone(&alive)));
    Ok(alive)
}

/// The way to a life that is over, or of no use.
pub(crate) async fn forget(link: &Link, incarnation: &IncarnationId) {
    let mut lives = link.lives.lock().await;
    if lives.known.as_ref().is_some_and(|(life, _)| life == incarnation) {
        lives.known = None;
    }
}

pub(super) async fn stop(deps: &Arc<Deps>, session: &SessionId) {
    network::leave(deps, session);
    if let Err(why) = deps.sandboxes.stop(session).await {
        tracing::error!(%session, %why, "a sandbox cannot be ended");
    }
}
