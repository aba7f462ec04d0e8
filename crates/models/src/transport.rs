//! The seam between a provider's dialect and the wire: who sends the bytes. Keys are behind it, in another process.
//! It knows nothing of what the bytes mean.

use std::fmt;

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;
use http::HeaderMap;

/// One request to a provider, without its key.
#[derive(Debug, Clone)]
pub struct ProviderRequest {
    /// Below the provider's base URL, with a leading slash.
    pub path: &'static str,
    /// Headers of the dialect; the key is added on the way, and nothing else.
    pub headers: HeaderMap,
    /// The JSON body of a POST; none: a GET.
    pub body: Option<Bytes>,
}

/// What came back, its body still arriving.
pub struct ProviderResponse {
    /// The HTTP status.
    pub status: u16,
    /// The headers.
    pub headers: HeaderMap,
    /// The body as it arrives; dropping it closes the connection.
    pub body: BoxStream<'static, Result<Bytes, TransportError>>,
}

impl fmt::Debug for ProviderResponse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ProviderResponse").field("status", &self.status).finish_non_exhaustive()
    }
}

/// Why no answer, or not all of it, could be had. No variant carries a URL or a key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TransportError {
    /// The name is none of the configured providers.
    #[error("no model provider named {name:?} is configured; add it to the configuration's providers")]
    UnknownProvider {
        /// The name that was asked for.
        name: String,
    },
    /// No connection could be made.
    #[error("could not connect to model provider {provider:?}: {reason}")]
    Connect {
        /// The provider.
        provider: String,
        /// The cause.
        reason: String,
    },
    /// The connection ended or stalled before the answer did.
    #[error("the connection to model provider {provider:?} broke: {reason}")]
    Broken {
        /// The provider.
        provider: String,
        /// The cause.
        reason: String,
    },
}

/// Sends requests to a provider, by its name; whoever passes them on adds the key.
#[async_trait]
pub trait ModelTransport: Send + Sync + fmt::Debug {
    /// Sends `request` to the provider and returns once the answer's headers are there.
    ///
    /// # Errors
    /// When there is no such provider or no answer; an HTTP error status is an answer.
    async fn send(&self, provider: &str, request: ProviderRequest) -> Result<ProviderResponse, TransportError>;
}
