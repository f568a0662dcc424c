//! HTTP/1.1 and HTTP/2 on one port, and a shutdown that loses nothing.

use std::io;
use std::time::Duration;

use axum::Router;
use http::Request;
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use hyper_util::server::graceful::GracefulShutdown;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::{sleep, timeout};
use tokio_util::task::TaskTracker;
use tower::ServiceExt as _;
use tower_idempotency::Drain;

/// How long running work may take to end after a signal.
const PATIENCE: Duration = Duration::from_secs(30);

/// How long connections without a request may take to close.
const GRACE: Duration = Duration::from_millis(500);

/// Serves until SIGTERM or SIGINT; returns once running handlers, their responses and their records
/// are finished.
pub(crate) async fn until_stopped(
    listener: TcpListener,
    router: Router,
    drain: &Drain,
) -> io::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let connections = GracefulShutdown::new();
    // Requests of which the server still reads or writes a part.
    let requests = TaskTracker::new();
    let server = auto::Builder::new(TokioExecutor::new());
    loop {
        let stream = tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => stream,
                Err(error) => {
                    // Out of file descriptors, perhaps: others have to close first.
                    tracing::warn!(%error, "cannot accept");
                    sleep(Duration::from_millis(20)).await;
                    continue;
                }
            },
            _ = terminate.recv() => break,
            _ = interrupt.recv() => break,
        };
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "a connection ended before it began");
            continue;
        }
        let router = router.clone();
        let running = requests.clone();
        let service = service_fn(move |request: Request<Incoming>| {
            let token = running.token();
            let response = router.clone().oneshot(request);
            async move {
                // The token lives as long as the body of the response.
                let response = response.await?;
                Ok::<_, std::convert::Infallible>(response.map(|body| {
                    body.map_err(move |error| {
                        let _ = &token;
                        error
                    })
                }))
            }
        });
        let connection = server.serve_connection(TokioIo::new(stream), service).into_owned();
        let connection = connections.watch(connection);
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "a connection ended");
            }
        });
    }
    drop(listener);
    tracing::info!("stopping");
    requests.close();
    let finished = timeout(PATIENCE, async {
        let closed = async {
            requests.wait().await;
            sleep(GRACE).await;
        };
        tokio::select! {
            () = connections.shutdown() => {}
            () = closed => {}
        }
        drain.wait(PATIENCE).await
    });
    if !matches!(finished.await, Ok(true)) {
        tracing::warn!("some work is left to its lease");
    }
    Ok(())
}
