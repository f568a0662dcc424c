mod error;
mod phase_tx;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;

pub use self::error::{PhaseError, PhaseFailure};
pub use self::phase_tx::PhaseTx;
use super::no_transaction::NoTransaction;
use crate::engine::{Lent, RunningClaim};
use crate::protocol::Points;
use crate::store::Transaction as _;
use crate::store::postgres::{Lender, NotSaved, Save};

/// The phases of an operation that calls other services between its writes. The result of each is
/// committed as soon as it is there, so that a retry after a crash goes on behind the last one instead
/// of from the start.
///
/// With the `axum` feature it is an extractor; it works on a [`PostgresStore`](crate::PostgresStore).
///
/// - [`call`](Self::call) asks another service, with a key of its own for that service, and saves what
///   it answered.
/// - [`write`](Self::write) lends a transaction on a connection of the store's pool, and commits what
///   was written in it together with its result, or nothing.
///
/// A phase whose result is saved does not run again: its result is returned. So a phase that writes
/// happens exactly once, and a phase that calls happens at least once, with the same
/// [derived key](RunningClaim::derived_key) each time: the other service has to accept such a key,
/// or to be one that may be asked twice. What happens outside of phases happens on every run.
///
/// ```
/// use tower_idempotency::{PhaseError, RecoveryPoints};
///
/// # async fn authorise(_: &str, _: &str) -> Result<String, std::io::Error> { todo!() }
/// # async fn ship(_: &str, _: i64) -> Result<String, std::io::Error> { todo!() }
/// async fn order(mut points: RecoveryPoints, item: String) -> Result<String, PhaseError> {
///     let hold: String = points.call("authorise", async |key| authorise(&key, &item).await).await?;
///     let id: i64 = points
///         .write("order", async |tx| {
///             let insert = "INSERT INTO orders (item, hold) VALUES ($1, $2) RETURNING id";
///             tx.query_one(insert, &[&item, &hold]).await?.try_get(0)
///         })
///         .await?;
///     points.call("ship", async |key| ship(&key, id).await).await
/// }
/// # let _ = axum::routing::post::<_, _, ()>(order);
/// ```
///
/// # How it ends
/// A definitive answer is stored as for any handler, and the results of the phases are forgotten then.
/// After everything else, a 500, a panic, the end of the process, the key is free under every
/// guarantee, and a retry goes on behind the last result, however often. A hook for
/// [abandoned](crate::Policy::on_abandoned) claims is not asked: what was done is known.
///
/// A refusal of another service that is final, such as a card that is declined, is a result and not an
/// error: return it as one, and answer with a 4xx.
///
/// Results are kept for the retention, counted from the last sign of life of the last run. As long as
/// they are, only the same request can have the key; another one gets 422 `key-reused`, also after a
/// crash.
///
/// # What to mind
/// - Take it before other extractors that may fail: what happens before counts as if there were none, and
///   at most once a 500 of theirs is stored, in a retry too. Under
///   [`Guarantee::Transactional`](crate::Guarantee::Transactional), which is for handlers that do everything
///   in phases, it frees the key like any other.
/// - The name of a phase is what its result is found by. Results are kept as JSON; a release that
///   reads another type under the same name cannot go on with what an earlier one has saved.
/// - All results together may have [`LIMIT`](Self::LIMIT) bytes, and are in the database as they are: save
///   what names a thing, not the thing, and nothing secret.
/// - It has to be dropped by the time the response body has ended, as [`IdempotentTx`] has to be. Both
///   at once in one handler are refused: the second gets [`NoTransaction::InUse`].
/// - A phase that writes is ended by the server if it does nothing for almost a lease. In another phase
///   it holds no connection.
/// - A worker that has lost its claim cannot save anything: its phase ends in
///   [`PhaseFailure::ClaimLost`], and what it has written is rolled back.
///
/// [`IdempotentTx`]: crate::IdempotentTx
pub struct RecoveryPoints {
    claim: RunningClaim,
    /// What was saved, if it is known.
    saved: Points,
    known: bool,
    /// The phases that have come to a result in this run.
    passed: Vec<Box<str>>,
}

