//! The server's side: starting and finding the spawner, and the connections to inits. Asynchronous,
//! unlike everything else here.

pub(crate) mod connection;
mod link;
pub(crate) mod sandboxes;
mod spawner;
mod wire;
