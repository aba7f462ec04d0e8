//! Puts secrets into a request in the place of placeholders, where they may go.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::request::Parts;
use http::uri::PathAndQuery;
use http::{HeaderName, HeaderValue, header};
use http_body::Body as _;
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use ostler_core::ids::{CredentialId, WorkspaceId};
use tokio::time::timeout;

use crate::body::{self, Body};
use crate::grants::{Grants, percent_encoded};
use crate::limits;
use crate::replace::{Table, TooLong};
use crate::shares::Shares;

/// Headers that say how or to whom a message goes, and nothing to who reads it.
const NOT_IN: [HeaderName; 6] =
    [header::HOST, header::CONTENT_LENGTH, header::TRANSFER_ENCODING, header::CONNECTION, header::TE, header::UPGRADE];

const TOO_LONG: Unfit = Unfit("with its secrets it is too long");

/// Why a request cannot be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Unfit(pub(crate) &'static str);

/// Replaces the placeholders of a request over TLS to a host. Returns the credentials that were put in.
pub(crate) async fn into_request(
    grants: &Grants,
    host: &str,
    parts: &mut Parts,
    content: Body,
    (room, workspace): (&Shares, &WorkspaceId),
) -> Result<(Body, Vec<CredentialId>), Unfit> {
    let mut used = Vec::new();
    let here: Vec<_> = grants.at(host).collect();
    if here.is_empty() {
        return Ok((content, used));
    }
    // Ranges of an answer would show a secret in pieces too small to be known.
    for name in [header::RANGE, header::IF_RANGE] {
        parts.headers.remove(name);
    }
    let in_heads: Vec<_> = here.iter().filter(|grant| grant.places.header).collect();
    let plain = Table::new(in_heads.iter().map(|grant| (grant.placeholder.clone().into_bytes(), grant.secret.expose().to_vec())));
    let before = (parts.headers.clone(), parts.uri.clone());
    for (name, value) in parts.headers.iter_mut() {
        if NOT_IN.contains(name) {
            continue;
        }
        if let Some(changed) = in_value(&plain, name, value.as_bytes()).map_err(|TooLong| TOO_LONG)? {
            *value = HeaderValue::from_bytes(&changed).map_err(|_| Unfit("the secret cannot stand in a header"))?;
            value.set_sensitive(true);
        }
    }
    let encoded = in_heads.iter().map(|grant| (grant.placeholder.clone().into_bytes(), percent_encoded(grant.secret.expose())));
    in_query(&Table::new(encoded), parts)?;
    if parts.headers.iter().map(|(name, value)| name.as_str().len() + value.len()).sum::<usize>() > limits::HEAD_BYTES {
        return Err(TOO_LONG);
    }
    for grant in &in_heads {
        let placeholder = grant.placeholder.as_bytes();
        let is_in = |bytes: &[u8]| bytes.windows(placeholder.len()).any(|window| window == placeholder);
        let was = |(name, value): (&HeaderName, &HeaderValue)| {
            !NOT_IN.contains(name) && (is_in(value.as_bytes()) || basic(name, value.as_bytes()).is_some_and(|plain| is_in(&plain)))
        };
        if before.0.iter().any(was) || before.1.query().is_some_and(|query| is_in(query.as_bytes())) {
            used.push(grant.credential.clone());
        }
    }
    let in_bodies: Vec<_> = here.iter().filter(|grant| grant.places.body).collect();
    if in_bodies.is_empty() || content.is_end_stream() {
        return Ok((content, used));
    }
    let waits = || Unfit("too many bodies in which placeholders are replaced are on their way, or this one did not arrive in time");
    let _room = timeout(limits::INJECTED_BODY_TIME, room.take(workspace)).await.map_err(|_| waits())?;
    let reading = Limited::new(content, limits::INJECTED_BODY_BYTES).collect();
    let read = timeout(limits::INJECTED_BODY_TIME, reading).await.map_err(|_| waits())?.map_err(|error| {
        Unfit(if error.is::<LengthLimitError>() {
            "bodies in which placeholders are replaced may have 8 MiB at most"
        } else {
            "the body did not arrive"
        })
    })?;
    let trailers = read.trailers().cloned();
    let bytes = read.to_bytes();
    let table = Table::new(in_bodies.iter().map(|grant| (grant.placeholder.clone().into_bytes(), grant.secret.expose().to_vec())));
    let changed = table.within(&bytes, limits::INJECTED_BODY_BYTES).map_err(|TooLong| TOO_LONG)?;
    let Some(changed) = changed else { return Ok((again(bytes, trailers), used)) };
    let is_in = |placeholder: &str| bytes.windows(placeholder.len()).any(|window| window == placeholder.as_bytes());
    for grant in in_bodies.into_iter().filter(|grant| is_in(&grant.placeholder)) {
        if !used.contains(&grant.credential) {
            used.push(grant.credential.clone());
        }
    }
    if parts.headers.contains_key(header::CONTENT_LENGTH) {
        parts.headers.insert(header::CONTENT_LENGTH, HeaderValue::from(changed.len()));
    }
    Ok((again(Bytes::from(changed), trailers), used))
}

