//! Nonsense on the ways out of a sandbox: requests that are nearly sound, cut, repeated and mixed up, in the clear, to the proxy and
//! inside TLS, and the same of names. Whatever comes, no host but the allowed one is asked, that one is asked for itself alone, no more
//! often than was written down, and gets the secret over TLS only; nobody inside sees it; and the next request is
//! answered. Takes OSTLER_FUZZ_SECONDS for each of the three (1 without it); OSTLER_FUZZ_SEED repeats a run.
#![expect(clippy::unwrap_used, clippy::print_stderr, reason = "a test fails by panicking, and says its seed")]

#[path = "../it/broker.rs"]
#[allow(dead_code, reason = "shared with other tests")]
mod broker;
#[path = "../it/host.rs"]
#[allow(dead_code, reason = "shared with other tests")]
mod host;
mod nonsense;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use hickory_proto::op::{Message, Query};
use hickory_proto::rr::{Name, RecordType};
use ostler_egress::policy::Code;
use ostler_testkit::fuzz::{Chance, until};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpStream, UdpSocket};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use broker::{Broker, SECRET, limited};
use host::{Ca, Host};

/// How long an answer to nonsense is waited for.
const PATIENCE: Duration = Duration::from_millis(20);

/// How long it may take until what happened is written down.
const WRITTEN: Duration = Duration::from_secs(30);

/// A broker, the host that is allowed with TLS and without, and one that is not.
struct World {
    broker: Broker,
    api: Host,
    plain: Host,
    evil: [Host; 2],
}

impl World {
    async fn new() -> Self {
        let ca = Ca::new();
        let api = Host::echo(Some(ca.acceptor("api.test", &["h2", "http/1.1"]))).await;
        let plain = Host::echo(None).await;
        let evil = [Host::echo(Some(ca.acceptor("evil.test", &[]))).await, Host::echo(None).await];
        // One name leads to the host with TLS, the other to the one without.
        let resolve =
            [("api.test", api.address), ("plain.test", plain.address), ("evil.test", evil[0].address), ("bad.test", evil[1].address)];
        let broker = Broker::start(ca, &resolve, limited(&["api.test", "plain.test"]), Some(&["api.test", "plain.test"]));
        Self { broker, api, plain, evil }
    }

    /// What must hold whatever was said.
    fn holds(&self) {
        assert_eq!(self.evil.iter().map(Host::connections).sum::<usize>(), 0, "a host was asked that nobody may ask");
        let (opened, clear) = (self.api.got(), self.plain.got());
        for (got, names) in [(&opened, ["api.test", "api.test:443"]), (&clear, ["plain.test", "plain.test:80"])] {
            let for_others = got.iter().find(|got| got.headers.get("host").is_some_and(|host| !names.contains(&host.as_str())));
            assert_eq!(for_others, None);
        }
        assert!(!format!("{clear:?}").contains(SECRET), "the secret went over no TLS");
    }

    /// How many requests that were allowed were written down since this was asked last; some failed after they were sent.
    fn written(&self) -> usize {
        let records = self.broker.egress.take_records(usize::MAX).records;
        records.iter().filter(|record| record.is_allowed || record.code == Code::Unreachable).count()
    }

    /// Waits until every request that reached a host is written down, besides those that were before. A line is written when its answer ends.
    async fn knows_all(&self, mut written: usize) {
        let all = async {
            while written < self.api.got().len() + self.plain.got().len() {
                written += self.written();
                tokio::time::sleep(PATIENCE).await;
            }
        };
        timeout(WRITTEN, all).await.unwrap_or_else(|_| panic!("hosts got requests that nobody knows of"));
    }

    /// Keeps the sandbox known, as the server does.
    fn renew(&self) {
        assert_eq!(self.broker.egress.renew(std::slice::from_ref(&self.broker.session)), Vec::new());
    }

    /// Whether somebody who speaks properly is answered.
    async fn goes_on(&self) {
        self.renew();
        for url in ["https://api.test/proper", "http://plain.test/proper"] {
            let answer = self.broker.client().get(url).header("x-key", broker::PLACEHOLDER).send().await.unwrap();
            assert!(answer.status().is_success());
            assert!(!answer.text().await.unwrap().contains(SECRET));
        }
    }
}

