//! Events: what clients send, what they see.

pub mod client;
pub mod content;
pub mod wire;
