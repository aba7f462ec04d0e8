//! A request of the server on its way to a host that a tenant named.

use std::sync::Arc;

use http::{HeaderMap, HeaderValue, Request, Response, Uri, Version, header};
use ostler_core::egress::calls::{CALL, SESSION};
use ostler_core::egress::policy::{self, Code, Decision};
use ostler_core::ids::{CredentialId, EventId, SessionId, WorkspaceId};
use tokio_util::sync::CancellationToken;
use url::Url;

use super::{Failed, take};
use crate::body::{self, Body};
use crate::pool::Place;
use crate::record::Line;
use crate::replace::Table;
use crate::service::{Egress, Offers};
use crate::upstream::{self, Upstream};
use crate::{forward, scrub};

/// Where a request goes.
pub(crate) struct Destination {
    /// The host in its normal form.
    pub(crate) host: String,
    pub(super) port: u16,
    is_secure: bool,
    path: String,
    /// Whether the operator named it, who may mean a machine of his own.
    is_trusted: bool,
}

impl Destination {
    /// Reads an address that a tenant named.
    pub(crate) fn of(url: &str) -> Result<Self, Failed> {
        let bad = |why: &str| Failed::new("", Code::BadHost, why);
        let url = Url::parse(url).map_err(|_| bad("the address cannot be read"))?;
        let is_secure = match url.scheme() {
            "https" => true,
            "http" => false,
            _ => return Err(bad("the address is neither https nor http")),
        };
        if !url.username().is_empty() || url.password().is_some() {
            return Err(bad("the address carries a password"));
        }
        let host = url.host_str().and_then(policy::normal).ok_or_else(|| bad("the address has no host"))?;
        let port = url.port_or_known_default().ok_or_else(|| bad("the address has no port"))?;
        let path = url[url::Position::BeforePath..url::Position::AfterQuery].to_owned();
        Ok(Self { host, port, is_secure, path, is_trusted: false })
    }

    /// Reads an address that the operator named: it may be anywhere.
    pub(super) fn trusted(url: &str) -> Result<Self, Failed> {
        Self::of(url).map(|to| Self { is_trusted: true, ..to })
    }

    pub(super) fn failed(&self, code: Code, detail: impl Into<String>) -> Failed {
        Failed::new(&self.host, code, detail)
    }

    /// Refuses to take a secret where it could be read on the way.
    pub(crate) fn must_be_secure(&self) -> Result<(), Failed> {
        if self.is_secure { Ok(()) } else { Err(self.failed(Code::BadRequest, "a secret goes over https alone")) }
    }

    async fn connect(&self, egress: &Arc<Egress>, place: Option<Place>) -> Result<Upstream, Failed> {
        const BOTH: Offers = Offers { http2: true, http1: true };
        if let Some(place) = place.as_ref().filter(|_| self.is_secure)
            && let Some((upstream, _)) = Upstream::kept(egress, place, BOTH)
        {
            return Ok(upstream);
        }
        let addresses = if self.is_trusted {
            egress.named_by_operator.find(&self.host, self.port).await.map_err(|why| self.failed(Code::NoAddress, why))?
        } else {
            egress.resolver.find(&self.host, self.port).await.map_err(|code| self.failed(code, ""))?
        };
        if !self.is_secure {
            return Ok(Upstream::plain_at(egress, &self.host, self.port, addresses));
        }
        let unreachable = |failure: upstream::Failure| self.failed(Code::Unreachable, failure.0);
        let stream = upstream::dial(&addresses).await.map_err(unreachable)?;
        let secure = Upstream::secure(egress, (&self.host, self.port), place, addresses, stream, BOTH).await;
        secure.map(|(upstream, _)| upstream).map_err(unreachable)
    }

    /// How the host is called in a request.
    fn authority(&self) -> String {
        let host = if self.host.contains(':') { format!("[{}]", self.host) } else { self.host.clone() };
        let usual = if self.is_secure { 443 } else { 80 };
        if self.port == usual { host } else { format!("{host}:{}", self.port) }
    }
}

