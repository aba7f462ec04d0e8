//! Models that fail, disks that are full, sessions that kill their server.

use reqwest::StatusCode;
use serde_json::json;

use crate::support::events::{first, names, said};
use crate::support::session::message;
use crate::support::{Server, processes};

#[tokio::test(flavor = "multi_thread")]
async fn a_model_that_fails_for_a_moment_is_asked_again() {
    let server = Server::start().await;
    let session = server.session(json!([])).await;
    let frames = session.turn("FAIL 529 2\nSAY at last").await;
    let ends: Vec<_> =
        frames.iter().filter(|frame| frame.name == "span.model_request_end").map(|frame| frame.data["is_error"].clone()).collect();
    assert_eq!(ends, [json!(true), json!(true), json!(false)]);
    assert_eq!(said(&frames), "at last");
    assert!(!names(&frames).contains(&"session.error"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_the_model_refuses_ends_the_turn_and_the_next_one_works() {
    let server = Server::start().await;
    let session = server.session(json!([])).await;
    let frames = session.turn("FAIL 400 99\nSAY never").await;
    assert_eq!(frames.last().unwrap().text("/stop_reason/type"), "retries_exhausted");
    assert_eq!(first(&frames, "session.error").text("/error/retry_status/type"), "exhausted");
    assert_eq!(said(&session.turn("SAY fine again").await), "fine again");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_model_that_stays_down_exhausts_its_tries() {
    let server = Server::start().await;
    let session = server.session(json!([])).await;
    let frames = session.turn("FAIL 529 99\nSAY never").await;
    assert_eq!(frames.last().unwrap().text("/stop_reason/type"), "retries_exhausted");
    let requests = names(&frames).iter().filter(|name| **name == "span.model_request_start").count();
    assert_eq!((requests, names(&frames).contains(&"session.status_rescheduled")), (6, true));
    assert_eq!(said(&session.turn("SAY fine again").await), "fine again");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_kills_its_server_three_times_is_set_aside_until_asked_for() {
    let mut server = Server::start().await;
    let session = server.session(json!([])).await;
    session.say("GATE never\nSAY on").await;
    server.model.reached("never").await;
    server.kill().await;
    server.set_env("OSTLER_FAULT", Some("before_commit:1"));
    for _ in 0..3 {
        server.launch();
        server.ended().await;
    }
    server.set_env("OSTLER_FAULT", None);
    server.restart().await;
    let session = session.on(&server.api);
    let frames = session.follow("?after=0").await.turn().await;
    assert!(names(&frames).contains(&"session.error"), "{}", names(&frames).join(" "));
    assert_eq!(session.get().await["status"], "idle");
    assert_eq!(said(&server.session(json!([])).await.turn("SAY others go on").await), "others go on");
    server.model.open("never");
    let mut stream = session.follow("").await;
    server.api.post(&format!("/v1/x/sessions/{}/retry", session.id), &json!({})).await;
    assert_eq!(said(&stream.turn().await), "on");
}

/// A small disk of its own; dropping it unmounts.
struct SmallDisk(tempfile::TempDir);

impl SmallDisk {
    /// `None` where this process may not mount.
    fn mount() -> Option<Self> {
        let dir = tempfile::tempdir().unwrap();
        let mounted = std::process::Command::new("mount").args(["-t", "tmpfs", "-o", "size=96m", "tmpfs"]).arg(dir.path()).output();
        mounted.is_ok_and(|output| output.status.success()).then(|| Self(dir))
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        processes::kill_all_of(self.0.path());
        let _ = std::process::Command::new("umount").args(["-l"]).arg(self.0.path()).status();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_refuses_new_turns_and_the_server_survives() {
    let Some(disk) = SmallDisk::mount() else {
        eprintln!("skipped: a full disk needs the right to mount a small one");
        return;
    };
    let server = Server::builder().data_dir(disk.0.path()).start().await;
    let session = server.session(json!([])).await;
    assert_eq!(said(&session.turn("SAY room enough").await), "room enough");
    std::fs::write(disk.0.path().join("ballast"), vec![1; 48 << 20]).unwrap();
    let (status, body) = session.try_send(json!([message("SAY no")])).await.unwrap();
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
    assert!(body["error"]["message"].as_str().unwrap().contains("free some space"), "{body}");
    assert_eq!(server.api.status_of("/healthz").await, StatusCode::OK);
    std::fs::remove_file(disk.0.path().join("ballast")).unwrap();
    assert_eq!(said(&session.turn("SAY room again").await), "room again");
    drop(server);
}