impl RecoveryPoints {
    /// How many bytes the results of all phases of an operation may have together, with their names.
    pub const LIMIT: usize = 64 << 10;

    /// The recovery points of this claim, with what earlier runs have saved.
    ///
    /// # Errors
    /// If there are none. Then end the handler without an effect: whether the record is marked for them
    /// may be unknown.
    pub async fn of(claim: &RunningClaim) -> Result<Self, NoTransaction> {
        let joint = claim.0.joint().ok_or_else(|| match claim.0.is_protected() {
            true => NoTransaction::NoDatabase,
            false => NoTransaction::Unprotected,
        })?;
        let lender = joint.transactions.of::<Lender>().ok_or(NoTransaction::NoDatabase)?;
        match joint.lend().map_err(|_| NoTransaction::InUse)? {
            Lent::New => {}
            Lent::Again(transaction) => {
                joint.give_back(Some(transaction));
                return Err(NoTransaction::InUse);
            }
        }
        // From here on it gives back what was lent, also if this is not waited for.
        let (saved, passed) = (Points::default(), vec![]);
        let mut points = Self { claim: claim.clone(), saved, known: true, passed };
        let resumed = lender.resume(claim.0.claim(), joint.within).await;
        points.saved = resumed.map_err(|error| match error {
            // Nothing has begun yet that could have ended.
            NotSaved::Lost | NotSaved::Ended => NoTransaction::ClaimLost,
            NotSaved::LostRace(error) | NotSaved::Failed(error) => {
                NoTransaction::Unavailable(error)
            }
        })?;
        joint.join();
        Ok(points)
    }

