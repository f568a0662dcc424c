//! How often handlers ran: a counter for everybody, and a ledger line for every start and end.

use std::convert::Infallible;
use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use axum::extract::FromRequestParts;
use http::request::Parts;
use serde_json::{Value, json};
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

    /// Notes that somebody asked what became of an abandoned claim.
    pub(crate) fn note_abandoned(&self, tenant: &str, key: &str, attempt: u32) {
        self.note(
            || json!({ "tenant": tenant, "key": key, "attempt": attempt, "event": "abandoned" }),
        );
    }

    /// Adds a line to the ledger, in one write, so that lines of several servers never mix.
    fn note(&self, line: impl FnOnce() -> Value) {
        let Some(mut ledger) = self.ledger.as_ref() else { return };
        // The time comes first: what the line says of the claim was still true then.
        let time = SystemClock.unix();
        let mut line = line();
        line["t"] = u64::try_from(time.as_millis()).unwrap_or(u64::MAX).into();
        line["pid"] = std::process::id().into();
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
    claim: Option<RunningClaim>,
    /// What the ledger says of the request besides, where the handler has read it.
    pub(crate) body: Option<String>,
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
            claim: parts.extensions.get().cloned(),
            body: None,
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
        self.note(execution, "start");
        let panics = EndOfPanic(&self, execution);
        let answer = work(execution).await;
        drop(panics);
        self.note(execution, "end");
        answer
    }

    /// Whose request it is.
    pub(crate) fn tenant(&self) -> &str {
        &self.tenant
    }

    /// The key, or nothing if there is none.
    #[cfg(feature = "postgres")]
    pub(crate) fn key(&self) -> &str {
        &self.key
    }

    fn note(&self, execution: u64, event: &str) {
        let claim = self.claim.as_ref();
        self.executions.note(|| {
            json!({
                "tenant": self.tenant,
                "key": self.key,
                "attempt": claim.map_or(1, RunningClaim::attempt),
                "event": event,
                "execution": execution,
                "fence": claim.map_or(0, |claim| claim.fence().number()),
                "live": claim.is_some_and(RunningClaim::is_live),
                "body": self.body,
            })
        });
    }
}

struct EndOfPanic<'a>(&'a Ticket, u64);

impl Drop for EndOfPanic<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.note(self.1, "end");
        }
    }
}
