//! Request bodies: read within limits of size, time and memory, and parsed as JSON whatever the
//! content type says.

use axum::body::BodyDataStream;
use axum::extract::{FromRequest, Request};
use futures::StreamExt as _;
use http::{StatusCode, header};
use ostler_core::error::Refusal;
use serde::de::DeserializeOwned;
use tokio::time::Instant;

use crate::api::Api;
use crate::error::{ApiError, ApiResult};
use crate::limits;
use crate::room::{BodyRoom, Room};

/// A JSON body, and the room it takes until its handler is done with it.
#[derive(Debug)]
pub(crate) struct JsonBody<T>(pub(crate) T, pub(crate) Room);

impl<T: DeserializeOwned> FromRequest<Api> for JsonBody<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, api: &Api) -> Result<Self, ApiError> {
        let declared = request.headers().get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse().ok());
        let mut stream = request.into_body().into_data_stream();
        let deadline = Instant::now() + limits::BODY_READ;
        let read = collect(&mut stream, declared.unwrap_or(0), api.state.config.body_limit, &api.bodies);
        match tokio::time::timeout_at(deadline, read).await {
            Ok(Ok((bytes, room))) => Ok(Self(parse(&bytes)?, room)),
            Ok(Err(error)) => {
                let _ = tokio::time::timeout_at(deadline, discard(stream)).await;
                Err(error)
            }
            Err(_) => Err(ApiError::new(StatusCode::REQUEST_TIMEOUT, "timeout_error", "the request body did not arrive in time")),
        }
    }
}

/// The whole body, with the room it takes.
async fn collect(stream: &mut BodyDataStream, declared: usize, limit: usize, bodies: &BodyRoom) -> ApiResult<(Vec<u8>, Room)> {
    let (mut held, mut room) = (Vec::new(), Room::default());
    while let Some(chunk) = stream.next().await {
        let chunk = chunk.map_err(|_| Refusal::invalid("the request body broke off"))?;
        let arrived = held.len() + chunk.len();
        if arrived > limit {
            return Err(ApiError::too_large(limit));
        }
        bodies.grow(&mut room, arrived, declared).await?;
        held.extend_from_slice(&chunk);
    }
    Ok((held, room))
}

/// Reads on for a while: a client that still writes would not see the answer.
async fn discard(mut stream: BodyDataStream) {
    let mut discarded = 0;
    while let Some(Ok(chunk)) = stream.next().await {
        discarded += chunk.len();
        if discarded > limits::BODY_DISCARDED_BYTES {
            return;
        }
    }
}

fn parse<T: DeserializeOwned>(bytes: &[u8]) -> ApiResult<T> {
    if bytes.iter().all(u8::is_ascii_whitespace) {
        return Err(Refusal::invalid("the request body is empty; send a JSON object").into());
    }
    // Otherwise a list with the fields in order would be taken for an object.
    if bytes.iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b'[') {
        return Err(Refusal::invalid("request body: must be a JSON object, not a list").into());
    }
    let mut reader = serde_json::Deserializer::from_slice(bytes);
    let value = serde_path_to_error::deserialize(&mut reader).map_err(|error| {
        let path = error.path().to_string();
        let what = error.into_inner();
        Refusal::invalid(if path == "." || what.is_syntax() || what.is_eof() {
            format!("request body: {what}")
        } else {
            format!("{path}: {what}")
        })
    })?;
    reader.end().map_err(|error| Refusal::invalid(format!("request body: {error}")))?;
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::body::Body;
    use serde::Deserialize;

    #[derive(Debug, Deserialize)]
    #[expect(dead_code, reason = "only parsed")]
    struct Outer {
        name: String,
        inner: Vec<Inner>,
    }

    #[derive(Debug, Deserialize)]
    #[expect(dead_code, reason = "only parsed")]
    struct Inner {
        count: u32,
    }

    #[test]
    fn a_mistake_is_named_with_its_place() {
        let table = [
            ("", "empty"),
            (" \n", "empty"),
            ("{", "request body: EOF"),
            ("{\"name\": 5, \"inner\": []}", "name: invalid type"),
            ("{\"name\": \"n\", \"inner\": [{\"count\": 1}, {\"count\": \"x\"}]}", "inner[1].count: invalid type"),
            ("{\"name\": \"n\"}", "missing field `inner`"),
            ("{\"name\": \"n\", \"inner\": []} x", "trailing"),
            ("[]", "request body: must be a JSON object"),
            (" [\"n\", []]", "request body: must be a JSON object"),
        ];
        for (text, expected) in table {
            let error = parse::<Outer>(text.as_bytes()).unwrap_err();
            assert!(error.message.contains(expected), "{text}: {}", error.message);
            assert_eq!(error.status, StatusCode::BAD_REQUEST);
        }
        assert!(parse::<Outer>(b"{\"name\": \"n\", \"inner\": [{\"count\": 3, \"other\": 1}]}").is_ok());
    }

    #[test]
    fn deep_nesting_and_bad_bytes_are_refused() {
        let deep = "[".repeat(100_000);
        assert!(parse::<serde_json::Value>(deep.as_bytes()).is_err());
        assert!(parse::<serde_json::Value>(&[b'"', 0xff, b'"']).is_err());
    }

    #[tokio::test]
    async fn a_body_over_the_limit_is_too_large() {
        let bodies = BodyRoom::default();
        let read = async |text: &'static str| collect(&mut Body::from(text).into_data_stream(), 0, 5, &bodies).await;
        assert_eq!(read("12345").await.unwrap().0, b"12345");
        assert_eq!(read("123456").await.unwrap_err().status, StatusCode::PAYLOAD_TOO_LARGE);
    }
}
