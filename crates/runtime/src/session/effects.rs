//! Performing effects. Each runs in a task of its own and ends, whatever happens, in exactly one
//! message to its session.

use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use futures::FutureExt as _;
use ostler_core::call::{CallEnd, CallOutcome};
use ostler_core::ids::{EffectId, EventId, IncarnationId, SessionId, WorkspaceId};
use ostler_core::model::{ModelError, ModelErrorKind, ModelRequest};
use ostler_core::resources::tools::SANDBOX_TOOLS;
use ostler_core::session::calls::Call;
use ostler_core::session::plan::TargetName;
use ostler_core::session::step::Input;
use ostler_core::time::Timestamp;
use ostler_models::{Asker, ModelEvent, PreviewKind as ModelPreview, retry};
use ostler_sandbox::{CallError, CallRequest, PAGE};
use serde_json::Value;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::deps::Deps;
use super::place::{Ahead, Link, forget, reach, stop};
use crate::fault::{self, Point};
use crate::limits;
use crate::network;
use crate::sandbox::{AttachFailure, SandboxLink};
use crate::subscribe::{Hub, PreviewKind};
use crate::web::{self, Behalf};

/// What a task tells its session.
pub(crate) type Results = mpsc::Sender<Input>;

/// Runs a task whose one message reaches the session even if the task dies.
pub(super) fn supervised(results: Results, if_it_dies: Input, task: impl Future<Output = Input> + Send + 'static) {
    tokio::spawn(async move {
        // Nothing of a task that died is used afterwards.
        let input = AssertUnwindSafe(task).catch_unwind().await.unwrap_or_else(|_| {
            tracing::error!("an effect died");
            if_it_dies
        });
        fault::point(Point::BeforeResult);
        // A session that is gone needs no result.
        let _ = results.send(input).await;
    });
}

/// A request, and on whose behalf it is made.
#[derive(Debug)]
pub(crate) struct Question {
    pub(crate) effect: EffectId,
    pub(crate) attempt: u32,
    pub(crate) target: TargetName,
    pub(crate) workspace: WorkspaceId,
    pub(crate) session: SessionId,
    pub(crate) request: ModelRequest,
    /// Fires when it is to be given up.
    pub(crate) cancel: CancellationToken,
    /// What a call will need that is still being said; nothing where it is there.
    pub(crate) ahead: Option<Ahead>,
}

/// Asks the model; previews go to the hub.
pub(crate) fn call_model(deps: &Arc<Deps>, hub: &Arc<Hub>, question: Question, results: Results) {
    let (deps, hub) = (Arc::clone(deps), Arc::clone(hub));
    let Question { effect, attempt, target, workspace, session, request, cancel, ahead } = question;
    let lost = Input::ModelFailed { effect: effect.clone(), error: lost_model(), delay_ms: retry::delay_ms(attempt, None, 0) };
    supervised(results, lost, async move {
        let mut voice = Voice { hub: Arc::clone(&hub), message: None, ahead };
        let mut preview = move |event: ModelEvent| voice.tell(event);
        let asker = Asker { workspace: &workspace, session: &session };
        let answer = deps.models.answer(&target, asker, request, deps.ambient.ids(), &mut preview, cancel).await;
        hub.preview_end();
        match answer {
            Ok(response) => Input::ModelAnswered { effect, response: Box::new(response) },
            Err(error) => {
                tracing::info!(%session, %target, attempt, kind = ?error.kind, %error, "a model request failed");
                let delay_ms = retry::delay_ms(attempt, error.retry_after_ms, deps.ambient.random());
                Input::ModelFailed { effect, error, delay_ms }
            }
        }
    });
}

/// What the model says, as previews of the events it will be: neighbouring text blocks are one message.
struct Voice {
    hub: Arc<Hub>,
    /// The message being said, and the index of its last content block.
    message: Option<(EventId, usize)>,
    ahead: Option<Ahead>,
}

