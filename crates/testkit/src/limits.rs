//! Every named limit of the test servers.

use std::time::Duration;

/// Requests that are remembered; the oldest are forgotten first.
pub const RECORDED_REQUESTS: usize = 2_000;
/// Violations that are remembered.
pub const RECORDED_VIOLATIONS: usize = 200;
/// Bytes of a request's body.
pub const BODY_BYTES: usize = 64 << 20;
/// Events of an answer that wait to be written.
pub const QUEUED_EVENTS: usize = 16;
/// Between the pings of an answer that sleeps.
pub const PING_INTERVAL: Duration = Duration::from_millis(250);
/// Given to what was already written before a scripted cut.
pub const FLUSH_PAUSE: Duration = Duration::from_millis(10);
/// Characters of user text that are echoed where there is no script.
pub const ECHO_CHARS: usize = 400;
/// Characters of a streamed piece of text, where the script sets none.
pub const TEXT_PIECE_CHARS: usize = 12;
/// Characters of a streamed piece of a call's input.
pub const INPUT_PIECE_CHARS: usize = 24;
/// The longest scripted sleep.
pub const SLEEP_MAX: Duration = Duration::from_secs(600);
/// Bytes that the proxy reads at once.
pub const PROXY_BUFFER_BYTES: usize = 16 << 10;
