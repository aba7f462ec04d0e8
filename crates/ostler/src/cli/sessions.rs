//! The commands for what runs: sessions and their events.

use clap::{Args, Subcommand};
use clap_complete::ArgValueCompleter;

use super::{PageArgs, ServerArgs, SessionArg, id, pair};
use crate::commands::{complete, money};

/// `ostler sessions`.
#[derive(Debug, Subcommand)]
pub(crate) enum SessionsCommand {
    /// List sessions, newest first.
    #[command(after_help = "Example: ostler sessions list --stuck")]
    List(SessionsListArgs),
    /// Show a session, and for what it waits.
    #[command(after_help = "Example: ostler sessions show sesn_01")]
    Show {
        #[command(flatten)]
        session: SessionArg,
        #[command(flatten)]
        server: ServerArgs,
    },
    /// Create a session, and perhaps give it its first message.
    #[command(after_help = "Example: ostler sessions create --agent agent_01 --message 'tidy up /workspace' --follow")]
    Create(CreateArgs),
    /// Send a message.
    #[command(after_help = "Example: ostler sessions send sesn_01 'and now the tests' --follow")]
    Send(SendArgs),
    /// Print what happened, and with -f what happens.
    #[command(after_help = "Example: ostler sessions tail -f sesn_01")]
    Tail(TailArgs),
    /// List what the sandbox of a session did in the network, newest first.
    #[command(after_help = "Example: ostler sessions network sesn_01 --decision denied")]
    Network(NetworkArgs),
    /// End the running turn.
    #[command(after_help = "Example: ostler sessions interrupt sesn_01 --wait")]
    Interrupt(InterruptArgs),
    /// Allow or deny a call that waits for a person.
    #[command(after_help = "Example: ostler sessions confirm sesn_01 --deny --message 'not in production'")]
    Confirm(ConfirmArgs),
    /// Archive a session for good; its history stays.
    #[command(after_help = "Example: ostler sessions archive sesn_01")]
    Archive {
        #[command(flatten)]
        session: SessionArg,
        #[command(flatten)]
        server: ServerArgs,
    },
    /// Delete a session with its history and its sandbox.
    #[command(after_help = "Example: ostler sessions delete sesn_01")]
    Delete {
        #[command(flatten)]
        session: SessionArg,
        #[command(flatten)]
        server: ServerArgs,
    },
    /// Raise or remove the budget of a session.
    #[command(after_help = "Example: ostler sessions budget sesn_01 5.00")]
    Budget {
        #[command(flatten)]
        session: SessionArg,
        /// The most that its models may cost from its beginning on, at list prices, such as 5.00; `none` removes the budget for good.
        #[arg(value_name = "DOLLARS", value_parser = money::budget_or_none)]
        limit: money::Limit,
        #[command(flatten)]
        server: ServerArgs,
    },
    /// Let a session go on that was set aside after repeated failures.
    #[command(after_help = "Example: ostler sessions retry sesn_01")]
    Retry {
        #[command(flatten)]
        session: SessionArg,
        #[command(flatten)]
        server: ServerArgs,
    },
}

/// What `sessions list` takes.
#[derive(Debug, Args)]
pub(crate) struct SessionsListArgs {
    /// Only in this state; repeatable.
    #[arg(long, value_name = "STATUS", value_parser = ["idle", "running", "rescheduling", "terminated"])]
    pub(crate) status: Vec<String>,
    /// Only of this agent.
    #[arg(long, value_name = "ID", value_parser = id, add = ArgValueCompleter::new(complete::agents))]
    pub(crate) agent: Option<String>,
    /// Only those that wait for an answer, wait to try again or were given up, and for what they wait.
    #[arg(long, conflicts_with = "status")]
    pub(crate) stuck: bool,
    /// Archived ones as well.
    #[arg(long)]
    pub(crate) archived: bool,
    #[command(flatten)]
    pub(crate) page: PageArgs,
    #[command(flatten)]
    pub(crate) server: ServerArgs,
}

/// What `sessions create` takes.
#[derive(Debug, Args)]
pub(crate) struct CreateArgs {
    /// The agent.
    #[arg(long, value_name = "ID", value_parser = id, add = ArgValueCompleter::new(complete::agents))]
    pub(crate) agent: String,
    /// The environment; not needed where there is exactly one.
    #[arg(long, value_name = "ID", value_parser = id, add = ArgValueCompleter::new(complete::environments))]
    pub(crate) environment: Option<String>,
    /// A title for people.
    #[arg(long)]
    pub(crate) title: Option<String>,
    /// A pair of metadata; repeatable.
    #[arg(long, value_name = "KEY=VALUE", value_parser = pair)]
    pub(crate) metadata: Vec<(String, String)>,
    /// The most that the session's models may cost, at list prices, such as 1.50.
    #[arg(long, value_name = "DOLLARS", value_parser = money::cents)]
    pub(crate) budget: Option<u64>,
    /// The first message: the text itself, `@FILE` for a file's, `-` for standard input's.
    #[arg(long, value_name = "TEXT")]
    pub(crate) message: Option<String>,
    /// Show the turn; the exit status tells how it ended.
    #[arg(long, requires = "message")]
    pub(crate) follow: bool,
    #[command(flatten)]
    pub(crate) server: ServerArgs,
}

