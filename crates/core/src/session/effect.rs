//! Effects: work that a state asks for. They follow from the state alone, so that after a crash
//! the same ones are asked for again.

use super::calls::CallState;
use super::state::{Phase, State};
use crate::ids::{EffectId, EventId, IncarnationId};
use crate::time::Timestamp;

/// Work that must be under way in a state.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Effect {
    /// Ask the model; comes back as `ModelAnswered` or `ModelFailed`.
    CallModel {
        /// The request.
        effect: EffectId,
        /// Which try of this step.
        attempt: u32,
    },
    /// Give up the request; it comes back as `ModelFailed` when it is really gone.
    CancelModel {
        /// The request.
        effect: EffectId,
    },
    /// Wait; comes back as `TimerFired`.
    SetTimer {
        /// The timer.
        timer: EffectId,
        /// Until when.
        until: Timestamp,
    },
    /// Start a sandbox; comes back as `SandboxStarted` or `SandboxFailed`.
    StartSandbox,
    /// Run a call in the sandbox; comes back as `CallFinished`, `CallNeverReceived` or `CallLost`.
    RunCall {
        /// The call.
        call: EventId,
        /// The life of the sandbox it runs in.
        incarnation: IncarnationId,
    },
    /// Have an MCP server run a call, or ask the web; comes back as `CallFinished`.
    RunRemote {
        /// The call.
        call: EventId,
    },
    /// Ask an MCP server for its tools; comes back as `McpListed` or `McpFailed`.
    ListMcpTools {
        /// The server, as the agent calls it.
        server: String,
        /// Its address.
        url: String,
    },
    /// End a call; it comes back as `CallFinished` when its processes are really gone.
    CancelCall {
        /// The call.
        call: EventId,
    },
}

/// All that must be under way in this state.
pub fn outstanding(state: &State) -> Vec<Effect> {
    if state.set_aside {
        return Vec::new();
    }
    let interrupted = !state.interrupts.is_empty();
    match &state.phase {
        Phase::Idle | Phase::Capped | Phase::Archived { .. } | Phase::Acting { paused: true } => Vec::new(),
        Phase::Requesting { effect, attempt, .. } => {
            let mut effects = vec![Effect::CallModel { effect: effect.clone(), attempt: *attempt }];
            if interrupted {
                effects.push(Effect::CancelModel { effect: effect.clone() });
            }
            effects
        }
        Phase::Backoff { timer, until, .. } => vec![Effect::SetTimer { timer: timer.clone(), until: *until }],
        Phase::Acting { paused: false } => call_effects(state, interrupted),
    }
}

fn call_effects(state: &State, interrupted: bool) -> Vec<Effect> {
    let mut effects = Vec::new();
    // Only between the start of a turn and its first request is there something to ask for.
    if state.steps == 0 && state.calls.is_empty() {
        effects.extend(state.mcp_due().map(|server| Effect::ListMcpTools { server: server.name.clone(), url: server.url.clone() }));
    }
    for call in state.calls.iter().filter(|call| call.state == CallState::Running) {
        match (&call.incarnation, call.is_of_sandbox()) {
            (None, true) => {
                if state.sandbox.is_none() && !effects.contains(&Effect::StartSandbox) {
                    effects.push(Effect::StartSandbox);
                }
                continue;
            }
            (Some(incarnation), true) => {
                effects.push(Effect::RunCall { call: call.id.clone(), incarnation: incarnation.clone() });
            }
            (_, false) => effects.push(Effect::RunRemote { call: call.id.clone() }),
        }
        if interrupted {
            effects.push(Effect::CancelCall { call: call.id.clone() });
        }
    }
    effects
}

/// What `after` asks for that `before` did not.
pub fn newly(before: &State, after: &State) -> Vec<Effect> {
    let old = outstanding(before);
    outstanding(after).into_iter().filter(|effect| !old.contains(effect)).collect()
}
