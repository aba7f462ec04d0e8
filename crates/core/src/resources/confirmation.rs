//! Confirmations: requests of sandboxes about which a person is asked. An extension.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::egress::Question;
use crate::events::client::Confirmation;
use crate::ids::{ConfirmationId, SessionId};
use crate::time::Timestamp;

/// For how long an answer counts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Remember {
    /// For one request.
    #[default]
    Once,
    /// For all such requests of the session.
    Session,
}

/// `POST /v1/x/sessions/{id}/confirmations/{confirmation_id}`.
#[derive(Debug, Clone, Deserialize, ToSchema)]
pub struct ConfirmationParams {
    /// Whether the request may go.
    pub result: Confirmation,
    /// For how long that counts.
    #[serde(default)]
    pub remember: Remember,
}

/// A person's answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ConfirmationAnswer {
    /// Whether the request may go.
    pub result: Confirmation,
    /// For how long that counts.
    pub remember: Remember,
    /// When it was given.
    pub at: Timestamp,
}

/// A question that a session keeps: one that waits, or one whose answer still counts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Asked {
    /// Its id.
    pub id: ConfirmationId,
    /// The question.
    pub question: Question,
    /// When it was asked.
    pub at: Timestamp,
    /// The answer, once there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub answer: Option<ConfirmationAnswer>,
}

impl Asked {
    /// Whether its answer counts for as long as the session lives.
    pub fn is_remembered(&self) -> bool {
        self.answer.as_ref().is_some_and(|answer| answer.remember == Remember::Session)
    }

    /// The answer that one request may use up, if there is one.
    pub fn for_once(&self) -> Option<Confirmation> {
        self.answer.as_ref().filter(|answer| answer.remember == Remember::Once).map(|answer| answer.result)
    }

    /// As clients read it.
    pub fn wire(self, session_id: SessionId) -> NetworkConfirmation {
        let Self { id, question, at, answer } = self;
        NetworkConfirmation { id, kind: "confirmation", session_id, asked_at: at, question, answer }
    }
}

/// A request of a sandbox about which a person is asked.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct NetworkConfirmation {
    /// Its id.
    pub id: ConfirmationId,
    /// Always `confirmation`.
    #[serde(rename = "type")]
    #[schema(value_type = String)]
    pub kind: &'static str,
    /// Whose sandbox it is.
    pub session_id: SessionId,
    /// When it was asked.
    pub asked_at: Timestamp,
    /// The request.
    #[serde(flatten)]
    pub question: Question,
    /// The answer; null while it waits.
    pub answer: Option<ConfirmationAnswer>,
}
