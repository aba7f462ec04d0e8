//! Completions: ids from the server, and silence without one.

use std::path::Path;

use serde_json::json;

use crate::client_kit::{Told, ostler};
use crate::support::Server;
use crate::support::session::{bash, policy};

/// What a shell is offered for the last word of a line.
async fn offered(dir: &Path, line: &[&str], env: &[(&str, &str)]) -> Vec<String> {
    let told = asked(dir, line, env).await.fine();
    assert_eq!(told.err, "");
    // bash takes candidates apart at a vertical tab.
    told.out.split(['\u{b}', '\n']).filter(|word| !word.is_empty() && !word.starts_with('-')).map(str::to_owned).collect()
}

async fn asked(dir: &Path, line: &[&str], env: &[(&str, &str)]) -> Told {
    let index = (line.len() - 1).to_string();
    let asking = [("COMPLETE", "bash"), ("_CLAP_COMPLETE_INDEX", index.as_str()), ("_CLAP_IFS", "\u{b}")];
    ostler(dir, &[&["--"][..], line].concat(), &[&asking[..], env].concat()).await
}

#[tokio::test(flavor = "multi_thread")]
async fn ids_come_from_the_server() {
    let server = Server::start().await;
    let session = server.session(policy("always_ask")).await;
    let frames = session.turn(&bash("echo hi")).await;
    let call = frames.iter().find(|frame| frame.name == "agent.tool_use").unwrap().text("/id").to_owned();
    let object = session.get().await;
    let (agent, environment) = (object["agent"]["id"].as_str().unwrap(), object["environment_id"].as_str().unwrap());
    let dir = server.data_dir();
    assert_eq!(offered(dir, &["ostler", "agents", "show", ""], &[]).await, [agent]);
    assert_eq!(offered(dir, &["ostler", "environments", "delete", "env_"], &[]).await, [environment]);
    assert_eq!(offered(dir, &["ostler", "sessions", "tail", "-f", "sesn_"], &[]).await, [session.id.as_str()]);
    assert_eq!(offered(dir, &["ostler", "sessions", "create", "--agent", ""], &[]).await, [agent]);
    assert_eq!(offered(dir, &["ostler", "sessions", "confirm", &session.id, ""], &[]).await, [call.as_str()]);
    assert_eq!(offered(dir, &["ostler", "sessions", "tail", "agent_"], &[]).await, [""; 0]);
    assert_eq!(offered(dir, &["ostler", "sess"], &[]).await, ["sessions"]);
    // A server that the line names, by flag or by data directory.
    let elsewhere = tempfile::tempdir().unwrap();
    let named = ["ostler", "agents", "show", "--data-dir", dir.to_str().unwrap(), "agent"];
    assert_eq!(offered(elsewhere.path(), &named, &[]).await, [agent]);
    let key = [("OSTLER_API_KEY", crate::support::server::KEY)];
    assert_eq!(offered(elsewhere.path(), &["ostler", "agents", "show", "--url", &server.api.url, "agent"], &key).await, [agent]);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_server_completion_is_silent_and_makes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    assert_eq!(offered(&data, &["ostler", "agents", "show", ""], &[]).await, [""; 0]);
    assert!(!data.exists());
    // One that takes connections and never answers is given up.
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", silent.local_addr().unwrap());
    let env = [("OSTLER_URL", url.as_str()), ("OSTLER_API_KEY", "k")];
    assert_eq!(offered(&data, &["ostler", "sessions", "show", ""], &env).await, [""; 0]);
    let broken = ostler(&data, &["--", "ostler", "ag"], &[("COMPLETE", "no-such-shell")]).await;
    assert_eq!((broken.code, broken.out.as_str(), broken.err.as_str()), (Some(1), "", ""));
    assert!(!data.exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_variable_does_not_keep_commands_from_running() {
    let server = Server::start().await;
    let told = ostler(server.data_dir(), &["agents", "list", "--json"], &[("COMPLETE", "bash")]).await.fine();
    assert_eq!(told.out, "");
    server.api.post("/v1/agents", &json!({"name": "n", "model": "m"})).await;
    assert_eq!(ostler(server.data_dir(), &["agents", "list", "--json"], &[("COMPLETE", "x")]).await.fine().json()[0]["name"], "n");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_printed_script_is_what_the_shell_needs() {
    let dir = tempfile::tempdir().unwrap();
    for (shell, word) in [("bash", "complete -o"), ("zsh", "compdef"), ("fish", "complete --keep-order")] {
        let told = ostler(dir.path(), &["completions", shell], &[]).await.fine();
        assert!(told.out.contains(word) && told.out.contains("COMPLETE") && told.err.is_empty(), "{told:?}");
    }
    // bash itself, from the script to the candidates.
    let binary = crate::support::server::BINARY;
    let script = format!(
        "source <('{binary}' completions bash); COMP_WORDS=(ostler environm); COMP_CWORD=1; \
          _clap_complete_ostler ostler environm ostler; echo \"got ${{COMPREPLY[*]}}\""
    );
    let output = crate::support::server::command("bash".as_ref(), dir.path()).args(["-c", &script]).output().await.unwrap();
    assert!(String::from_utf8_lossy(&output.stdout).contains("got environments"), "{output:?}");
}
