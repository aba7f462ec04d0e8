//! Pages and search engines: `GET` alone, with headers of our own, without cookies and without anybody's credentials but the key of
//! the operator's search engine, which goes there and nowhere else. Redirects are answers like others, for the server to judge.
//! Answers are read as a whole, decoded, and bounded in time and in bytes, packed or not.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use ostler_core::egress::calls::{LOCATION, PAGE_PATH, SEARCH_PATH, URL};
use ostler_core::egress::policy::Code;
use tokio::time::timeout;

use super::outbound::{self, Behalf, Destination, Whose};
use super::{Failed, take};
use crate::body::{self, Body};
use crate::replace::Table;
use crate::service::Egress;
use crate::{grants, limits};

/// Ports that pages are read at.
const PORTS: [u16; 2] = [80, 443];
/// What every request says.
const HEADERS: [(HeaderName, &str); 3] = [
    (header::USER_AGENT, concat!("Ostler/", env!("CARGO_PKG_VERSION"))),
    (header::ACCEPT, "text/html,application/xhtml+xml,application/pdf,application/json,text/*;q=0.9,*/*;q=0.5"),
    (header::ACCEPT_ENCODING, "gzip, br, deflate"),
];

/// Reads a page, or asks the search engine.
pub(super) async fn call(egress: &Arc<Egress>, mut request: Request<Incoming>) -> Result<Response<Body>, Failed> {
    let refused = |why: &str| Failed::new("", Code::BadRequest, why);
    let whose = Whose::take(request.headers_mut());
    if request.method() != Method::GET {
        return Err(refused("only GET is sent"));
    }
    match request.uri().path() {
        PAGE_PATH => page(egress, request, whose).await,
        SEARCH_PATH => search(egress, request, whose).await,
        _ => Err(refused("there is nothing of this name")),
    }
}

async fn page(egress: &Arc<Egress>, mut request: Request<Incoming>, whose: Whose) -> Result<Response<Body>, Failed> {
    let to = Destination::of(&take(request.headers_mut(), URL).unwrap_or_default())?;
    if !PORTS.contains(&to.port) {
        return Err(to.failed(Code::PortNotAllowed, ""));
    }
    *request.headers_mut() = HEADERS.into_iter().map(|(name, value)| (name, HeaderValue::from_static(value))).collect();
    let behalf = Behalf { whose, workspace: None, credential: None, scrubs: Arc::default(), rule: "web_fetch" };
    read(egress, &to, behalf, request, limits::PAGE_BYTES).await
}

async fn search(egress: &Arc<Egress>, mut request: Request<Incoming>, whose: Whose) -> Result<Response<Body>, Failed> {
    let engine = egress.search.as_ref().ok_or_else(|| Failed::new("", Code::BadRequest, "no search engine is configured"))?;
    let to = Destination::trusted(&format!("{}?{}", engine.url, request.uri().query().unwrap_or_default()))?;
    let mut headers: HeaderMap = HEADERS.into_iter().map(|(name, value)| (name, HeaderValue::from_static(value))).collect();
    headers.insert(header::ACCEPT, HeaderValue::from_static("application/json"));
    let located = request.headers().iter().filter(|(name, _)| name.as_str().starts_with(LOCATION));
    headers.extend(located.map(|(name, value)| (name.clone(), value.clone())));
    let mut behalf = Behalf { whose, workspace: None, credential: None, scrubs: Arc::default(), rule: "web_search" };
    if let Some((name, key)) = &engine.key {
        let unfit = || to.failed(Code::BadRequest, "the key of the search engine cannot stand in a header");
        let name = HeaderName::from_bytes(name.as_bytes()).map_err(|_| unfit())?;
        let mut value = HeaderValue::from_str(key).map_err(|_| unfit())?;
        value.set_sensitive(true);
        headers.insert(name, value);
        // Of "Bearer KEY" the key alone is what must not come back.
        let secret = key.rsplit(' ').next().unwrap_or_default();
        behalf.scrubs = Arc::new(Table::new(grants::forms_of(secret.as_bytes(), b"[redacted]")));
    }
    *request.headers_mut() = headers;
    read(egress, &to, behalf, request, limits::SEARCH_BYTES).await
}

/// Sends it and takes of the answer what the server needs: status, type, where else to look, and at most so many bytes.
async fn read(
    egress: &Arc<Egress>,
    to: &Destination,
    behalf: Behalf,
    request: Request<Incoming>,
    most: usize,
) -> Result<Response<Body>, Failed> {
    let reading = async {
        let (parts, content) = outbound::send(egress, to, behalf, request.map(|_| body::empty())).await?.into_parts();
        // What a redirect or an error says besides is for browsers.
        let content = if parts.status.is_success() { whole(to, &parts.headers, content, most).await? } else { Bytes::new() };
        let mut response = Response::new(body::full(content));
        *response.status_mut() = parts.status;
        for name in [header::CONTENT_TYPE, header::LOCATION] {
            if let Some(value) = parts.headers.get(&name) {
                response.headers_mut().insert(name, value.clone());
            }
        }
        // Not something that HTTP gives a meaning of its own between the server and here.
        if parts.status == StatusCode::NO_CONTENT || parts.status == StatusCode::NOT_MODIFIED {
            *response.status_mut() = StatusCode::OK;
        }
        Ok(response)
    };
    let late = || Err(to.failed(Code::Unreachable, format!("it did not answer within {} seconds", limits::PAGE_TIME.as_secs())));
    timeout(limits::PAGE_TIME, reading).await.unwrap_or_else(|_| late())
}

async fn whole(to: &Destination, headers: &HeaderMap, content: Body, most: usize) -> Result<Bytes, Failed> {
    let too_large = || to.failed(Code::TooLarge, format!("it has more than {most} bytes"));
    let mut encodings = headers.get_all(header::CONTENT_ENCODING).iter();
    let encoding = encodings.next().map_or(&b""[..], HeaderValue::as_bytes);
    let packed = body::limited(content, most + limits::ENCODING_BYTES);
    let unknown = || to.failed(Code::Unreachable, "its answer is encoded as was not asked for");
    let mut content = if encodings.next().is_some() { None } else { body::decoded(packed, encoding) }.ok_or_else(unknown)?;
    let mut bytes = BytesMut::new();
    while let Some(frame) = content.frame().await {
        let frame = frame.map_err(|error| {
            if error.is_limit() { too_large() } else { to.failed(Code::Unreachable, format!("its answer broke: {error}")) }
        })?;
        let Ok(data) = frame.into_data() else { continue };
        if bytes.len() + data.len() > most {
            return Err(too_large());
        }
        bytes.extend_from_slice(&data);
    }
    Ok(bytes.freeze())
}
