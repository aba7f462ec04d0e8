//! The commands for what is configured: agents, environments, models.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use clap_complete::ArgValueCompleter;

use super::{PageArgs, ServerArgs, id, pair};
use crate::commands::complete;

/// `ostler agents`.
#[derive(Debug, Subcommand)]
pub(crate) enum AgentsCommand {
    /// List agents, newest first.
    #[command(after_help = "Example: ostler agents list --limit 5")]
    List(ListArgs),
    /// Show an agent.
    #[command(after_help = "Example: ostler agents show agent_01")]
    Show {
        #[command(flatten)]
        agent: AgentArg,
        #[command(flatten)]
        server: ServerArgs,
    },
    /// Create an agent from flags or from a file.
    #[command(after_help = "Example: ostler agents create --name helper --model claude-sonnet-5 --system @prompt.md --tools builtin")]
    Create {
        #[command(flatten)]
        fields: AgentFields,
        #[command(flatten)]
        server: ServerArgs,
    },
    /// Change an agent; what is not named stays. Sessions keep the version they began with.
    #[command(after_help = "Example: ostler agents update agent_01 --model claude-opus-5")]
    Update {
        #[command(flatten)]
        agent: AgentArg,
        #[command(flatten)]
        fields: AgentFields,
        /// Only if this is still the agent's version.
        #[arg(long, value_name = "VERSION")]
        if_version: Option<u64>,
        #[command(flatten)]
        server: ServerArgs,
    },
    /// Archive an agent for good: no new sessions of it.
    #[command(after_help = "Example: ostler agents archive agent_01")]
    Archive {
        #[command(flatten)]
        agent: AgentArg,
        #[command(flatten)]
        server: ServerArgs,
    },
}

/// `ostler environments`.
#[derive(Debug, Subcommand)]
pub(crate) enum EnvironmentsCommand {
    /// List environments, newest first.
    #[command(after_help = "Example: ostler environments list --json")]
    List(ListArgs),
    /// Show an environment.
    #[command(after_help = "Example: ostler environments show env_01")]
    Show {
        #[command(flatten)]
        environment: EnvironmentArg,
        #[command(flatten)]
        server: ServerArgs,
    },
    /// Create an environment from flags or from a file.
    #[command(after_help = "Example: ostler environments create --name default\n\n\
        With limits, from a file: echo '{\"sandbox\": {\"memory_mib\": 512, \"disk_mib\": 1024, \"isolation\": \"own_ids\"}}' > env.json\n  \
        ostler environments create --name small --file env.json")]
    Create {
        #[command(flatten)]
        fields: Named,
        #[command(flatten)]
        server: ServerArgs,
    },
    /// Change an environment; what is not named stays.
    #[command(after_help = "Example: ostler environments update env_01 --description 'for the night runs'")]
    Update {
        #[command(flatten)]
        environment: EnvironmentArg,
        #[command(flatten)]
        fields: Named,
        #[command(flatten)]
        server: ServerArgs,
    },
    /// Show whether the packages of an environment are installed.
    #[command(after_help = "Example: ostler environments packages env_01 --wait")]
    Packages {
        #[command(flatten)]
        environment: EnvironmentArg,
        /// Have them installed now, also if that failed just before.
        #[arg(long)]
        build: bool,
        /// Have them installed and wait until they are; status 1 if they cannot be.
        #[arg(long)]
        wait: bool,
        #[command(flatten)]
        server: ServerArgs,
    },
    /// Archive an environment for good: no new sessions in it.
    #[command(after_help = "Example: ostler environments archive env_01")]
    Archive {
        #[command(flatten)]
        environment: EnvironmentArg,
        #[command(flatten)]
        server: ServerArgs,
    },
    /// Delete an environment; refused while sessions use it.
    #[command(after_help = "Example: ostler environments delete env_01")]
    Delete {
        #[command(flatten)]
        environment: EnvironmentArg,
        #[command(flatten)]
        server: ServerArgs,
    },
}

/// `ostler models`.
#[derive(Debug, Subcommand)]
pub(crate) enum ModelsCommand {
    /// List models.
    #[command(after_help = "Example: ostler models list")]
    List {
        #[command(flatten)]
        page: PageArgs,
        #[command(flatten)]
        server: ServerArgs,
    },
}

/// What a list of agents or environments takes.
#[derive(Debug, Args)]
pub(crate) struct ListArgs {
    #[command(flatten)]
    pub(crate) page: PageArgs,
    /// Archived ones as well.
    #[arg(long)]
    pub(crate) archived: bool,
    #[command(flatten)]
    pub(crate) server: ServerArgs,
}

/// An agent by its id.
#[derive(Debug, Args)]
pub(crate) struct AgentArg {
    /// The agent's id.
    #[arg(value_name = "AGENT", value_parser = id, add = ArgValueCompleter::new(complete::agents))]
    pub(crate) agent: String,
}

/// An environment by its id.
#[derive(Debug, Args)]
pub(crate) struct EnvironmentArg {
    /// The environment's id.
    #[arg(value_name = "ENVIRONMENT", value_parser = id, add = ArgValueCompleter::new(complete::environments))]
    pub(crate) environment: String,
}

/// What agents and environments have in common.
#[derive(Debug, Default, Args)]
pub(crate) struct Named {
    /// A name for people.
    #[arg(long)]
    pub(crate) name: Option<String>,
    /// A description for people; empty clears it.
    #[arg(long, value_name = "TEXT")]
    pub(crate) description: Option<String>,
    /// A pair of metadata; repeatable. In updates an empty value deletes the key.
    #[arg(long, value_name = "KEY=VALUE", value_parser = pair)]
    pub(crate) metadata: Vec<(String, String)>,
    /// The whole thing as the API takes it, as JSON in a file; `-` reads standard input. Flags win over it.
    #[arg(long, value_name = "FILE")]
    pub(crate) file: Option<PathBuf>,
}

/// What an agent is made of.
#[derive(Debug, Default, Args)]
pub(crate) struct AgentFields {
    #[command(flatten)]
    pub(crate) named: Named,
    /// The model's id.
    #[arg(long, value_name = "ID", add = ArgValueCompleter::new(complete::models))]
    pub(crate) model: Option<String>,
    /// The system prompt: the text itself, `@FILE` for a file's, `-` for standard input's; empty clears it.
    #[arg(long, value_name = "TEXT")]
    pub(crate) system: Option<String>,
    /// The tools: `builtin` for all built-in ones, or a JSON file with a list of tools (`-` for standard input).
    #[arg(long, value_name = "builtin|FILE")]
    pub(crate) tools: Option<String>,
}
