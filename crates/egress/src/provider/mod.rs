//! Requests to model providers. Each goes to the address that the operator configured, with the provider's key in the one header
//! that it is for, over connections that are kept. Redirects are answers like others: followed, they would carry the key elsewhere.

mod dial;
mod endpoint;

use std::collections::HashMap;
use std::error::Error;
use std::fmt;
use std::pin::pin;
use std::sync::Arc;

use bytes::Bytes;
use http::request::Parts;
use http::uri::PathAndQuery;
use http::{HeaderMap, Request, Response, Version, header};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use hyper_util::client::legacy::{self, Client};
use hyper_util::rt::{TokioExecutor, TokioTimer};
use ostler_core::egress::calls::{FAILURE, ProviderKind};
use rustls::crypto::CryptoProvider;
use serde::{Deserialize, Serialize};
use tokio::time::{Instant, timeout_at};
use zeroize::Zeroizing;

use crate::body::{self, Body};
use crate::machine::Machine;
use crate::resolve::ResolveConfig;
use crate::service::StartError;
use crate::{forward, limits, scrub, trust};
pub(crate) use dial::Dialer;
use dial::{Connector, DialError};
use endpoint::Endpoint;

/// A configured model provider.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProviderConfig {
    /// What requests call it.
    pub name: String,
    /// `http` or `https`, without credentials; a trailing `/` or `/v1` is dropped. Requests go to paths below `/v1`, except for
    /// Chat Completions below a path with a version of its own (`/api/v4`, `/v1beta/openai`), which takes its place.
    pub base_url: String,
    /// Its dialect.
    pub kind: ProviderKind,
    /// Its key; an empty one is not sent.
    pub key: Zeroizing<String>,
}

impl fmt::Debug for ProviderConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ProviderConfig").field("name", &self.name).field("kind", &self.kind).finish_non_exhaustive()
    }
}

/// A provider configuration that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ProviderSetupError {
    /// A URL is unusable.
    #[error("the base_url of model provider {name:?} is not usable: {reason}; give an http(s) URL without credentials, query or fragment")]
    BaseUrl {
        /// The provider.
        name: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A key is unusable.
    #[error("the key of model provider {name:?} has characters that no HTTP header can carry; check it for line breaks")]
    Key {
        /// The provider.
        name: String,
    },
    /// Two providers have one name.
    #[error("model provider {name:?} is configured twice; give each its own name")]
    Duplicate {
        /// The name.
        name: String,
    },
}

/// Why a provider gives no answer. No variant carries an address or a key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProviderError {
    /// It is none of those that are configured.
    #[error("no such provider is configured")]
    Unknown,
    /// Its host has no address.
    #[error("{0}")]
    NoName(String),
    /// None of its addresses takes connections.
    #[error("{0}")]
    NoConnection(String),
    /// TLS with it failed.
    #[error("{0}")]
    NoTls(String),
    /// The connection ended before the answer began.
    #[error("{0}")]
    Broken(String),
}

/// Whether these can be used as they are configured.
///
/// # Errors
/// Says the first that cannot.
pub fn check(providers: &[ProviderConfig]) -> Result<(), ProviderSetupError> {
    endpoints(providers).map(drop)
}

fn endpoints(providers: &[ProviderConfig]) -> Result<HashMap<String, Endpoint>, ProviderSetupError> {
    let mut endpoints = HashMap::new();
    for provider in providers {
        if endpoints.insert(provider.name.clone(), Endpoint::of(provider)?).is_some() {
            return Err(ProviderSetupError::Duplicate { name: provider.name.clone() });
        }
    }
    Ok(endpoints)
}

/// The configured providers, with connections to them.
pub struct Providers {
    endpoints: HashMap<String, Endpoint>,
    client: Client<Connector, Body>,
}

impl fmt::Debug for Providers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.endpoints.keys()).finish()
    }
}

impl Providers {
    /// Checks the configuration; opens no connection. Needs a runtime of tokio.
    ///
    /// # Errors
    /// When a provider is unusable or TLS cannot be set up.
    pub fn new(providers: &[ProviderConfig], resolve: &ResolveConfig, machine: &Machine) -> Result<Self, StartError> {
        let provider: Arc<CryptoProvider> = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let tls = trust::client(machine.roots(), &provider)?;
        let connector = Connector::new(tls, Dialer::new(resolve, machine));
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(limits::PROVIDER_IDLE)
            .pool_max_idle_per_host(limits::PROVIDER_IDLE_CONNECTIONS)
            .http1_max_headers(limits::HEADERS)
            .http1_max_buf_size(limits::HEAD_BYTES)
            .build(connector);
        Ok(Self { endpoints: endpoints(providers)?, client })
    }