/// A body that was read.
fn again(bytes: Bytes, trailers: Option<http::HeaderMap>) -> Body {
    match trailers {
        Some(trailers) => body::full(bytes).with_trailers(std::future::ready(Some(Ok(trailers)))).boxed_unsync(),
        None => body::full(bytes),
    }
}

/// What stands in Basic authentication.
fn basic(name: &HeaderName, value: &[u8]) -> Option<Vec<u8>> {
    if *name != header::AUTHORIZATION {
        return None;
    }
    let text = value.trim_ascii();
    let (scheme, rest) = text.split_at_checked(6)?;
    if !scheme.eq_ignore_ascii_case(b"basic ") {
        return None;
    }
    STANDARD.decode(rest.trim_ascii()).ok()
}

fn in_value(table: &Table, name: &HeaderName, value: &[u8]) -> Result<Option<Vec<u8>>, TooLong> {
    match basic(name, value) {
        Some(plain) => {
            let changed = table.within(&plain, limits::HEAD_BYTES)?;
            Ok(changed.map(|changed| format!("Basic {}", STANDARD.encode(changed)).into_bytes()))
        }
        None => table.within(value, limits::HEAD_BYTES),
    }
}

fn in_query(table: &Table, parts: &mut Parts) -> Result<(), Unfit> {
    const UNFIT: Unfit = Unfit("the secret cannot stand in a query");
    let Some(query) = parts.uri.query() else { return Ok(()) };
    let Some(changed) = table.within(query.as_bytes(), limits::HEAD_BYTES).map_err(|TooLong| TOO_LONG)? else { return Ok(()) };
    let changed = String::from_utf8(changed).map_err(|_| UNFIT)?;
    let mut uri = parts.uri.clone().into_parts();
    let target: PathAndQuery = format!("{}?{changed}", parts.uri.path()).parse().map_err(|_| UNFIT)?;
    uri.path_and_query = Some(target);
    parts.uri = http::Uri::from_parts(uri).map_err(|_| UNFIT)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;
    use crate::grants::tests::grant;

    const PLACEHOLDER: &str = "ostler_0123456789abcdef";

    async fn sent(host: &str, hosts: &[&str], in_body: bool, request: Request<&'static str>) -> (Parts, Vec<u8>, usize) {
        let grants = Grants::new(vec![grant(PLACEHOLDER, "s/e&cret", hosts, in_body)]);
        let (mut parts, content) = request.into_parts();
        let (content, used) =
            into_request(&grants, host, &mut parts, body::full(content.into()), (&Shares::new(1, 1), &"wrkspc_1".parse().unwrap()))
                .await
                .unwrap();
        (parts, content.collect().await.unwrap().to_bytes().to_vec(), used.len())
    }

    fn request() -> Request<&'static str> {
        let basic = STANDARD.encode(format!("user:{PLACEHOLDER}"));
        Request::builder()
            .uri(format!("https://a.com/{PLACEHOLDER}?k={PLACEHOLDER}&l=1"))
            .header("x-api-key", format!("key {PLACEHOLDER}"))
            .header("authorization", format!("basic {basic}"))
            .header("host", PLACEHOLDER)
            .header("range", "bytes=0-1")
            .header("content-length", "25")
            .body("a ostler_0123456789abcdef")
            .unwrap()
    }

    #[tokio::test]
    async fn a_placeholder_is_replaced_in_the_places_that_are_allowed() {
        let (parts, content, used) = sent("a.com", &["a.com"], false, request()).await;
        assert_eq!(parts.headers["x-api-key"], "key s/e&cret");
        assert_eq!(parts.headers["authorization"], format!("Basic {}", STANDARD.encode("user:s/e&cret")));
        assert_eq!(parts.headers["host"], PLACEHOLDER, "where it goes is not changed");
        assert_eq!(parts.uri.to_string(), format!("https://a.com/{PLACEHOLDER}?k=s%2Fe%26cret&l=1"));
        assert!(!parts.headers.contains_key("range"));
        assert_eq!((content, used), (b"a ostler_0123456789abcdef".to_vec(), 1));
        let (parts, content, used) = sent("a.com", &[], true, request()).await;
        assert_eq!((content, used), (b"a s/e&cret".to_vec(), 1));
        assert_eq!(parts.headers["content-length"], "10");
    }

    #[tokio::test]
    async fn at_another_host_nothing_is_replaced() {
        let (parts, content, used) = sent("b.com", &["a.com", "*.b.com"], true, request()).await;
        assert_eq!(parts.headers["x-api-key"], format!("key {PLACEHOLDER}"));
        assert!(parts.headers.contains_key("range"));
        assert_eq!((content, used), (b"a ostler_0123456789abcdef".to_vec(), 0));
    }

    #[tokio::test]
    async fn a_secret_that_would_break_a_header_is_not_put_there() {
        let grants = Grants::new(vec![grant(PLACEHOLDER, "a\r\nX: y", &[], false)]);
        let (mut parts, ()) = Request::builder().uri("https://a.com/").header("x", PLACEHOLDER).body(()).unwrap().into_parts();
        assert!(
            into_request(&grants, "a.com", &mut parts, body::empty(), (&Shares::new(1, 1), &"wrkspc_1".parse().unwrap())).await.is_err()
        );
    }
}
