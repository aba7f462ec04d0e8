//! Request bodies: read within limits of size, time and memory, and parsed as JSON whatever the
//! content type says.

use axum::body::{Body, BodyDataStream};
use axum::extract::{FromRequest, Request};
use bytes::Bytes;
use futures::StreamExt as _;
use http::{StatusCode, header};
use ostler_core::error::Refusal;
use serde::de::DeserializeOwned;

use crate::api::Api;
use crate::error::{ApiError, ApiResult};
use crate::limits;

/// A JSON body.
#[derive(Debug)]
pub(crate) struct JsonBody<T>(pub(crate) T);

impl<T: DeserializeOwned> FromRequest<Api> for JsonBody<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, api: &Api) -> Result<Self, ApiError> {
        let limit = api.state.config.body_limit;
        let declared = request.headers().get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
        let room = declared.map_or(limit, |bytes| usize::try_from(bytes).unwrap_or(usize::MAX).min(limit));
        let read = async {
            let units = u32::try_from(room / limits::BODY_UNIT + 1).unwrap_or(u32::MAX).min(most_units());
            let room = api.bodies.acquire_many(units).await.map_err(|_| ApiError::internal())?;
            Ok::<_, ApiError>((room, collect(request.into_body(), limit).await?))
        };
        let (_room, bytes) = tokio::time::timeout(limits::BODY_READ, read).await.map_err(|_| too_slow())??;
        parse(&bytes).map(Self)
    }
}

/// All the room there is, so that a body of any configured limit can be read.
fn most_units() -> u32 {
    u32::try_from(limits::BODIES_HELD / limits::BODY_UNIT).unwrap_or(u32::MAX)
}

fn too_slow() -> ApiError {
    ApiError::new(StatusCode::REQUEST_TIMEOUT, "timeout_error", "the request body did not arrive in time")
}

async fn collect(body: Body, limit: usize) -> ApiResult<Bytes> {
    let mut stream = body.into_data_stream();
    let mut held = Vec::new();
    while let Some(chunk) = stream.next().await {
        let chunk = chunk.map_err(|_| Refusal::invalid("the request body broke off"))?;
        if held.len() + chunk.len() > limit {
            drop(held);
            discard(stream).await;
            return Err(ApiError::too_large(limit));
        }
        held.extend_from_slice(&chunk);
    }
    Ok(held.into())
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
            ("[]", "request body: "),
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
        assert_eq!(collect(Body::from("12345"), 5).await.unwrap(), "12345");
        assert_eq!(collect(Body::from("123456"), 5).await.unwrap_err().status, StatusCode::PAYLOAD_TOO_LARGE);
    }
}
