//! What runs in processes of its own beside the server: a scripted model, a stand-in for egress, a
//! server that only answers. Each prints its address and ends when its standard input does.

mod echo;
mod egress;
mod gate;
mod giver;
mod host;
mod model;
mod script;

use std::convert::Infallible;
use std::future::Future;
use std::io::Write as _;
use std::net::SocketAddr;
use std::path::PathBuf;

use bytes::Bytes;
use http_body_util::combinators::UnsyncBoxBody;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpListener;

pub(crate) use model::Call;

/// What such a process is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Role {
    /// Answers every request with a few bytes.
    Echo,
    /// Answers as a model does.
    Model,
    /// Passes requests on to the model.
    Egress,
    /// The real egress, by itself.
    Gate,
    /// A host behind it, with TLS.
    Host,
    /// A host behind it that gives bytes.
    Bytes,
}

impl Role {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Echo => "echo",
            Self::Model => "model",
            Self::Egress => "egress",
            Self::Gate => "gate",
            Self::Host => "host",
            Self::Bytes => "bytes",
        }
    }
}

type Body = UnsyncBoxBody<Bytes, anyhow::Error>;

/// Plays a role until standard input ends.
pub(crate) async fn play(role: Role, upstream: Option<SocketAddr>, place: Option<PathBuf>) -> anyhow::Result<()> {
    let place = place.unwrap_or_default();
    let serving = async {
        match role {
            Role::Gate => gate::serve(&place).await,
            Role::Host => host::serve(listen().await?, &place).await,
            Role::Bytes => giver::serve(listen().await?).await,
            Role::Echo => serve(listen().await?, echo::answer).await,
            Role::Model => {
                let model = model::Model::default();
                serve(listen().await?, move |request| model.clone().answer(request)).await
            }
            Role::Egress => egress::relay(listen().await?, upstream).await,
        }
    };
    let mut input = [0; 64];
    let ended = async {
        let mut stdin = tokio::io::stdin();
        while stdin.read(&mut input).await.is_ok_and(|count| count > 0) {}
    };
    tokio::select! {
        served = serving => served,
        () = ended => Ok(()),
    }
}

async fn listen() -> anyhow::Result<TcpListener> {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
    announce(listener.local_addr()?)?;
    Ok(listener)
}

/// Says where this process is.
fn announce(address: SocketAddr) -> anyhow::Result<()> {
    let mut out = std::io::stdout();
    writeln!(out, "{address}")?;
    Ok(out.flush()?)
}

async fn serve<A, F>(listener: TcpListener, answer: A) -> anyhow::Result<()>
where
    A: Fn(Request<Incoming>) -> F + Clone + 'static,
    F: Future<Output = anyhow::Result<Response<Body>>> + 'static,
{
    let local = tokio::task::LocalSet::new();
    local
        .run_until(async move {
            loop {
                let (socket, _) = listener.accept().await?;
                socket.set_nodelay(true)?;
                let answer = answer.clone();
                let service = service_fn(move |request| {
                    let answer = answer(request);
                    async move { Ok::<_, Infallible>(answer.await.unwrap_or_else(|error| failed(&error))) }
                });
                // A client that leaves is no failure of ours.
                tokio::task::spawn_local(async move { http1::Builder::new().serve_connection(TokioIo::new(socket), service).await });
            }
        })
        .await
}

fn whole(body: impl Into<Bytes>) -> Body {
    use http_body_util::BodyExt as _;
    http_body_util::Full::new(body.into()).map_err(anyhow::Error::from).boxed_unsync()
}

fn failed(error: &anyhow::Error) -> Response<Body> {
    let mut response = Response::new(whole(format!("{error:#}")));
    *response.status_mut() = hyper::StatusCode::INTERNAL_SERVER_ERROR;
    response
}
