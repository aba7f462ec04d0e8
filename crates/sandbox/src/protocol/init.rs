//! Messages between the server and the init of one sandbox.

use std::collections::BTreeMap;

use ostler_core::call::CallOutcome;
use ostler_core::ids::{EventId, IncarnationId};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// What the server says.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum ToInit {
    /// First on every connection.
    Hello {
        /// The version that the server speaks.
        version: u32,
        /// The sandbox's secret, in hexadecimal.
        secret: String,
        /// The server's epoch; refused if a higher one was seen.
        epoch: u64,
    },
    /// Runs a call unless its id is known; answered `received`, and `finished` when it is settled.
    Run {
        /// The call.
        call_id: EventId,
        /// The tool.
        tool: String,
        /// The tool's input, not yet checked.
        input: Value,
        /// Its time in milliseconds, if the caller names one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        timeout_ms: Option<u64>,
        /// Variables of a shell beside those that it has: placeholders of secrets.
        #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
        environment: BTreeMap<String, String>,
        /// Milliseconds on the boot clock after which the call must not start any more.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        lease_deadline_boot_ms: Option<u64>,
    },
    /// Ends a call; it settles once its processes are gone.
    Cancel {
        /// The call.
        call_id: EventId,
    },
    /// Sends `finished` again if the call is settled.
    Fetch {
        /// The call.
        call_id: EventId,
    },
    /// The result is journalled and need not be kept.
    Acknowledge {
        /// The call.
        call_id: EventId,
    },
    /// Asks for the listeners of the sandbox's network; answered `doors`, with their descriptors. Refused where there are none, and
    /// by an init that does not know the question.
    Doors,
    /// Ends the sandbox.
    Stop,
}

/// What init says.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum FromInit {
    /// To `hello`.
    Welcome {
        /// The version that init speaks.
        version: u32,
        /// The name of this life.
        incarnation: IncarnationId,
        /// The calls that are known and not acknowledged.
        calls: Vec<KnownCall>,
    },
    /// The call is known and will be settled.
    Received {
        /// The call.
        call_id: EventId,
    },
    /// The call is settled.
    Finished {
        /// The call.
        call_id: EventId,
        /// How.
        outcome: CallOutcome,
    },
    /// To `doors`; the descriptors come with the message.
    Doors {
        /// How many.
        count: usize,
    },
    /// The hello or the call is refused.
    Refused {
        /// The call, if it is about one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        call_id: Option<EventId>,
        /// Why, and what to do.
        reason: String,
    },
}

/// A call that init knows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KnownCall {
    /// The call.
    pub call_id: EventId,
    /// How far it is.
    pub state: CallState,
}

/// How far a call is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CallState {
    /// It runs.
    Running,
    /// Its result is kept.
    Finished,
}