    /// A phase that asks another service, with a key for it that is the same on every run. What it
    /// results in is saved in a commit of its own.
    ///
    /// ```
    /// # use tower_idempotency::{PhaseError, RecoveryPoints};
    /// # struct Bank;
    /// # impl Bank {
    /// #     async fn authorise(&self, _: &str) -> Result<String, std::io::Error> { todo!() }
    /// # }
    /// async fn hold(points: &mut RecoveryPoints, bank: &Bank) -> Result<String, PhaseError> {
    ///     points.call("authorise", async |key| bank.authorise(&key).await).await
    /// }
    /// ```
    ///
    /// # Errors
    /// If the call fails, or its result cannot be saved; in both cases a retry calls again, unless it finds
    /// that it was.
    pub async fn call<T, E, F>(
        &mut self,
        phase: &str,
        call: impl FnOnce(String) -> F,
    ) -> Result<T, PhaseError>
    where
        F: Future<Output = Result<T, E>>,
        T: Serialize + DeserializeOwned,
        E: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let failed = |failure| PhaseError::new(phase, failure);
        if let Some(result) = self.enter(phase).map_err(failed)? {
            return Ok(result);
        }
        let (lender, within) = self.means().map_err(failed)?;
        let key = self.claim.derived_key(phase);
        let result = call(key).await.map_err(|error| failed(PhaseFailure::Failed(error.into())))?;
        let (json, addition) = self.addition(phase, &result).map_err(failed)?;
        let claim = self.claim.clone();
        self.known = false;
        let save = Save { claim: claim.0.claim(), saved: &self.saved, addition: &addition, within };
        lender.save(&save).await.map_err(|error| failed(error.into()))?;
        self.pass(phase, json, &addition);
        Ok(result)
    }

    /// A phase that writes in a transaction. That is committed together with its result, or not at all.
    /// Do not end it yourself; savepoints are fine.
    ///
    /// ```
    /// # use tower_idempotency::{PhaseError, RecoveryPoints};
    /// async fn ledger(points: &mut RecoveryPoints, amount: i64) -> Result<u64, PhaseError> {
    ///     let insert = "INSERT INTO ledger (amount) VALUES ($1)";
    ///     points.write("ledger", async |tx| tx.execute(insert, &[&amount]).await).await
    /// }
    /// ```
    ///
    /// # Errors
    /// If a write fails, or the transaction cannot be committed; in both cases a retry writes again,
    /// unless it finds that it was.
    pub async fn write<T, E, F>(
        &mut self,
        phase: &str,
        write: impl FnOnce(PhaseTx) -> F,
    ) -> Result<T, PhaseError>
    where
        F: Future<Output = Result<T, E>>,
        T: Serialize + DeserializeOwned,
        E: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let failed = |failure| PhaseError::new(phase, failure);
        if let Some(result) = self.enter(phase).map_err(failed)? {
            return Ok(result);
        }
        let (lender, within) = self.means().map_err(failed)?;
        let claim = self.claim.clone();
        let claim = claim.0.claim();
        let begun = lender.begin_phase(claim).await;
        let (tx, ended) = PhaseTx::lend(begun.map_err(|error| failed(error.into()))?);
        let written = write(tx).await;
        let tx = ended.take().ok_or_else(|| failed(PhaseFailure::Kept))?;
        let written = match written {
            Ok(result) => self.addition(phase, &result).map(|addition| (result, addition)),
            Err(error) => Err(PhaseFailure::Failed(error.into())),
        };
        let (result, (json, addition)) = match written {
            Ok(written) => written,
            Err(failure) => {
                Box::new(tx).roll_back(within).await;
                return Err(failed(failure));
            }
        };
        self.known = false;
        let save = Save { claim, saved: &self.saved, addition: &addition, within };
        tx.save(&save).await.map_err(|error| failed(error.into()))?;
        self.pass(phase, json, &addition);
        Ok(result)
    }

    /// The result of a phase, if it is saved.
    fn enter<T: DeserializeOwned>(&mut self, phase: &str) -> Result<Option<T>, PhaseFailure> {
        if !self.known {
            return Err(PhaseFailure::Unsettled);
        }
        if self.passed.iter().any(|passed| **passed == *phase) {
            return Err(PhaseFailure::Repeated);
        }
        if self.claim.0.is_lost() {
            return Err(PhaseFailure::ClaimLost);
        }
        let Some(json) = self.saved.get(phase) else { return Ok(None) };
        let result = serde_json::from_slice(json).map_err(|error| PhaseFailure::json(&error))?;
        self.passed.push(phase.into());
        Ok(Some(result))
    }

    /// A result as it is saved, and what has to be added to what was saved before.
    fn addition<T: Serialize>(
        &self,
        phase: &str,
        result: &T,
    ) -> Result<(Bytes, Bytes), PhaseFailure> {
        let json: Bytes =
            serde_json::to_vec(result).map_err(|error| PhaseFailure::json(&error))?.into();
        let addition = self.saved.addition(phase, &json);
        match self.saved.size() + addition.len() <= Self::LIMIT {
            true => Ok((json, addition)),
            false => Err(PhaseFailure::TooLarge),
        }
    }

    /// The result of a phase is saved.
    fn pass(&mut self, phase: &str, json: Bytes, addition: &Bytes) {
        self.saved.add(phase, json, addition);
        self.passed.push(phase.into());
        self.known = true;
    }

    /// What saves a result, and how long one try may take.
    fn means(&self) -> Result<(Arc<Lender>, Duration), PhaseFailure> {
        let joint = self.claim.0.joint().ok_or(PhaseFailure::Unsettled)?;
        Ok((joint.transactions.of().ok_or(PhaseFailure::Unsettled)?, joint.within))
    }
}

impl Drop for RecoveryPoints {
    fn drop(&mut self) {
        if let Some(joint) = self.claim.0.joint() {
            joint.give_back(None);
        }
    }
}

impl fmt::Debug for RecoveryPoints {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RecoveryPoints")
            .field("claim", &self.claim)
            .field("passed", &self.passed)
            .finish_non_exhaustive()
    }
}

#[cfg(feature = "axum")]
impl<S: Sync> axum::extract::FromRequestParts<S> for RecoveryPoints {
    type Rejection = NoTransaction;

    async fn from_request_parts(
        parts: &mut http::request::Parts,
        _: &S,
    ) -> Result<Self, NoTransaction> {
        let claim = parts.extensions.get::<RunningClaim>().cloned();
        Self::of(&claim.ok_or(NoTransaction::Unclaimed)?).await
    }
}
