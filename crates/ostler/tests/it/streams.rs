//! Following a session: from any position, in the middle of a message, to its end.

use reqwest::StatusCode;
use serde_json::json;

use crate::support::events::{Frame, first, names};
use crate::support::{Server, Session};

const DELTAS: &str = "?event_deltas[]=agent.message&event_deltas[]=agent.thinking";

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_goes_on_after_any_position() {
    let server = Server::start().await;
    let session = server.session(json!([])).await;
    session.turn("SAY one").await;
    session.turn("SAY two").await;
    let whole = session.follow("?after=0").await.until(|frame| frame.id == Some(18)).await;
    assert_eq!(whole.len(), 18);
    for position in 0..18_u64 {
        let from = usize::try_from(position).unwrap();
        let by_query = session.follow(&format!("?after={position}")).await.until(|frame| frame.id == Some(18)).await;
        assert_eq!(by_query, whole[from..]);
        let path = format!("{}/events/stream", session.path());
        let mut by_header = server.api.try_stream(&path, Some(position)).await.unwrap();
        assert_eq!(by_header.until(|frame| frame.id == Some(18)).await, whole[from..]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_without_a_position_shows_what_happens_from_now_on() {
    let server = Server::start().await;
    let session = server.session(json!([])).await;
    session.turn("SAY one").await;
    let frames = session.turn("SAY two").await;
    assert_eq!(frames[0].id, Some(10));
    assert_eq!(frames.len(), 9);
}

/// The text of the previews of one message.
fn previewed(frames: &[Frame], id: &str) -> String {
    frames
        .iter()
        .filter(|frame| frame.name == "event_delta" && frame.text("/event_id") == id)
        .map(|frame| frame.text("/delta/content/text"))
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn previews_are_the_beginning_of_the_message_they_announce() {
    let server = Server::start().await;
    let session = server.session(json!([])).await;
    let mut stream = session.follow(DELTAS).await;
    let mut plain = session.follow("").await;
    session.say("CHUNK 3\nTHINK hm\nSAY a message in several pieces").await;
    let frames = stream.turn().await;
    let message = first(&frames, "agent.message");
    let starts: Vec<_> =
        frames.iter().filter(|frame| frame.name == "event_start").map(|frame| (frame.id, frame.text("/event/type"))).collect();
    assert_eq!(starts, [(None, "agent.thinking"), (None, "agent.message")]);
    let text = previewed(&frames, message.text("/id"));
    assert!(!text.is_empty() && message.said().starts_with(&text), "{text:?}");
    let stored: Vec<_> = frames.into_iter().filter(|frame| frame.id.is_some()).collect();
    assert_eq!(stored, plain.turn().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_joins_in_the_middle_gets_the_text_so_far_at_once() {
    let server = Server::start().await;
    let session = server.session(json!([])).await;
    let mut early = session.follow(DELTAS).await;
    session.say("CHUNK 4\nSAY one two three\nGATE middle\nSAY four").await;
    server.model.reached("middle").await;
    early.until(|frame| frame.name == "event_delta" && frame.text("/delta/content/text").ends_with('e')).await;
    let mut late = session.follow(DELTAS).await;
    let joined = late.until_name("event_delta").await;
    assert_eq!(names(&joined), ["event_start", "event_delta"]);
    assert!(joined[1].text("/delta/content/text").starts_with("one two"));
    server.model.open("middle");
    let rest = late.turn().await;
    let message = first(&rest, "agent.message");
    assert_eq!(message.data["id"], joined[0].data["event"]["id"]);
    assert!(message.said().starts_with(joined[1].text("/delta/content/text")));
}

#[tokio::test(flavor = "multi_thread")]
async fn deleting_a_session_ends_its_streams_with_an_event() {
    let server = Server::start().await;
    let session = server.session(json!([])).await;
    session.turn("SAY one").await;
    let mut streams = [session.follow("").await, session.follow("?after=0").await];
    let deleted = server.api.delete(&session.path()).await;
    assert_eq!(deleted, json!({"id": session.id, "type": "session_deleted"}));
    for stream in &mut streams {
        let last = stream.rest().await.pop().unwrap();
        assert_eq!((last.name.as_str(), last.id), ("session.deleted", None));
    }
    assert_eq!(server.api.status_of(&session.path()).await, StatusCode::NOT_FOUND);
}

#[tokio::test(flavor = "multi_thread")]
async fn revoking_a_key_ends_its_streams_and_no_others() {
    let server = Server::start().await;
    let session = server.session(json!([])).await;
    let made = server.api.post("/v1/x/api_keys", &json!({"name": "guest"})).await;
    let guest = server.api.with_key(made["secret"].as_str().expect("a new key is shown"));
    let mut ending = session.on(&guest).follow("").await;
    let mut staying = session.follow("").await;
    server.api.post(&format!("/v1/x/api_keys/{}/revoke", made["id"].as_str().unwrap()), &json!({})).await;
    ending.rest().await;
    assert_eq!(guest.status_of("/v1/agents").await, StatusCode::UNAUTHORIZED);
    session.say("SAY still here").await;
    staying.turn().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_stops_ends_streams_which_go_on_afterwards() {
    let mut server = Server::start().await;
    let session: Session = server.session(json!([])).await;
    let mut stream = session.follow("?after=0").await;
    session.say("SAY one\nGATE stop\nSAY two").await;
    server.model.reached("stop").await;
    let mut seen = stream.until_name("span.model_request_start").await;
    assert!(server.terminate().await.success());
    seen.extend(stream.rest().await);
    server.model.open("stop");
    server.restart().await;
    let after = seen.last().unwrap().id.unwrap();
    seen.extend(session.on(&server.api).follow(&format!("?after={after}")).await.turn().await);
    let ids: Vec<_> = seen.iter().filter_map(|frame| frame.id).collect();
    assert_eq!(ids, (1..=ids.len() as u64).collect::<Vec<_>>());
}
