//! One file per resource: request, handler, response. They translate and decide nothing.

pub(crate) mod agents;
pub(crate) mod api_keys;
pub(crate) mod budget;
pub(crate) mod confirmations;
pub(crate) mod credentials;
pub(crate) mod docs;
pub(crate) mod environments;
pub(crate) mod events;
pub(crate) mod health;
pub(crate) mod metrics;
pub(crate) mod models;
pub(crate) mod network;
pub(crate) mod retry;
pub(crate) mod sandboxes;
pub(crate) mod sessions;
pub(crate) mod stream;
pub(crate) mod threads;
pub(crate) mod unbuilt;
pub(crate) mod vaults;
