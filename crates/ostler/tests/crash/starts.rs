//! Killed before it serves: the first start of all, and any later one.

use std::path::Path;
use std::time::Duration;

use nix::sys::signal::Signal;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::Child;

use crate::support::events::first;
use crate::support::server::{BINARY, command};
use crate::support::session::bash;
use crate::support::{Api, Server, processes, tools};
use crate::work::next;

/// Starts that are killed.
const STARTS: u32 = 25;
/// The longest that one of them lives, in milliseconds; a start takes about half of it.
const LIFE_MS: u64 = 120;
const SEED: u64 = 0xf1257;

fn serve(data_dir: &Path) -> Child {
    command(BINARY.as_ref(), data_dir).args(["serve", "--listen", "127.0.0.1:0"]).spawn().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_during_its_first_start_it_still_has_one_key() {
    let mut random = SEED;
    for _ in 0..STARTS {
        let dir = tempfile::tempdir().unwrap();
        let data = dir.path().join("data");
        let mut killed = serve(&data);
        tokio::time::sleep(Duration::from_millis(next(&mut random) % LIFE_MS)).await;
        killed.kill().await.unwrap();
        let mut server = serve(&data);
        let mut lines = BufReader::new(server.stderr.take().unwrap()).lines();
        let mut said = Vec::new();
        while !said.last().is_some_and(|line: &String| line.contains("\"serving;")) {
            said.push(lines.next_line().await.unwrap().unwrap_or_else(|| panic!("the second start failed: {}", said.join("\n"))));
        }
        let key = std::fs::read_to_string(data.join("api-key")).unwrap();
        let access: serde_json::Value = serde_json::from_str(&std::fs::read_to_string(data.join("server.json")).unwrap()).unwrap();
        let api = Api::new(access["url"].as_str().unwrap(), key.trim());
        let keys = api.get("/v1/x/api_keys").await;
        assert_eq!(keys["data"].as_array().map(Vec::len), Some(1), "{keys}");
        server.kill().await.unwrap();
        processes::kill_all_of(&data);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_while_it_starts_again_it_loses_nothing() {
    let mut random = SEED;
    let mut server = Server::start().await;
    let session = server.session(tools()).await;
    session.turn(&bash("export WORD=kept")).await;
    server.kill().await;
    for _ in 0..STARTS {
        server.launch();
        tokio::time::sleep(Duration::from_millis(next(&mut random) % LIFE_MS)).await;
        processes::signal(server.pid(), Signal::SIGKILL);
        server.ended().await;
    }
    server.restart().await;
    let frames = session.on(&server.api).turn(&bash("echo $WORD")).await;
    assert_eq!(first(&frames, "agent.tool_result").said().trim(), "kept");
}
