//! The scripted model server as a program: `model-server [--port N]`. Prints its URL as the first
//! line; `GET /_requests`, `GET /_violations`, `POST /_gates/{name}/open` and `POST /_reset` look
//! inside.

use std::io::Write;
use std::process::ExitCode;

use ostler_testkit::ModelServer;

#[tokio::main]
async fn main() -> ExitCode {
    match run().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            // Standard error is all there is to tell; if that is closed, the exit code remains.
            let _ = writeln!(std::io::stderr(), "model-server: {message}");
            ExitCode::FAILURE
        }
    }
}

async fn run() -> Result<(), String> {
    let port = port(std::env::args().skip(1))?;
    let server = ModelServer::bind(port).await.map_err(|error| format!("could not listen on port {port}: {error}"))?;
    let mut out = std::io::stdout();
    writeln!(out, "{}", server.base_url()).and_then(|()| out.flush()).map_err(|error| error.to_string())?;
    server.serve_forever().await;
    Ok(())
}

fn port(mut arguments: impl Iterator<Item = String>) -> Result<u16, String> {
    const USAGE: &str = "usage: model-server [--port N]";
    let port = match (arguments.next().as_deref(), arguments.next()) {
        (None, _) => 0,
        (Some("--port"), Some(port)) => port.parse().map_err(|_| USAGE)?,
        _ => return Err(USAGE.to_owned()),
    };
    if arguments.next().is_some() { Err(USAGE.to_owned()) } else { Ok(port) }
}
