//! MCP servers over streamable HTTP, in all revisions that `rmcp` speaks (2024-11-05 to 2026-07-28). Requests go to egress, which reaches the
//! server and puts the credential in; nothing here ever has a token in the clear. What servers ask of a client (sampling,
//! elicitation, roots) is not offered.
#![cfg_attr(test, allow(clippy::unwrap_used, reason = "a test fails by panicking"))]

mod connection;
mod failure;
pub mod limits;
mod probe;
mod result;
mod target;
mod tools;
mod way;

pub use connection::Connection;
pub use failure::Failure;
pub use probe::{METHOD, Probe, probe};
pub use target::Target;
