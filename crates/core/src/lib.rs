//! The domain of Ostler: ids, commands, records, events, resource types, limits, and the pure
//! session state machine with its projections. No IO, no clock, no randomness, no async: what
//! happens is a function of what is passed in.
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking"))]

pub mod call;
pub mod cost;
pub mod egress;
pub mod error;
pub mod events;
pub mod hex;
pub mod ids;
pub mod limits;
pub mod model;
pub mod packages;
pub mod resources;
pub mod scope;
pub mod session;
pub mod time;