/// What `sessions send` takes.
#[derive(Debug, Args)]
pub(crate) struct SendArgs {
    #[command(flatten)]
    pub(crate) session: SessionArg,
    /// The message: the text itself, `@FILE` for a file's, `-` for standard input's.
    pub(crate) text: String,
    /// Show the turn; the exit status tells how it ended.
    #[arg(long)]
    pub(crate) follow: bool,
    #[command(flatten)]
    pub(crate) server: ServerArgs,
}

/// What `sessions tail` takes.
#[derive(Debug, Args)]
pub(crate) struct TailArgs {
    #[command(flatten)]
    pub(crate) session: SessionArg,
    /// Go on with what happens, over restarts of the server, until the session is archived or deleted.
    #[arg(short, long)]
    pub(crate) follow: bool,
    /// Follow until the turn is over; the exit status tells how it ended.
    #[arg(long)]
    pub(crate) until_idle: bool,
    /// Begin with the first event.
    #[arg(long, conflicts_with = "last")]
    pub(crate) from_start: bool,
    /// Begin with the last N events [default: 50].
    #[arg(long, value_name = "N")]
    pub(crate) last: Option<u32>,
    #[command(flatten)]
    pub(crate) server: ServerArgs,
}

/// What `sessions network` takes.
#[derive(Debug, Args)]
pub(crate) struct NetworkArgs {
    #[command(flatten)]
    pub(crate) session: SessionArg,
    /// Only of this host.
    #[arg(long, value_name = "HOST")]
    pub(crate) host: Option<String>,
    /// Only what was decided so.
    #[arg(long, value_name = "DECISION", value_parser = ["allowed", "denied"])]
    pub(crate) decision: Option<String>,
    #[command(flatten)]
    pub(crate) page: PageArgs,
    #[command(flatten)]
    pub(crate) server: ServerArgs,
}

/// What `sessions interrupt` takes.
#[derive(Debug, Args)]
pub(crate) struct InterruptArgs {
    #[command(flatten)]
    pub(crate) session: SessionArg,
    /// Wait until the turn is over.
    #[arg(long)]
    pub(crate) wait: bool,
    #[command(flatten)]
    pub(crate) server: ServerArgs,
}

/// What `sessions confirm` takes.
#[derive(Debug, Args)]
#[command(group = clap::ArgGroup::new("answer").args(["allow", "deny"]).required(true))]
pub(crate) struct ConfirmArgs {
    #[command(flatten)]
    pub(crate) session: SessionArg,
    /// The id of the call's event, or of the confirmation of a request; not needed where exactly one waits.
    #[arg(value_name = "EVENT", value_parser = id, add = ArgValueCompleter::new(complete::waiting_calls))]
    pub(crate) event: Option<String>,
    /// The call may run, the request may go.
    #[arg(long, conflicts_with_all = ["deny", "message"])]
    pub(crate) allow: bool,
    /// The call may not run, the request may not go.
    #[arg(long)]
    pub(crate) deny: bool,
    /// The same for all such requests of the session; for requests only.
    #[arg(long, conflicts_with = "message")]
    pub(crate) remember: bool,
    /// Why not, told to the model; for calls only.
    #[arg(long, value_name = "TEXT", requires = "deny")]
    pub(crate) message: Option<String>,
    #[command(flatten)]
    pub(crate) server: ServerArgs,
}

/// `ostler events`.
#[derive(Debug, Subcommand)]
pub(crate) enum EventsCommand {
    /// List the events of a session, oldest first.
    #[command(after_help = "Example: ostler events list sesn_01 --type session.error --json")]
    List(EventsListArgs),
    /// Send events as they are.
    #[command(after_help = "Example: ostler events send sesn_01 '{\"type\": \"user.interrupt\"}'")]
    Send(EventsSendArgs),
}

/// What `events list` takes.
#[derive(Debug, Args)]
pub(crate) struct EventsListArgs {
    #[command(flatten)]
    pub(crate) session: SessionArg,
    /// Only of this type, such as agent.message; repeatable.
    #[arg(long = "type", value_name = "TYPE")]
    pub(crate) types: Vec<String>,
    /// Newest first.
    #[arg(long)]
    pub(crate) newest: bool,
    #[command(flatten)]
    pub(crate) page: PageArgs,
    #[command(flatten)]
    pub(crate) server: ServerArgs,
}

/// What `events send` takes.
#[derive(Debug, Args)]
pub(crate) struct EventsSendArgs {
    #[command(flatten)]
    pub(crate) session: SessionArg,
    /// One event or a list of events as JSON: the text itself, `@FILE` for a file's, `-` for standard input's.
    #[arg(value_name = "JSON", default_value = "-")]
    pub(crate) events: String,
    #[command(flatten)]
    pub(crate) server: ServerArgs,
}
