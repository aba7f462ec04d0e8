//! `ostler sandboxes`.

use anyhow::Context;
use serde_json::{Value, json};

use super::Asker;
use super::output::{Column, field};
use crate::cli::SandboxesCommand;
use crate::client::{Listing, Paging, Request};

const COLUMNS: [Column; 5] = [
    ("session", |sandbox| field(sandbox, "/session_id")),
    ("age", |sandbox| number(sandbox, "/age_ms").map_or_else(String::new, |ms| duration(ms / 1_000))),
    ("memory", |sandbox| number(sandbox, "/memory_bytes").map_or_else(String::new, |bytes| format!("{} MiB", bytes.div_ceil(1 << 20)))),
    ("processes", |sandbox| field(sandbox, "/processes")),
    ("cpu", |sandbox| number(sandbox, "/cpu_ms").map_or_else(String::new, |ms| format!("{}.{} s", ms / 1_000, ms % 1_000 / 100))),
];

fn number(sandbox: &Value, path: &str) -> Option<u64> {
    sandbox.pointer(path)?.as_u64()
}

fn duration(seconds: u64) -> String {
    let (hours, minutes, seconds) = (seconds / 3_600, seconds / 60 % 60, seconds % 60);
    match (hours, minutes) {
        (0, 0) => format!("{seconds}s"),
        (0, _) => format!("{minutes}m {seconds}s"),
        _ => format!("{hours}h {minutes}m"),
    }
}

pub(super) async fn run(command: SandboxesCommand) -> anyhow::Result<u8> {
    match command {
        SandboxesCommand::List { server } => {
            let asker = Asker::new(&server)?;
            let request = Request::to("x").then("sandboxes");
            asker.out.list(Listing::new(&asker.client, request, Paging::Cursor, usize::MAX), &COLUMNS).await
        }
        SandboxesCommand::Export { session, file, server } => {
            let asker = Asker::new(&server)?;
            let making = || format!("making {}", file.display());
            let mut archive = std::fs::OpenOptions::new().write(true).create_new(true).open(&file).with_context(making)?;
            let request = Request::to("x").then("sandboxes").then(&session.session).then("archive");
            let bytes = match asker.client.download(request, &mut archive).await {
                Ok(bytes) => bytes,
                Err(error) => {
                    // Half an archive would be taken for a whole one.
                    let _ = std::fs::remove_file(&file);
                    return Err(error);
                }
            };
            let answer = json!({"type": "archive", "session_id": session.session, "file": file, "bytes": bytes}).to_string();
            asker.out.done(&answer, &format!("{bytes} bytes in {}", file.display()))
        }
        SandboxesCommand::Kill { session, server } => {
            let asker = Asker::new(&server)?;
            let request = Request::to("x").then("sandboxes").then(&session.session);
            let answer = asker.client.delete_text(request).await?;
            asker.out.done(&answer, &format!("ended the sandbox of {}; its files stay", session.session))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_are_short_and_readable() {
        assert_eq!([5, 65, 3_600 * 30 + 61].map(duration), ["5s", "1m 5s", "30h 1m"]);
    }
}
