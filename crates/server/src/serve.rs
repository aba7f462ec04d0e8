//! Connections: accepted, served one task each, and ended in order when the server stops. TLS is
//! done by whatever stands in front.

use std::convert::Infallible;
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::ServiceExt as _;

use crate::api::Api;
use crate::app;
use crate::config::AppState;
use crate::limits;

/// Why the server ended by itself.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The listening socket is not usable.
    #[error("reading the address of the listening socket")]
    Listener(#[source] std::io::Error),
}

/// Serves until `shutdown` fires. Then no connection is accepted, streams end at once, and other
/// requests get [`limits::DRAIN`] to end.
///
/// # Errors
/// When the listener is not usable from the start.
pub async fn serve(state: AppState, listener: TcpListener, shutdown: CancellationToken) -> Result<(), ServeError> {
    let address = listener.local_addr().map_err(ServeError::Listener)?;
    let router = app::router(Api::new(state, shutdown.clone()));
    tracing::info!(%address, "accepting connections");
    let connections = Connections { router, shutdown: shutdown.clone(), abort: CancellationToken::new(), tasks: TaskTracker::new() };
    let room = Arc::new(Semaphore::new(limits::CONNECTIONS));
    loop {
        tokio::select! {
            biased;
            () = shutdown.cancelled() => break,
            (socket, permit) = accept(&listener, &room) => connections.start(socket, permit),
        }
    }
    drop(listener);
    connections.drain().await;
    Ok(())
}

/// The next connection, once there is room for one.
async fn accept(listener: &TcpListener, room: &Arc<Semaphore>) -> (TcpStream, Option<OwnedSemaphorePermit>) {
    let permit = Arc::clone(room).acquire_owned().await.ok();
    loop {
        match listener.accept().await {
            Ok((socket, _)) => return (socket, permit),
            Err(error) => {
                // A client that left already, or no file descriptors; the latter must not spin.
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(limits::ACCEPT_RETRY).await;
            }
        }
    }
}

#[derive(Debug)]
struct Connections {
    router: Router,
    shutdown: CancellationToken,
    abort: CancellationToken,
    tasks: TaskTracker,
}

impl Connections {
    fn start(&self, socket: TcpStream, permit: Option<OwnedSemaphorePermit>) {
        let (router, shutdown, abort) = (self.router.clone(), self.shutdown.clone(), self.abort.clone());
        self.tasks.spawn(async move {
            let _permit = permit;
            tokio::select! {
                () = connection(socket, router, shutdown) => {}
                () = abort.cancelled() => {}
            }
        });
    }

    /// Waits for requests under way, then ends what is left.
    async fn drain(self) {
        self.tasks.close();
        if tokio::time::timeout(limits::DRAIN, self.tasks.wait()).await.is_err() {
            tracing::warn!(connections = self.tasks.len(), "some requests did not end in time");
            self.abort.cancel();
            self.tasks.wait().await;
        }
    }
}

async fn connection(socket: TcpStream, router: Router, shutdown: CancellationToken) {
    if let Err(error) = socket.set_nodelay(true) {
        tracing::debug!(%error, "setting TCP_NODELAY");
    }
    let service = service_fn(move |request: http::Request<Incoming>| {
        let router = router.clone();
        async move { Ok::<_, Infallible>(answer(router, request).await) }
    });
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(limits::HEADER_READ).max_buf_size(limits::HEADER_BYTES).max_headers(limits::HEADERS);
    let mut connection = std::pin::pin!(http.serve_connection(TokioIo::new(socket), service));
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = shutdown.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "a connection broke");
    }
}

async fn answer(router: Router, request: http::Request<Incoming>) -> axum::response::Response {
    let Ok(response) = router.oneshot(request.map(Body::new)).await;
    response
}