/// What the record of a request names. Without a session there is none.
#[derive(Default)]
pub(crate) struct Whose {
    session: Option<SessionId>,
    call: Option<EventId>,
}

impl Whose {
    /// Takes it from our own headers.
    pub(super) fn take(headers: &mut HeaderMap) -> Self {
        let session = take(headers, SESSION).and_then(|text| text.parse().ok());
        Self { session, call: take(headers, CALL).and_then(|text| text.parse().ok()) }
    }
}

/// On whose behalf a request is made, and with what.
pub(crate) struct Behalf {
    pub(crate) whose: Whose,
    /// For which workspace a connection may be kept, if for one.
    pub(crate) workspace: Option<WorkspaceId>,
    /// The credential that is used, and which of its secrets.
    pub(crate) credential: Option<(CredentialId, u64)>,
    /// What is taken out of the answer.
    pub(crate) scrubs: Arc<Table>,
    /// The rule that allows it, for the record.
    pub(crate) rule: &'static str,
}

/// Sends a request whose headers are as they are to arrive; redirects are answers like others.
pub(crate) async fn send(egress: &Arc<Egress>, to: &Destination, behalf: Behalf, request: Request<Body>) -> Result<Response<Body>, Failed> {
    let (mut parts, content) = request.into_parts();
    let Whose { session, call } = behalf.whose;
    let mut line = session.as_ref().map(|session| {
        let line = Line::new(&egress.records, session, &to.host, to.port, &Decision::allow(behalf.rule));
        let path = to.path.split('?').next().unwrap_or_default();
        let mut line = line.request(parts.method.as_str(), path).of_call(call);
        line.used(behalf.credential.iter().map(|(credential, _)| credential.clone()).collect());
        line
    });
    let place = behalf.workspace.map(|workspace| Place {
        workspace,
        is_of_server: true,
        credentials: behalf.credential.iter().cloned().collect(),
        host: to.host.clone(),
        port: to.port,
    });
    let sent = async {
        let upstream = to.connect(egress, place).await?;
        forward::without_hops(&mut parts.headers);
        let authority = to.authority();
        let bad = || to.failed(Code::BadRequest, "its target cannot be written");
        if upstream.is_http2() {
            parts.headers.remove(header::HOST);
            parts.version = Version::HTTP_2;
            parts.uri = format!("https://{authority}{}", to.path).parse::<Uri>().map_err(|_| bad())?;
        } else {
            parts.headers.insert(header::HOST, HeaderValue::from_str(&authority).map_err(|_| bad())?);
            parts.version = Version::HTTP_11;
            parts.uri = to.path.parse::<Uri>().map_err(|_| bad())?;
        }
        if !behalf.scrubs.is_empty() {
            parts.headers.insert(header::ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        }
        let content = match &line {
            Some(line) => body::counted(content, line.sent()),
            None => content,
        };
        let is_head = parts.method == http::Method::HEAD;
        let answered = upstream.send(Request::from_parts(parts, content)).await;
        let (response, work) = answered.map_err(|failure| to.failed(Code::Unreachable, failure.0))?;
        let (mut parts, content) = response.into_parts();
        forward::without_hops(&mut parts.headers);
        parts.extensions.clear();
        let content = body::keeping(body::incoming(content), work);
        let content = match &line {
            Some(line) => body::counted(content, line.received()),
            None => content,
        };
        let content = scrub::answer(&behalf.scrubs, &mut parts, content, is_head)
            .map_err(|crate::inject::Unfit(why)| to.failed(Code::Unreachable, why))?;
        // The connection lives as long as its answer.
        Ok::<_, Failed>((Response::from_parts(parts, content), upstream))
    };
    match sent.await {
        Ok((response, upstream)) => {
            let Some(mut line) = line.take() else { return Ok(response.map(|content| body::keeping(content, upstream))) };
            line.answered(response.status().as_u16());
            let never = CancellationToken::new();
            Ok(response.map(|content| body::with_line(body::keeping(content, upstream), line, never, None)))
        }
        Err(failed) => {
            if let Some(line) = &mut line {
                line.failed(failed.code);
            }
            Err(failed)
        }
    }
}
