//! A transport for tests: canned answers, and a record of what was sent.

use std::sync::Mutex;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures::{StreamExt, stream};
use http::HeaderMap;

use crate::transport::{ModelTransport, ProviderRequest, ProviderResponse, TransportError};

/// Answers every request with the same, and then hangs or ends. Refusals given beforehand come first.
#[derive(Debug)]
pub(crate) struct Canned {
    status: u16,
    content_type: &'static str,
    pub(crate) chunks: Vec<Result<Bytes, TransportError>>,
    pub(crate) hangs: bool,
    babbles: bool,
    refusals: Mutex<Vec<(u16, String)>>,
    sent: Mutex<Vec<ProviderRequest>>,
}

impl Canned {
    pub(crate) fn new(status: u16, content_type: &'static str, body: impl Into<Bytes>) -> Self {
        Self {
            status,
            content_type,
            chunks: vec![Ok(body.into())],
            hangs: false,
            babbles: false,
            refusals: Mutex::default(),
            sent: Mutex::default(),
        }
    }

    /// The first requests are refused with these, in order.
    pub(crate) fn refusing(self, refusals: &[(u16, &str)]) -> Self {
        let refusals = refusals.iter().rev().map(|(status, body)| (*status, (*body).to_owned())).collect();
        Self { refusals: Mutex::new(refusals), ..self }
    }

    /// Behind its chunks comes a comment every second, for ever.
    pub(crate) fn babbling(self) -> Self {
        Self { babbles: true, ..self }
    }

    pub(crate) fn sent(&self) -> Vec<ProviderRequest> {
        self.sent.lock().unwrap().clone()
    }
}

#[async_trait]
impl ModelTransport for Canned {
    async fn send(&self, _: &str, request: ProviderRequest) -> Result<ProviderResponse, TransportError> {
        self.sent.lock().unwrap().push(request);
        let mut headers = HeaderMap::new();
        headers.insert("content-type", self.content_type.parse().unwrap());
        headers.insert("retry-after", "2".parse().unwrap());
        if let Some((status, body)) = self.refusals.lock().unwrap().pop() {
            let body = stream::iter([Ok(Bytes::from(body))]).boxed();
            return Ok(ProviderResponse { status, headers, body });
        }
        let chunks = stream::iter(self.chunks.clone());
        let comments = stream::unfold((), async |()| {
            tokio::time::sleep(Duration::from_secs(1)).await;
            Some((Ok(Bytes::from_static(b": still here\n\n")), ()))
        });
        let body = match (self.hangs, self.babbles) {
            (true, _) => chunks.chain(stream::pending()).boxed(),
            (_, true) => chunks.chain(comments).boxed(),
            _ => chunks.boxed(),
        };
        Ok(ProviderResponse { status: self.status, headers, body })
    }
}
