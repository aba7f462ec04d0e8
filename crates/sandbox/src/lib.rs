//! Sandboxes: the spawner that forks them, the init that is PID 1 of each, the tools that run
//! inside, and the handle by which the server uses them. Knows nothing of sessions beyond their
//! ids, of models, of storage or of HTTP. Everything that comes out of a sandbox is hostile input.
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking"))]

mod call;
mod cgroup;
mod confine;
mod disk;
mod erase;
mod error;
mod init;
mod layout;
pub mod limits;
mod oci;
mod peer;
pub mod protocol;
mod server;
mod spawner;
mod spec;
pub mod survey;
mod sys;
mod tools;
mod transfer;

pub use error::{AttachError, CallError, SandboxError};
pub use server::connection::{CallRequest, Connection};
pub use server::images::Image;
pub use server::layers::Layer;
pub use server::sandboxes::{Sandboxes, Trusted};
pub use spawner::spawner_main;
pub use spec::{
    BuildAs, DEFAULT_UIDS, IdMapping, Isolation, IsolationFloor, OciConfig, Required, SandboxSpec, SandboxesConfig, SpawnerCommand,
    UidBlock, Wishes,
};
pub use sys::inherited;
pub use tools::{BuiltinTool, PAGE, builtin_tools};
