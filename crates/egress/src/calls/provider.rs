//! Model providers: a failure to reach one is told in a header, so that it is not taken for an answer of the provider.

use bytes::Bytes;
use http::{HeaderValue, Request, Response, StatusCode};
use hyper::body::Incoming;
use ostler_core::egress::calls::{FAILURE, FAILURE_BROKEN, FAILURE_CONNECT, FAILURE_UNKNOWN};

use crate::body::{self, Body};
use crate::provider::{self, ProviderError};
use crate::service::Egress;

/// Passes a request on to a provider.
pub(super) async fn call(egress: &Egress, name: &str, request: Request<Incoming>) -> Response<Body> {
    egress.providers.send(name, provider::incoming(request)).await.unwrap_or_else(|error| {
        let word = match &error {
            ProviderError::Unknown => FAILURE_UNKNOWN,
            ProviderError::NoName(_) | ProviderError::NoConnection(_) | ProviderError::NoTls(_) => FAILURE_CONNECT,
            ProviderError::Broken(_) => FAILURE_BROKEN,
        };
        let mut response = Response::new(body::full(Bytes::from(error.to_string())));
        *response.status_mut() = StatusCode::BAD_GATEWAY;
        response.headers_mut().insert(FAILURE, HeaderValue::from_static(word));
        response
    })
}
