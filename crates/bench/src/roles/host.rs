//! A host with TLS: it answers who has the secret, at once or in pieces.

use std::convert::Infallible;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use http_body_util::{BodyExt as _, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode, header};
use hyper_util::rt::TokioIo;
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use super::{Body, whole};
use crate::{clock, limits, outside};

pub(super) async fn serve(listener: TcpListener, place: &Path) -> anyhow::Result<()> {
    let tls = acceptor(place)?;
    loop {
        let (socket, _) = listener.accept().await?;
        socket.set_nodelay(true)?;
        let tls = tls.clone();
        tokio::spawn(async move {
            let service = service_fn(|request| async move { Ok::<_, Infallible>(answer(&request)) });
            // A client that leaves is no failure of ours.
            if let Ok(stream) = tls.accept(socket).await {
                let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
            }
        });
    }
}

fn acceptor(place: &Path) -> anyhow::Result<TlsAcceptor> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?.with_no_client_auth();
    let certificate = CertificateDer::from_pem_file(place.join(outside::CERTIFICATE))?;
    let key = PrivateKeyDer::from_pem_file(place.join(outside::KEY))?;
    Ok(TlsAcceptor::from(Arc::new(builder.with_single_cert(vec![certificate], key)?)))
}

fn answer(request: &Request<Incoming>) -> Response<Body> {
    let has_secret =
        request.headers().get(header::AUTHORIZATION).is_some_and(|said| said.as_bytes() == outside::bearer(outside::SECRET).as_bytes());
    if !has_secret {
        let mut refused = Response::new(whole("no secret"));
        *refused.status_mut() = StatusCode::FORBIDDEN;
        return refused;
    }
    match request.uri().path() {
        "/pieces" => pieces(),
        "/bulk" => bulk(),
        _ => Response::new(whole("{\"ok\":true}")),
    }
}

/// Much text, as answers of APIs have it.
fn bulk() -> Response<Body> {
    const LINE: &str =
        "{\"id\":\"cus_9s6XKzkNRiz8i3\",\"email\":\"someone@example.com\",\"url\":\"https://example.com/a/b?c=d%20e\",\"n\":1234567890}\n";
    let piece = Bytes::from(LINE.repeat(limits::RELAY_BYTES / LINE.len()));
    let count = limits::BULK_BYTES / piece.len();
    let pieces = futures::stream::iter(std::iter::repeat_n(piece, count).map(|piece| Ok::<_, anyhow::Error>(Frame::data(piece))));
    Response::new(StreamBody::new(pieces).boxed_unsync())
}

/// Events that say when they left.
fn pieces() -> Response<Body> {
    let stream = futures::stream::unfold(0, |count| async move {
        if count == limits::STREAMED {
            return None;
        }
        tokio::time::sleep(limits::MODEL_PAUSE).await;
        let piece = Bytes::from(format!("data: {}\n\n", clock::now()));
        Some((Ok::<_, anyhow::Error>(Frame::data(piece)), count + 1))
    });
    let mut response = Response::new(StreamBody::new(stream).boxed_unsync());
    response.headers_mut().insert(header::CONTENT_TYPE, header::HeaderValue::from_static("text/event-stream"));
    response
}