impl Voice {
    fn tell(&mut self, event: ModelEvent) {
        fault::point(Point::ModelChunk);
        match event {
            ModelEvent::BlockStarted { event_id, kind: ModelPreview::Text, .. } => match &mut self.message {
                Some((_, index)) => *index += 1,
                None => {
                    self.hub.preview_start(event_id.clone(), PreviewKind::Message);
                    self.message = Some((event_id, 0));
                }
            },
            ModelEvent::BlockStarted { event_id, kind, .. } => {
                self.message = None;
                if kind == ModelPreview::Thinking {
                    self.hub.preview_start(event_id, PreviewKind::Thinking);
                }
            }
            ModelEvent::TextDelta { text, .. } => {
                if let Some((message, index)) = &self.message {
                    self.hub.preview_delta(message.clone(), *index, &text);
                }
            }
            ModelEvent::CallNamed { name } => {
                if SANDBOX_TOOLS.contains(&name.as_str())
                    && let Some(ahead) = self.ahead.take()
                {
                    ahead.start();
                }
            }
            ModelEvent::Progress => {}
        }
    }
}

/// The failure of a request whose task died.
fn lost_model() -> ModelError {
    ModelError {
        kind: ModelErrorKind::Unavailable,
        message: "the request was lost".into(),
        retry_after_ms: None,
        usage: ostler_core::model::TokenUsage::default(),
        billed: true,
    }
}

/// Waits until a point in time; the waiting itself is on the monotonic clock.
pub(crate) fn set_timer(deps: &Arc<Deps>, timer: EffectId, until: Timestamp, results: Results) {
    // Bounded, because the clock may have been in the future when the record was written.
    let most = ostler_core::limits::MODEL_RETRY_DELAY_MS.saturating_mul(1_000);
    let micros = u64::try_from(until.micros_since(deps.ambient.now())).unwrap_or(0).min(most);
    tokio::spawn(async move {
        tokio::time::sleep(std::time::Duration::from_micros(micros)).await;
        let _ = results.send(Input::TimerFired { timer }).await;
    });
}

/// A call, and what is known of its past.
#[derive(Debug)]
pub(crate) struct Dispatch {
    pub(crate) call: Call,
    pub(crate) incarnation: IncarnationId,
    /// Whether no process before this one can have given it to the sandbox.
    pub(crate) fresh: bool,
    /// Fires when the call is to be ended.
    pub(crate) cancel: CancellationToken,
    /// For whom, where it is for a page.
    pub(crate) web: Option<Behalf>,
}

/// Gives a call to the sandbox, or waits for it there, and brings its result.
pub(crate) fn run_call(deps: &Arc<Deps>, session: &SessionId, link: &Link, dispatch: Dispatch, results: Results) {
    let (deps, session, link) = (Arc::clone(deps), session.clone(), link.clone());
    let died = Input::CallLost { call: dispatch.call.id.clone(), incarnation: dispatch.incarnation.clone(), why: None };
    supervised(results, died, async move { perform(&deps, &session, &link, dispatch).await });
}

