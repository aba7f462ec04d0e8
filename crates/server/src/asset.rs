//! Contents that are part of the program: answered whole, packed where the client takes that, and
//! not at all where the client has them.

use std::io::Write as _;

use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use ostler_core::hex::hex;
use sha2::{Digest, Sha256};

/// Bytes of the hash that names a content.
const TAG_BYTES: usize = 16;

/// A content.
#[derive(Debug)]
pub(crate) struct Asset {
    content_type: &'static str,
    plain: Form,
    /// With gzip; none where that failed.
    packed: Option<Form>,
}

/// One way to send a content.
#[derive(Debug)]
struct Form {
    bytes: Bytes,
    /// Names these bytes and no others.
    tag: String,
}

impl Asset {
    /// A content of this type.
    pub(crate) fn new(content_type: &'static str, text: String) -> Self {
        let name = hex(&Sha256::digest(text.as_bytes())[..TAG_BYTES]);
        let packed = pack(text.as_bytes()).ok().map(|bytes| Form { bytes: bytes.into(), tag: format!("\"{name}-gzip\"") });
        Self { content_type, plain: Form { bytes: text.into(), tag: format!("\"{name}\"") }, packed }
    }

    /// The answer to a request with these headers. Clients may keep it and have to ask whether it is
    /// still current, because another version of the program may answer the next time.
    pub(crate) fn answer(&self, request: &HeaderMap) -> Response {
        let packed = self.packed.as_ref().filter(|_| takes_gzip(request));
        let form = packed.unwrap_or(&self.plain);
        let unchanged = has(request, &form.tag);
        let mut response = if unchanged { StatusCode::NOT_MODIFIED.into_response() } else { Response::new(form.bytes.clone().into()) };
        let headers = response.headers_mut();
        let mut set = |name: HeaderName, value: &'static str| headers.insert(name, HeaderValue::from_static(value));
        set(header::CACHE_CONTROL, "no-cache");
        set(header::VARY, "accept-encoding");
        set(header::X_CONTENT_TYPE_OPTIONS, "nosniff");
        if !unchanged {
            set(header::CONTENT_TYPE, self.content_type);
            if packed.is_some() {
                set(header::CONTENT_ENCODING, "gzip");
            }
        }
        if let Ok(tag) = HeaderValue::from_str(&form.tag) {
            headers.insert(header::ETAG, tag);
        }
        response
    }
}

fn pack(bytes: &[u8]) -> std::io::Result<Vec<u8>> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(bytes)?;
    encoder.finish()
}

/// The entries of a header that is a list.
fn entries(request: &HeaderMap, name: HeaderName) -> impl Iterator<Item = &str> {
    request.get_all(name).iter().filter_map(|value| value.to_str().ok()).flat_map(|value| value.split(',')).map(str::trim)
}

fn takes_gzip(request: &HeaderMap) -> bool {
    entries(request, header::ACCEPT_ENCODING).any(|entry| {
        let (coding, weight) = entry.split_once(';').unwrap_or((entry, ""));
        let refused = weight.trim().strip_prefix("q=").is_some_and(|weight| weight.trim().parse() == Ok(0.0_f32));
        coding.trim().eq_ignore_ascii_case("gzip") && !refused
    })
}

/// Whether the client has the bytes with this tag.
fn has(request: &HeaderMap, tag: &str) -> bool {
    entries(request, header::IF_NONE_MATCH).any(|entry| entry == "*" || entry.strip_prefix("W/").unwrap_or(entry) == tag)
}

#[cfg(test)]
mod tests {
    use super::*;
    use http_body_util::BodyExt as _;
    use std::io::Read as _;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (HeaderName::from_static(name), value.parse().unwrap())).collect()
    }

    async fn body(response: Response) -> Bytes {
        response.into_body().collect().await.unwrap().to_bytes()
    }

    #[tokio::test]
    async fn clients_get_what_they_take() {
        let asset = Asset::new("text/plain", "content".repeat(100));
        let plain = asset.answer(&headers(&[("accept-encoding", "br, gzip;q=0")]));
        assert!(plain.headers().get("content-encoding").is_none());
        assert_eq!(body(plain).await, asset.plain.bytes);
        let packed = asset.answer(&headers(&[("accept-encoding", "br;q=1.0, gzip;q=0.5")]));
        assert_eq!(packed.headers()["content-encoding"], "gzip");
        assert_eq!(packed.headers()["vary"], "accept-encoding");
        let mut text = String::new();
        flate2::read::GzDecoder::new(&body(packed).await[..]).read_to_string(&mut text).unwrap();
        assert_eq!(text.as_bytes(), asset.plain.bytes);
    }

    #[tokio::test]
    async fn what_the_client_has_is_not_sent_again() {
        let asset = Asset::new("text/plain", "content".to_owned());
        for encoding in ["", "gzip"] {
            let first = asset.answer(&headers(&[("accept-encoding", encoding)]));
            let tag = first.headers()["etag"].to_str().unwrap().to_owned();
            for known in [tag.clone(), format!("W/{tag}"), format!("\"other\", {tag}"), "*".to_owned()] {
                let again = asset.answer(&headers(&[("accept-encoding", encoding), ("if-none-match", &known)]));
                assert_eq!(again.status(), 304, "{known}");
                assert_eq!(again.headers()["etag"], tag);
                assert!(again.headers().get("content-type").is_none() && body(again).await.is_empty());
            }
            let stale = asset.answer(&headers(&[("accept-encoding", encoding), ("if-none-match", "\"other\"")]));
            assert_eq!(stale.status(), 200);
        }
        let plain = asset.plain.tag.clone();
        assert_eq!(asset.answer(&headers(&[("accept-encoding", "gzip"), ("if-none-match", &plain)])).status(), 200);
    }
}
