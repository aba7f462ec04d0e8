//! What goes wrong is said with its remedy and its exit status.

use serde_json::json;

use crate::client_kit::{fake, fed, on, ostler};
use crate::support::server::{BINARY, KEY, command};
use crate::support::{Server, limits};

#[tokio::test(flavor = "multi_thread")]
async fn without_a_server_the_error_says_how_to_get_one_and_nothing_is_made() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let told = ostler(&data, &["agents", "list"], &[]).await;
    assert_eq!(told.code, Some(1));
    assert!(told.err.contains("ostler serve") && told.err.contains("--url") && told.err.contains("OSTLER_API_KEY"), "{told:?}");
    assert!(!data.exists(), "asking makes no data directory");

    let mut server = Server::start().await;
    server.kill().await;
    let told = on(&server, &["agents", "list"]).await;
    assert_eq!(told.code, Some(1));
    assert!(told.err.contains("no server answers at http://127.0.0.1") && told.err.contains("ostler serve"), "{told:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_elsewhere_is_reached_with_a_key_from_the_environment_or_a_file() {
    let server = Server::start().await;
    let dir = tempfile::tempdir().unwrap();
    let nowhere = dir.path().join("nowhere");
    let key = dir.path().join("key");
    std::fs::write(&key, format!("{KEY}\n")).unwrap();
    let url = server.api.url.clone();
    ostler(&nowhere, &["agents", "list", "--url", &url], &[("OSTLER_API_KEY", KEY)]).await.fine();
    ostler(&nowhere, &["agents", "list", "--api-key-file", key.to_str().unwrap()], &[("OSTLER_URL", &url), ("OSTLER_API_KEY", "wrong")])
        .await
        .fine();
    let keyless = ostler(&nowhere, &["agents", "list", "--url", &url], &[]).await;
    assert_eq!((keyless.code, keyless.err.contains("OSTLER_API_KEY")), (Some(2), true), "{keyless:?}");
    let wrong = ostler(&nowhere, &["agents", "list", "--url", &url], &[("OSTLER_API_KEY", "wrong-secret")]).await;
    assert_eq!(wrong.code, Some(1));
    assert!(wrong.err.contains("refuses the API key in OSTLER_API_KEY") && !wrong.err.contains("wrong-secret"), "{wrong:?}");
    let flag = ostler(&nowhere, &["agents", "list", "--api-key", KEY], &[]).await;
    assert_eq!(flag.code, Some(2));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_does_not_exist_is_named_with_its_kind() {
    let server = Server::start().await;
    for (group, kind, id) in [("agents", "agent", "agent_x"), ("environments", "environment", "env_x"), ("sessions", "session", "sesn_x")] {
        let told = on(&server, &[group, "show", id]).await;
        assert_eq!(told.code, Some(1));
        assert!(told.err.contains(&format!("there is no {kind} {id}")) && told.err.contains(&format!("ostler {group} list")), "{told:?}");
    }
    for args in [["sessions", "tail", "sesn_x"], ["events", "list", "sesn_x"], ["sessions", "interrupt", "sesn_x"]] {
        let told = on(&server, &args).await;
        assert!(told.code == Some(1) && told.err.contains("there is no session sesn_x"), "{told:?}");
    }
    assert_eq!(on(&server, &["sessions", "show", "../agents"]).await.code, Some(2));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_servers_own_words_come_with_the_request() {
    let body =
        json!({"type": "error", "error": {"type": "overloaded_error", "message": "busy\u{1b}[2J"}, "request_id": "req_7"}).to_string();
    let dir = tempfile::tempdir().unwrap();
    for (status, body, words) in [
        (529, body.clone(), "busy␛[2J (529"),
        (429, body, ", request req_7)"),
        (404, "<html>".to_owned(), "does not answer like an Ostler server"),
        (200, "<html>".to_owned(), "does not answer like an Ostler server"),
    ] {
        let url = fake(move |_| (status, body.clone())).await;
        let told = ostler(dir.path(), &["agents", "list", "--url", &url], &[("OSTLER_API_KEY", "k")]).await;
        assert_eq!((told.code, told.err.contains(words)), (Some(1), true), "{status}: {told:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_usage_has_status_two() {
    let server = Server::start().await;
    for args in [
        &["agents", "create", "--name", "only"][..],
        &["agents", "update", "agent_x"],
        &["agents", "create", "--file", "/nonexistent"],
        &["sessions", "create", "--agent", "a", "--budget", "1.505"],
        &["sessions", "create", "--agent", "a", "--follow"],
        &["sessions", "list", "--status", "asleep"],
        &["agents", "list", "--limit", "0"],
        &["agents", "list", "--url", "localhost"],
    ] {
        let told = on(&server, args).await;
        assert_eq!((told.code, told.out.as_str()), (Some(2), ""), "{args:?}: {told:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_cannot_begin_says_why() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("ostler.toml");
    std::fs::write(&file, "nonsense = 1\n").unwrap();
    let config = ostler(dir.path(), &["run", "x", "--config", file.to_str().unwrap()], &[]).await;
    assert_eq!((config.code, config.err.contains("ostler config default")), (Some(2), true), "{config:?}");
    let piped = fed(dir.path(), &["run"], "do something").await;
    assert_eq!((piped.code, piped.err.contains("ostler run -")), (Some(2), true), "{piped:?}");
    let empty = fed(dir.path(), &["run", "-"], " \n").await;
    assert_eq!(empty.code, Some(2), "{empty:?}");
    let ignored = fed(dir.path(), &["run", " "], "do something").await;
    assert!(ignored.code == Some(2) && ignored.err.contains("standard input is not read"), "{ignored:?}");
    let variable = ostler(dir.path(), &["serve"], &[("OSTLER_ALLOW_PLAINTEXT", "perhaps")]).await;
    assert!(variable.code == Some(2) && variable.err.contains("OSTLER_ALLOW_PLAINTEXT"), "{variable:?}");
    let log = ostler(dir.path(), &["run", "x"], &[("OSTLER_LOG", "a=b=c")]).await;
    assert!(log.code == Some(2) && log.err.contains("OSTLER_LOG"), "{log:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_that_has_seen_enough_is_no_failure() {
    let server = Server::start().await;
    let mut command = command(BINARY.as_ref(), server.data_dir());
    let mut child = command.args(["agents", "list"]).spawn().unwrap();
    // Closed long before the server has answered.
    drop(child.stdout.take());
    let output = tokio::time::timeout(limits::NEXT, child.wait_with_output()).await.expect("it ends").unwrap();
    assert_eq!((output.status.code(), String::from_utf8_lossy(&output.stderr).as_ref()), (Some(0), ""));
}
