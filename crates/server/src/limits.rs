//! Every named limit of the HTTP server. Limits of what is in a request are in `ostler-core`.

use std::time::Duration;

/// Bytes of one request body.
pub const BODY_BYTES: usize = 32 << 20;
/// Bytes of a too large body that are read and thrown away, so that the client gets its answer.
pub const BODY_DISCARDED_BYTES: usize = 32 << 20;
/// Bytes of all large request bodies held at once.
pub const BODIES_HELD: usize = 512 << 20;
/// Bytes of a small request body.
pub const SMALL_BODY: usize = 64 << 10;
/// Bytes of all small request bodies held at once.
pub const SMALL_BODIES_HELD: usize = 64 << 20;
/// How long what arrived of a request body may wait for room.
pub const BODY_ROOM: Duration = Duration::from_secs(5);
/// How long one request body may take to arrive.
pub const BODY_READ: Duration = Duration::from_secs(60);
/// How long a request's headers may take to arrive.
pub const HEADER_READ: Duration = Duration::from_secs(30);
/// Bytes of a request's headers.
pub const HEADER_BYTES: usize = 64 << 10;
/// Headers of one request.
pub const HEADERS: usize = 100;
/// Connections at once; further ones wait in the kernel.
pub const CONNECTIONS: usize = 8_192;
/// Streams at once, below the connections so that plain requests find room.
pub const STREAMS: usize = 6_144;
/// Streams at once with one key, unless configured.
pub const STREAMS_PER_KEY: usize = 1_024;
/// How long requests may take to end when the server stops.
pub const DRAIN: Duration = Duration::from_secs(10);
/// How long to wait after a connection could not be accepted.
pub const ACCEPT_RETRY: Duration = Duration::from_millis(100);

/// A silent stream sends a sign of life this often, unless configured.
pub const PING: Duration = Duration::from_secs(15);
/// A stream checks its key this often, unless configured.
pub const RECHECK_KEY: Duration = Duration::from_secs(2);

/// How long a key that was looked up is believed without looking again.
pub const KEY_BELIEVED: Duration = Duration::from_secs(1);
/// Keys remembered at once.
pub const KEYS_REMEMBERED: usize = 1_024;
/// Bytes of an API key.
pub const KEY_BYTES: usize = 512;

/// Bytes of a query string.
pub const QUERY_BYTES: usize = 32 << 10;
/// Parameters of a query string.
pub const QUERY_PARAMETERS: usize = 1_000;
/// Values of `event_deltas`.
pub const EVENT_DELTAS: usize = 100;
/// Bytes of a page cursor.
pub const CURSOR_BYTES: usize = 1_024;
/// Characters of a client's text that an error message repeats.
pub const REPEATED_CHARS: usize = 64;

/// Rows of a page unless the request says otherwise.
pub const PAGE: usize = 20;
/// The most rows of a page of agents or versions.
pub const PAGE_MOST: usize = 100;
/// The most rows of a page of sessions, environments or threads.
pub const LONG_PAGE_MOST: usize = 1_000;
/// Lines of a page of a network log unless the request says otherwise.
pub const NETWORK_PAGE: usize = 100;
/// Events of a page unless the request says otherwise.
pub const EVENTS_PAGE: usize = 100;
/// The most events of a page.
pub const EVENTS_PAGE_MOST: usize = 1_000;
/// Events read from the store at a time.
pub const EVENTS_READ: usize = 100;
/// Bytes of events after which a page ends early.
pub const EVENTS_PAGE_BYTES: usize = 32 << 20;
/// Attempts of an update without a version while others update the same thing.
pub const UPDATE_ATTEMPTS: usize = 64;
/// How long the store may take to say that it is there.
pub const READY_WAIT: Duration = Duration::from_secs(2);

/// Models on a page unless a client says otherwise.
pub const MODELS_DEFAULT: u64 = 20;
/// The most models on a page.
pub const MODELS_MAX: usize = 1_000;
/// Bytes of an archive that are sent at a time.
pub const ARCHIVE_PIECE: usize = 256 << 10;