async fn perform(deps: &Arc<Deps>, session: &SessionId, link: &Link, dispatch: Dispatch) -> Input {
    let Dispatch { call, incarnation, fresh, cancel, web } = dispatch;
    let lost = |fresh: bool| {
        let (call, incarnation) = (call.id.clone(), incarnation.clone());
        if fresh { Input::CallNeverReceived { call, incarnation } } else { Input::CallLost { call, incarnation, why: None } }
    };
    let alive = match reach(deps, session, link, &incarnation).await {
        Ok(alive) => alive,
        Err(AttachFailure::Gone) => return lost(fresh),
        Err(AttachFailure::Unreachable(why)) => {
            tracing::warn!(%session, call = %call.id, %why, "a sandbox cannot be reached and is given up");
            forget(link, &incarnation).await;
            stop(deps, session).await;
            return lost(fresh);
        }
    };
    let timeout_ms = call.input.get("timeout_ms").and_then(Value::as_u64);
    let mut request = CallRequest {
        id: call.id.clone(),
        tool: call.name.clone(),
        input: Value::Object(call.input.clone()),
        timeout_ms,
        environment: deps.networks.environment(session),
    };
    if fresh && cancel.is_cancelled() {
        return Input::CallFinished {
            call: call.id,
            outcome: CallOutcome::text("Interrupted by the user before it ran.", true, CallEnd::NotRun),
        };
    }
    let mut page = None;
    if let Some(behalf) = web {
        match fetched(deps, &behalf, &call, &cancel).await {
            Ok(fetched) => (request.tool, request.input, page) = (PAGE.to_owned(), fetched.input, Some(fetched.place)),
            Err(outcome) => return Input::CallFinished { call: call.id, outcome },
        }
    }
    fault::point(Point::BeforeDispatch);
    if deps.networks.knows(session) {
        deps.networks.log().began(session, &call.id, deps.ambient.now());
    }
    let ran = run_or_cancel(alive.as_ref(), &request, &cancel).await;
    deps.networks.log().ended(session, &call.id, deps.ambient.now());
    drop(page);
    match ran {
        Some(Ok(outcome)) => Input::CallFinished { call: call.id, outcome },
        Some(Err(CallError::Refused(why))) => {
            Input::CallFinished { call: call.id, outcome: CallOutcome::text(format!("Not run: {why}"), true, CallEnd::NotRun) }
        }
        // A connection of this server cannot speak for what the last server sent.
        Some(Err(CallError::NeverReceived)) => {
            forget(link, &incarnation).await;
            network::leave(deps, session);
            lost(fresh)
        }
        Some(Err(CallError::Lost { why })) => {
            forget(link, &incarnation).await;
            network::leave(deps, session);
            Input::CallLost { call: call.id.clone(), incarnation: incarnation.clone(), why: why.map(str::to_owned) }
        }
        None => {
            tracing::warn!(%session, call = %call.id, "a call does not end in its time and its sandbox is ended");
            forget(link, &incarnation).await;
            stop(deps, session).await;
            lost(false)
        }
    }
}

/// The page that a call names, or how the call ends without it.
async fn fetched(deps: &Deps, behalf: &Behalf, call: &Call, cancel: &CancellationToken) -> Result<web::Fetched, CallOutcome> {
    tokio::select! {
        fetched = web::page(deps, behalf, call) => fetched.map_err(|why| CallOutcome::text(why, true, CallEnd::Finished)),
        () = cancel.cancelled() => Err(CallOutcome::text("Interrupted by the user while the page was fetched.", true, CallEnd::Cancelled)),
    }
}

/// Waits for the result, also after the call was cancelled: it comes when its processes are gone.
/// `None`: it did not come in its time; whatever is wrong in there, waiting does not mend it.
async fn run_or_cancel(
    alive: &dyn SandboxLink,
    request: &CallRequest,
    cancel: &CancellationToken,
) -> Option<Result<CallOutcome, CallError>> {
    let mut run = std::pin::pin!(alive.run(request));
    tokio::select! {
        // Given first, so that the cancel cannot overtake the call.
        biased;
        outcome = &mut run => return Some(outcome),
        () = cancel.cancelled() => {}
        () = tokio::time::sleep(limits::CALL_TIMEOUT + limits::CALL_GRACE) => return None,
    }
    alive.cancel(&request.id).await;
    tokio::time::timeout(limits::CANCEL_GRACE, run).await.ok()
}

/// Tells the sandbox that results are in the journal.
pub(crate) fn acknowledge(link: &Link, calls: Vec<EventId>) {
    if calls.is_empty() {
        return;
    }
    let link = link.clone();
    tokio::spawn(async move {
        if let Some(alive) = link.known().await {
            for call in calls {
                alive.acknowledge(&call).await;
            }
        }
    });
}
