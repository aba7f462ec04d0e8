//! What the machine allows: the bare work that a turn cannot do without.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::Context;
use bytes::Bytes;
use hyper::Method;
use rusqlite::Connection;

use crate::http::Client;
use crate::report::{Figure, Unit};
use crate::samples::Samples;
use crate::session::{Lab, message};
use crate::{clock, limits, process};

/// Medians, in milliseconds.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Raw {
    /// A request to another process and back.
    pub(crate) hop: f64,
    /// A block appended to a file and synced.
    pub(crate) sync: f64,
    /// A row appended to a database in a transaction of its own.
    pub(crate) append: f64,
    /// A whole answer of the model, asked directly.
    pub(crate) model: f64,
    /// The same through the stand-in for egress.
    pub(crate) through_egress: f64,
    /// A static program, started and ended.
    pub(crate) program: f64,
    /// `bash -c`, to its end.
    pub(crate) bash: f64,
    /// A shell in new namespaces, started by `unshare`, to its end.
    pub(crate) namespaces: f64,
}

impl Raw {
    /// What a text turn cannot do without: three requests from process to process, three commits.
    pub(crate) fn text_turn(&self) -> f64 {
        limits::FLOOR_HOPS * self.hop + limits::FLOOR_COMMITS * self.append
    }

    /// The lines of the table.
    pub(crate) fn figures(&self) -> Vec<Figure> {
        let line = |what: &str, value: f64| Figure::new("raw", what, value, Unit::Ms);
        vec![
            line("loopback HTTP request between two processes", self.hop),
            line("4 KiB appended to a file, fdatasync", self.sync),
            line("SQLite WAL FULL, one row a transaction", self.append),
            line("scripted model, 20 pieces, asked directly", self.model),
            line("the same through the stand-in for egress", self.through_egress),
            line("fork, exec and end of a static program", self.program),
            line("bash -c echo, to its end", self.bash),
            line("unshare (all namespaces) sh -c echo, to its end", self.namespaces),
            line("floor of a text turn: 3 requests, 3 rows", self.text_turn()),
        ]
    }
}

/// Measures all of it.
pub(crate) async fn measure(lab: &mut Lab) -> anyhow::Result<Raw> {
    let (effort, dir) = (lab.effort, process::scratch()?);
    let model = answers(lab.model.address, effort.raw).await?.median();
    let through_egress = answers(lab.egress.address, effort.raw).await?.median();
    lab.calls().await?;
    Ok(Raw {
        hop: requests(&mut Client::connect(lab.echo.address, None).await?, effort.raw).await?.median(),
        sync: syncs(dir.path(), effort.raw)?.median(),
        append: Rows::open(dir.path())?.append(effort.raw)?.median(),
        model,
        through_egress,
        program: programs(static_program()?, &[], effort.programs)?.median(),
        bash: programs("bash".into(), &["-c", "echo done"], effort.programs)?.median(),
        namespaces: namespaces(effort.programs)?.median(),
    })
}

/// Requests one after the other.
pub(crate) async fn requests(client: &mut Client, count: usize) -> anyhow::Result<Samples> {
    let (mut samples, body) = (Samples::default(), Bytes::from(message("bench:say").to_string()));
    for _ in 0..count {
        let before = clock::now();
        client.send(Method::POST, "/", body.clone()).await?;
        samples.push(clock::millis(before, clock::now()));
    }
    Ok(samples)
}

/// Answers of the model one after the other, each read to its end.
async fn answers(address: std::net::SocketAddr, count: usize) -> anyhow::Result<Samples> {
    let (mut samples, mut client) = (Samples::default(), Client::connect(address, None).await?);
    let body = Bytes::from(message("bench:say").to_string());
    for _ in 0..count {
        let before = clock::now();
        client.send(Method::POST, "/v1/messages", body.clone()).await?;
        samples.push(clock::millis(before, clock::now()));
    }
    Ok(samples)
}

fn syncs(dir: &Path, count: usize) -> anyhow::Result<Samples> {
    let (mut samples, block) = (Samples::default(), [7; limits::BLOCK_BYTES]);
    let mut file = std::fs::File::create(dir.join("blocks"))?;
    for _ in 0..count {
        let before = clock::now();
        file.write_all(&block)?;
        file.sync_data()?;
        samples.push(clock::millis(before, clock::now()));
    }
    Ok(samples)
}

/// A bare database with the settings of the store and rows like those of its journal.
#[derive(Debug)]
pub(crate) struct Rows {
    conn: Connection,
}

impl Rows {
    pub(crate) fn open(dir: &Path) -> anyhow::Result<Self> {
        let conn = Connection::open(dir.join("rows.db"))?;
        conn.pragma_update(None, "journal_mode", "WAL")?;
        conn.pragma_update(None, "synchronous", "FULL")?;
        conn.execute_batch("CREATE TABLE records (key INTEGER PRIMARY KEY, kind TEXT NOT NULL, at INTEGER NOT NULL, body TEXT NOT NULL)")?;
        Ok(Self { conn })
    }

    /// Appends rows, each in a transaction of its own.
    pub(crate) fn append(&self, count: usize) -> anyhow::Result<Samples> {
        let (mut samples, body) = (Samples::default(), "r".repeat(limits::ROW_BYTES));
        let mut insert = self.conn.prepare("INSERT INTO records (kind, at, body) VALUES ('turn_started', 1, ?1)")?;
        for _ in 0..count {
            let before = clock::now();
            insert.execute([&body])?;
            samples.push(clock::millis(before, clock::now()));
        }
        Ok(samples)
    }
}

fn programs(program: PathBuf, args: &[&str], count: usize) -> anyhow::Result<Samples> {
    let mut samples = Samples::default();
    for _ in 0..count {
        let before = Instant::now();
        let mut command = Command::new(&program);
        command.args(args).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let status = command.status().with_context(|| format!("starting {}", program.display()))?;
        anyhow::ensure!(status.success(), "{} ended with {status}", program.display());
        samples.push(before.elapsed().as_secs_f64() * 1_000.0);
    }
    Ok(samples)
}

fn namespaces(count: usize) -> anyhow::Result<Samples> {
    let args = ["--map-root-user", "--user", "--mount", "--net", "--ipc", "--uts", "--pid", "--fork", "sh", "-c", "echo done"];
    programs("unshare".into(), &args, count)
}

/// A static program that ends at once; made with the C compiler that the build needs anyway.
fn static_program() -> anyhow::Result<PathBuf> {
    let place = process::workspace().join("target/bench");
    let (source, program) = (place.join("ends.c"), place.join("ends"));
    if !program.exists() {
        std::fs::write(&source, "int main(void) { return 0; }\n")?;
        let status = Command::new("cc").args(["-O2", "-static", "-o"]).args([&program, &source]).status().context("starting cc")?;
        anyhow::ensure!(status.success(), "cc cannot link statically; install the static C library (Debian: libc6-dev)");
    }
    Ok(program)
}
