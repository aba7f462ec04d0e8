//! The command line. Only its shape; what it means is decided by each role.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

/// Runs LLM agents as sandboxed, durable processes behind an HTTP API.
#[derive(Debug, Parser)]
#[command(
    name = "ostler",
    version,
    after_help = "Start with:  ostler run \"what is in this sandbox?\"\nSettings: `ostler config default` prints a commented ostler.toml."
)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// The roles of the binary.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run one session in a fresh sandbox and show what the agent says and does.
    ///
    /// Starts everything it needs in this process, or uses the server that already holds the data
    /// directory. With no model configured a built-in demo model answers: a script, no AI.
    ///
    /// Exit status: 0 the agent finished its turn; 1 something failed; 2 wrong usage; 3 the model
    /// declined; 4 the session waits for an answer; 130 interrupted.
    Run(RunArgs),
    /// Serve the HTTP API.
    Serve(ServeArgs),
    /// Show settings.
    Config {
        #[command(subcommand)]
        command: ConfigCommand,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum ConfigCommand {
    /// Print a commented ostler.toml with every setting and its default.
    Default,
}

/// Settings that several roles share. Flags win over the environment, the environment over the file.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct CommonArgs {
    /// Where sessions, keys and sandboxes are kept.
    #[arg(long, value_name = "DIR", env = "OSTLER_DATA_DIR")]
    pub(crate) data_dir: Option<PathBuf>,
    /// The settings file; without it $XDG_CONFIG_HOME/ostler/ostler.toml is read if it exists.
    #[arg(long, value_name = "FILE", env = "OSTLER_CONFIG")]
    pub(crate) config: Option<PathBuf>,
    /// How much to log: error, warn, info, debug, trace, or per-module filters.
    #[arg(long, value_name = "FILTER", env = "OSTLER_LOG")]
    pub(crate) log: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct ServeArgs {
    #[command(flatten)]
    pub(crate) common: CommonArgs,
    /// Address to listen on [default: 127.0.0.1:8787].
    #[arg(long, value_name = "HOST:PORT", env = "OSTLER_LISTEN")]
    pub(crate) listen: Option<String>,
    /// Allow listening beyond this machine without TLS. API keys then cross the network readable
    /// by everybody on the way, unless a proxy in front adds TLS.
    #[arg(long, env = "OSTLER_ALLOW_PLAINTEXT")]
    pub(crate) allow_plaintext: bool,
    /// A name under which clients may reach the server, besides its address; repeatable.
    #[arg(long = "allowed-host", value_name = "NAME", env = "OSTLER_ALLOWED_HOSTS", value_delimiter = ',')]
    pub(crate) allowed_hosts: Vec<String>,
}

#[derive(Debug, Args)]
pub(crate) struct RunArgs {
    /// What the agent is to do; `-` reads it from standard input.
    pub(crate) prompt: String,
    #[command(flatten)]
    pub(crate) common: CommonArgs,
    /// The model, instead of the configured one.
    #[arg(long, value_name = "ID", env = "OSTLER_MODEL")]
    pub(crate) model: Option<String>,
    /// A system prompt.
    #[arg(long, value_name = "TEXT")]
    pub(crate) system: Option<String>,
    /// Print one event per line as JSON, exactly as the API streams them.
    #[arg(long)]
    pub(crate) json: bool,
}
