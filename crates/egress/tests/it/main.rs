//! Egress against real servers on this machine: what reaches them, what comes back, what is refused.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

mod broker;
mod confined;
mod connections;
mod control;
mod host;
mod kept;
mod names;
mod providers;
mod rules;
mod secrets;
mod upgrades;
mod web;
