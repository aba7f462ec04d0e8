//! Two hosts, and the real egress in front of them: how a program reaches them by it, and how without it.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use anyhow::Context as _;
use bytes::Bytes;
use http_body_util::{BodyExt as _, Empty};
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use hyper::{Request, Response, header};
use hyper_util::rt::TokioIo;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::process::{self, Helper};
use crate::roles::Role;

/// The host whose connections stay closed, and the one for which there is a secret.
pub(crate) const CLOSED: &str = "closed.test";
pub(crate) const OPENED: &str = "opened.test";
/// What a program sends, and what the host has to get.
pub(crate) const PLACEHOLDER: &str = "ostler_placeholder_0123456789";
pub(crate) const SECRET: &str = "s3cr3t-value-that-nobody-sees";
/// Files in the directory that the processes share: the addresses of the hosts, their authority, the certificate of the second
/// one with its key, the authority of egress, and the proxies of its sandboxes.
pub(crate) const HOSTS: &str = "hosts.json";
pub(crate) const CA: &str = "ca.pem";
pub(crate) const CERTIFICATE: &str = "host.pem";
pub(crate) const KEY: &str = "host.key";
pub(crate) const EGRESS_CA: &str = "egress.pem";
pub(crate) const PROXIES: &str = "proxies.json";

/// How a host is reached.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Way {
    Direct,
    /// By the proxy of the sandbox with this number; those beyond the last begin again.
    Egress(usize),
}

/// The hosts and egress, each in a process of its own, and what a client of them trusts.
pub(crate) struct Outside {
    bytes: Helper,
    host: Helper,
    pub(crate) gate: Helper,
    proxies: Vec<SocketAddr>,
    trusts_host: TlsConnector,
    trusts_egress: TlsConnector,
    _place: tempfile::TempDir,
}

impl Outside {
    pub(crate) async fn start() -> anyhow::Result<Self> {
        let place = process::scratch()?;
        certify(place.path())?;
        let bytes = Helper::start_in(Role::Bytes, place.path()).await?;
        let host = Helper::start_in(Role::Host, place.path()).await?;
        let hosts = BTreeMap::from([(CLOSED, bytes.address), (OPENED, host.address)]);
        std::fs::write(place.path().join(HOSTS), serde_json::to_vec(&hosts)?)?;
        let gate = Helper::start_in(Role::Gate, place.path()).await?;
        let proxies = serde_json::from_slice(&std::fs::read(place.path().join(PROXIES))?)?;
        let trusts = |file: &str| anyhow::Ok(TlsConnector::from(client(&place.path().join(file))?));
        Ok(Self { bytes, host, gate, proxies, trusts_host: trusts(CA)?, trusts_egress: trusts(EGRESS_CA)?, _place: place })
    }

    /// Connects to the host of bytes.
    pub(crate) async fn connect(&self, way: Way) -> anyhow::Result<TcpStream> {
        self.reach(way, CLOSED, self.bytes.address).await
    }

    /// The first message of TLS, which egress wants to see before it passes anything on.
    pub(crate) fn hello(&self) -> anyhow::Result<Vec<u8>> {
        let mut hello = Vec::new();
        ClientConnection::new(Arc::clone(self.trusts_host.config()), ServerName::try_from(CLOSED)?)?.write_tls(&mut hello)?;
        Ok(hello)
    }

    /// A kept connection to the host with TLS.
    pub(crate) async fn asker(&self, way: Way) -> anyhow::Result<Asker> {
        let socket = self.reach(way, OPENED, self.host.address).await?;
        let (tls, word) = match way {
            Way::Direct => (&self.trusts_host, SECRET),
            Way::Egress(_) => (&self.trusts_egress, PLACEHOLDER),
        };
        let stream = tls.connect(ServerName::try_from(OPENED)?, socket).await.context("TLS")?;
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        tokio::spawn(connection);
        Ok(Asker { sender, authorization: bearer(word) })
    }

    async fn reach(&self, way: Way, name: &str, direct: SocketAddr) -> anyhow::Result<TcpStream> {
        let proxy = match way {
            Way::Direct => None,
            Way::Egress(number) => self.proxies.get(number % self.proxies.len().max(1)).copied(),
        };
        let mut socket = TcpStream::connect(proxy.unwrap_or(direct)).await?;
        socket.set_nodelay(true)?;
        if proxy.is_some() {
            socket.write_all(format!("CONNECT {name}:443 HTTP/1.1\r\nHost: {name}:443\r\n\r\n").as_bytes()).await?;
            let mut answer = Vec::new();
            while !answer.ends_with(b"\r\n\r\n") && socket.read_buf(&mut answer).await? > 0 {}
            anyhow::ensure!(answer.starts_with(b"HTTP/1.1 200"), "egress said {}", String::from_utf8_lossy(&answer));
        }
        Ok(socket)
    }
}

/// One kept connection to the host with TLS.
pub(crate) struct Asker {
    sender: SendRequest<Empty<Bytes>>,
    authorization: String,
}

impl Asker {
    /// Asks for something; only a request with the secret has an answer.
    pub(crate) async fn get(&mut self, path: &str) -> anyhow::Result<Response<Incoming>> {
        self.sender.ready().await?;
        let request = Request::get(path).header(header::HOST, OPENED).header(header::AUTHORIZATION, self.authorization.as_str());
        let response = self.sender.send_request(request.body(Empty::new())?).await?;
        anyhow::ensure!(response.status().is_success(), "GET {path} was answered with {}", response.status());
        Ok(response)
    }

    /// The same, with the whole answer.
    pub(crate) async fn whole(&mut self, path: &str) -> anyhow::Result<Bytes> {
        Ok(self.get(path).await?.into_body().collect().await?.to_bytes())
    }
}

/// The header that a word makes.
pub(crate) fn bearer(word: &str) -> String {
    format!("Bearer {word}")
}

fn certify(place: &Path) -> anyhow::Result<()> {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.distinguished_name.push(DnType::CommonName, "the authority of a benchmark");
    let ca = CertifiedIssuer::self_signed(params, KeyPair::generate()?)?;
    let key = KeyPair::generate()?;
    let certificate = CertificateParams::new(vec![OPENED.to_owned()])?.signed_by(&key, &ca)?;
    for (file, text) in [(CA, ca.pem()), (CERTIFICATE, certificate.pem()), (KEY, key.serialize_pem())] {
        std::fs::write(place.join(file), text)?;
    }
    Ok(())
}

fn client(authority: &Path) -> anyhow::Result<Arc<ClientConfig>> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(authority)?)?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    Ok(Arc::new(builder.with_root_certificates(roots).with_no_client_auth()))
}
