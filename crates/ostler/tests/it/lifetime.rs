//! The life of the process: it ends in order, dies without warning, and is there again.

use nix::sys::signal::Signal;
use serde_json::json;

use crate::support::events::{first, names, said};
use crate::support::processes::{eventually, inits, of_data_dir, signal, workspace};
use crate::support::session::{bash, message};
use crate::support::{Server, limits, tools};

#[tokio::test(flavor = "multi_thread")]
async fn sigterm_ends_in_order_and_the_running_turn_goes_on_at_the_next_start() {
    let mut server = Server::start().await;
    let session = server.session(json!([])).await;
    session.say("GATE later\nSAY finished").await;
    server.model.reached("later").await;
    assert!(server.terminate().await.success(), "{}", server.log().text());
    assert!(!server.data_dir().join("server.json").exists());
    server.model.open("later");
    server.restart().await;
    assert_eq!(said(&session.on(&server.api).follow("?after=0").await.turn().await), "finished");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_goes_on_while_the_server_is_dead_and_its_result_is_fetched() {
    let mut server = Server::start().await;
    let session = server.session(tools()).await;
    let mut stream = session.follow("").await;
    let command = "echo run >> /workspace/runs; while [ ! -e /workspace/go ]; do sleep 0.02; done; cat /workspace/runs";
    session.say(&format!("{}\nSAY {{{{last_tool_result}}}}", bash(command))).await;
    stream.until_name("agent.tool_use").await;
    eventually("the command runs", || workspace(server.data_dir(), &session.id).join("runs").exists()).await;
    let workspace = workspace(server.data_dir(), &session.id);
    server.kill().await;
    std::fs::write(workspace.join("go"), "").unwrap();
    server.restart().await;
    let frames = session.on(&server.api).follow("?after=0").await.turn().await;
    let result = first(&frames, "agent.tool_result");
    assert_eq!((result.said().trim(), &result.data["is_error"]), ("run", &json!(false)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_server_leaves_neither_lock_nor_port_nor_pipe_though_its_sandboxes_live() {
    let mut server = Server::start().await;
    let session = server.session(tools()).await;
    let frames = session.turn(&bash("(sleep 600 > /dev/null 2>&1 &) ; echo started")).await;
    assert_eq!(first(&frames, "agent.tool_result").said().trim(), "started");
    server.keep_address();
    let (log, output) = (server.log().clone(), server.output().clone());
    server.kill().await;
    let (left, inits) = (of_data_dir(server.data_dir()), inits(server.data_dir()));
    assert!(left.len() > inits.len() && inits.len() == 1, "spawner and init live on: {left:?} {inits:?}");
    let closed = async { tokio::join!(log.closed(), output.closed()) };
    tokio::time::timeout(limits::END, closed).await.expect("nobody else holds the server's standard output and error");
    server.restart().await;
    let frames = session.on(&server.api).turn(&bash("echo again")).await;
    assert_eq!(first(&frames, "agent.tool_result").said().trim(), "again");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_data_directory_has_one_server_at_a_time() {
    let server = Server::start().await;
    let mut command = crate::support::server::command(crate::support::server::BINARY.as_ref(), server.data_dir());
    let second = command.args(["serve", "--listen", "127.0.0.1:0"]).output().await.unwrap();
    assert_eq!(second.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&second.stderr).contains("another server holds the data directory"));
    assert_eq!(server.api.status_of("/v1/agents").await, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_session_leaves_no_sandbox() {
    let server = Server::start().await;
    let session = server.session(tools()).await;
    session.turn(&bash("echo here > /workspace/file")).await;
    let directory = server.data_dir().join("sandboxes").join(&session.id);
    assert!(directory.exists());
    server.api.delete(&session.path()).await;
    assert!(!directory.exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_was_accepted_during_a_turn_survives_a_kill() {
    let mut server = Server::start().await;
    let session = server.session(json!([])).await;
    session.say("GATE first\nSAY first").await;
    server.model.reached("first").await;
    let echo = session.send(json!([message("SAY second")])).await;
    server.kill().await;
    server.model.open("first");
    server.restart().await;
    let mut stream = session.on(&server.api).follow("?after=0").await;
    assert_eq!(said(&stream.turn().await), "first");
    let second = stream.turn().await;
    assert_eq!((said(&second).as_str(), &second[0].data["id"]), ("second", &echo["data"][0]["id"]));
}

#[tokio::test(flavor = "multi_thread")]
async fn when_a_sandbox_dies_the_outcome_is_unknown_and_the_session_goes_on_in_another() {
    let server = Server::start().await;
    let session = server.session(tools()).await;
    session.turn(&bash("echo kept > /workspace/file")).await;
    let mut stream = session.follow("").await;
    session.say(&format!("{}\n{}", bash("echo begun >> /workspace/runs; sleep 600"), bash("cat /workspace/file /workspace/runs"))).await;
    eventually("the command runs", || workspace(server.data_dir(), &session.id).join("runs").exists()).await;
    inits(server.data_dir()).into_iter().for_each(|pid| signal(pid, Signal::SIGKILL));
    let frames = stream.turn().await;
    let results: Vec<_> = frames.iter().filter(|frame| frame.name == "agent.tool_result").collect();
    assert!(results[0].data["is_error"] == true && results[0].said().to_lowercase().contains("unknown"), "{}", results[0].data);
    assert_eq!(results[1].said().trim(), "kept\nbegun", "files outlive a sandbox, and the command ran once");
    assert!(!names(&frames).contains(&"session.error"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_spawner_is_replaced() {
    let server = Server::start().await;
    let one = server.session(tools()).await;
    one.turn(&bash("export WORD=kept")).await;
    let (server_pid, inits) = (server.pid(), inits(server.data_dir()));
    let spawner: Vec<i32> = of_data_dir(server.data_dir()).into_iter().filter(|pid| *pid != server_pid && !inits.contains(pid)).collect();
    assert_eq!(spawner.len(), 1, "{spawner:?}");
    signal(spawner[0], Signal::SIGKILL);
    eventually("the spawner is gone", || !of_data_dir(server.data_dir()).contains(&spawner[0])).await;
    let two = server.session(tools()).await;
    assert_eq!(first(&two.turn(&bash("echo new")).await, "agent.tool_result").said().trim(), "new");
    assert_eq!(first(&one.turn(&bash("echo $WORD")).await, "agent.tool_result").said().trim(), "kept");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_turn_that_lives_through_many_orderly_restarts_is_not_given_up() {
    let mut server = Server::start().await;
    let session = server.session(json!([])).await;
    session.say("GATE later\nSAY finished").await;
    for round in 1..=5 {
        server.model.wait_for_requests(round).await;
        assert!(server.terminate().await.success());
        server.restart().await;
    }
    server.model.open("later");
    let frames = session.on(&server.api).follow("?after=0").await.turn().await;
    assert_eq!((said(&frames).as_str(), names(&frames).contains(&"session.error")), ("finished", false));
}
