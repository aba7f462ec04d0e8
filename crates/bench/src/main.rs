//! Measures the real `ostler serve` beside the limits of the machine, in one run: `cargo xtask bench`.
//! A program of its own, so that tasks that measure nothing do not compile a database and a client.
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking"))]

mod clock;
mod http;
mod limits;
mod outside;
mod process;
mod ratios;
mod report;
mod roles;
mod rows;
mod samples;
mod server;
mod session;

use std::io::Write as _;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use anyhow::Context;
use clap::{Parser, Subcommand};

use report::Circumstances;
use roles::Role;
use rows::{Row, raw};
use session::Lab;

/// Measures a binary of ostler.
#[derive(Debug, Parser)]
#[command(name = "ostler-bench")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Measure rows and print the table.
    Rows(RowsArgs),
    /// Check the ratios that hold on any machine.
    Ratios {
        /// The binary under test.
        #[arg(long)]
        server: PathBuf,
    },
    /// One of the processes beside the server; the run starts them itself.
    Role {
        role: Role,
        /// Where egress passes requests on to.
        upstream: Option<SocketAddr>,
        /// The directory that it shares with others.
        #[arg(long)]
        place: Option<PathBuf>,
    },
}

#[derive(Debug, clap::Args)]
struct RowsArgs {
    /// The binary under test.
    #[arg(long)]
    server: PathBuf,
    /// What was typed, for the head of the table.
    #[arg(long, default_value = "ostler-bench rows")]
    shown_as: String,
    /// Less of everything that takes long.
    #[arg(long)]
    quick: bool,
    /// Write the figures to this file as well.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// The rows; all of them when none is named.
    rows: Vec<Row>,
}

fn main() -> ExitCode {
    match run(Cli::parse().command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            say(&format!("ostler-bench: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

/// One thread for each process of the load, so that the server has what is left of the cores. The real egress has as many as it
/// has beside a server: one for each core.
fn run(command: Command) -> anyhow::Result<()> {
    let mut builder = match command {
        Command::Role { role: Role::Gate, .. } => tokio::runtime::Builder::new_multi_thread(),
        _ => tokio::runtime::Builder::new_current_thread(),
    };
    let runtime = builder.enable_all().build().context("starting the async runtime")?;
    match command {
        Command::Role { role, upstream, place } => runtime.block_on(roles::play(role, upstream, place)),
        Command::Ratios { server } => runtime.block_on(ratios::check(server, limits::QUICK)),
        Command::Rows(args) => runtime.block_on(rows(args)),
    }
}

async fn rows(args: RowsArgs) -> anyhow::Result<()> {
    let mut lab = Lab::start(args.server, if args.quick { limits::QUICK } else { limits::FULL }).await?;
    let circumstances = circumstances(args.shown_as);
    let wanted = if args.rows.is_empty() { Row::ALL.to_vec() } else { args.rows };
    let started = Instant::now();
    progress("the limits of the machine", started);
    let raw = raw::measure(&mut lab).await?;
    let mut figures = raw.figures();
    let mut failed = Vec::new();
    for row in wanted {
        progress(&format!("{row:?}").to_lowercase(), started);
        match row.measure(&mut lab, &raw).await {
            Ok(measured) => figures.extend(measured),
            // The other rows are worth having all the same.
            Err(error) => failed.push(format!("{row:?}: {error:#}")),
        }
    }
    progress("done", started);
    print(&report::text(&figures, &circumstances))?;
    if let Some(path) = args.json {
        std::fs::write(&path, report::json(&figures, &circumstances)).with_context(|| format!("writing {}", path.display()))?;
    }
    anyhow::ensure!(failed.is_empty(), "not measured: {}", failed.join("; "));
    Ok(())
}

fn circumstances(command: String) -> Circumstances {
    let said = |program: &str, args: &[&str]| {
        let output = std::process::Command::new(program).args(args).current_dir(process::workspace()).output().ok();
        output.and_then(|output| String::from_utf8(output.stdout).ok()).map(|text| text.trim().to_owned()).unwrap_or_default()
    };
    let processors = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let name = processors.lines().find_map(|line| line.strip_prefix("model name")).unwrap_or_default();
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let changed = if said("git", &["status", "--porcelain"]).is_empty() { "" } else { ", with changes" };
    Circumstances {
        machine: format!(
            "{cores} cores, {}, Linux {}, load before the run {}",
            name.trim_start_matches([' ', '\t', ':']),
            said("uname", &["-r"]),
            load.split(' ').next().unwrap_or_default()
        ),
        commit: format!("{}{changed}", said("git", &["rev-parse", "--short", "HEAD"])),
        command,
        date: said("date", &["-u", "+%Y-%m-%d %H:%M UTC"]),
    }
}

/// Tells the person who waits.
pub(crate) fn say(line: &str) {
    // Nobody is left to be told when standard error is closed.
    let _ = writeln!(std::io::stderr().lock(), "{line}");
}

fn progress(what: &str, since: Instant) {
    say(&format!("{:>5.1} s  {what}", since.elapsed().as_secs_f64()));
}

fn print(text: &str) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{text}").and_then(|()| out.flush()).context("printing the table")
}