/// Says it in pieces, and hears what comes; that the other side hangs up is an answer, too.
async fn said(chance: &mut Chance, mut stream: impl AsyncRead + AsyncWrite + Unpin, bytes: &[u8]) {
    let mut heard = Vec::new();
    for piece in bytes.chunks(1 + chance.below(bytes.len() + 1)) {
        if stream.write_all(piece).await.is_err() || stream.flush().await.is_err() {
            break;
        }
    }
    if chance.below(2) == 0 {
        let _ = stream.shutdown().await;
    }
    while let Ok(Ok(1..)) = timeout(PATIENCE, stream.read_buf(&mut heard)).await {}
    assert!(!heard.windows(SECRET.len()).any(|part| part == SECRET.as_bytes()), "{}", String::from_utf8_lossy(&heard));
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_that_are_nearly_sound_go_nowhere_else() {
    let (world, mut chance) = (World::new().await, Chance::new("requests"));
    let (until, mut rounds, mut written) = (until(), 0, 0);
    while Instant::now() < until {
        let (door, sound) = *chance.one(&[
            (world.broker.proxy, "POST http://plain.test/ HTTP/1.1\r\nHost: plain.test\r\n"),
            (world.broker.http, "POST / HTTP/1.1\r\nHost: plain.test\r\n"),
            (world.broker.https, "\x16\x03\x01"),
        ]);
        let bytes = nonsense::requests(&mut chance, sound);
        said(&mut chance, TcpStream::connect(door).await.unwrap(), &bytes).await;
        rounds += 1;
        if rounds % 64 == 0 {
            world.goes_on().await;
            written += world.written();
            world.holds();
        }
    }
    world.goes_on().await;
    world.holds();
    world.knows_all(written).await;
    eprintln!("requests: {rounds} conversations, {} of them reached a host", world.api.got().len() + world.plain.got().len());
}

/// TLS with a host, as a program of the sandbox sees it.
async fn opened(connector: &TlsConnector, to: SocketAddr) -> impl AsyncRead + AsyncWrite + Unpin + use<> {
    let name = ServerName::try_from("api.test").unwrap();
    connector.connect(name, TcpStream::connect(to).await.unwrap()).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_inside_tls_go_to_their_host_alone() {
    let (world, mut chance) = (World::new().await, Chance::new("inside TLS"));
    let mut roots = rustls::RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(world.broker.egress.certificate().as_bytes()).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = rustls::ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let config = builder.with_root_certificates(roots).with_no_client_auth();
    let connectors = [&b"http/1.1"[..], b"h2"].map(|protocol| {
        let mut config = config.clone();
        config.alpn_protocols = vec![protocol.to_vec()];
        TlsConnector::from(Arc::new(config))
    });
    let (until, mut rounds, mut written) = (until(), 0, 0);
    while Instant::now() < until {
        // Mostly what can be changed without being nonsense at once.
        let connector = &connectors[usize::from(chance.below(8) == 0)];
        let stream = opened(connector, world.broker.https).await;
        let bytes = nonsense::requests(&mut chance, "POST / HTTP/1.1\r\nHost: api.test\r\n");
        said(&mut chance, stream, &bytes).await;
        rounds += 1;
        if rounds % 64 == 0 {
            world.goes_on().await;
            written += world.written();
            world.holds();
        }
    }
    world.goes_on().await;
    world.holds();
    world.knows_all(written).await;
    eprintln!("inside TLS: {rounds} conversations, {} of them reached the host", world.api.got().len());
}

#[tokio::test(flavor = "multi_thread")]
async fn questions_for_names_are_borne() {
    let (world, mut chance) = (World::new().await, Chance::new("names"));
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    socket.connect(world.broker.dns).await.unwrap();
    let mut question = Message::query();
    question.add_query(Query::query(Name::from_ascii("api.test.").unwrap(), RecordType::A));
    let proper = question.to_vec().unwrap();
    let (until, mut rounds) = (until(), 0);
    while Instant::now() < until {
        let bytes = nonsense::bent(&mut chance, proper.clone());
        let _ = socket.send(&bytes).await;
        rounds += 1;
        if rounds % 64 == 0 {
            world.renew();
            answered(&socket, &proper, question.metadata.id).await;
        }
    }
    answered(&socket, &proper, question.metadata.id).await;
    world.holds();
    eprintln!("names: {rounds} questions");
}

/// Asks properly until there is an answer: what came before may have filled the way.
async fn answered(socket: &UdpSocket, proper: &[u8], id: u16) {
    let mut answer = [0; 4_096];
    loop {
        let _ = socket.send(proper).await;
        while let Ok(Ok(count)) = timeout(PATIENCE, socket.recv(&mut answer)).await {
            let is_it = Message::from_vec(&answer[..count]).is_ok_and(|answer| answer.metadata.id == id && answer.answers.len() == 1);
            if is_it {
                return;
            }
        }
    }
}
