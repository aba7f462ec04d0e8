//! A program of the operator's as a search engine: the query goes to its standard input, results come from its standard output.

use std::process::Stdio;

use ostler_core::resources::web::SearchSettings;
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::Command;

use crate::limits;

/// Runs it without variables but `PATH`. Errors are for the log.
pub(super) async fn run(command: &[String], query: &str, settings: &SearchSettings) -> Result<Vec<u8>, String> {
    let (program, arguments) = command.split_first().ok_or("no program is named")?;
    let domains = settings.domains();
    let question = json!({
        "query": query,
        "count": limits::WEB_RESULTS,
        "allowed_domains": domains.allowed_domains,
        "blocked_domains": domains.blocked_domains,
        "user_location": settings.user_location,
    });
    let mut child = Command::new(program)
        .args(arguments)
        .env_clear()
        .env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
        .current_dir("/")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .map_err(|error| format!("it cannot be started: {error}"))?;
    let (input, output) = (child.stdin.take(), child.stdout.take());
    let work = async {
        let ask = async {
            if let Some(mut input) = input {
                // One that does not read it knows what it does.
                let _ = input.write_all(question.to_string().as_bytes()).await;
            }
        };
        let hear = async {
            let mut printed = Vec::new();
            let Some(output) = output else { return Ok(printed) };
            let most = limits::WEB_BYTES as u64;
            output.take(most + 1).read_to_end(&mut printed).await.map_err(|error| format!("its output cannot be read: {error}"))?;
            if printed.len() as u64 > most { Err(format!("it printed more than {most} bytes")) } else { Ok(printed) }
        };
        let ((), printed) = tokio::join!(ask, hear);
        let printed = printed?;
        let status = child.wait().await.map_err(|error| format!("its end was not seen: {error}"))?;
        if status.success() { Ok(printed) } else { Err(format!("it ended with {status}")) }
    };
    let late = || Err(format!("it did not end within {} seconds", limits::WEB_ANSWER.as_secs()));
    tokio::time::timeout(limits::WEB_ANSWER, work).await.unwrap_or_else(|_| late())
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn sh(script: &str) -> Result<String, String> {
        let command = ["/bin/sh", "-c", script].map(str::to_owned);
        run(&command, "two words", &SearchSettings::default()).await.map(|printed| String::from_utf8(printed).unwrap())
    }

    #[tokio::test]
    async fn it_reads_the_query_and_has_no_variables() {
        let said = sh("cat; printf ' '; env | cut -d= -f1 | sort | tr '\\n' ' '").await.unwrap();
        let (question, names) = said.split_once("} ").unwrap();
        assert!(question.contains("\"query\":\"two words\""), "{question}");
        assert!(names.split_whitespace().all(|name| ["PATH", "PWD", "SHLVL", "_", "OLDPWD"].contains(&name)), "{names}");
    }

    #[tokio::test]
    async fn its_failures_are_told() {
        assert!(sh("exit 3").await.unwrap_err().contains("ended with"));
        assert!(sh("head -c 30000000 /dev/zero").await.unwrap_err().contains("printed more"));
        assert_eq!(sh("exec <&-; echo ok").await.unwrap(), "ok\n");
        assert!(run(&["/no/such".into()], "q", &SearchSettings::default()).await.unwrap_err().contains("cannot be started"));
        assert!(run(&[], "q", &SearchSettings::default()).await.is_err());
    }
}
