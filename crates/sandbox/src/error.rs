//! What can go wrong towards the server. Errors inside a call are its result, not errors.

use std::io;

/// A sandbox could not be started, reached or ended.
#[derive(Debug, thiserror::Error)]
pub enum SandboxError {
    /// The directory of the sandboxes cannot be used.
    #[error("preparing the sandbox directory {path}: {source}; give the server a directory that its user owns and can write")]
    Directory {
        /// The directory.
        path: String,
        /// Why.
        source: io::Error,
    },
    /// The spawner could not be started.
    #[error("starting the sandbox spawner: {0}")]
    Start(String),
    /// The spawner or an init could not be talked to.
    #[error("talking to the {peer}: {source}")]
    Talk {
        /// Whom.
        peer: &'static str,
        /// Why.
        source: io::Error,
    },
    /// The other side speaks another version, or said something out of order.
    #[error("talking to the {peer}: {reason}")]
    Protocol {
        /// Whom.
        peer: &'static str,
        /// What was wrong.
        reason: String,
    },
    /// A layer of the isolation cannot be had; nothing runs with less.
    #[error("the sandbox cannot be isolated as asked: {layer}: {reason}; {remedy}")]
    Isolation {
        /// The layer that failed.
        layer: String,
        /// Why.
        reason: String,
        /// What a person can do about it.
        remedy: String,
    },
    /// Files could not be moved into or out of a sandbox.
    #[error("moving files of a sandbox: {0}")]
    Transfer(String),
    /// An image cannot be had.
    #[error("images: {0}")]
    Image(String),
    /// A layer of packages cannot be had.
    #[error("packages: {0}")]
    Packages(String),
    /// The files of a sandbox could not be deleted.
    #[error("deleting the files of a sandbox: {0}")]
    Delete(io::Error),
}

/// A sandbox could not be attached to.
#[derive(Debug, thiserror::Error)]
pub enum AttachError {
    /// That life of the sandbox is over.
    #[error("that life of the sandbox is over")]
    Gone,
    /// It may live, but cannot be reached.
    #[error(transparent)]
    Other(#[from] SandboxError),
}

/// A call has no outcome.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CallError {
    /// Init is gone and provably never received the call.
    #[error("the sandbox ended before it received the call")]
    NeverReceived,
    /// Init is gone; whether or how far the call ran is unknown.
    #[error("the sandbox ended; whether the call ran is unknown")]
    Lost {
        /// Why it ended, if that is known.
        why: Option<&'static str>,
    },
    /// Init is there and will not run the call.
    #[error("the sandbox refused the call: {0}")]
    Refused(String),
}
