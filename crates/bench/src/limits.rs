//! How much is measured, and every other number of a run.

use std::time::Duration;

/// Pieces of a text answer.
pub(crate) const PIECES: usize = 20;
/// Calls of bash in one turn.
pub(crate) const CALLS_OF_A_TURN: usize = 5;
/// Between the pieces of an answer that is paced.
pub(crate) const MODEL_PAUSE: Duration = Duration::from_millis(3);
/// How long a process may take to say where it is, or a server to be ready.
pub(crate) const START: Duration = Duration::from_secs(30);
/// How long a server may take to end.
pub(crate) const END: Duration = Duration::from_secs(20);
/// How long one turn, or one step of the run that waits for many, may take.
pub(crate) const WAIT: Duration = Duration::from_secs(60);
/// Between two looks at something that says nothing by itself.
pub(crate) const LOOK: Duration = Duration::from_micros(500);
/// Lines of a server's log that are kept.
pub(crate) const LOG_LINES: usize = 2_000;
/// Given to a server before its memory is read.
pub(crate) const SETTLE: Duration = Duration::from_millis(1_500);
/// A store that commits nothing for so long has nothing left to commit.
pub(crate) const QUIET: Duration = Duration::from_millis(4);
/// Requests at once where many sessions are made.
pub(crate) const MAKERS: usize = 32;
/// Bytes of a row of the bare database, as of one record of a journal.
pub(crate) const ROW_BYTES: usize = 300;
/// Bytes of the block that is appended to a file and synced.
pub(crate) const BLOCK_BYTES: usize = 4_096;
/// Turns before anything is measured.
pub(crate) const WARM_TURNS: usize = 30;
/// Turns after which a session makes room for a new one, so that its history stays short.
pub(crate) const SHORT: usize = 100;
/// Turns of one round at the place in a session that is looked at.
pub(crate) const AROUND: usize = 10;
/// Rounds at the early and the late place, one after the other.
pub(crate) const GROWTH_ROUNDS: usize = 5;
/// Bytes that the stand-in for egress passes on at once, in each direction.
pub(crate) const RELAY_BYTES: usize = 64 * 1024;
/// Commits in the floor of a text turn: input accepted, request about to be sent, answer.
pub(crate) const FLOOR_COMMITS: f64 = 3.0;
/// Requests in it: client to server, server to egress, egress to model.
pub(crate) const FLOOR_HOPS: f64 = 3.0;

/// Sandboxes of the egress that is measured by itself: one has no place for as many tunnels as there are.
pub(crate) const GATED: usize = 8;
/// How often their leases are renewed, and records taken at once then.
pub(crate) const RENEWAL: Duration = Duration::from_secs(5);
pub(crate) const RECORDS_AT_ONCE: usize = 1_000;
/// Tunnels through it at once.
pub(crate) const TUNNELS: usize = 1_000;
/// Bytes of a long way through a tunnel, and how often they go it.
pub(crate) const BULK_BYTES: usize = 64 << 20;
pub(crate) const BULKS: usize = 9;
/// Pieces of an answer that is streamed through it.
pub(crate) const STREAMED: usize = 500;

/// How much of each thing is done.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Effort {
    /// Repetitions of a raw limit.
    pub(crate) raw: usize,
    /// Programs started.
    pub(crate) programs: usize,
    /// Text turns of the latency row, and paced ones.
    pub(crate) turns: usize,
    pub(crate) paced: usize,
    /// Turns with calls.
    pub(crate) tools: usize,
    /// Time of each level of the throughput row.
    pub(crate) level: Duration,
    /// The last turn of the session that grows.
    pub(crate) grown: usize,
    /// Turns whose commits are counted.
    pub(crate) counted: usize,
    /// Idle sessions in the database.
    pub(crate) idle: usize,
    /// Sessions in the middle of a turn.
    pub(crate) running: usize,
    /// Kills, and boots.
    pub(crate) kills: usize,
    pub(crate) boots: usize,
    /// Followers of one session, and events that are sent to them.
    pub(crate) followers: usize,
    pub(crate) sent: usize,
    /// Sandboxes created.
    pub(crate) sandboxes: usize,
    /// Sandboxes that live at once.
    pub(crate) living: usize,
    /// Sandboxes that are parked.
    pub(crate) parked: usize,
}

/// The full run.
pub(crate) const FULL: Effort = Effort {
    raw: 3_000,
    programs: 300,
    turns: 2_000,
    paced: 500,
    tools: 60,
    level: Duration::from_secs(6),
    grown: 1_000,
    counted: 200,
    idle: 10_000,
    running: 1_000,
    kills: 7,
    boots: 7,
    followers: 1_000,
    sent: 40,
    sandboxes: 60,
    living: 1_000,
    parked: 10_000,
};

/// `--quick`: the same rows with less of everything that takes long.
pub(crate) const QUICK: Effort = Effort {
    raw: 500,
    programs: 50,
    turns: 400,
    paced: 100,
    tools: 15,
    level: Duration::from_millis(1_500),
    grown: 1_000,
    counted: 50,
    idle: 10_000,
    running: 1_000,
    kills: 3,
    boots: 3,
    followers: 1_000,
    sent: 10,
    sandboxes: 15,
    living: 100,
    parked: 200,
};
