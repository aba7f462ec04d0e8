//! Every named limit of egress.

use std::time::Duration;

/// Connections of one sandbox at once; more wait, and settings can only ask for fewer.
pub const CONNECTIONS_PER_SANDBOX: usize = 1_024;
/// Connections of all sandboxes at once.
pub const CONNECTIONS: usize = 8_192;
/// The same of one workspace.
pub const CONNECTIONS_PER_WORKSPACE: usize = 4_096;
/// How long a connection may take until it says where it wants to go.
pub const HEAD_TIMEOUT: Duration = Duration::from_secs(30);
/// How long the way to a host may take, with TLS.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(15);
/// How long a host may take to begin its answer.
pub const ANSWER_TIMEOUT: Duration = Duration::from_secs(600);
/// How long a connection to a host may take to end once nobody needs it.
pub const CLOSED_WITHIN: Duration = Duration::from_secs(5);
/// Milliseconds that a host may leave what was sent to it unread.
pub const UNREAD_MS: u32 = 600_000;
/// How long a connection may be silent in both directions.
pub const SILENCE: Duration = Duration::from_secs(900);
/// Bytes of the head of a request or an answer.
pub const HEAD_BYTES: usize = 64 << 10;
/// Headers of a request or an answer.
pub const HEADERS: usize = 128;
/// Bytes of the first message of TLS.
pub const HELLO_BYTES: usize = 16 << 10;
/// Bytes of a body in which placeholders are replaced.
pub const INJECTED_BODY_BYTES: usize = 8 << 20;
/// Bytes that are moved at once.
pub const COPY_BYTES: usize = 32 << 10;
/// How long a grant holds without being renewed.
pub const LEASE: Duration = Duration::from_secs(60);
/// How long an answer of a name server is kept at most.
pub const NAME_KEPT: Duration = Duration::from_secs(30);
/// How long a name server may take.
pub const NAME_TIMEOUT: Duration = Duration::from_secs(5);
/// Addresses of a host that are tried.
pub const ADDRESSES_TRIED: usize = 4;
/// How long what the machine's own addresses are is believed.
pub const OWN_ADDRESSES_KEPT: Duration = Duration::from_secs(30);
/// Hosts whose certificates are kept; the one that was used longest ago goes first.
pub const CERTIFICATES: usize = 512;
/// The same of hosts of which nothing is passed on.
pub const REFUSED_CERTIFICATES: usize = 64;
/// How many certificates of such hosts one sandbox has made at once, and again after so long each.
pub const REFUSALS_AT_ONCE: u32 = 50;
/// See [`REFUSALS_AT_ONCE`].
pub const REFUSAL_EVERY: Duration = Duration::from_millis(100);
/// How long a certificate is valid.
pub const CERTIFICATE_LIFE: Duration = Duration::from_secs(7 * 24 * 3_600);
/// How long before its end another one is made.
pub const CERTIFICATE_RENEWED: Duration = Duration::from_secs(2 * 24 * 3_600);
/// How far clocks may be behind.
pub const CLOCK_SKEW: Duration = Duration::from_secs(24 * 3_600);
/// Requests of one sandbox that wait for a person at once.
pub const HELD_REQUESTS: usize = 32;
/// How long a request waits for a person.
pub const ASKED: Duration = Duration::from_secs(60);
/// Questions that the server is told of at once.
pub const QUESTIONS_TOLD: usize = 1_024;
/// For how long what was not moved before may be moved at once.
pub const BURST: Duration = Duration::from_secs(1);
/// Seconds that the address of a name may be kept inside.
pub const NAME_TTL: u32 = 60;
/// Bytes of a frame of the control channel.
pub const FRAME_BYTES: usize = 8 << 20;
/// Descriptors with one frame.
pub const FRAME_DESCRIPTORS: usize = 8;
/// Records of what happened that wait to be fetched; more are counted and dropped.
pub const RECORDS: usize = 4_096;
/// The same of one sandbox, so that none takes the room of all.
pub const RECORDS_PER_SANDBOX: usize = 1_024;
/// Bytes of records that are told at once; they go in one frame.
pub const RECORDS_TOLD: usize = 4 << 20;
/// Bytes of a path that are recorded.
pub const PATH_BYTES: usize = 2_048;
/// Bytes of an answer that are shown when a credential is tried.
pub const SHOWN_ANSWER: usize = 4 << 10;
/// Bytes of the shortest placeholder.
pub const PLACEHOLDER_LEAST: usize = 16;
/// Bytes of the shortest secret that is taken out of answers.
pub const SCRUBBED_LEAST: usize = 4;
/// Bytes of the shortest secret whose encoded forms are.
pub const SCRUBBED_ENCODED_LEAST: usize = 8;
/// How long the end of an answer is held while it may be the beginning of a secret, if it is too short to be of use.
pub const HELD: Duration = Duration::from_secs(1);
/// Bytes of what is too short.
pub const HELD_SHORT: usize = 3;
/// How long what is longer is held: nobody who is asked pauses in the middle of a word for so long.
pub const HELD_MOST: Duration = Duration::from_secs(30);
/// Bytes of the longest name of a header that is looked into for secrets; longer ones are taken away.
pub const NAME_SCRUBBED: usize = 256;
/// Bytes of all secrets of a sandbox together.
pub const SECRETS: usize = 64 << 10;
/// Bytes of the longest secret that is known in every form that it may come back in; longer ones are in the usual ones.
pub const SCRUBBED_EVERY_FORM: usize = 1 << 10;
/// Requests and connections of one sandbox that are passed on at once.
pub const EXCHANGES_PER_SANDBOX: usize = 256;
/// Bytes of an answer that wait in each of them for who reads slowly.
pub const STREAM_WAITS: usize = 32 << 10;
/// Requests of one HTTP/2 connection at once.
pub const STREAMS: u32 = 128;
/// Bytes of a question to the name server.
pub const NAME_BYTES: usize = 4_096;
/// How long is waited after a connection could not be taken.
pub const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// How often leases are looked at.
pub const LEASE_WATCH: Duration = Duration::from_secs(5);
/// How long a question may take, with its answer.
pub const ASK_TIMEOUT: Duration = Duration::from_secs(10);
/// Bytes of the head of a call of the server, which carries a sealed secret.
pub const CALL_HEAD_BYTES: usize = 512 << 10;
/// Bytes of the answer of a token endpoint.
pub const TOKEN_ANSWER_BYTES: usize = 64 << 10;
/// How long a token endpoint may take; less than a question may.
pub const TOKEN_TIME: Duration = Duration::from_secs(8);
/// Bytes of an answer of an MCP server that is no stream.
pub const MCP_ANSWER_BYTES: usize = 6 << 20;
/// For how long an answer that counts once waits for a request that comes again.
pub const ONCE_COUNTS: Duration = Duration::from_secs(3_600);
/// How long a connection to a host is kept that nobody uses.
pub const KEPT_FOR: Duration = Duration::from_secs(30);
/// Such connections, of all sandboxes together.
pub const KEPT: usize = 512;
/// The same of one workspace.
pub const KEPT_PER_WORKSPACE: usize = 64;
/// The same of one workspace, to one host with the same secrets.
pub const KEPT_PER_PLACE: usize = 8;
/// How long the last answer over a connection may go on after who asked has left.
pub const KEPT_SETTLES: Duration = Duration::from_secs(1);
/// Bodies in which placeholders are replaced, of all sandboxes at once.
pub const INJECTED_BODIES: usize = 16;
/// The same of one workspace.
pub const INJECTED_BODIES_PER_WORKSPACE: usize = 4;
/// How long such a body may take to arrive, and to have its turn.
pub const INJECTED_BODY_TIME: Duration = Duration::from_secs(60);
/// Bytes of a host that are recorded.
pub const HOST_BYTES: usize = 253;
/// The same of a method.
pub const METHOD_BYTES: usize = 32;
/// How long the way to a model provider may take, with TLS.
pub const PROVIDER_CONNECT: Duration = Duration::from_secs(10);
/// How long an unused connection to a provider is kept.
pub const PROVIDER_IDLE: Duration = Duration::from_secs(60);
/// Unused connections kept for each provider.
pub const PROVIDER_IDLE_CONNECTIONS: usize = 256;
/// Bytes that are read of what a provider says of an error.
pub const PROVIDER_ERROR_BYTES: usize = 64 << 10;
/// How long it may take to say it.
pub const PROVIDER_ERROR_TIME: Duration = Duration::from_secs(5);
/// Bytes of a page that is read for an agent, without its content encoding.
pub const PAGE_BYTES: usize = 10 << 20;
/// The same of results of a search.
pub const SEARCH_BYTES: usize = 2 << 20;
/// Bytes that the encoding of something that cannot be packed adds to it.
pub const ENCODING_BYTES: usize = 64 << 10;
/// How long reading a page, or asking a search engine, may take as a whole.
pub const PAGE_TIME: Duration = Duration::from_secs(30);
