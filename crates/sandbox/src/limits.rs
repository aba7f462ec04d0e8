//! Every named limit of this crate. What a sandbox may use is in [`crate::SandboxSpec`].

use std::time::Duration;

/// Bytes of one frame in either direction: the largest document, in base64, with its envelope.
pub const MAX_FRAME: usize = 32 << 20;
/// Bytes of one frame of a peer that has not said hello.
pub const MAX_HELLO_FRAME: usize = 4 << 10;
/// Bytes that wait to be written to one peer before it is not read any more.
pub const MAX_OUTGOING: usize = 4 << 20;
/// Bytes read from one peer in one round of the loop.
pub const READ_CHUNK: usize = 64 << 10;
/// Connections to the spawner at once.
pub const SPAWNER_CONNECTIONS: usize = 64;
/// Requests that the server has under way to the spawner at once.
pub const SPAWNER_REQUESTS: usize = 16;
/// Connections to one init at once.
pub const INIT_CONNECTIONS: usize = 8;
/// How long a new peer may take to say hello.
pub const HELLO_DEADLINE: Duration = Duration::from_secs(10);
/// How long the setup of a sandbox may take.
pub const SETUP_DEADLINE: Duration = Duration::from_secs(10);
/// Bytes of a setup report.
pub const MAX_SETUP_REPORT: usize = 16 << 10;
/// How long the server waits for an answer of the spawner.
pub const SPAWNER_ANSWER: Duration = Duration::from_secs(25);
/// How long the server waits for a started spawner to be ready.
pub const SPAWNER_START: Duration = Duration::from_secs(15);
/// Attempts to reach a spawner that ends while it is asked.
pub const SPAWNER_ATTEMPTS: u32 = 5;
/// The wait between two such attempts.
pub const SPAWNER_RETRY: Duration = Duration::from_millis(50);
/// How long the server waits for an init to answer its hello.
pub const INIT_ANSWER: Duration = Duration::from_secs(15);
/// Attempts to reach an init whose connection broke, before it counts as unreachable.
pub const RECONNECT_ATTEMPTS: u32 = 20;
/// The wait between two such attempts.
pub const RECONNECT_DELAY: Duration = Duration::from_millis(100);
/// Connections to an init that break one after the other without bringing anything new, before it
/// counts as unwilling.
pub const FRUITLESS_CONNECTIONS: u32 = 20;
/// A connection that held so long was worth something, whatever it brought.
pub const STEADY_CONNECTION: Duration = Duration::from_secs(30);
/// Requests of the server that wait to be written to one init.
pub const CONNECTION_QUEUE: usize = 256;
/// The longest time that a sandbox lives without a server.
pub const ORPHAN_TTL_MOST: Duration = Duration::from_secs(10 * 365 * 24 * 3_600);
/// Empty disks that are kept to be copied.
pub const TEMPLATES: usize = 16;
/// The fewest bytes of a disk for each of its files.
pub const DISK_BYTES_PER_FILE: u64 = 2_048;
/// Sandboxes of one spawner.
pub const SANDBOXES: usize = 4_096;
/// How much rather than the server the kernel ends a sandbox's processes when the machine's memory is used up (`oom_score_adj`).
pub const OOM_SCORE: u16 = 500;
/// Bytes of memory that the machine must have left for one more.
pub const ROOM_MEMORY: u64 = 256 << 20;
/// Processes that the machine must be able to have beyond those of one more sandbox.
pub const ROOM_PROCESSES: u64 = 512;
/// The same of open files.
pub const ROOM_OPEN_FILES: u64 = 4_096;
/// Sandboxes that wait for sessions to come, at most.
pub const SPARES: usize = 64;
/// How long nothing was started before a sandbox is made ready for a session to come.
pub const SPARE_AFTER: Duration = Duration::from_millis(30);
/// User and group ids of one sandbox.
pub const IDS_PER_SANDBOX: u32 = 65_536;
/// Calls that one init runs at once, counting those whose background processes live on.
pub const LIVE_CALLS: usize = 128;
/// The fewest open files of a process, whatever is asked for: init waits on as many.
pub const LEAST_OPEN_FILES: u64 = 256;
/// The fewest processes of a sandbox, whatever is asked for.
pub const LEAST_PROCESSES: u64 = 16;
/// Call ids that one init remembers in its life.
pub const REMEMBERED_CALLS: usize = 200_000;
/// Processes killed in one round, so that init stays responsive under a fork bomb.
pub const KILLS_PER_ROUND: usize = 4_096;
/// Processes that a command must be able to start, or what earlier ones left is ended; in small sandboxes
/// an eighth of all.
pub const ROOM_FOR_A_CALL: u64 = 16;
/// Rounds of killing to make room for a call.
pub const ROOM_ROUNDS: u32 = 1_000;
/// The pause between two rounds of killing.
pub const KILL_PAUSE: Duration = Duration::from_millis(5);
/// How long a supervisor may take to end its call before init ends both.
pub const SUPERVISOR_GRACE: Duration = Duration::from_secs(5);

