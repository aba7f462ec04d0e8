//! `ostler vault`: the key that secrets are sealed for, exchanged while everything goes on.

mod command;
mod foreign;
mod rotation;

use async_trait::async_trait;
use ostler_seal::open::KeyRing;

pub(crate) use command::main;
pub(crate) use foreign::report;
pub(crate) use rotation::Rotation;

/// Who opens secrets, and can be given other keys while it runs.
#[async_trait]
pub(crate) trait KeyHolder: Send + Sync {
    /// Gives it these keys. When this returns it opens with all of them, and secrets are closed for the newest.
    ///
    /// # Errors
    /// When it does not take them; it may have them all the same.
    async fn take(&self, ring: &KeyRing) -> anyhow::Result<()>;
}
