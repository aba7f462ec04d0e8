//! The command line. Only its shape; what it means is decided by each role.

mod documents;
mod images;
mod parse;
mod sandboxes;
mod sessions;
mod vault;

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use clap_complete::ArgValueCompleter;

pub(crate) use documents::{AgentFields, AgentsCommand, EnvironmentsCommand, ModelsCommand, Named};
pub(crate) use images::ImagesCommand;
pub(crate) use parse::{is_typed, parse};
pub(crate) use sandboxes::SandboxesCommand;
pub(crate) use sessions::{
    ConfirmArgs, CreateArgs, EventsCommand, InterruptArgs, NetworkArgs, SendArgs, SessionsCommand, SessionsListArgs, TailArgs,
};
pub(crate) use vault::VaultCommand;

use crate::commands::complete;

/// Runs LLM agents as sandboxed, durable processes behind an HTTP API.
#[derive(Debug, Parser)]
#[command(
    name = "ostler",
    version,
    after_help = "Start with:  ostler run \"what is in this sandbox?\"\n\
        Settings: `ostler config default` prints a commented ostler.toml.\n\n\
        Exit status: 0 done; 1 something failed; 2 wrong usage; 3 the model declined; 4 the session waits for an answer or \
        a larger budget; 130 interrupted."
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
    /// Make, show and change agents.
    Agents {
        #[command(subcommand)]
        command: AgentsCommand,
    },
    /// Make, show and change environments.
    Environments {
        #[command(subcommand)]
        command: EnvironmentsCommand,
    },
    /// Make, follow and answer sessions.
    Sessions {
        #[command(subcommand)]
        command: SessionsCommand,
    },
    /// Read and send the events of a session as they are.
    Events {
        #[command(subcommand)]
        command: EventsCommand,
    },
    /// Show the models of a server.
    Models {
        #[command(subcommand)]
        command: ModelsCommand,
    },
    /// Show the sandboxes that live, and end one.
    Sandboxes {
        #[command(subcommand)]
        command: SandboxesCommand,
    },
    /// Import and remove systems for sandboxes.
    Images {
        #[command(subcommand)]
        command: ImagesCommand,
    },
    /// Exchange the key that secrets of vaults are sealed for.
    Vault {
        #[command(subcommand)]
        command: VaultCommand,
    },
    /// Check this machine and these settings, and say how to mend what will not work.
    ///
    /// Takes the flags of `serve`, starts no server and changes nothing.
    ///
    /// Exit status: 0 all will work, notes allowed; 1 something will not; 2 wrong usage.
    #[command(after_help = "Example: ostler doctor --offline")]
    Doctor(crate::doctor::DoctorArgs),
    /// Show settings.
    Config {
        #[command(subcommand)]
        command: ConfigCommand,
    },
    /// Print what makes a shell complete commands, and ids from the server.
    ///
    /// Put the line into the shell's start-up file:
    ///   bash: source <(ostler completions bash)
    ///   zsh:  source <(ostler completions zsh)
    ///   fish: ostler completions fish | source
    #[command(verbatim_doc_comment, after_help = "Example: ostler completions bash")]
    Completions {
        /// The shell.
        shell: Shell,
    },
}

/// The shells that can be taught.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Shell {
    Bash,
    Zsh,
    Fish,
}

/// Which server, and how its answer is shown.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct ServerArgs {
    /// The server, such as http://127.0.0.1:8787; without it, the one that holds the data directory.
    #[arg(long, value_name = "URL", env = "OSTLER_URL", help_heading = "Server")]
    pub(crate) url: Option<String>,
    /// A file with the API key. Without it: the variable OSTLER_API_KEY, or the key in the data directory.
    #[arg(long, value_name = "FILE", help_heading = "Server")]
    pub(crate) api_key_file: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) common: CommonArgs,
    /// Print the API's JSON, one object per line.
    #[arg(long)]
    pub(crate) json: bool,
}

/// How much of a list.
#[derive(Debug, Clone, Args)]
pub(crate) struct PageArgs {
    /// At most so many [default: 20].
    #[arg(long, value_name = "N", conflicts_with = "all", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) limit: Option<u32>,
    /// Everything, page after page.
    #[arg(long)]
    pub(crate) all: bool,
}

