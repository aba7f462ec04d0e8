//! Logs go to standard error, structured, each line bounded.

use std::io::{self, IsTerminal, Write};

use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;

/// The longest line of the log, in bytes; fields may quote what sandboxes and models say.
const LINE_BYTES: usize = 4_096;

/// Starts logging: text on a terminal, JSON lines elsewhere.
pub(crate) fn start(filter: Option<&str>, default: &str) -> anyhow::Result<()> {
    let filter = EnvFilter::try_new(filter.unwrap_or(default)).map_err(|error| anyhow::anyhow!("--log (or OSTLER_LOG): {error}"))?;
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(BoundedStderr);
    if io::stderr().is_terminal() {
        builder.init();
    } else {
        builder.json().init();
    }
    Ok(())
}

/// A line for the person at the terminal, not for the log.
pub(crate) fn say(line: &str) {
    // Nobody is left to be told when standard error is closed.
    let _ = writeln!(io::stderr().lock(), "{line}");
}

struct BoundedStderr;

impl<'a> MakeWriter<'a> for BoundedStderr {
    type Writer = Line;

    fn make_writer(&'a self) -> Line {
        Line
    }
}

/// Writes one formatted line, cut where it is too long.
struct Line;

impl Write for Line {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut stderr = io::stderr().lock();
        if bytes.len() <= LINE_BYTES {
            stderr.write_all(bytes)?;
        } else {
            let cut = String::from_utf8_lossy(&bytes[..LINE_BYTES]);
            stderr.write_all(cut.trim_end_matches('\u{fffd}').as_bytes())?;
            stderr.write_all("… (cut)\n".as_bytes())?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().flush()
    }
}
