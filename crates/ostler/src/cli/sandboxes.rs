//! The commands for sandboxes.

use std::path::PathBuf;

use clap::Subcommand;

use super::{ServerArgs, SessionArg};

/// `ostler sandboxes`.
#[derive(Debug, Subcommand)]
pub(crate) enum SandboxesCommand {
    /// List the sandboxes that live, with what each uses now.
    #[command(after_help = "Example: ostler sandboxes list")]
    List {
        #[command(flatten)]
        server: ServerArgs,
    },
    /// Copy the files of a session into a tar archive, as they are now.
    #[command(after_help = "Example: ostler sandboxes export sesn_01 files.tar")]
    Export {
        #[command(flatten)]
        session: SessionArg,
        /// The archive to make; it must not be there yet.
        #[arg(value_name = "FILE")]
        file: PathBuf,
        #[command(flatten)]
        server: ServerArgs,
    },
    /// End the sandbox of a session at once, with all that runs in it. Its files stay, and the next call starts another.
    #[command(after_help = "Example: ostler sandboxes kill sesn_01")]
    Kill {
        #[command(flatten)]
        session: SessionArg,
        #[command(flatten)]
        server: ServerArgs,
    },
}
