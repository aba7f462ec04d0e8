//! What tests need from the outside world: a scripted model server and a proxy that breaks
//! connections. Not part of the product; nothing here is fit to face strangers.
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking"))]

mod answer;
mod chat_answer;
mod chat_request;
mod chat_validate;
mod conversation;
pub mod fault_proxy;
pub mod fuzz;
pub mod limits;
pub mod model_server;
mod plan;
mod playing;
mod recording;
mod routes;
mod script;
mod validate;

pub use fault_proxy::FaultProxy;
pub use model_server::ModelServer;
pub use recording::{Outcome, RecordedRequest};
