//! Completion of ids from the server: quick, silent, and never more than a question. It starts no
//! server, makes no directory and says nothing when it has nothing to offer.

use std::ffi::{OsStr, OsString};
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::CommandFactory;
use clap_complete::CompletionCandidate;
use clap_complete::env::{Bash, CompleteEnv, EnvCompleter, Fish, Zsh};

use super::output::field;
use super::waits::{self, What};
use crate::cli::{Cli, CommonArgs, ServerArgs, Shell};
use crate::client::{Client, Kind, Listing, Paging, Request, Target};
use crate::limits;
use crate::terminal::one_line;

/// The variable over which shells ask for completions.
const VARIABLE: &str = "COMPLETE";
/// Characters of what is said about a candidate.
const HELP_CHARS: usize = 60;

/// Answers a shell that asks for completions; `None` when this is no such question.
pub(crate) fn answer() -> Option<ExitCode> {
    let args: Vec<OsString> = std::env::args_os().collect();
    // A shell asks with nothing or with a line behind `--`. A variable of that name alone is no question.
    if args.get(1).is_some_and(|first| first != "--") {
        return None;
    }
    let from_shell = args.len() > 1 && std::env::var_os(VARIABLE).is_some_and(|shell| !shell.is_empty() && shell != "0");
    match CompleteEnv::with_factory(Cli::command).var(VARIABLE).try_complete(args, None) {
        Ok(false) => None,
        Ok(true) => Some(ExitCode::SUCCESS),
        Err(_) => from_shell.then_some(ExitCode::FAILURE),
    }
}

/// `ostler completions`: what teaches a shell to ask.
pub(crate) fn print(shell: Shell) -> anyhow::Result<ExitCode> {
    let completer = std::env::args_os().next().map(PathBuf::from).unwrap_or_default();
    // A bare name is found again over PATH, whatever is installed there later.
    let completer = if completer.components().count() > 1 { std::path::absolute(&completer)? } else { completer };
    let shell: &dyn EnvCompleter = match shell {
        Shell::Bash => &Bash,
        Shell::Zsh => &Zsh,
        Shell::Fish => &Fish,
    };
    let mut script = Vec::new();
    shell.write_registration(VARIABLE, "ostler", "ostler", &completer.to_string_lossy(), &mut script)?;
    std::io::stdout().lock().write_all(&script)?;
    Ok(ExitCode::SUCCESS)
}

/// Ids of agents.
pub(crate) fn agents(current: &OsStr) -> Vec<CompletionCandidate> {
    offer(current, |client| list(client, Request::to("agents"), Paging::Cursor, "/name"))
}

/// Ids of environments.
pub(crate) fn environments(current: &OsStr) -> Vec<CompletionCandidate> {
    offer(current, |client| list(client, Request::to("environments"), Paging::Cursor, "/name"))
}

/// Ids of sessions.
pub(crate) fn sessions(current: &OsStr) -> Vec<CompletionCandidate> {
    offer(current, |client| list(client, Request::to("sessions"), Paging::Cursor, "/title"))
}

/// Ids of models.
pub(crate) fn models(current: &OsStr) -> Vec<CompletionCandidate> {
    offer(current, |client| list(client, Request::to("models"), Paging::AfterId, "/display_name"))
}

/// Ids of calls that wait for a confirmation, of the session that is named before.
pub(crate) fn waiting_calls(current: &OsStr) -> Vec<CompletionCandidate> {
    offer(current, |client| async move {
        let line = typed();
        let named = line.iter().skip_while(|word| *word != "confirm").skip(1).filter_map(|word| word.to_str());
        let Some(session) = named.clone().find(|word| word.starts_with("sesn_")).map(str::to_owned) else { return Ok(Vec::new()) };
        let object = client.get(Request::of(Kind::Session, &session)).await?;
        let waits = waits::of_session(&client, &object).await?;
        let calls = waits.into_iter().filter_map(|wait| match wait.what {
            What::Confirmation(call) => Some((call.event.clone(), format!("{}: {}", call.tool, call.argument()))),
            What::Request(asked) => Some((asked.id, asked.request)),
            _ => None,
        });
        Ok(calls.collect())
    })
}

/// Ids and what is said about them.
type Found = Vec<(String, String)>;

async fn list(client: Client, request: Request, paging: Paging, about: &str) -> anyhow::Result<Found> {
    let objects = Listing::new(&client, request, paging, limits::COMPLETIONS).values().await?;
    Ok(objects.iter().map(|object| (field(object, "/id"), field(object, about))).collect())
}

/// Asks the server that the line names, and offers what begins as typed.
fn offer<F: Future<Output = anyhow::Result<Found>>>(current: &OsStr, ask: impl FnOnce(Client) -> F) -> Vec<CompletionCandidate> {
    let beginning = current.to_string_lossy();
    let found = asked(ask).unwrap_or_default();
    let fits = found.into_iter().filter(|(id, _)| id.starts_with(beginning.as_ref()) && crate::cli::is_plain(&id.replace('/', "")));
    fits.map(|(id, about)| {
        let help = Some(one_line(&about, HELP_CHARS)).filter(|about| !about.is_empty());
        CompletionCandidate::new(id).help(help.map(Into::into))
    })
    .collect()
}

fn asked<F: Future<Output = anyhow::Result<Found>>>(ask: impl FnOnce(Client) -> F) -> Option<Found> {
    let target = Target::find(&server_of(&typed()), |name| std::env::var(name).ok()).ok()?;
    let client = Client::new(target).ok()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().ok()?;
    let answer = runtime.block_on(async { tokio::time::timeout(limits::COMPLETION, ask(client)).await });
    // A name that is being looked up on another thread is not waited for.
    runtime.shutdown_background();
    answer.ok()?.ok()
}

/// The line that is being typed.
fn typed() -> Vec<OsString> {
    std::env::args_os().skip_while(|word| word != "--").skip(1).collect()
}

/// Which server a line names, as far as it is typed; the environment fills in.
fn server_of(line: &[OsString]) -> ServerArgs {
    let value = |flag: &str| {
        let words = line.iter().zip(line.iter().skip(1));
        let apart = words.filter(|(word, _)| *word == flag).map(|(_, value)| value.clone()).next_back();
        let joined = line.iter().filter_map(|word| word.to_str()?.strip_prefix(flag)?.strip_prefix('=')).map(OsString::from).next_back();
        apart.or(joined).filter(|value| !value.is_empty())
    };
    let or_variable = |flag: &str, variable: &str| value(flag).or_else(|| std::env::var_os(variable).filter(|value| !value.is_empty()));
    ServerArgs {
        url: or_variable("--url", "OSTLER_URL").and_then(|url| url.into_string().ok()),
        api_key_file: value("--api-key-file").map(PathBuf::from),
        common: CommonArgs {
            data_dir: or_variable("--data-dir", "OSTLER_DATA_DIR").map(PathBuf::from),
            config: or_variable("--config", "OSTLER_CONFIG").map(PathBuf::from),
            log: None,
        },
        json: false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_says_which_server() {
        let line: Vec<OsString> = ["ostler", "sessions", "show", "--url=http://a", "--data-dir", "/d", ""].map(OsString::from).into();
        let args = server_of(&line);
        assert_eq!((args.url.as_deref(), args.common.data_dir), (Some("http://a"), Some(PathBuf::from("/d"))));
    }
}
