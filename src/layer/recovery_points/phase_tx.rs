use std::fmt;
use std::ops::Deref;

use deadpool_postgres::Client;
use tokio::sync::oneshot::{Receiver, Sender, channel};

use crate::store::postgres::Shared;

/// The transaction of a phase that [writes](super::RecoveryPoints::write), as long as the phase runs.
///
/// ```
/// use tower_idempotency::store::postgres::tokio_postgres::Error;
/// use tower_idempotency::{PhaseError, PhaseTx, RecoveryPoints};
///
/// async fn insert(tx: PhaseTx) -> Result<i64, Error> {
///     tx.query_one("INSERT INTO orders DEFAULT VALUES RETURNING id", &[]).await?.try_get(0)
/// }
///
/// async fn order(points: &mut RecoveryPoints) -> Result<i64, PhaseError> {
///     points.write("order", insert).await
/// }
/// ```
pub struct PhaseTx {
    /// There until it is dropped.
    shared: Option<Shared>,
    /// Where it goes back to. If nobody waits for it there any more, it is rolled back.
    back: Option<Sender<Shared>>,
}

/// Where the transaction is when its phase has ended.
pub(super) struct Ended(Receiver<Shared>);

impl PhaseTx {
    pub(super) fn lend(shared: Shared) -> (Self, Ended) {
        let (back, ended) = channel();
        (Self { shared: Some(shared), back: Some(back) }, Ended(ended))
    }
}

impl Ended {
    /// The transaction, unless somebody has kept it.
    pub(super) fn take(mut self) -> Option<Shared> {
        self.0.try_recv().ok()
    }
}

impl Deref for PhaseTx {
    type Target = Client;

    fn deref(&self) -> &Client {
        self.shared.as_ref().expect("it is there until it is dropped")
    }
}

impl Drop for PhaseTx {
    fn drop(&mut self) {
        if let (Some(shared), Some(back)) = (self.shared.take(), self.back.take()) {
            drop(back.send(shared));
        }
    }
}

impl fmt::Debug for PhaseTx {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PhaseTx")
    }
}
