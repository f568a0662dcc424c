//! How often handlers ran: a counter for everybody, and a ledger line for every start and end.

use std::convert::Infallible;
use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use axum::extract::FromRequestParts;
use http::request::Parts;
use serde_json::json;
use tower_idempotency::RunningClaim;
use tower_idempotency::clock::{Clock as _, SystemClock};

#[derive(Debug)]
pub(crate) struct Executions {
    total: AtomicU64,
    ledger: Option<File>,
}

impl Executions {
    pub(crate) fn new(ledger: Option<&Path>) -> io::Result<Self> {
        let open = |path| OpenOptions::new().create(true).append(true).open(path);
        Ok(Self { total: AtomicU64::new(0), ledger: ledger.map(open).transpose()? })
    }

    pub(crate) fn total(&self) -> u64 {
        self.total.load(Ordering::Relaxed)
    }

    /// Adds a line to the ledger, in one write, so that lines of several servers never mix.
    pub(crate) fn note(&self, tenant: &str, key: &str, attempt: u32, event: &str) {
        let Some(mut ledger) = self.ledger.as_ref() else { return };
        let line = json!({
            "t": u64::try_from(SystemClock.unix().as_millis()).unwrap_or(u64::MAX),
            "pid": std::process::id(),
            "tenant": tenant,
            "key": key,
            "attempt": attempt,
            "event": event,
        });
        // A ledger with gaps proves nothing: better to end here.
        if let Err(error) = ledger.write_all(format!("{line}\n").as_bytes()) {
            eprintln!("cannot write the ledger: {error}");
            std::process::abort();
        }
    }
}

/// A request that a handler is about to execute.
pub(crate) struct Ticket {
    executions: Arc<Executions>,
    tenant: String,
    key: String,
    attempt: u32,
}

impl FromRequestParts<Arc<Executions>> for Ticket {
    type Rejection = Infallible;

    async fn from_request_parts(
        parts: &mut Parts,
        executions: &Arc<Executions>,
    ) -> Result<Self, Infallible> {
        let header = |name| {
            let value = parts.headers.get(name)?;
            Some(String::from_utf8_lossy(value.as_bytes()).into_owned())
        };
        Ok(Self {
            executions: Arc::clone(executions),
            tenant: header("x-tenant").unwrap_or_else(|| "default".to_owned()),
            key: header("idempotency-key").unwrap_or_default(),
            attempt: parts.extensions.get().map_or(1, RunningClaim::attempt),
        })
    }
}

impl Ticket {
    /// Runs a handler and counts it. `work` gets the number of this execution.
    ///
    /// A handler that panics has ended too. One that is dropped halfway has not, so its line is
    /// missing from the ledger.
    pub(crate) async fn run<T, W: Future<Output = T>>(self, work: impl FnOnce(u64) -> W) -> T {
        let execution = self.executions.total.fetch_add(1, Ordering::Relaxed) + 1;
        self.note("start");
        let panics = EndOfPanic(&self);
        let answer = work(execution).await;
        drop(panics);
        self.note("end");
        answer
    }

    fn note(&self, event: &str) {
        self.executions.note(&self.tenant, &self.key, self.attempt, event);
    }
}

struct EndOfPanic<'a>(&'a Ticket);

impl Drop for EndOfPanic<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.note("end");
        }
    }
}
