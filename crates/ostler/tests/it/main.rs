//! Stories about the real binary: each starts a server (or a command), does what a client does, and
//! looks at what a client sees. The model is scripted; the sandbox is the real one.
#![expect(clippy::unwrap_used, clippy::expect_used, clippy::print_stderr, reason = "a test fails by panicking, and says why it is skipped")]

mod access;
mod answers;
mod client_completions;
mod client_confirm;
mod client_documents;
mod client_errors;
mod client_kit;
mod client_sessions;
mod client_stuck;
mod client_tail;
mod command;
mod cut;
mod doctor;
mod failures;
mod interrupts;
mod keys;
mod lifetime;
mod sandboxes;
mod starting;
mod streams;
#[path = "../support/mod.rs"]
mod support;
mod turns;
