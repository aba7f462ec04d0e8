//! The server's side: starting and finding the spawner, and the connections to inits. Asynchronous,
//! unlike everything else here.

pub(crate) mod connection;
mod doors;
pub(crate) mod images;
pub(crate) mod layers;
mod link;
mod room;
pub(crate) mod sandboxes;
mod spawner;
mod tidy;
mod transfers;
mod wire;

/// Whether an init listens in a sandbox's directory.
pub(crate) async fn listens(directory: &std::path::Path) -> bool {
    wire::connect(directory, crate::layout::INIT_SOCKET).await.is_ok()
}
