//! `ostler run`: what it prints, how it ends, whose server it uses.

use std::path::Path;
use std::process::Output;

use nix::sys::signal::Signal;
use ostler_testkit::ModelServer;
use serde_json::Value;
use tempfile::TempDir;

use crate::support::server::{BINARY, command};
use crate::support::{Server, limits, processes};

/// A data directory that leaves no process behind.
struct Place(TempDir);

impl Place {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        processes::kill_all_of(self.0.path());
    }
}

async fn run(dir: &Path, args: &[&str], env: &[(&str, &str)]) -> (Output, String) {
    let output = command(BINARY.as_ref(), dir).arg("run").args(args).envs(env.iter().copied()).output();
    let output = tokio::time::timeout(limits::NEXT, output).await.expect("the run ends").unwrap();
    let text = String::from_utf8(output.stdout.clone()).unwrap();
    (output, text)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_demo_works_without_any_setting_and_says_what_it_is() {
    let place = Place::new();
    let (output, text) = run(place.0.path(), &["look around"], &[]).await;
    let remarks = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(0), "{remarks}");
    assert!(text.contains("a script, no AI") && text.contains("▸ bash") && text.contains("▸ write"), "{text}");
    assert!(remarks.contains("no model is configured") && remarks.contains("done"), "{remarks}");
    assert!(!text.contains('\x1b'), "no colours into a pipe");
}

/// What a terminal shows in the end: carriage returns and erased lines taken into account.
fn screen(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let lines = text.split('\n').map(|line| {
        let shown = line.trim_end_matches('\r');
        let from = shown.rfind("\r\x1b[2K").map_or(0, |at| at + "\r\x1b[2K".len());
        shown[from..].to_owned()
    });
    lines.collect::<Vec<_>>().join("\n")
}

#[tokio::test(flavor = "multi_thread")]
async fn on_a_terminal_the_sign_of_life_erases_nothing_that_was_said() {
    let place = Place::new();
    let inner = format!("'{BINARY}' run 'look around'");
    let mut on_terminal = command("script".as_ref(), place.0.path());
    let output = on_terminal.env("TERM", "xterm").args(["-qec", &inner, "/dev/null"]).stdin(std::process::Stdio::null()).output();
    let output = tokio::time::timeout(limits::NEXT, output).await.expect("the run ends").unwrap();
    let shown = screen(&output.stdout);
    assert!(output.stdout.windows(4).any(|bytes| bytes == b"\x1b[2K"), "there was a sign of life: {shown}");
    for said in ["I am Ostler's built-in demo model: a script, no AI.", "\nNow I write a small file", "\nThat is all my script does."] {
        assert!(shown.contains(said), "{said:?} is missing in:\n{shown}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn json_lines_are_the_events_of_the_stream() {
    let place = Place::new();
    let (output, text) = run(place.0.path(), &["--json", "look around"], &[]).await;
    assert_eq!(output.status.code(), Some(0));
    let events: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(events.last().unwrap()["stop_reason"]["type"], "end_turn");
    let results: Vec<_> = events.iter().filter(|event| event["type"] == "agent.tool_result").collect();
    assert!(!results.is_empty() && results.iter().all(|result| result["is_error"] == false), "{results:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_exit_status_tells_how_it_ended() {
    let (place, model) = (Place::new(), ModelServer::start().await);
    let url = model.base_url();
    let env = [("ANTHROPIC_BASE_URL", url.as_str())];
    for (script, code) in [("SAY fine", 0), ("FAIL 400 9\nSAY never", 1), ("SAY no\nSTOP refusal", 3)] {
        let (output, _) = run(place.0.path(), &[script], &env).await;
        assert_eq!(output.status.code(), Some(code), "{script}: {}", String::from_utf8_lossy(&output.stderr));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn it_goes_on_when_its_server_dies_and_comes_back() {
    let mut server = Server::start().await;
    let dir = server.data_dir().to_owned();
    let watching = tokio::spawn(async move { run(&dir, &["GATE g\nSAY at last"], &[]).await });
    server.model.reached("g").await;
    server.keep_address();
    server.kill().await;
    server.restart().await;
    server.model.open("g");
    let (output, text) = watching.await.unwrap();
    let remarks = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!((output.status.code(), text.contains("at last")), (Some(0), true), "{remarks}");
    assert!(remarks.contains("lost the server"), "{remarks}");
}

#[tokio::test(flavor = "multi_thread")]
async fn it_uses_the_server_that_holds_the_data_directory() {
    let server = Server::start().await;
    let (output, text) = run(server.data_dir(), &["SAY from the server's model"], &[]).await;
    assert_eq!(output.status.code(), Some(0));
    assert!(text.contains("from the server's model"), "{text}");
    assert!(String::from_utf8_lossy(&output.stderr).contains("using the server at"));
    let sessions = server.api.get("/v1/sessions").await;
    assert_eq!(sessions["data"].as_array().map(Vec::len), Some(1));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_interrupt_from_the_keyboard_ends_the_turn() {
    let (place, model) = (Place::new(), ModelServer::start().await);
    let mut command = command(BINARY.as_ref(), place.0.path());
    let child =
        command.args(["run", "--json", "SAY so far\nGATE never\nSAY more"]).env("ANTHROPIC_BASE_URL", model.base_url()).spawn().unwrap();
    model.reached("never").await;
    processes::signal(i32::try_from(child.id().unwrap()).unwrap(), Signal::SIGINT);
    let output = tokio::time::timeout(limits::NEXT, child.wait_with_output()).await.expect("the run ends").unwrap();
    assert_eq!(output.status.code(), Some(130));
    assert!(String::from_utf8_lossy(&output.stdout).contains("\"user.interrupt\""));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_leaves_no_process_behind() {
    let place = Place::new();
    let (output, _) = run(place.0.path(), &["look around"], &[]).await;
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(processes::inits(place.0.path()), [0; 0]);
    // The spawner says goodbye before it ends.
    processes::eventually("the spawner is gone", || processes::of_data_dir(place.0.path()).is_empty()).await;
}