impl PageArgs {
    /// The most rows that are wanted.
    pub(crate) fn rows(&self) -> usize {
        match self.limit {
            _ if self.all => usize::MAX,
            Some(limit) => usize::try_from(limit).unwrap_or(usize::MAX),
            None => crate::limits::ROWS,
        }
    }
}

/// A session by its id.
#[derive(Debug, Clone, Args)]
pub(crate) struct SessionArg {
    /// The session's id.
    #[arg(value_name = "SESSION", value_parser = id, add = ArgValueCompleter::new(complete::sessions))]
    pub(crate) session: String,
}

/// Whether a text has no characters that mean something in an address or to a shell.
pub(crate) fn is_plain(text: &str) -> bool {
    !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || "_-.:".contains(c)) && !text.starts_with(['.', '-'])
}

/// An id as an argument.
fn id(text: &str) -> Result<String, String> {
    if is_plain(text) {
        return Ok(text.to_owned());
    }
    Err("an id has only letters, digits, _ and -".to_owned())
}

/// One pair of metadata.
fn pair(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err("say KEY=VALUE".to_owned()),
    }
}

#[derive(Debug, Subcommand)]
pub(crate) enum ConfigCommand {
    /// Print a commented ostler.toml with every setting and its default.
    Default,
    /// Print every setting as it stands, and where it comes from; secrets are not shown.
    #[command(after_help = "Example: ostler config show --data-dir /var/lib/ostler")]
    Show(ConfigShowArgs),
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
pub(crate) struct ConfigShowArgs {
    #[command(flatten)]
    pub(crate) serve: ServeArgs,
    /// The model that `run` uses, instead of the configured one.
    #[arg(long, value_name = "ID", env = "OSTLER_MODEL")]
    pub(crate) model: Option<String>,
    /// Print one JSON object per setting.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct ServeArgs {
    #[command(flatten)]
    pub(crate) common: CommonArgs,
    /// Address to listen on [default: 127.0.0.1:8787].
    #[arg(long, value_name = "ADDRESS:PORT", env = "OSTLER_LISTEN")]
    pub(crate) listen: Option<String>,
    /// Allow listening beyond this machine without TLS. API keys then cross the network readable
    /// by everybody on the way, unless a proxy in front adds TLS.
    #[arg(long, env = "OSTLER_ALLOW_PLAINTEXT", value_parser = clap::builder::BoolishValueParser::new(),
        num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL")]
    pub(crate) allow_plaintext: Option<bool>,
    /// A name under which clients may reach the server, besides its address; repeatable.
    #[arg(long = "allowed-host", value_name = "NAME", env = "OSTLER_ALLOWED_HOSTS", value_delimiter = ',')]
    pub(crate) allowed_hosts: Vec<String>,
}

/// What `run` takes.
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

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    /// The words of a line as a shell sees them, as far as examples need it.
    fn words(line: &str) -> Vec<String> {
        let mut words = vec![String::new()];
        let mut quoted = false;
        for c in line.chars() {
            match c {
                '"' | '\'' => quoted = !quoted,
                ' ' if !quoted => words.push(String::new()),
                c => words.last_mut().unwrap().push(c),
            }
        }
        words
    }

    fn leaves(command: &clap::Command, path: &str, found: &mut Vec<(String, String)>) {
        if command.get_subcommands().next().is_none() {
            found.push((path.to_owned(), command.get_after_help().map(ToString::to_string).unwrap_or_default()));
        }
        for child in command.get_subcommands() {
            leaves(child, &format!("{path} {}", child.get_name()), found);
        }
    }

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_client_command_has_an_example_that_it_takes() {
        let mut found = Vec::new();
        leaves(&Cli::command(), "ostler", &mut found);
        found.retain(|(path, _)| !["ostler run", "ostler serve", "ostler config default"].contains(&path.as_str()));
        assert!(found.len() > 20, "{found:?}");
        for (path, help) in found {
            let example = help.strip_prefix("Example: ").unwrap_or_else(|| panic!("{path} has no example: {help:?}"));
            let line = example.lines().next().unwrap();
            assert!(line.starts_with(&path), "{path}: {line}");
            Cli::try_parse_from(words(line)).unwrap_or_else(|error| panic!("{line}: {error}"));
        }
    }

    #[test]
    fn a_key_can_never_be_an_argument() {
        for flag in ["--api-key", "--key"] {
            assert!(Cli::try_parse_from(["ostler", "agents", "list", flag, "secret"]).is_err());
        }
    }
}
