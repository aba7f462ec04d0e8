//! History and streams.

use std::time::Duration;

use serde_json::{Value, json};

use super::{Client, ids, server, server_with, text};

async fn titled(home: &Client, session: &str, titles: std::ops::Range<usize>) {
    for n in titles {
        home.post(&format!("/v1/sessions/{session}"), json!({"title": format!("t{n}")})).await.ok();
    }
}

fn data(frame: &str) -> Value {
    let line = frame.lines().find_map(|line| line.strip_prefix("data: ")).unwrap();
    serde_json::from_str(line).unwrap()
}

#[tokio::test]
async fn history_is_paged_in_both_orders() {
    let home = server().await.home;
    let session = home.new_session().await;
    titled(&home, &session, 0..5).await;
    let base = format!("/v1/sessions/{session}/events");
    let whole = ids(&home.get(&base).await.ok());
    assert!(whole.len() >= 5);
    for (order, expected) in [("asc", whole.clone()), ("desc", whole.iter().rev().cloned().collect())] {
        let (mut found, mut page) = (Vec::new(), String::new());
        loop {
            let answer = home.get(&format!("{base}?limit=2&order={order}{page}")).await.ok();
            assert!(ids(&answer).len() <= 2);
            found.extend(ids(&answer));
            let Some(next) = answer["next_page"].as_str() else { break };
            page = format!("&page={next}");
        }
        assert_eq!(found, expected, "{order}");
        let other = if order == "asc" { "desc" } else { "asc" };
        home.get(&format!("{base}?order={other}{page}")).await.refused(400, "invalid_request_error");
    }
    assert_eq!(ids(&home.get(&format!("{base}?limit=1000&types[]=session.updated")).await.ok()).len(), 5);
    assert_eq!(ids(&home.get(&format!("{base}?types[]=user.message&types[]=agent.message")).await.ok()), Vec::<String>::new());
    let last = home.get(&format!("{base}?order=desc&limit=1")).await.ok()["data"][0]["processed_at"].clone();
    assert_eq!(ids(&home.get(&format!("{base}?created_at[gt]={}", text(&last))).await.ok()), Vec::<String>::new());
    assert_eq!(ids(&home.get(&format!("{base}?created_at[lte]={}", text(&last))).await.ok()), whole);
    for query in ["limit=0", "limit=1001", "types[]=no.such", "types[]=session.deleted", "page=x", "order=x"] {
        home.get(&format!("{base}?{query}")).await.refused(400, "invalid_request_error");
    }
}

#[tokio::test]
async fn malformed_events_are_refused_and_leave_no_trace() {
    let home = server().await.home;
    let base = format!("/v1/sessions/{}/events", home.new_session().await);
    for body in [
        json!({}),
        json!({"events": "x"}),
        json!({"events": []}),
        json!({"events": [{"type": "no.such"}]}),
        json!({"events": [{"type": "user.message"}]}),
        json!({"events": [{"type": "agent.message", "content": []}]}),
        json!({"events": [{"type": "user.message", "content": [{"type": "text", "text": "x"}]}, {"type": "no.such"}]}),
    ] {
        home.post(&base, body).await.refused(400, "invalid_request_error");
    }
    assert!(!home.get(&base).await.ok().to_string().contains("user."));
    let echo = home.post(&base, json!({"events": [{"type": "user.interrupt"}]})).await.ok();
    assert_eq!(echo["data"][0]["type"], "user.interrupt");
    assert!(text(&echo["data"][0]["id"]).starts_with("sevt_"));
}

#[tokio::test]
async fn a_stream_shows_what_is_listed_from_now_on() {
    let home = server().await.home;
    let session = home.new_session().await;
    titled(&home, &session, 0..1).await;
    let mut stream = home.stream(&format!("/v1/sessions/{session}/events/stream"), &[("accept", "application/json")]).await;
    titled(&home, &session, 1..2).await;
    let frame = stream.next().await.unwrap();
    assert!(frame.contains("event: session.updated\n") && frame.ends_with("\n\n"), "{frame}");
    let listed = home.get(&format!("/v1/sessions/{session}/events?order=desc&limit=1")).await.ok();
    assert_eq!(data(&frame), listed["data"][0]);
    home.delete(&format!("/v1/sessions/{session}")).await.ok();
    let last = stream.next().await.unwrap();
    assert!(last.starts_with("event: session.deleted\n"), "{last}");
    assert_eq!(stream.next().await, None);
}

#[tokio::test]
async fn a_stream_takes_up_behind_a_position() {
    let home = server().await.home;
    let session = home.new_session().await;
    titled(&home, &session, 0..3).await;
    let whole = ids(&home.get(&format!("/v1/sessions/{session}/events")).await.ok());
    let path = format!("/v1/sessions/{session}/events/stream");
    let mut all = home.stream(&format!("{path}?after=0"), &[]).await;
    let mut seen = Vec::new();
    for _ in 0..whole.len() {
        let frame = all.next().await.unwrap();
        assert!(frame.starts_with(&format!("id: {}\n", seen.len() + 1)), "{frame}");
        seen.push(text(&data(&frame)["id"]));
    }
    assert_eq!(seen, whole);
    let before_last = (whole.len() - 1).to_string();
    let mut last = home.stream(&format!("{path}?after=0"), &[("last-event-id", &before_last)]).await;
    assert_eq!(data(&last.next().await.unwrap())["id"], json!(whole.last()));
    for query in ["after=x", "event_deltas[]=agent.tool_use"] {
        home.get(&format!("{path}?{query}")).await.refused(400, "invalid_request_error");
    }
    let threads = home.get(&format!("/v1/sessions/{session}/threads")).await.ok();
    let thread = text(&threads["data"][0]["id"]);
    let mut primary = home.stream(&format!("/v1/sessions/{session}/threads/{thread}/stream?after=0"), &[]).await;
    assert_eq!(data(&primary.next().await.unwrap())["id"], json!(whole.first()));
}

#[tokio::test]
async fn a_silent_stream_gives_a_sign_of_life() {
    let home = server_with(|config| config.ping_interval = Duration::from_millis(1)).await.home;
    let mut stream = home.stream(&format!("/v1/sessions/{}/events/stream", home.new_session().await), &[]).await;
    assert_eq!(stream.next().await.unwrap(), "event: ping\ndata: {\"type\":\"ping\"}\n\n");
}

#[tokio::test]
async fn a_stream_ends_with_its_key() {
    let server = server_with(|config| config.recheck_key_interval = Duration::from_millis(1)).await;
    let made = server.home.post("/v1/x/api_keys", json!({"name": "short"})).await.ok();
    let short = Client { key: text(&made["secret"]), ..server.home.clone() };
    let mut stream = short.stream(&format!("/v1/sessions/{}/events/stream", server.home.new_session().await), &[]).await;
    server.home.action(&format!("/v1/x/api_keys/{}/revoke", text(&made["id"]))).await.ok();
    assert_eq!(stream.next().await, None);
}

#[tokio::test]
async fn streams_per_key_are_limited_and_come_back() {
    let server = server_with(|config| config.max_streams_per_key = 1).await;
    let path = format!("/v1/sessions/{}/events/stream", server.home.new_session().await);
    let open = server.home.stream(&path, &[]).await;
    let refused = server.home.get(&path).await;
    assert!(refused.headers.contains_key("retry-after"));
    refused.refused(429, "rate_limit_error");
    drop(open);
    drop(server.home.stream(&path, &[]).await);
}
