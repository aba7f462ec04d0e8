//! A host with a certificate of an authority of the test: it answers what it is told to, and keeps what it got.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

/// A request as the host got it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Got {
    pub(crate) target: String,
    pub(crate) headers: BTreeMap<String, String>,
    pub(crate) body: String,
    pub(crate) version: http::Version,
}

pub(crate) type Answer = Response<UnsyncBoxBody<Bytes, Infallible>>;
type Answers = Arc<dyn Fn(&Got) -> Answer + Send + Sync>;

/// The authority of all hosts of a test.
pub(crate) struct Ca(CertifiedIssuer<'static, KeyPair>);

impl Ca {
    pub(crate) fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, "the authority of a test");
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    pub(crate) fn write(&self, path: &Path) {
        std::fs::write(path, self.0.pem()).unwrap();
    }

    pub(crate) fn acceptor(&self, name: &str, protocols: &[&str]) -> TlsAcceptor {
        let key = KeyPair::generate().unwrap();
        let certificate = CertificateParams::new(vec![name.to_owned()]).unwrap().signed_by(&key, &self.0).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = rustls::ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
        let key = rustls_pki_types::PrivateKeyDer::Pkcs8(key.serialize_der().into());
        let mut config = builder.with_no_client_auth().with_single_cert(vec![certificate.der().clone()], key).unwrap();
        config.alpn_protocols = protocols.iter().map(|name| name.as_bytes().to_vec()).collect();
        TlsAcceptor::from(Arc::new(config))
    }
}

/// A host.
pub(crate) struct Host {
    pub(crate) address: SocketAddr,
    got: Arc<Mutex<Vec<Got>>>,
    connections: Arc<AtomicUsize>,
}

impl Host {
    /// Starts it; without TLS if there is no acceptor.
    pub(crate) async fn start(tls: Option<TlsAcceptor>, answers: impl Fn(&Got) -> Answer + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let got: Arc<Mutex<Vec<Got>>> = Arc::default();
        let (keeps, answers): (_, Answers) = (Arc::clone(&got), Arc::new(answers));
        let connections: Arc<AtomicUsize> = Arc::default();
        let count = Arc::clone(&connections);
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                count.fetch_add(1, Ordering::Relaxed);
                let (tls, keeps, answers) = (tls.clone(), Arc::clone(&keeps), Arc::clone(&answers));
                tokio::spawn(async move {
                    let service = service_fn(move |request| {
                        let (keeps, answers) = (Arc::clone(&keeps), Arc::clone(&answers));
                        async move { Ok::<_, Infallible>(answered(request, &keeps, &answers).await) }
                    });
                    let builder = auto::Builder::new(TokioExecutor::new());
                    match tls {
                        Some(tls) => {
                            let Ok(stream) = tls.accept(stream).await else { return };
                            let _ = builder.serve_connection(TokioIo::new(stream), service).await;
                        }
                        None => drop(builder.serve_connection(TokioIo::new(stream), service).await),
                    }
                });
            }
        });
        Self { address, got, connections }
    }

    /// A host that says back what it got.
    pub(crate) async fn echo(tls: Option<TlsAcceptor>) -> Self {
        Self::start(tls, |got| text(&format!("{} {:?} {}", got.target, got.headers, got.body))).await
    }

    /// How many connections it got so far.
    pub(crate) fn connections(&self) -> usize {
        self.connections.load(Ordering::Relaxed)
    }

    /// What it got so far.
    pub(crate) fn got(&self) -> Vec<Got> {
        self.got.lock().unwrap().clone()
    }
}

async fn answered(request: Request<Incoming>, keeps: &Mutex<Vec<Got>>, answers: &Answers) -> Answer {
    let (parts, content) = request.into_parts();
    let body = content.collect().await.map(|body| body.to_bytes()).unwrap_or_default();
    let headers = parts.headers.iter().map(|(name, value)| (name.to_string(), String::from_utf8_lossy(value.as_bytes()).into_owned()));
    let target = parts.uri.path_and_query().map(ToString::to_string).unwrap_or_default();
    let got = Got { target, headers: headers.collect(), body: String::from_utf8_lossy(&body).into_owned(), version: parts.version };
    keeps.lock().unwrap().push(got.clone());
    answers(&got)
}

/// An answer with a text.
pub(crate) fn text(text: &str) -> Answer {
    Response::new(Full::new(Bytes::from(text.to_owned())).boxed_unsync())
}
