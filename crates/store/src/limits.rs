//! Every bound of the store, in one place. Limits of the API or of sessions are not here.

/// Jobs that may wait for the writer before callers are held back.
pub const WRITER_QUEUE: usize = 1024;

/// Jobs committed together in one transaction.
pub const GROUP_JOBS: usize = 256;

/// Jobs that may wait for a reader before callers are held back.
pub const READER_QUEUE: usize = 1024;

/// The fewest and the most reader threads.
pub const READERS: std::ops::RangeInclusive<usize> = 1..=16;

/// Reader threads unless configured.
pub const DEFAULT_READERS: usize = 3;

/// Prepared statements kept per connection.
pub const STATEMENT_CACHE: usize = 128;

/// How long SQLite waits for a foreign lock (a backup tool, say) before the store is unavailable.
pub const BUSY_TIMEOUT_MS: u64 = 5_000;

/// Pages of 4 KiB in the write-ahead log after which they are moved into the database. A page that is
/// written often moves once; a start after a crash reads as many.
pub const CHECKPOINT_PAGES: i64 = 4_000;

/// The write-ahead log is cut back to this size after a checkpoint.
pub const WAL_KEPT_BYTES: i64 = 64 * 1024 * 1024;

/// Records of one batch.
pub const BATCH_RECORDS: usize = 4_096;

/// Events of one batch.
pub const BATCH_EVENTS: usize = 4_096;

/// Bytes of all bodies of one batch.
pub const BATCH_BYTES: usize = 256 * 1024 * 1024;

/// Bytes of one document, snapshot or session text.
pub const BODY_BYTES: usize = 64 * 1024 * 1024;

/// Rows of one page of a list; larger requests are answered with this many.
pub const PAGE_ROWS: usize = 1_000;

/// Events of one read; larger requests are answered with this many.
pub const EVENTS_READ: usize = 10_000;

/// Records of one read; larger requests are answered with this many.
pub const RECORDS_READ: usize = 100_000;

/// Lines of the network log of one session; the oldest go first.
pub const NETWORK_LINES_PER_SESSION: i64 = 10_000;

/// Lines of network logs that one deletion of old ones takes.
pub const NETWORK_LINES_FORGOTTEN: i64 = 10_000;

/// Keys of one workspace that are not revoked.
pub const LIVE_API_KEYS: i64 = 1_000;

/// Keys of one list, revoked ones included.
pub const API_KEYS_LISTED: i64 = 10_000;

/// The highest sequence number or position in one session: both share a 63-bit key with the
/// session's number.
pub const SESSION_SEQ: u64 = u32::MAX as u64;
