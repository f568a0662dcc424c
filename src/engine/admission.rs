use std::sync::Arc;

use super::abandoned::Recover;
use super::call::Chain;
use super::room::Room;
use super::wait::Ticket;
use super::{Answer, Held, Rejection, Terms};
use crate::protocol::{Attempt, Fingerprint, Found, IdempotencyKey, Reply, Scheme, Slot};
use crate::store::{Error, ErrorKind};

/// A request on its way to the store.
pub(crate) struct Asking<'a> {
    pub(crate) attempt: &'a mut Attempt,
    pub(crate) terms: Terms,
    pub(crate) key: &'a IdempotencyKey,
    pub(crate) tenant: &'a Arc<str>,
    pub(crate) ticket: &'a mut Ticket,
    /// Gives the fingerprint of the same request under another scheme, if that can be done.
    pub(crate) compare: &'a (dyn Fn(&Scheme) -> Option<Fingerprint> + Send + Sync),
    /// Finds out what became of an abandoned claim.
    pub(crate) recover: Option<&'a Recover>,
}

/// What to do with a request.
pub(crate) enum Admission {
    /// Run the handler under this claim.
    Proceed(Admitted),
    /// Do not run it.
    Answer(Answer),
    /// Wait in the queue: somebody else runs it.
    Wait,
}

/// The claim under which a handler runs, and what it takes up meanwhile.
pub(crate) struct Admitted {
    pub(crate) held: Arc<Held>,
    pub(crate) room: Room,
    pub(crate) ticket: Ticket,
}

/// Why an attempt does not run.
pub(super) enum Refused {
    /// This is in the slot, or in that of a question about it.
    Found(Slot, Found),
    Because(Rejection),
}

/// What a client is told when the store did not answer `begin`.
pub(super) fn unable(attempt: &Attempt, failed: &Result<Reply, Error>) -> Rejection {
    let Err(error) = failed else { return Rejection::unavailable() };
    tracing::warn!(slot = %attempt.slot, error = %Chain(error), "begin failed");
    match error.kind() {
        ErrorKind::Corrupt => Rejection::RecordCorrupt,
        ErrorKind::Unsupported => Rejection::RecordUnsupported,
        _ => Rejection::unavailable(),
    }
}
