//! What is asked and told.

use ostler_core::egress::{Lost, Question, Record, Terms, Unusable};
use ostler_core::ids::SessionId;
use ostler_core::resources::credential::Refresh;
use ostler_core::resources::validation::HttpAnswer;
use ostler_seal::{Binding, KeyId};
use serde::{Deserialize, Serialize};

/// A question.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Ask {
    /// Who are you? Answered `welcome`.
    Hello,
    /// Serve the doors beside this. Answered `terms`.
    Register {
        /// The sandbox, by its session.
        session: SessionId,
        /// What it may.
        terms: Terms,
    },
    /// It may this from now on. Answered `terms`, or `unknown`.
    Change {
        /// The sandbox.
        session: SessionId,
        /// What it may.
        terms: Terms,
    },
    /// These are still there. Answered `renewed`.
    Renew {
        /// The sandboxes.
        sessions: Vec<SessionId>,
    },
    /// Which requests wait for a person? Answered `questions`.
    Questions,
    /// One such request has this answer. Answered `settled`, or `unknown`.
    Settle {
        /// The sandbox.
        session: SessionId,
        /// The request.
        question: Question,
        /// Whether it may go.
        is_allowed: bool,
    },
    /// It is gone. Answered `released`.
    Release {
        /// The sandbox.
        session: SessionId,
    },
    /// Bind a secret to something else of the same credential. Answered `sealed`, or `refused`.
    Reseal {
        /// The secret.
        sealed: String,
        /// What it is to be bound to.
        binding: Binding,
    },
    /// Renew an OAuth token. Answered `renewed_token`, `token_not_renewed`, or `refused`.
    RenewToken {
        /// Whose it is and what it is bound to; its version is that of the new secrets.
        owner: Binding,
        /// How.
        refresh: Refresh,
        /// With what, sealed.
        refresh_token: String,
        /// The secret of the client, sealed, if it has one.
        client_secret: Option<String>,
    },
    /// What happened? Answered `records`.
    Records {
        /// At most so many.
        most: usize,
    },
}

/// An answer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Told {
    /// To `hello`.
    Welcome {
        /// The key to close secrets for.
        public_key: String,
        /// The names of all keys that open them, the newest first.
        keys: Vec<KeyId>,
        /// What sandboxes are to trust, in PEM: the authority of this installation, and all that egress trusts itself.
        certificates: String,
    },
    /// To `register` and `change`.
    Terms {
        /// The grants that are left out, if any are.
        unusable: Vec<Unusable>,
    },
    /// The sandbox is not known here.
    Unknown,
    /// To `renew`.
    Renewed {
        /// Those that are not known here.
        unknown: Vec<SessionId>,
    },
    /// To `questions`.
    Questions {
        /// By sandbox, each once.
        waiting: Vec<(SessionId, Vec<Question>)>,
    },
    /// To `settle`.
    Settled,
    /// To `release`.
    Released,
    /// To `reseal`.
    Sealed {
        /// The secret.
        sealed: String,
    },
    /// To `renew_token`.
    RenewedToken {
        /// The new access token, sealed.
        access_token: String,
        /// The new refresh token, sealed, if the former one does not hold any more.
        refresh_token: Option<String>,
        /// For how many seconds the access token holds, if that was said.
        expires_in: Option<u64>,
    },
    /// To `renew_token`, when the endpoint gave none.
    TokenNotRenewed {
        /// What it answered, if it did.
        answer: Option<HttpAnswer>,
    },
    /// To `records`.
    Records {
        /// What happened.
        records: Vec<Record>,
        /// How many were lost of which sandboxes, because nobody asked in time.
        dropped: Vec<Lost>,
    },
    /// It is not done.
    Refused {
        /// Why.
        reason: String,
    },
}
