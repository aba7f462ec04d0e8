//! The runtime with a real store, a scripted model server and a made-up sandbox: what actors,
//! followers and recovery do, without the cost of processes.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

mod budgets;
mod network;
mod node;
mod reseal;
mod stories;
