//! The runtime: takes commands to sessions, drives the pure engine of `ostler-core`, performs its
//! effects, and lets clients follow. Nothing here decides what a session does; that is
//! `ostler_core::session::step`.
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking"))]

pub mod ambient;
mod budget;
mod confirmations;
pub mod egress;
mod environment;
pub mod error;
pub mod fault;
pub mod limits;
pub mod mcp;
pub mod network;
pub mod network_log;
mod notices;
pub mod packages;
pub mod parking;
pub mod policy;
pub mod recovery;
pub mod reseal;
pub mod router;
pub mod sandbox;
pub mod sandboxes;
mod session;
pub mod subscribe;
mod turns;
pub mod view;
pub mod web;
