//! The commands for the key of vaults.

use clap::Subcommand;

use super::CommonArgs;

/// `ostler vault`.
#[derive(Debug, Subcommand)]
pub(crate) enum VaultCommand {
    /// Make a new key and seal every stored secret for it, then take the former one away. Works beside a running server, which goes
    /// on meanwhile, and without one. Whatever it was ended by, run it again.
    ///
    /// Where the key comes from a command or a variable, it says what to do there.
    #[command(after_help = "Example: ostler vault rotate-key --data-dir /var/lib/ostler/data")]
    RotateKey {
        /// Leave former keys in the key file when nothing needs them any more.
        #[arg(long)]
        keep_former: bool,
        #[command(flatten)]
        common: CommonArgs,
    },
    /// Print a new key in front of the present ones, to be kept where `vault.key_command` or OSTLER_VAULT_KEY takes it from. Changes
    /// nothing. What is printed is secret.
    #[command(after_help = "Example: ostler vault new-key")]
    NewKey {
        #[command(flatten)]
        common: CommonArgs,
    },
}
