//! What is asked and told.

use ostler_core::egress::{Lost, Record, Terms, Unusable};
use ostler_core::ids::SessionId;
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
    /// To `release`.
    Released,
    /// To `reseal`.
    Sealed {
        /// The secret.
        sealed: String,
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
