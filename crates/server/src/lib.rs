//! The HTTP API: who calls, what they ask, what they get back. Routes only translate; what a
//! session does is decided in `ostler-core` and carried out by `ostler-runtime`.
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking"))]

mod api;
mod app;
mod asset;
mod auth;
mod body;
mod config;
mod docs;
mod documents;
mod error;
mod host;
mod key_cache;
pub mod keys;
pub mod limits;
mod openapi;
mod pagination;
mod path;
mod query;
mod request_id;
mod room;
mod routes;
mod sealing;
mod serve;
mod slots;
mod sse;
#[cfg(test)]
mod tests;

pub use app::app;
pub use config::{AppState, ServerConfig};
pub use openapi::openapi;
pub use serve::{ServeError, serve};
