//! `/docs`: the description of the API as a page; `/` leads there. Open to anybody, as
//! `/openapi.json` is.

use std::sync::LazyLock;

use axum::Router;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use http::{HeaderMap, HeaderValue, StatusCode, header};

use crate::api::Api;
use crate::asset::Asset;
use crate::{docs, openapi};

/// The paths of this file.
pub(crate) const PATHS: [&str; 3] = ["/", "/docs", "/docs/style.css"];

static PAGE: LazyLock<Asset> = LazyLock::new(|| Asset::new("text/html; charset=utf-8", docs::page(&openapi::openapi())));
static STYLE: LazyLock<Asset> = LazyLock::new(|| Asset::new("text/css; charset=utf-8", docs::STYLE.to_owned()));

/// Pages for people are no operations: they are not in the description.
pub(crate) fn routes() -> Router<Api> {
    Router::new().route("/", get(root)).route("/docs", get(page)).route("/docs/style.css", get(style))
}

/// Relative, so that it is right below a prefix, too.
async fn root() -> Response {
    (StatusCode::TEMPORARY_REDIRECT, [(header::LOCATION, HeaderValue::from_static("docs"))]).into_response()
}

async fn page(headers: HeaderMap) -> Response {
    let mut response = PAGE.answer(&headers);
    response.headers_mut().insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(docs::POLICY));
    response.headers_mut().insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    response
}

async fn style(headers: HeaderMap) -> Response {
    STYLE.answer(&headers)
}