/// The time of a bash call that names none.
pub const BASH_TIMEOUT_MS: u64 = 120_000;
/// The longest time of a bash call.
pub const BASH_TIMEOUT_MAX_MS: u64 = 600_000;
/// The time of every other tool.
pub const FILE_TOOL_TIMEOUT_MS: u64 = 60_000;
/// Bytes of address space of a file tool.
pub const FILE_TOOL_MEMORY: u64 = 2 << 30;
/// Characters of a result; longer ones are kept in a file and shown in part.
pub const RESULT_CHARS: usize = 100_000;
/// Bytes of a bash result that are shown: its tail.
pub const BASH_PREVIEW_BYTES: usize = 96_000;
/// Bytes of a call that is given to a supervisor that waits; longer ones get one of their own. Less
/// than what a socket takes at once.
pub const PASSED_JOB: usize = 64 << 10;
/// How long a shell waits for the next call, with a few hundred KiB of memory.
pub const SHELL_WAITS: Duration = Duration::from_secs(10);
/// The pause between two looks at what a sandbox has on disk, where that is watched.
pub const DISK_WATCH: Duration = Duration::from_millis(250);
/// The pause between two looks at the memory of its processes, where that is watched.
pub const MEMORY_WATCH: Duration = Duration::from_millis(50);
/// The longest pause between two looks at the disk; otherwise four times as long as a look takes.
pub const DISK_WATCH_MOST: Duration = Duration::from_secs(10);
/// How long a container may take until its init listens.
pub const CONTAINER_START: Duration = Duration::from_secs(25);
/// The pause between two looks at one.
pub const CONTAINER_LOOK: Duration = Duration::from_millis(10);
/// Looks after which the engine is asked whether it runs at all.
pub const CONTAINER_LOOKS: u32 = 25;
/// Attempts to remove a container.
pub const CONTAINER_KILLS: u32 = 1_000;
/// Entries of an archive, or of all layers of an image.
pub const ARCHIVE_ENTRIES: u64 = 4_000_000;
/// Bytes of the files of an image.
pub const IMAGE_BYTES: u64 = 16 << 30;
/// Characters of the name of an image.
pub const IMAGE_NAME: usize = 128;
/// Files of an image archive: its documents and layers.
pub const IMAGE_FILES: usize = 10_000;
/// Bytes of an index or a manifest of an image.
pub const IMAGE_DOCUMENT_BYTES: u64 = 16 << 20;
/// Indexes that lead to a manifest.
pub const IMAGE_INDEXES: u32 = 4;
/// The time of moving archives in and out.
pub const TRANSFER_TIMEOUT_MS: u64 = 30 * 60 * 1_000;
/// Shells that wait for calls at once: one for the next, and the one that had the last.
pub const SHELLS_WAITING: usize = 2;
/// How long a shell may take to leave its state once its command has ended.
pub const SHELL_LEAVES: Duration = Duration::from_secs(2);
/// Bytes of a command.
pub const COMMAND_BYTES: usize = 1 << 20;
/// Bytes of a saved shell state; a larger one is dropped.
pub const SHELL_STATE_BYTES: u64 = 4 << 20;
/// Bytes of what shells leave in memory for a moment: a state of the largest size, and another.
pub const SHELL_SCRATCH_BYTES: u64 = 2 * SHELL_STATE_BYTES;
/// Files of the same.
pub const SHELL_SCRATCH_FILES: u64 = 256;
/// Bytes of text that `read` returns.
pub const READ_TEXT_BYTES: usize = 256 << 10;
/// Bytes of an image in base64.
pub const IMAGE_BASE64_BYTES: usize = 5 << 20;
/// Bytes of a PDF.
pub const PDF_BYTES: u64 = 20 << 20;
/// Bytes of a file that `read` goes through to find a range of lines, and that `edit` changes.
pub const TEXT_FILE_BYTES: u64 = 64 << 20;
/// Bytes that `write` writes.
pub const WRITE_BYTES: usize = 16 << 20;
/// Paths that `glob` returns.
pub const GLOB_RESULTS: usize = 200;
/// Entries that `glob` and `grep` look at.
pub const WALK_ENTRIES: usize = 1_000_000;
/// Levels of directories that `glob` and `grep` go down.
pub const WALK_DEPTH: usize = 128;
/// Bytes of a pattern.
pub const PATTERN_BYTES: usize = 4 << 10;
/// Bytes of a compiled pattern.
pub const REGEX_BYTES: usize = 10 << 20;
/// Bytes that `grep` returns.
pub const GREP_BYTES: usize = 100 << 10;
/// Characters of one line that `grep` returns.
pub const GREP_LINE_CHARS: usize = 2_000;
/// Bytes of one file that `grep` looks at.
pub const GREP_FILE_BYTES: u64 = 256 << 20;

