//! The server on a socket.

use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;

use super::server;

async fn ask(address: std::net::SocketAddr, head: &str) -> TcpStream {
    let mut socket = TcpStream::connect(address).await.unwrap();
    socket.write_all(format!("{head}\r\nhost: localhost\r\n\r\n").as_bytes()).await.unwrap();
    socket
}

/// Reads until a text appears or the server closes; a minute is for a broken server only.
async fn read_until(socket: &mut TcpStream, end: &str) -> String {
    let mut text = String::new();
    let mut buffer = [0; 4_096];
    while !text.contains(end) {
        let read = tokio::time::timeout(Duration::from_secs(60), socket.read(&mut buffer)).await.expect("the server is silent");
        match read.unwrap_or(0) {
            0 => break,
            count => text.push_str(&String::from_utf8_lossy(&buffer[..count])),
        }
    }
    text
}

#[tokio::test]
async fn a_stream_is_open_at_once_and_ends_when_the_server_stops() {
    let server = server().await;
    let session = server.home.new_session().await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let stop = CancellationToken::new();
    let serving = tokio::spawn(crate::serve(server.state.clone(), listener, stop.clone()));

    let mut idle = ask(address, "GET /healthz HTTP/1.1").await;
    let alive = read_until(&mut idle, "\"ok\"").await;
    assert!(alive.starts_with("HTTP/1.1 200") && alive.contains("request-id: req_"), "{alive}");
    let mut denied = ask(address, "GET /v1/agents HTTP/1.1").await;
    assert!(read_until(&mut denied, "request_id").await.starts_with("HTTP/1.1 401"));

    let head = format!("GET /v1/sessions/{session}/events/stream HTTP/1.1\r\nx-api-key: {}", server.home.key);
    let mut stream = ask(address, &head).await;
    assert!(read_until(&mut stream, ": open").await.starts_with("HTTP/1.1 200"));
    stop.cancel();
    // Chunked bodies end with an empty chunk: the stream ended in order, it was not cut.
    assert!(read_until(&mut stream, "0\r\n\r\n").await.ends_with("0\r\n\r\n"));
    tokio::time::timeout(Duration::from_secs(60), serving).await.expect("the server does not stop").unwrap().unwrap();
}
