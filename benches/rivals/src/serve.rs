//! A server to be measured, in a process of its own, with one thread.

use std::io::Write as _;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::http::header::CONTENT_TYPE;
use axum::routing::{MethodRouter, get, post};
use axum::serve::ListenerExt as _;
use bytes::Bytes;
use clap::Args;
use overhead::workload::ANSWER;
use tokio::net::TcpListener;
use tokio::runtime::Builder;

use crate::runs::Runs;
use crate::subject::{Library, StoreKind};
use crate::{commands, herd, rows};

#[derive(Args)]
pub(crate) struct Serve {
    library: Library,
    #[arg(long, default_value = "memory")]
    store: StoreKind,
    /// Where the store is, unless in memory.
    #[arg(long)]
    address: Option<String>,
    /// Have others with the same key wait.
    #[arg(long)]
    wait: bool,
    /// So many threads in a runtime of several, instead of a runtime of one.
    #[arg(long)]
    workers: Option<usize>,
}

impl Serve {
    pub(crate) fn run(self) {
        let mut runtime = match self.workers {
            None => Builder::new_current_thread(),
            Some(_) => Builder::new_multi_thread(),
        };
        runtime.worker_threads(self.workers.unwrap_or(1)).enable_all();
        let work = async {
            let router = self.router().await;
            let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
            let mut stdout = std::io::stdout();
            let address = listener.local_addr().expect("a bound socket");
            writeln!(stdout, "{address}").and_then(|()| stdout.flush()).expect("somebody reads");
            let listener = listener.tap_io(|socket| {
                // Without it a connection is only slower.
                let _ = socket.set_nodelay(true);
            });
            axum::serve(listener, router).await.expect("it serves until it is killed");
        };
        let runtime = runtime.build().expect("a runtime");
        runtime.block_on(work);
    }

    async fn router(&self) -> Router {
        let runs = Runs::default();
        match (self.store, self.address.as_deref()) {
            (StoreKind::Postgres, Some(url)) => {
                let layer = rows::layer(&rows::pool(url).await).await;
                handlers(&runs, pay(runs.clone())).layer(layer)
            }
            (StoreKind::PostgresRow, Some(url)) => {
                let pool = rows::pool(url).await;
                if self.library == Library::Bare {
                    return handlers(&runs, rows::alone(pool, runs.clone()));
                }
                handlers(&runs, rows::with_answer(runs.clone())).layer(rows::layer(&pool).await)
            }
            (StoreKind::Redis, Some(url)) if self.library == Library::Bare => {
                handlers(&runs, commands::alone(url, runs.clone()).await)
            }
            (StoreKind::Redis, Some(url)) if self.wait => {
                handlers(&runs, pay(runs.clone())).layer(herd::layer(url))
            }
            (_, url) => self.library.protect(handlers(&runs, pay(runs.clone())), url).await,
        }
    }
}

fn pay(runs: Runs) -> MethodRouter {
    post(async move |_: Bytes| {
        runs.count();
        ([(CONTENT_TYPE, "application/json")], ANSWER)
    })
}

/// The handlers, which count how often they run; of `/payments` there are several.
fn handlers(runs: &Runs, payments: MethodRouter) -> Router {
    let [mirrors, slows, told] = [(); 3].map(|()| runs.clone());
    let mirror = async move |body: Bytes| {
        mirrors.count();
        body
    };
    let slow = async move |_: Bytes| {
        slows.count();
        tokio::time::sleep(herd::WORK).await;
        ([(CONTENT_TYPE, "application/json")], ANSWER)
    };
    Router::new()
        .route("/payments", payments)
        .route("/mirror", post(mirror))
        .route("/slow", post(slow))
        .route("/runs", get(async move || told.total().to_string()))
        .layer(DefaultBodyLimit::disable())
}
