//! A follower whose connection is cut again and again sees what one sees that never was.

use ostler_testkit::FaultProxy;
use serde_json::json;

use crate::support::events::Frame;
use crate::support::{Server, Session};

/// Connections that are cut.
const CUTS: u64 = 1_000;
/// Turns of the session.
const TURNS: u64 = 60;
/// A cut comes after so many bytes of a connection, headers included, at most.
const BYTES: u64 = 6_000;
const SEED: u64 = 20_260_401;

/// Follows from the beginning through a proxy that cuts, up to and with this position.
async fn follow_to(session: &Session, last: u64) -> Vec<Frame> {
    let path = format!("{}/events/stream", session.path());
    let mut seen: Vec<Frame> = Vec::new();
    loop {
        let position = seen.last().and_then(|frame| frame.id).unwrap_or(0);
        let Some(mut stream) = session.api.try_stream(&path, Some(position)).await else { continue };
        while let Some(frame) = stream.next().await {
            seen.push(frame);
            if seen.last().and_then(|frame| frame.id) == Some(last) {
                return seen;
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_follower_that_is_cut_a_thousand_times_misses_and_repeats_nothing() {
    let server = Server::start().await;
    let session = server.session(json!([])).await;
    let proxy = FaultProxy::start(server.address()).await.unwrap();
    proxy.cut_at_random(SEED, BYTES);
    let cut = session.on(&server.api.through(proxy.addr()));
    let last = TURNS * 9;
    // The first time while it happens, then from the journal.
    let live = tokio::spawn({
        let cut = cut.clone();
        async move { follow_to(&cut, last).await }
    });
    let mut whole = Vec::new();
    let mut stream = session.follow("?after=0").await;
    for turn in 0..TURNS {
        session.say(&format!("SAY number {turn} {}", "and so on ".repeat(usize::try_from(turn).unwrap()))).await;
        whole.extend(stream.turn().await);
    }
    assert_eq!(whole.iter().map(|frame| frame.id.unwrap()).collect::<Vec<_>>(), (1..=last).collect::<Vec<_>>());
    assert!(live.await.unwrap() == whole, "the live follower saw something else");
    while proxy.connections() < CUTS {
        assert!(follow_to(&cut, last).await == whole, "a follower saw something else after {} cuts", proxy.connections());
    }
}