    /// Asks a provider for what is at a path, for a small answer: its status, and the start of its body.
    ///
    /// # Errors
    /// When there is no answer; an HTTP error status is one.
    pub async fn get(&self, name: &str, path: &'static str, headers: HeaderMap, most: usize) -> Result<(u16, Bytes), ProviderError> {
        let mut request = Request::new(body::empty());
        *request.headers_mut() = headers;
        *request.uri_mut() = http::Uri::from_static(path);
        let (parts, mut content) = self.send(name, request).await?.into_parts();
        let mut start = Vec::new();
        while let Some(Ok(frame)) = content.frame().await {
            start.extend(frame.into_data().into_iter().flatten());
            if start.len() > most {
                break;
            }
        }
        Ok((parts.status.as_u16(), start.into()))
    }

    /// Passes a request on; the answer comes as it arrives. What an error says comes without the key, should the provider have echoed it.
    pub(crate) async fn send(&self, name: &str, request: Request<Body>) -> Result<Response<Body>, ProviderError> {
        let endpoint = self.endpoints.get(name).ok_or(ProviderError::Unknown)?;
        let (mut parts, content) = request.into_parts();
        prepare(endpoint, &mut parts)?;
        let response = self.client.request(Request::from_parts(parts, content)).await.map_err(|error| failure(&error))?;
        let (mut parts, content) = response.into_parts();
        forward::without_hops(&mut parts.headers);
        parts.headers.remove(FAILURE);
        parts.extensions.clear();
        let content = body::incoming(content);
        if parts.status.is_success() {
            return Ok(Response::from_parts(parts, content));
        }
        let content = match scrub::answer(&endpoint.scrubs, &mut parts, content, false) {
            Ok(content) => start_of(content).await,
            // The status says enough.
            Err(_) => Bytes::new(),
        };
        parts.headers.remove(header::CONTENT_LENGTH);
        Ok(Response::from_parts(parts, body::full(content)))
    }
}

/// Turns a request to a path below `/v1` into one to the provider, with its key and nothing else changed.
fn prepare(endpoint: &Endpoint, parts: &mut Parts) -> Result<(), ProviderError> {
    let path = parts.uri.path_and_query().map_or("/", PathAndQuery::as_str);
    parts.uri = endpoint.at(path).ok_or_else(|| ProviderError::Broken("its address cannot be written".into()))?;
    parts.version = Version::HTTP_11;
    forward::without_hops(&mut parts.headers);
    // The client writes the provider's own.
    parts.headers.remove(header::HOST);
    if let Some((name, value)) = &endpoint.header {
        parts.headers.insert(name, value.clone());
    }
    Ok(())
}

/// The bounded start of an error's body.
async fn start_of(content: Body) -> Bytes {
    let mut start = Vec::new();
    let mut content = pin!(content);
    let deadline = Instant::now() + limits::PROVIDER_ERROR_TIME;
    // The status says enough; what is missing of the body changes nothing.
    while let Ok(Some(Ok(frame))) = timeout_at(deadline, content.frame()).await {
        let Ok(data) = frame.into_data() else { continue };
        let room = limits::PROVIDER_ERROR_BYTES - start.len();
        start.extend_from_slice(&data[..data.len().min(room)]);
        if start.len() >= limits::PROVIDER_ERROR_BYTES {
            break;
        }
    }
    start.into()
}

fn failure(error: &legacy::Error) -> ProviderError {
    let mut cause: &dyn Error = error;
    while let Some(inner) = cause.source() {
        if let Some(dialled) = inner.downcast_ref::<DialError>() {
            return dialled.0.clone();
        }
        cause = inner;
    }
    // The outer texts only say that something failed.
    let reason = cause.to_string();
    if error.is_connect() { ProviderError::NoTls(reason) } else { ProviderError::Broken(reason) }
}

/// A request as it comes from the server.
pub(crate) fn incoming(request: Request<Incoming>) -> Request<Body> {
    request.map(body::incoming)
}
