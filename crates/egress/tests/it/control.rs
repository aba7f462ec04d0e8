//! Egress as another process asks it: over a socket, with the doors beside the question.

use std::net::{TcpListener, UdpSocket};
use std::os::fd::OwnedFd;

use ostler_core::ids::{IdSource, SessionId, WorkspaceId};
use ostler_egress::Terms;
use ostler_egress::control::{Ask, Client, Told, serve};
use ostler_seal::open::KeyPair;
use ostler_seal::{Binding, Sealed};
use tokio::net::UnixListener;

use super::broker::{Broker, PLACEHOLDER, SECRET, limited};
use super::host::{Ca, Host};

fn asked(broker: &Broker) -> (tempfile::TempDir, Client) {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("egress.sock");
    tokio::spawn(serve(broker.egress.clone(), UnixListener::bind(&socket).unwrap(), nix::unistd::geteuid()));
    (dir, Client::new(socket))
}

#[tokio::test]
async fn doors_that_are_handed_over_are_served() {
    let ca = Ca::new();
    let host = Host::echo(Some(ca.acceptor("api.test", &["http/1.1"]))).await;
    let mut broker = Broker::start(ca, &[("api.test", host.address)], limited(&["api.test"]), Some(&["api.test"]));
    let (_dir, client) = asked(&broker);
    let Told::Welcome { public_key, keys, certificates } = client.ask(&Ask::Hello, &[]).await.unwrap() else { panic!() };
    assert_eq!((public_key, keys), (broker.egress.public_key().to_string(), broker.egress.ring().ids()));
    assert!(certificates.starts_with(&broker.egress.certificate()) && certificates.matches("BEGIN").count() > 1);
    let proxy = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = proxy.local_addr().unwrap();
    let listener = || TcpListener::bind("127.0.0.1:0").unwrap();
    let doors: Vec<OwnedFd> =
        vec![proxy.into(), listener().into(), listener().into(), UdpSocket::bind("127.0.0.1:0").unwrap().into(), listener().into()];
    let session = SessionId::mint(&mut IdSource::new(9, 9));
    let terms = broker.terms.clone();
    let register = Ask::Register { session: session.clone(), terms: terms.clone() };
    assert_eq!(client.ask(&register, &doors).await.unwrap(), Told::Terms { unusable: Vec::new() });
    assert!(matches!(client.ask(&register, &doors[..3]).await.unwrap(), Told::Refused { .. }));
    drop(doors);
    broker.proxy = address;
    broker.client().get("https://api.test/").header("x-key", PLACEHOLDER).send().await.unwrap();
    assert_eq!(host.got()[0].headers["x-key"], SECRET);
    let other = SessionId::mint(&mut IdSource::new(8, 8));
    let renew = Ask::Renew { sessions: vec![session.clone(), other.clone()] };
    assert_eq!(client.ask(&renew, &[]).await.unwrap(), Told::Renewed { unknown: vec![other.clone()] });
    assert_eq!(client.ask(&Ask::Change { session: other, terms: terms.clone() }, &[]).await.unwrap(), Told::Unknown);
    // A secret of another workspace is none here.
    let foreign = Terms { workspace: WorkspaceId::mint(&mut IdSource::new(7, 7)), ..terms };
    let Told::Terms { unusable } = client.ask(&Ask::Change { session: session.clone(), terms: foreign }, &[]).await.unwrap() else {
        panic!()
    };
    assert!(unusable[0].reason.contains("another place"), "{unusable:?}");
    assert_eq!(client.ask(&Ask::Release { session }, &[]).await.unwrap(), Told::Released);
}

#[tokio::test]
async fn a_new_key_is_taken_while_connections_go_on() {
    let ca = Ca::new();
    let host = Host::echo(Some(ca.acceptor("api.test", &["http/1.1"]))).await;
    let broker = Broker::start(ca, &[("api.test", host.address)], limited(&["api.test"]), Some(&["api.test"]));
    let (_dir, asks) = asked(&broker);
    // One connection, which would be noticed to end.
    let client = broker.client();
    let send = async || client.get("https://api.test/").header("x-key", PLACEHOLDER).send().await.map(|_| ());
    send().await.unwrap();
    let (old, certificate) = (broker.egress.ring(), broker.egress.certificate());
    broker.egress.take_keys(old.with_new(KeyPair::generate().unwrap()));
    let new = broker.egress.ring();
    let Told::Welcome { public_key, keys, .. } = asks.ask(&Ask::Hello, &[]).await.unwrap() else { panic!() };
    assert_eq!((public_key, keys), (new.public().to_string(), [new.ids()[..1].to_vec(), old.ids()].concat()));
    let mut terms = broker.terms.clone();
    let sealed: Sealed = terms.grants[0].sealed.parse().unwrap();
    let binding = sealed.claimed().unwrap();
    let ask = Ask::Reseal { sealed: sealed.to_string(), binding: Binding { version: binding.version + 1, ..binding } };
    let Told::Sealed { sealed } = asks.ask(&ask, &[]).await.unwrap() else { panic!() };
    assert_eq!(sealed.parse::<Sealed>().unwrap().key(), &new.public().id());
    terms.grants[0].sealed = sealed;
    assert_eq!(broker.egress.change(&broker.session, terms.clone()), Some(Vec::new()));
    broker.egress.take_keys(new.newest_alone());
    send().await.unwrap();
    assert_eq!(host.got().iter().map(|got| got.headers["x-key"].clone()).collect::<Vec<_>>(), [SECRET, SECRET]);
    assert_eq!(host.connections(), 1, "nothing ended");
    assert_eq!(broker.egress.certificate(), certificate);
    // What is sealed for the former key alone is said to be of no use.
    let unusable = broker.egress.change(&broker.session, broker.terms.clone()).unwrap();
    assert_eq!(unusable.iter().map(|one| &one.credential).collect::<Vec<_>>(), [&broker.terms.grants[0].credential]);
    assert!(unusable[0].reason.contains("sealed for the key"), "{unusable:?}");
}

#[tokio::test]
async fn a_secret_is_bound_anew_within_its_own_credential() {
    let broker = Broker::start(Ca::new(), &[], limited(&[]), Some(&["a.com"]));
    let (_dir, client) = asked(&broker);
    let sealed = broker.terms.grants[0].sealed.clone();
    let (mut binding, _) = broker.egress.ring().open(&sealed.parse().unwrap()).unwrap();
    binding.version = 2;
    let ask = Ask::Reseal { sealed: sealed.clone(), binding: binding.clone() };
    let Told::Sealed { sealed: anew } = client.ask(&ask, &[]).await.unwrap() else { panic!() };
    let (bound, secret) = broker.egress.ring().open(&anew.parse().unwrap()).unwrap();
    assert_eq!((bound, secret.expose()), (binding.clone(), SECRET.as_bytes()));
    binding.credential = ostler_core::ids::CredentialId::mint(&mut IdSource::new(6, 6));
    assert!(matches!(client.ask(&Ask::Reseal { sealed, binding }, &[]).await.unwrap(), Told::Refused { .. }));
}
