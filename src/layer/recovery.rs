use std::fmt;
use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderName, Response};

use super::headers::StoredHeaders;
use super::replay::is_empty;
use crate::engine::{Abandoned, Finding, Recover};

/// What an application's own books say about an abandoned claim; the answer of a hook that is set
/// with [`Policy::on_abandoned`](crate::Policy::on_abandoned).
///
/// `Debug` shows nothing of a response.
#[derive(Clone)]
pub enum Recovery {
    /// Nothing happened, or it is safe to happen again: the request that asked runs, as the next
    /// attempt.
    Rerun,
    /// It did happen: this is stored, and replayed to this request and every later one. Headers are
    /// stored as those of a handler would be.
    Response(Response<Bytes>),
    /// The books do not tell. The request gets 409 `outcome-unknown`.
    StillUnknown,
}

impl fmt::Debug for Recovery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Rerun => "Rerun",
            Self::Response(_) => "Response(..)",
            Self::StillUnknown => "StillUnknown",
        })
    }
}

type Answer = Pin<Box<dyn Future<Output = Recovery> + Send>>;

/// Asks the application what became of an abandoned claim.
pub(super) struct Hook(Box<dyn Fn(Abandoned) -> Answer + Send + Sync>);

impl Hook {
    pub(super) fn new<F, A>(ask: F) -> Self
    where
        F: Fn(Abandoned) -> A + Send + Sync + 'static,
        A: Future<Output = Recovery> + Send + 'static,
    {
        Self(Box::new(move |abandoned| Box::pin(ask(abandoned))))
    }

    /// The hook as the engine calls it: a response becomes what a record keeps of it.
    pub(super) fn bound(
        self: &Arc<Self>,
        stored: &StoredHeaders,
        marker: &HeaderName,
    ) -> Box<Recover> {
        let (hook, stored, marker) = (Arc::clone(self), stored.clone(), marker.clone());
        Box::new(move |abandoned| {
            let answer = (hook.0)(abandoned);
            let (stored, marker) = (stored.clone(), marker.clone());
            Box::pin(async move {
                match answer.await {
                    Recovery::Rerun => Finding::Rerun,
                    Recovery::StillUnknown => Finding::Unknown,
                    Recovery::Response(response) => {
                        let (parts, body) = response.into_parts();
                        let body = if is_empty(parts.status) { Bytes::new() } else { body };
                        let (status, headers) = (parts.status, &parts.headers);
                        Finding::Outcome(stored.response(status, headers, &marker, body, None))
                    }
                }
            })
        })
    }
}
