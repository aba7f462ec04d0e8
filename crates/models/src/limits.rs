//! Every named limit of talking to a model provider.

use std::time::Duration;

/// Time to open a connection to egress.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Time to the first byte of an answer, and between any two.
pub const IDLE_TIMEOUT: Duration = Duration::from_secs(120);
/// Time of one request from its start to its end.
pub const TOTAL_TIMEOUT: Duration = Duration::from_secs(15 * 60);
/// Wait for the end of a body whose last event has been read, so that the connection can be reused.
pub const DRAIN_TIMEOUT: Duration = Duration::from_millis(50);
/// Time for all that may follow a whole answer: token counts, the end mark.
pub const TRAILER_TIMEOUT: Duration = Duration::from_secs(5);
/// Time an unused connection is kept.
pub const POOL_IDLE_TIMEOUT: Duration = Duration::from_secs(60);
/// Unused connections to egress that are kept.
pub const POOL_IDLE: usize = 1_024;
/// Characters of why egress does not reach a provider.
pub const REASON_CHARS: usize = 500;

/// Bytes of one event of a stream.
pub const FRAME_BYTES: usize = 8 << 20;
/// Bytes of one answer.
pub const ANSWER_BYTES: usize = 32 << 20;
/// Blocks of one answer.
pub const BLOCKS_PER_ANSWER: usize = 1_024;
/// Bytes read of the body of a failed request.
pub const ERROR_BODY_BYTES: usize = 64 << 10;
/// Characters of an error message; the rest is cut.
pub const MESSAGE_CHARS: usize = 500;
/// Characters of a provider's word that is kept (stop reason, refusal category, model id).
pub const WORD_CHARS: usize = 256;

/// The longest delay before the first retry, in milliseconds; it doubles with each attempt.
pub const RETRY_BASE_MS: u64 = 500;
/// The longest delay of our own choice, in milliseconds.
pub const RETRY_CAP_MS: u64 = 30_000;
/// The longest wait that a provider can ask for, in milliseconds.
pub const RETRY_AFTER_MAX_MS: u64 = 300_000;

/// Characters of a tool result that the demo model quotes.
pub const DEMO_QUOTE_CHARS: usize = 600;
/// Characters of the user's text that the demo model quotes.
pub const DEMO_USER_CHARS: usize = 400;
/// Characters of one preview of the demo model.
pub const DEMO_CHUNK_CHARS: usize = 12;

/// Nesting of any field of an answer's block. Well below what JSON parsers take, because blocks are
/// wrapped into records, frames and requests.
pub const BLOCK_DEPTH: usize = 64;

/// Characters of a call's id that every server of Chat Completions takes.
pub const PORTABLE_ID_CHARS: usize = 64;
/// Bytes of the hash in an id that replaces one a provider would refuse.
pub const CALL_ID_HASH_BYTES: usize = 16;
/// Characters of a tool's name that every provider takes.
pub const TOOL_NAME_CHARS: usize = 64;
/// Models of one provider whose refused fields are remembered.
pub const ADAPTED_MODELS: usize = 256;
/// Bytes of a server's id of a call; one that is longer is replaced. Some proxies keep signatures in it.
pub const PROVIDER_ID_BYTES: usize = 16 << 10;
/// Pieces of structured reasoning of one answer.
pub const REASONING_DETAILS: usize = 1_024;

/// Failures in a row after which a model is left alone.
pub const BREAKER_FAILURES: u32 = 8;
/// Sessions that must have seen them.
pub const BREAKER_SESSIONS: usize = 3;
/// How long a failing model is left alone at first; it doubles while it goes on failing.
pub const BREAKER_PAUSE: Duration = Duration::from_secs(2);
/// The longest time a failing model is left alone.
pub const BREAKER_PAUSE_MAX: Duration = Duration::from_secs(60);
/// Requests to one model at once, until it says that it is too much.
pub const GATE_PLACES: f64 = 4_096.0;
/// Models whose state is kept.
pub const GATES_KEPT: usize = 4_096;
/// Requests of one workspace that wait for one model.
pub const GATE_QUEUE: usize = 2_000;
/// How long a request waits for a place before another model is tried.
pub const GATE_WAIT: Duration = Duration::from_secs(20);

/// Models of one provider that are listed.
pub const LISTED_MODELS: usize = 2_000;
/// How long a provider's list of models is kept.
pub const LISTING_KEPT: Duration = Duration::from_secs(60);
/// How long a provider may take to list its models.
pub const LISTING_TIMEOUT: Duration = Duration::from_secs(5);
