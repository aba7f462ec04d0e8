//! WebSockets, as bytes.

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use super::broker::{Broker, PLACEHOLDER, SECRET, limited};
use super::host::Ca;

#[tokio::test]
async fn a_websocket_passes_and_the_secret_does_not_come_back() {
    let ca = Ca::new();
    let acceptor = ca.acceptor("api.test", &["http/1.1"]);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let host = tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        let mut stream = acceptor.accept(stream).await.unwrap();
        let mut asked = Vec::new();
        while !asked.ends_with(b"\r\n\r\n") {
            asked.push(stream.read_u8().await.unwrap());
        }
        stream.write_all(b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n").await.unwrap();
        let mut frame = [0; 5];
        stream.read_exact(&mut frame).await.unwrap();
        stream.write_all(format!("<{SECRET}>").as_bytes()).await.unwrap();
        stream.shutdown().await.unwrap();
        (String::from_utf8(asked).unwrap().to_ascii_lowercase(), frame)
    });
    let broker = Broker::start(ca, &[("api.test", address)], limited(&["api.test"]), Some(&["api.test"]));
    let mut stream = TcpStream::connect(broker.proxy).await.unwrap();
    stream.write_all(b"CONNECT api.test:443 HTTP/1.1\r\nHost: api.test:443\r\n\r\n").await.unwrap();
    let mut answer = [0; 1_024];
    let _ = stream.read(&mut answer).await.unwrap();
    let mut roots = rustls::RootCertStore::empty();
    let pem = broker.egress.certificate();
    roots.add(rustls_pki_types::pem::PemObject::from_pem_slice(pem.as_bytes()).unwrap()).unwrap();
    let provider = std::sync::Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let config = config.with_root_certificates(roots).with_no_client_auth();
    let connector = tokio_rustls::TlsConnector::from(std::sync::Arc::new(config));
    let mut stream = connector.connect("api.test".try_into().unwrap(), stream).await.unwrap();
    let asked = format!(
        "GET /ws HTTP/1.1\r\nHost: api.test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Extensions: permessage-deflate\r\nAuthorization: {PLACEHOLDER}\r\n\r\n"
    );
    stream.write_all(asked.as_bytes()).await.unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.unwrap());
    }
    assert!(head.starts_with(b"HTTP/1.1 101"), "{}", String::from_utf8_lossy(&head));
    stream.write_all(b"frame").await.unwrap();
    let mut seen = Vec::new();
    let _ = stream.read_to_end(&mut seen).await;
    assert_eq!(String::from_utf8(seen).unwrap(), format!("<{}>", "*".repeat(SECRET.len())));
    let (asked, frame) = host.await.unwrap();
    assert!(asked.contains(&format!("authorization: {SECRET}")) && !asked.contains("permessage-deflate"), "{asked}");
    assert_eq!(&frame, b"frame");
}
