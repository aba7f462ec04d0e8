//! Takes the secrets of a sandbox out of an answer before the sandbox sees it.

use std::sync::Arc;

use http::response::Parts;
use http::{StatusCode, header};

use crate::body::{self, Body};
use crate::inject::Unfit;
use crate::replace::Table;

/// Scrubs an answer to a request, head and body.
pub(crate) fn answer(table: &Arc<Table>, parts: &mut Parts, content: Body, is_head: bool) -> Result<Body, Unfit> {
    if table.is_empty() {
        return Ok(content);
    }
    if parts.status == StatusCode::PARTIAL_CONTENT {
        return Err(Unfit("the host answered with a part, which cannot be scrubbed"));
    }
    body::in_headers(table, &mut parts.headers);
    // The words beside the status are passed on as an extension.
    parts.extensions.clear();
    parts.headers.remove(header::ACCEPT_RANGES);
    if is_head || parts.status == StatusCode::NO_CONTENT || parts.status == StatusCode::NOT_MODIFIED {
        return Ok(content);
    }
    let mut encodings = parts.headers.get_all(header::CONTENT_ENCODING).iter();
    let (encoding, more) = (encodings.next().cloned(), encodings.next().is_some());
    let content = match encoding {
        _ if more => None,
        Some(encoding) => body::decoded(content, encoding.as_bytes()),
        None => Some(content),
    };
    let content = content.ok_or(Unfit("the host answered in an encoding that cannot be scrubbed"))?;
    for name in [header::CONTENT_ENCODING, header::CONTENT_LENGTH] {
        parts.headers.remove(name);
    }
    // A digest is of what the host sent.
    for name in ["content-md5", "digest", "content-digest", "repr-digest"] {
        parts.headers.remove(name);
    }
    Ok(body::replaced(content, Arc::clone(table)))
}
