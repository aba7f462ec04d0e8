//! Every named limit of the runtime.

use std::time::Duration;

/// Commands that wait for one session.
pub const SESSION_INBOX: usize = 64;
/// Results of effects that wait for one session.
pub const SESSION_RESULTS: usize = 256;
/// How long an idle session stays awake.
pub const SESSION_AWAKE: Duration = Duration::from_secs(60);
/// How long a command waits for its session.
pub const COMMAND_TIMEOUT: Duration = Duration::from_secs(60);
/// Records after which a session's state is kept as a snapshot.
pub const SNAPSHOT_RECORDS: u64 = 64;
/// Live frames kept for followers that are slower than the session.
pub const LIVE_FRAMES: usize = 1_024;
/// Events read at a time while a follower catches up.
pub const CATCH_UP_EVENTS: usize = 500;
/// Records read at a time while a session's context is rebuilt.
pub const CONTEXT_RECORDS: usize = 1_000;
/// Sessions taken up at once after a restart.
pub const RECOVERING: usize = 16;
/// Sessions that waited for a shared budget and are let in at once.
pub const LET_IN_AT_ONCE: usize = 16;
/// The longest random wait before a session is taken up after a restart, in milliseconds.
pub const RECOVERY_JITTER_MS: u64 = 50;
/// How long a taken-up session may keep its place before the next one starts.
pub const RECOVERY_HOLD: Duration = Duration::from_secs(30);
/// How long to wait before something is written again that the store did not take.
pub const STORE_RETRY: Duration = Duration::from_secs(1);
/// How long beyond its own timeout a call may take before its sandbox is given up.
pub const CALL_GRACE: Duration = Duration::from_secs(60);
/// How long a cancelled call may take to end before its sandbox is given up.
pub const CANCEL_GRACE: Duration = Duration::from_secs(30);
/// The longest timeout of a call.
pub const CALL_TIMEOUT: Duration = Duration::from_secs(600);
/// How often a sandbox that does not answer is tried again before it is given up.
pub const ATTACH_TRIES: u32 = 10;
/// How long to wait between two tries.
pub const ATTACH_PAUSE: Duration = Duration::from_secs(1);
/// How long a sandbox without work is left alive, unless configured.
pub const SANDBOX_IDLE: Duration = Duration::from_secs(15 * 60);
/// How long the end of a parked sandbox is waited for.
pub const PARK: Duration = Duration::from_secs(20);
/// How long a session waits until its sandbox may be started.
pub const SANDBOX_TURN: Duration = Duration::from_secs(300);
/// How long a sandbox may take to start.
pub const SANDBOX_START: Duration = Duration::from_secs(30);
/// Bytes of the files of one session in an archive.
pub const ARCHIVE_BYTES: u64 = 64 << 30;
/// Archives that are made at once.
pub const ARCHIVES: usize = 2;
/// How long one may take.
pub const ARCHIVE: Duration = Duration::from_secs(300);
/// Sandboxes that are started at once.
pub const SANDBOX_STARTS: usize = 4;
/// The pause between two looks whether the machine has room for one more.
pub const ROOM_LOOK: Duration = Duration::from_millis(250);
/// How often what runs in sandboxes is compared with the sessions that need it.
pub const RECONCILE: Duration = Duration::from_secs(60);
/// How long a sandbox lives that no server needs, unless configured.
pub const ORPHAN_TTL: Duration = Duration::from_secs(60 * 60);
/// Free bytes below which no new turn starts, so that running ones can end.
pub const DISK_RESERVE_BYTES: u64 = 64 << 20;
/// How long running sessions may take to write down what they have when the server stops.
pub const DRAIN: Duration = Duration::from_secs(10);
/// How often it is tried again to read what a sandbox may reach before the sandbox is of no use.
pub const DESCRIBE_TRIES: u32 = 5;
/// The pause before each.
pub const DESCRIBE_PAUSE: Duration = Duration::from_millis(200);
/// How often egress is told which sandboxes it is to serve.
pub const NETWORK_LOOK: Duration = Duration::from_secs(1);
/// Records of the network log that are fetched at once; a thousand of the longest fit into an answer.
pub const NETWORK_RECORDS: usize = 1_000;
/// Fetches in a row, so that a flood keeps nobody waiting.
pub const NETWORK_FETCHES: usize = 8;
/// How long lines of network logs are kept.
pub const NETWORK_KEPT: Duration = Duration::from_secs(30 * 24 * 60 * 60);
/// How often old ones are deleted.
pub const NETWORK_FORGET: Duration = Duration::from_secs(60);
/// How long the last lines may take when the server stops.
pub const NETWORK_LAST: Duration = Duration::from_secs(2);
/// Calls of one session whose times are known, to say which made a request.
pub const CALL_TIMES: usize = 256;
/// Credentials that are remembered as having been logged because they cannot be used.
pub const UNUSABLE_LOGGED: usize = 10_000;
/// Credentials that are read at once to be sealed for another key.
pub const RESEALED_AT_ONCE: usize = 100;
/// Tries to seal a credential anew while others change it.
pub const RESEAL_TRIES: usize = 64;
/// A token that holds no longer than this is renewed before it is used.
pub const TOKEN_MARGIN: Duration = Duration::from_secs(30);
/// For how long a new token is believed to hold at most, in seconds.
pub const TOKEN_SECONDS: u64 = 10 * 365 * 24 * 3_600;
/// Attempts to store a new token beside others who change the credential.
pub const TOKEN_STORES: usize = 8;
/// Pages that are in memory at once, each as it came and in base64.
pub const WEB_PAGES: usize = 8;
/// Searches at once.
pub const WEB_SEARCHES: usize = 16;
/// How long a fetch or a search waits for its turn.
pub const WEB_TURN: Duration = Duration::from_secs(60);
/// How long egress, or the search command, may take to answer.
pub const WEB_ANSWER: Duration = Duration::from_secs(35);
/// How long fetching a page may take, with all redirects.
pub const WEB_FETCH: Duration = Duration::from_secs(60);
/// Bytes of its answer; egress itself reads less.
pub const WEB_BYTES: usize = 12 << 20;
/// Redirects of a page that are followed.
pub const WEB_REDIRECTS: usize = 10;
/// Bytes of an address.
pub const WEB_URL_BYTES: usize = 2_048;
/// Characters of a query.
pub const WEB_QUERY_CHARS: usize = 1_000;
/// Results of a search that are shown.
pub const WEB_RESULTS: usize = 20;
/// Characters of a title or an age that are shown.
pub const WEB_TITLE_CHARS: usize = 300;
/// Characters of a snippet that are shown.
pub const WEB_SNIPPET_CHARS: usize = 1_000;
/// Domains of a list that are told to a search engine with the query.
pub const WEB_SITES: usize = 8;
/// Bytes of text that count as a token.
pub const BYTES_PER_TOKEN: u64 = 4;
/// For how long an answer that counts once waits for its request.
pub const ONCE_COUNTS: Duration = Duration::from_secs(3_600);
/// Builds of packages at once.
pub const PACKAGE_BUILDS: usize = 2;
/// Layers of packages that the environments of one workspace may ask for.
pub const PACKAGE_LAYERS: usize = 32;
/// How long one may take.
pub const PACKAGES_BUILD: Duration = Duration::from_secs(30 * 60);
/// How long a session waits for the packages of its environment.
pub const PACKAGES_WAIT: Duration = Duration::from_secs(45 * 60);
/// Bytes that a build may have on disk, and files.
pub const PACKAGES_DISK: u64 = 8 << 30;
/// Files of the same; the directories of the system count.
pub const PACKAGES_FILES: u64 = 1_000_000;
/// Bytes of memory that a build has at least.
pub const PACKAGES_MEMORY: u64 = 2 << 30;
/// How long after a build that failed the next one is tried; doubled each time.
pub const PACKAGES_RETRY: Duration = Duration::from_secs(15);
/// The longest such time.
pub const PACKAGES_RETRY_MOST: Duration = Duration::from_secs(15 * 60);
/// Characters of what a manager said that are told.
pub const PACKAGES_TAIL_CHARS: usize = 700;
/// Environments that are read at a time.
pub const ENVIRONMENTS_AT_ONCE: usize = 100;
