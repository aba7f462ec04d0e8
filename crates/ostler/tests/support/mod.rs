//! The real binary from outside: a server with its data directory as a thing that can be killed, a
//! client that sees only HTTP, and the processes it leaves. Nothing here looks into the program.
#![expect(dead_code, reason = "each suite uses its part")]

pub(crate) mod api;
pub(crate) mod events;
pub(crate) mod limits;
pub(crate) mod processes;
pub(crate) mod server;
pub(crate) mod session;

pub(crate) use api::Api;
pub(crate) use server::Server;
pub(crate) use session::{Session, tools};
