//! Request bodies beside each other.

use std::convert::Infallible;
use std::time::Duration;

use axum::body::Body;
use axum::extract::FromRequest as _;
use futures::{StreamExt as _, stream};
use serde_json::Value;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt as _;

use super::{answer, request, server};
use crate::api::Api;
use crate::body::JsonBody;
use crate::limits;
use crate::room::Room;

#[tokio::test]
async fn slow_uploads_do_not_keep_others_waiting() {
    let server = server().await;
    let bearer = server.home.bearer();
    let announced =
        |length: usize, body| request("POST", "/v1/agents", &[("authorization", &bearer), ("content-length", &length.to_string())], body);
    for _ in 0..2 * limits::BODIES_HELD / limits::BODY_BYTES {
        let slow = stream::iter([Ok::<_, Infallible>("{")]).chain(stream::pending());
        tokio::spawn(server.app.clone().oneshot(announced(limits::BODY_BYTES, Body::from_stream(slow))));
    }
    tokio::time::sleep(Duration::from_millis(200)).await;
    for padding in [0, 2 * limits::SMALL_BODY] {
        let body = format!("{}{{\"name\": \"n\", \"model\": \"m\"}}", " ".repeat(padding));
        let asked = answer(&server.app, announced(body.len(), Body::from(body)));
        tokio::time::timeout(limits::BODY_READ / 4, asked).await.expect("slow uploads take all the room").ok();
    }
}

#[tokio::test]
async fn a_body_keeps_its_room_until_its_handler_is_done() {
    let api = Api::new(server().await.state, CancellationToken::new());
    let length = (limits::SMALL_BODY + 1).to_string();
    let large = request("POST", "/", &[("content-length", &length)], Body::from("{}"));
    let body = JsonBody::<Value>::from_request(large, &api).await.unwrap();
    tokio::time::pause();
    let mut all = Room::default();
    assert_eq!(api.bodies.grow(&mut all, limits::BODIES_HELD, 0).await.unwrap_err().status, 503);
    drop(body);
    api.bodies.grow(&mut all, limits::BODIES_HELD, 0).await.unwrap();
}
