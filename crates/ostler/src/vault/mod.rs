//! `ostler vault`: the key that secrets are sealed for, exchanged while everything goes on.

mod command;
mod foreign;
mod keys;
mod rotation;

use async_trait::async_trait;

pub(crate) use command::main;
pub(crate) use foreign::report;
pub(crate) use keys::Keys;
pub(crate) use rotation::Rotation;

/// Who has the keys, and can exchange them while it runs. Only their public halves come from it.
#[async_trait]
pub(crate) trait KeyHolder: Send + Sync {
    /// The keys that are where they come from, which may be others than those that open secrets now.
    ///
    /// # Errors
    /// When they cannot be read.
    async fn look(&self) -> anyhow::Result<Keys>;

    /// Puts a new key in front of these, in the file. Secrets are opened and closed with others not before it takes them.
    ///
    /// # Errors
    /// When there are other keys by now, or they are in no file, or it cannot be written.
    async fn add(&self, keys: &Keys) -> anyhow::Result<Keys>;

    /// Takes these. When this returns it opens with all of them, and secrets are closed for the newest.
    ///
    /// # Errors
    /// When there are other keys by now, or it does not take them; it may have them all the same.
    async fn take(&self, keys: &Keys) -> anyhow::Result<()>;

    /// Takes all but the newest of these out of the file, and forgets them.
    ///
    /// # Errors
    /// As the others.
    async fn drop_former(&self, keys: &Keys) -> anyhow::Result<()>;
}
