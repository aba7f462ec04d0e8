//! The client commands as a person uses them, and a server that says what it is told to.

use std::path::Path;
use std::process::Stdio;

use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::process::{Child, Command};

use crate::support::server::{BINARY, Log, command};
use crate::support::{Server, limits};

/// What a command said and how it ended.
#[derive(Debug)]
pub(crate) struct Told {
    pub(crate) code: Option<i32>,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Told {
    /// The lines of standard output as JSON.
    pub(crate) fn json(&self) -> Vec<Value> {
        self.out.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line:?}"))).collect()
    }

    /// The command did what it should.
    pub(crate) fn fine(self) -> Self {
        assert_eq!(self.code, Some(0), "{self:?}");
        self
    }

    /// The value of a field of one shown object.
    pub(crate) fn field(&self, name: &str) -> String {
        let found = self.out.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix("  "));
        found.unwrap_or_else(|| panic!("there is no {name}: {self:?}")).trim().to_owned()
    }
}

async fn told(mut command: Command) -> Told {
    let output = tokio::time::timeout(limits::NEXT, command.output()).await.expect("the command ends").unwrap();
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).expect("UTF-8");
    Told { code: output.status.code(), out: text(&output.stdout), err: text(&output.stderr) }
}

/// A command with this data directory and these variables.
pub(crate) async fn ostler(dir: &Path, args: &[&str], env: &[(&str, &str)]) -> Told {
    let mut command = command(BINARY.as_ref(), dir);
    command.args(args).envs(env.iter().copied());
    told(command).await
}

/// A command for a server, which it finds over the data directory.
pub(crate) async fn on(server: &Server, args: &[&str]) -> Told {
    ostler(server.data_dir(), args, &[]).await
}

/// The same, fed over standard input.
pub(crate) async fn fed(dir: &Path, args: &[&str], input: &str) -> Told {
    let mut command = command(BINARY.as_ref(), dir);
    let mut child = command.args(args).stdin(Stdio::piped()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    // A command that is used wrongly may end before it reads.
    let _ = stdin.write_all(input.as_bytes()).await;
    drop(stdin);
    let output = tokio::time::timeout(limits::NEXT, child.wait_with_output()).await.expect("the command ends").unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("UTF-8");
    Told { code: output.status.code(), out: text(output.stdout), err: text(output.stderr) }
}

/// A command that goes on, with what it prints.
pub(crate) struct Going {
    pub(crate) child: Child,
    pub(crate) out: Log,
    pub(crate) err: Log,
}

impl Going {
    pub(crate) fn start(dir: &Path, args: &[&str]) -> Self {
        let mut child = command(BINARY.as_ref(), dir).args(args).spawn().unwrap();
        let out = Log::of(child.stdout.take().unwrap());
        let err = Log::of(child.stderr.take().unwrap());
        Self { child, out, err }
    }

    /// Waits until standard output contains this.
    pub(crate) async fn prints(&self, text: &str) {
        assert!(tokio::time::timeout(limits::NEXT, self.out.says(text)).await.is_ok_and(|says| says), "{text:?} is missing: {self:?}");
    }

    pub(crate) fn signal(&self, signal: nix::sys::signal::Signal) {
        crate::support::processes::signal(i32::try_from(self.child.id().unwrap()).unwrap(), signal);
    }

    /// The exit status and all of standard output.
    pub(crate) async fn end(mut self) -> (Option<i32>, String) {
        let status =
            tokio::time::timeout(limits::NEXT, self.child.wait()).await.unwrap_or_else(|_| panic!("it goes on: {self:?}")).unwrap();
        self.out.closed().await;
        (status.code(), self.out.text())
    }
}

impl std::fmt::Debug for Going {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "\n{}\n{}", self.out.text(), self.err.text())
    }
}

/// A server that answers each request by its first line.
pub(crate) async fn fake(answer: impl Fn(&str) -> (u16, String) + Send + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((mut connection, _)) = listener.accept().await {
            let mut head = Vec::new();
            while !head.windows(4).any(|bytes| bytes == b"\r\n\r\n") && connection.read_buf(&mut head).await.is_ok_and(|read| read > 0) {}
            let (status, body) = answer(String::from_utf8_lossy(&head).lines().next().unwrap_or_default());
            let head = format!("HTTP/1.1 {status} X\r\nrequest-id: req_7\r\nconnection: close\r\ncontent-length: {}\r\n\r\n", body.len());
            let _ = connection.write_all(format!("{head}{body}").as_bytes()).await;
        }
    });
    url
}