/// The time of making a fetched page into text.
pub const PAGE_TIMEOUT_MS: u64 = 30_000;
/// Bytes of address space for that.
pub const PAGE_MEMORY: u64 = 1 << 30;
/// Bytes of text of a page.
pub const PAGE_TEXT_BYTES: usize = 4 << 20;
/// Bytes at the beginning of a page that say what it is.
pub const SNIFFED_BYTES: usize = 1_024;
/// Bytes of a page in which its title is.
pub const TITLE_WITHIN: usize = 64 << 10;
/// Characters of a title.
pub const TITLE_CHARS: usize = 300;
/// Characters of a media type that are shown.
pub const MEDIA_TYPE_CHARS: usize = 100;

/// Bytes of a file tool's result on its way to init: the largest document in base64 and what is
/// around it.
pub const FILE_TOOL_RESULT: u64 = 40 << 20;

/// The exit code of an init that has lived as long as it may.
pub(crate) const TOO_OLD: i32 = 3;
/// Trust stores of installations of Java that are replaced.
pub(crate) const JAVAS: usize = 16;
/// How long a server waits for word of why a sandbox ended. Its last processes are gone only when their writes to a busy disk are.
pub(crate) const ENDED_WORD: Duration = Duration::from_secs(5);
/// How long is waited between two looks for it.
pub(crate) const ENDED_LOOK: Duration = Duration::from_millis(10);

/// Bytes of the host's disk that sandboxes leave free, at most; a tenth of a smaller one.
pub(crate) const DISK_KEPT_FREE: u64 = 1 << 30;
/// So many times that is far enough from it to know nobody's growth.
pub(crate) const DISK_NEAR: u64 = 16;
/// What a sandbox must have grown by since the last look to be ended for it.
pub(crate) const DISK_GROWTH: u64 = 1 << 20;
/// Bytes that the quickest disk takes in a millisecond.
pub(crate) const DISK_BYTES_PER_MS: u64 = 4 << 20;
/// The shortest and the longest time between two looks.
pub(crate) const DISK_LOOK_LEAST: Duration = Duration::from_millis(50);
pub(crate) const DISK_LOOK_MOST: Duration = Duration::from_secs(5);

/// Bytes of one read while doors are asked for; the answers are short.
pub(crate) const DOORS_CHUNK: usize = 4_096;
/// Descriptors that come beside an answer.
pub(crate) const DOORS_MOST: usize = 8;

/// How long the setup of a build may take, which makes all directories of the system anew.
pub(crate) const BUILD_SETUP_DEADLINE: Duration = Duration::from_secs(20);
/// Bytes of files of the system that a build gets copies of.
pub(crate) const BUILD_COPIES: u64 = 256 << 20;
/// Bytes of one file of `/etc` that is compared with the system's.
pub(crate) const LAYER_ETC_FILE: u64 = 64 << 20;
/// Bytes of the files of a layer of packages.
pub(crate) const LAYER_BYTES: u64 = 8 << 30;
