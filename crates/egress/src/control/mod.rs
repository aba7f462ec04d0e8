//! The way between the server and egress: one question and one answer on a connection of a unix socket, with the descriptors of
//! doors beside it.

mod channel;
mod client;
mod protocol;
mod server;

pub use client::{AskError, Client};
pub use protocol::{Ask, Told};
pub(crate) use server::is_of;
pub use server::serve;
