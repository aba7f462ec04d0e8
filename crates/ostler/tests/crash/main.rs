//! The real binary killed in the middle of its work, at every fail point and at random moments, and
//! started again. Afterwards nothing is lost, nothing ran twice, nothing is unknown.
#![expect(clippy::unwrap_used, clippy::expect_used, clippy::print_stderr, reason = "a test fails by panicking, and says what it measured")]

mod commands;
mod crowd;
mod journal;
mod starts;
#[path = "../support/mod.rs"]
mod support;
mod work;

use std::path::PathBuf;

use support::Server;
use work::Work;

/// The lives of a server: in each it dies when it comes to its fail point this often. The small
/// numbers hit what a restart does first, the large ones every boundary of a turn; they alternate,
/// because a session that does not get on in three lives is rightly set aside.
type Lives = [u32; 8];
/// For points that a turn comes to several times for each call.
const STEPS: Lives = [1, 11, 2, 14, 3, 13, 4, 12];
/// For the point that it comes to once for each call.
const CALLS: Lives = [1, 3, 1, 4, 2, 3, 1, 2];
/// For the point that it comes to for each piece of an answer.
const PIECES: Lives = [1, 40, 2, 45, 3, 50, 5, 60];
/// Fewer deaths than this mean that a fail point was not hit.
const DEATHS: u32 = 6;
/// Kills at random moments.
const KILLS: u32 = 50;
/// Where the random moments come from; another one can be given as `OSTLER_CRASH_SEED`.
const SEED: u64 = 0x0571e7;

/// The binary that dies without a fail point: the released one where it is given, else that of these tests.
fn binary() -> PathBuf {
    std::env::var_os("OSTLER_RELEASE_BINARY").map_or_else(|| support::server::BINARY.into(), PathBuf::from)
}

/// Runs the work on a server that dies at this fail point, once per life.
async fn killed_at(point: &str, lives: Lives) {
    let mut server = Server::builder().start().await;
    let mut work = Work::begin(&server).await;
    let mut deaths = 0;
    for life in lives {
        server.make_sure_it_is_dead().await;
        server.set_env("OSTLER_FAULT", Some(&format!("{point}:{life}")));
        server.launch();
        deaths += u32::from(!work.go_on(&mut server).await);
    }
    server.make_sure_it_is_dead().await;
    server.set_env("OSTLER_FAULT", None);
    server.launch();
    assert!(work.go_on(&mut server).await, "the server died without a fail point:\n{}", server.log().text());
    eprintln!("{point}: died {deaths} times");
    assert!(deaths >= DEATHS, "{point} was hit {deaths} times only");
    work.verify(&mut server).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_before_a_step_is_written() {
    killed_at("before_commit", STEPS).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_after_a_step_is_written() {
    killed_at("after_commit", STEPS).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_before_a_call_is_given_to_the_sandbox() {
    killed_at("before_dispatch", CALLS).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_before_a_result_is_written() {
    killed_at("before_result", STEPS).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_while_the_model_speaks() {
    killed_at("model_chunk", PIECES).await;
}

/// The server has the message, its client does not know: it is there once.
#[tokio::test(flavor = "multi_thread")]
async fn killed_before_a_client_is_told() {
    for _ in 0..3 {
        let mut server = Server::builder().env("OSTLER_FAULT", "before_reply:1").start().await;
        let mut work = Work::begin(&server).await;
        assert!(!work.go_on(&mut server).await, "the fail point was not hit");
        server.set_env("OSTLER_FAULT", None);
        server.launch();
        assert!(work.go_on(&mut server).await);
        work.verify(&mut server).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_at_random_moments() {
    let binary = binary();
    eprintln!("random kills hit {}", binary.display());
    let mut server = Server::builder().binary(binary).start().await;
    let mut random = std::env::var("OSTLER_CRASH_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(SEED);
    eprintln!("seed {random}");
    let (mut kills, mut sessions) = (0, 0);
    while kills < KILLS {
        let mut work = Work::begin(&server).await;
        sessions += 1;
        while kills < KILLS && !work.go_on_until(&mut server, &mut random).await {
            kills += 1;
            server.kill().await;
            server.restart().await;
        }
        assert!(work.go_on(&mut server).await, "the server died by itself:\n{}", server.log().text());
        work.verify(&mut server).await;
        server.restart().await;
    }
    eprintln!("{kills} kills in {sessions} sessions");
}
