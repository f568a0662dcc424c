//! A server to be measured, in a process of its own, with one thread.

use std::io::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::http::header::CONTENT_TYPE;
use axum::routing::{get, post};
use axum::serve::ListenerExt as _;
use bytes::Bytes;
use clap::Args;
use overhead::workload::ANSWER;
use tokio::net::TcpListener;

use crate::subject::Library;

#[derive(Args)]
pub(crate) struct Serve {
    library: Library,
    /// The store; without it, memory.
    #[arg(long)]
    redis: Option<String>,
}

impl Serve {
    pub(crate) fn run(self) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        runtime.expect("a runtime").block_on(async {
            let router = self.library.protect(router(), self.redis.as_deref()).await;
            let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
            let mut stdout = std::io::stdout();
            let address = listener.local_addr().expect("a bound socket");
            writeln!(stdout, "{address}").and_then(|()| stdout.flush()).expect("somebody reads");
            let listener = listener.tap_io(|socket| {
                // Without it a connection is only slower.
                let _ = socket.set_nodelay(true);
            });
            axum::serve(listener, router).await.expect("it serves until it is killed");
        });
    }
}

/// The handlers, which count how often they run.
fn router() -> Router {
    let runs = Arc::new(AtomicU64::new(0));
    let count = {
        let runs = Arc::clone(&runs);
        move || _ = runs.fetch_add(1, Ordering::Relaxed)
    };
    let pay = {
        let count = count.clone();
        async move |_: Bytes| {
            count();
            ([(CONTENT_TYPE, "application/json")], ANSWER)
        }
    };
    let mirror = {
        let count = count.clone();
        async move |body: Bytes| {
            count();
            body
        }
    };
    let slow = async move |_: Bytes| {
        count();
        tokio::time::sleep(Duration::from_millis(50)).await;
        ([(CONTENT_TYPE, "application/json")], ANSWER)
    };
    Router::new()
        .route("/payments", post(pay))
        .route("/mirror", post(mirror))
        .route("/slow", post(slow))
        .route("/runs", get(async move || runs.load(Ordering::Relaxed).to_string()))
        .layer(DefaultBodyLimit::disable())
}
