//! The ways out of a sandbox: who holds them, what leads to them, and what does not.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, UdpSocket};
use std::os::fd::OwnedFd;

use ostler_sandbox::{CallRequest, Connection, SandboxSpec, Trusted};

use crate::home::{Home, bash, incarnation, session, sh, text};

struct Doors {
    proxy: TcpListener,
    http: TcpListener,
    https: TcpListener,
    names: UdpSocket,
}

async fn doors(inside: &Connection) -> Doors {
    let mut doors = inside.doors().await.unwrap().unwrap();
    assert_eq!(doors.len(), 5);
    let mut take = || doors.remove(0);
    let listener = |door: OwnedFd| TcpListener::from(door);
    Doors { proxy: listener(take()), http: listener(take()), https: listener(take()), names: UdpSocket::from(take()) }
}

fn with_doors() -> SandboxSpec {
    SandboxSpec { doors: true, ..SandboxSpec::default() }
}

/// Answers one connection with a word.
fn answer_with(listener: TcpListener, word: &'static str) -> std::thread::JoinHandle<()> {
    std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut byte = [0];
        stream.read_exact(&mut byte).unwrap();
        stream.write_all(word.as_bytes()).unwrap();
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn what_connects_inside_is_answered_outside() {
    let home = Home::new().await;
    home.sandboxes.trust(&Trusted { pem: "the certificates\n", java: b"the same" }).unwrap();
    let inside = home.sandboxes.create(&session(), &incarnation(), &with_doors()).await.unwrap();
    let Doors { proxy, http, https, names } = doors(&inside).await;
    let answering = [answer_with(proxy, "proxy"), answer_with(http, "http"), answer_with(https, "https")];
    let asked = std::thread::spawn(move || {
        let mut question = [0; 64];
        let (count, from) = names.recv_from(&mut question).unwrap();
        names.send_to(&question[..count], from).unwrap();
    });
    let speak = |address: &str| format!("exec 3<>/dev/tcp/{address}; printf x >&3; cat <&3; echo; exec 3<&-");
    assert_eq!(sh(&inside, &speak("127.0.0.1/3128")).await, "proxy");
    assert_eq!(sh(&inside, &speak("198.19.7.9/80")).await, "http", "any address of a name is answered");
    assert_eq!(sh(&inside, &speak("198.18.0.77/443")).await, "https");
    assert_eq!(sh(&inside, "exec 3<>/dev/udp/127.0.0.1/53; echo name >&3; head -n 1 <&3; exec 3<&-").await, "name");
    answering.into_iter().for_each(|thread| thread.join().unwrap());
    asked.join().unwrap();
    let refused =
        sh(&inside, "for a in 1.1.1.1/443 10.0.0.1/80 169.254.169.254/80 198.18.0.1/22; do (: <>/dev/tcp/$a) 2>&1 | tail -n 1; done").await;
    assert_eq!(refused.matches("unreachable").count() + refused.matches("refused").count(), 4, "{refused}");
    assert_eq!(
        sh(&inside, "cat /etc/resolv.conf $SSL_CERT_FILE /etc/ssl/certs/ca-certificates.crt").await,
        "nameserver 127.0.0.1\nthe certificates\nthe certificates"
    );
    home.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_doors_are_nobodys_inside_and_are_handed_out_again() {
    let home = Home::new().await;
    let inside = home.sandboxes.create(&session(), &incarnation(), &with_doors()).await.unwrap();
    drop(doors(&inside).await);
    // Nobody takes them, and they still take connections.
    let taken = sh(
        &inside,
        "python3 -c \"\nimport socket\nfor port in (3128, 8443):\n  s = socket.socket()\n  s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)\n  try: s.bind(('127.0.0.1', port)); print('bound')\n  except OSError as e: print(e.errno)\"",
    );
    assert_eq!(taken.await, format!("{}\nbound", nix::libc::EADDRINUSE));
    let again = doors(&inside).await;
    let answering = answer_with(again.proxy, "again");
    assert_eq!(sh(&inside, "exec 3<>/dev/tcp/127.0.0.1/3128; printf x >&3; cat <&3; echo").await, "again");
    answering.join().unwrap();
    let offline = home.sandboxes.create(&session(), &incarnation(), &SandboxSpec::default()).await.unwrap();
    assert!(offline.doors().await.unwrap().is_none());
    assert_eq!(sh(&offline, "echo $https_proxy; cat /etc/resolv.conf").await, "");
    home.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_brings_the_variables_of_its_session() {
    let home = Home::new().await;
    let (_, inside) = home.sandbox().await;
    let with = |command: &str, variables: &[(&str, &str)]| CallRequest {
        environment: variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect(),
        ..bash(command)
    };
    let said = async |call: CallRequest| text(&inside.run(&call).await.unwrap()).trim_end().to_owned();
    assert_eq!(said(with("echo $A $B; env | grep -c '^[AB]='", &[("A", "ostler_1"), ("B", "x=y;$(z)")])).await, "ostler_1 x=y;$(z)\n2");
    assert_eq!(said(with("echo $A", &[("A", "ostler_2"), ("bad name", "x"), ("C", "a b")])).await, "ostler_2", "newer than the state");
    assert_eq!(said(with("echo $A", &[])).await, "ostler_2");
    home.end().await;
}
