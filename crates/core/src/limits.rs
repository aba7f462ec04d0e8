//! Every named limit of the domain. Limits of transports and stores live with them.

/// Pairs of metadata on one resource.
pub const METADATA_PAIRS: usize = 16;
/// Characters of a metadata key.
pub const METADATA_KEY_CHARS: usize = 64;
/// Characters of a metadata value.
pub const METADATA_VALUE_CHARS: usize = 512;

/// Characters of a name (agents, environments).
pub const NAME_CHARS: usize = 256;
/// Characters of a description.
pub const DESCRIPTION_CHARS: usize = 2_048;
/// Characters of a session's title.
pub const TITLE_CHARS: usize = 512;
/// Characters of a model id.
pub const MODEL_ID_CHARS: usize = 256;
/// Characters of a system prompt.
pub const SYSTEM_CHARS: usize = 100_000;
/// Entries of an agent's `tools`.
pub const TOOL_ENTRIES: usize = 128;
/// MCP servers of an agent.
pub const MCP_SERVERS: usize = 20;
/// Characters of an MCP server's name.
pub const MCP_SERVER_NAME_CHARS: usize = 255;
/// Tools of all MCP servers that are offered to the model.
pub const TOOLS_OFFERED: usize = 256;
/// How long a list of an MCP server's tools holds before the next turn asks again, in microseconds.
pub const MCP_LIST_MICROS: i64 = 600_000_000;
/// Characters of a URL.
pub const URL_CHARS: usize = 2_048;
/// Characters of a custom tool's name.
pub const CUSTOM_TOOL_NAME_CHARS: usize = 128;
/// Characters of a tool's description.
pub const TOOL_DESCRIPTION_CHARS: usize = 10_000;
/// Nesting of a custom tool's schema.
pub const SCHEMA_DEPTH: usize = 32;
/// Entries of a domain list.
pub const DOMAIN_LIST_ENTRIES: usize = 64;
/// Characters of one of them.
pub const DOMAIN_LIST_CHARS: usize = 255;
/// The most tokens of a page that an agent may set.
pub const WEB_CONTENT_TOKENS: u64 = 1_000_000;
/// Characters of a part of a user's location.
pub const LOCATION_CHARS: usize = 255;
/// Hosts that an environment allows.
pub const ALLOWED_HOSTS: usize = 256;
/// Rules of an environment about what goes out.
pub const EGRESS_RULES: usize = 128;
/// Ports of one such rule.
pub const RULE_PORTS: usize = 16;
/// Methods of one such rule.
pub const RULE_METHODS: usize = 16;
/// Characters of a method.
pub const METHOD_CHARS: usize = 32;
/// Characters of the path of one such rule.
pub const RULE_PATH_CHARS: usize = 512;
/// Bytes of the path of a request about which a person is asked.
pub const ASKED_PATH_BYTES: usize = 1_024;
/// Questions about requests of one session that wait for a person.
pub const OPEN_CONFIRMATIONS: usize = 32;
/// Answers about requests that one session remembers.
pub const REMEMBERED_CONFIRMATIONS: usize = 64;
/// Characters of the name of a vault or a credential.
pub const DISPLAY_NAME_CHARS: usize = 255;
/// Credentials of one vault that are not archived.
pub const CREDENTIALS_PER_VAULT: u64 = 20;
/// Hosts that one credential may go to.
pub const CREDENTIAL_HOSTS: usize = 16;
/// Bytes of the name of a variable that holds a placeholder.
pub const SECRET_NAME_CHARS: usize = 128;
/// Bytes of one secret.
pub const SECRET_BYTES: usize = 16 << 10;
/// Vaults of one session.
pub const VAULTS_PER_SESSION: usize = 16;
/// Packages of one manager in an environment.
pub const PACKAGES_PER_MANAGER: usize = 256;
/// Characters of one package.
pub const PACKAGE_CHARS: usize = 256;

/// Events in one request.
pub const EVENTS_PER_REQUEST: usize = 100;
/// Events that start a session.
pub const INITIAL_EVENTS: usize = 50;
/// Content blocks of one event.
pub const CONTENT_BLOCKS: usize = 1_000;
/// Inputs that wait for their turn in one session.
pub const QUEUED_INPUTS: usize = 1_000;
/// Bytes of all inputs that wait for their turn in one session.
pub const QUEUED_BYTES: usize = 32 << 20;
/// Interrupts that wait in one session until what they end is gone.
pub const PENDING_INTERRUPTS: usize = 100;
/// Characters of a deny message.
pub const DENY_MESSAGE_CHARS: usize = 10_000;

/// Model requests of one turn before it is ended.
pub const STEPS_PER_TURN: u32 = 200;
/// Tool calls of one answer; further ones are not run.
pub const CALLS_PER_ANSWER: usize = 128;
/// Attempts of one model request that are made while the session still counts as running.
pub const QUICK_ATTEMPTS: u32 = 3;
/// Attempts of one model request before the turn is given up.
pub const MODEL_ATTEMPTS: u32 = 6;
/// Tries of one model in a round, where others can stand in for it.
pub const TRIES_PER_TARGET: u32 = 2;
/// Attempts of one model request for each model that can answer, where that is more than the attempts
/// for one.
pub const ATTEMPTS_PER_TARGET: u32 = 4;
/// Tokens that an answer may have however little of a budget is left.
pub const MIN_OUTPUT_TOKENS: u32 = 1_024;
/// The longest wait before a model request is tried again, in milliseconds.
pub const MODEL_RETRY_DELAY_MS: u64 = 600_000;
/// Times that one call is given to another sandbox because the last one ended.
pub const CALL_RETRIES: u32 = 3;
/// The most tokens of one answer unless the server is told otherwise.
pub const MAX_OUTPUT_TOKENS: u32 = 16_384;
/// Deaths of a session in a row, without progress, before it is set aside.
pub const DEATHS_BEFORE_SET_ASIDE: u32 = 3;
/// Credentials of one session that its clients are told of because they cannot be used.
pub const CREDENTIAL_FAULTS: usize = 256;
/// Characters of an error's message towards clients.
pub const ERROR_MESSAGE_CHARS: usize = 1_000;

/// Seconds that a command may take, whatever an environment asks.
pub const COMMAND_SECONDS: u64 = 600;
