use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use deadpool_postgres::tokio_postgres::Row;
use deadpool_postgres::tokio_postgres::types::{ToSql, Type};
use futures_util::future::join3;

use super::call::TRIES;
use super::error::{Cure, Failure};
use super::row::{Hidden, signed};
use super::transaction::{BY_THE_INDEX, Lender, Shared, begin_text, failed};
use crate::protocol::{Claim, Points};
use crate::store::{Effect, Error, ErrorKind, Operation};

/// The first and the longest pause before a result is saved again while the server is away.
const PAUSES: (Duration, Duration) = (Duration::from_millis(25), Duration::from_millis(500));

/// What tells the transaction of a phase from one that began after the phase has ended its own.
const IN_PHASE: &str = "open";
const MARK: &str = "SELECT set_config('tower_idempotency.phase', 'open', true)";

/// The result of a phase on its way into the record of its claim.
pub(crate) struct Save<'a> {
    pub(crate) claim: &'a Claim,
    /// What was saved before.
    pub(crate) saved: &'a Points,
    /// What is put behind that.
    pub(crate) addition: &'a Bytes,
    /// How long one try may take.
    pub(crate) within: Duration,
}

/// Why a result is not in the record, as far as is known, or what is there cannot be told.
#[derive(Debug)]
pub(crate) enum NotSaved {
    /// The claim is somebody else's by now.
    Lost,
    /// Its phase has ended the transaction itself.
    Ended,
    /// Its transaction lost against others, and was rolled back.
    LostRace(Error),
    Failed(Error),
}

impl Lender {
    /// Marks the record of a claim whose handler commits what it does, and reads what is saved of that
    /// so far. It waits for a transaction that is about to save something.
    pub(crate) async fn resume(&self, claim: &Claim, within: Duration) -> Result<Points, NotSaved> {
        let (nonce, slot, fence) = identity(claim);
        let arguments: [(&(dyn ToSql + Sync), Type); 3] =
            [(&slot, Type::BYTEA), (&nonce, Type::BYTEA), (&fence, Type::INT8)];
        let rows = self.ask(&self.source.statements.join, &arguments, within).await?;
        let row = rows.first().ok_or(NotSaved::Lost)?;
        let saved: Option<Vec<u8>> = row.try_get(0).map_err(|error| of(&error.into()))?;
        Points::decode(saved.unwrap_or_default().into())
            .map_err(|invalid| NotSaved::Failed(Error::unreadable(invalid, Operation::Commit)))
    }

    /// Saves the result of what was done elsewhere. That would be done again if it were not saved, so
    /// this does not give up as long as the server is away, at most for a lease.
    pub(crate) async fn save(&self, save: &Save<'_>) -> Result<(), NotSaved> {
        while_away(save, || self.try_to_save(save)).await
    }

    async fn try_to_save(&self, save: &Save<'_>) -> Result<(), NotSaved> {
        let statement = &self.source.statements.save;
        let (nonce, slot, fence) = identity(save.claim);
        let (addition, before) = (Hidden(save.addition), save.before());
        let arguments = arguments(&slot, &nonce, &fence, &addition, &before, &None);
        match self.ask(statement, &arguments, save.within).await {
            Ok(_) => Ok(()),
            Err(_) if self.has(save).await? => Ok(()),
            // A record that was put back after it had expired is marked again now.
            Err(_) => self.ask(statement, &arguments, save.within).await.map(drop),
        }
    }

    /// Begins the transaction of a phase, on a connection of the caller's pool.
    pub(crate) async fn begin_phase(self: Arc<Self>, claim: &Claim) -> Result<Shared, NotSaved> {
        bounded(claim.attempt().lease, async {
            let begin = format!("{}; {MARK}", begin_text(&self.source.settings, claim));
            let begun = self.begin_with(&begin, None).await;
            begun.map_err(NotSaved::Failed)?.ok_or(NotSaved::Lost)
        })
        .await
    }

    /// Whether a result is in the record. It is in no other form there if it is.
    async fn has(&self, save: &Save<'_>) -> Result<bool, NotSaved> {
        let before = save.saved.size();
        match self.resume(save.claim, save.within).await?.size() {
            size if size == before => Ok(false),
            size if size == before + save.addition.len() => Ok(true),
            // The record was put back after it had expired, or somebody else has been here.
            _ => Err(NotSaved::Lost),
        }
    }

    /// Sends a statement that may be repeated, and again if the connection turned out to be dead.
    async fn ask(
        &self,
        text: &str,
        arguments: &[(&(dyn ToSql + Sync), Type)],
        within: Duration,
    ) -> Result<Vec<Row>, NotSaved> {
        bounded(within, async {
            let mut tries_left = TRIES;
            loop {
                tries_left -= 1;
                let connection = self.finishes.connection().await.map_err(|error| of(&error))?;
                match connection.query_typed(text, arguments).await {
                    Ok(rows) => {
                        connection.give_back();
                        return Ok(rows);
                    }
                    Err(failure) if self.finishes.mend(connection, &failure) && tries_left > 0 => {}
                    Err(failure) => return Err(of(&failure)),
                }
            }
        })
        .await
    }
}

impl Shared {
    /// Commits what a phase has written together with its result. Whatever becomes of the connection,
    /// what it says is so.
    pub(crate) async fn save(self, save: &Save<'_>) -> Result<(), NotSaved> {
        let failure = match tokio::time::timeout(save.within, self.commit_with(save)).await {
            Ok(Ok(())) => {
                self.give_back();
                return Ok(());
            }
            Ok(Err(failure)) => failure,
            Err(_) => return self.settle(save, timed_out()).await,
        };
        match failure.is_answer() {
            // It is rolled back; whether that is because the claim is lost, the record tells.
            true if failure.cure() == Cure::Repeat => Err(NotSaved::LostRace(failed(&failure))),
            true => {
                let lender = Arc::clone(&self.lender);
                drop(self);
                lender.has(save).await?;
                Err(if failure.is_our_own() { NotSaved::Ended } else { of(&failure) })
            }
            false => self.settle(save, failed(&failure)).await,
        }
    }

    /// The end of the transaction, in one round trip. What follows a statement that fails is not carried
    /// out, and `COMMIT` rolls back then.
    async fn commit_with(&self, save: &Save<'_>) -> Result<(), Failure> {
        let (nonce, slot, fence) = identity(save.claim);
        let (addition, before) = (Hidden(save.addition), save.before());
        let mark = Some(IN_PHASE);
        let arguments = arguments(&slot, &nonce, &fence, &addition, &before, &mark);
        let (_, saved, committed) = join3(
            self.batch_execute(BY_THE_INDEX),
            self.query_typed(&self.lender.source.statements.save, &arguments),
            self.batch_execute("COMMIT"),
        )
        .await;
        saved?;
        committed?;
        Ok(())
    }

    /// Finds out whether a transaction was committed of which no more was heard. If the record does not
    /// say so, it may still be: only the end of the claim keeps it from that.
    async fn settle(self, save: &Save<'_>, unknown: Error) -> Result<(), NotSaved> {
        let lender = Arc::clone(&self.lender);
        drop(self);
        match while_away(save, || lender.has(save)).await? {
            true => Ok(()),
            false => Err(NotSaved::Failed(unknown)),
        }
    }
}

impl Save<'_> {
    fn before(&self) -> i32 {
        i32::try_from(self.saved.size()).unwrap_or(i32::MAX)
    }
}

/// By what a claim is found: its nonce, its slot and its fence.
fn identity(claim: &Claim) -> (Hidden<&[u8; 16]>, Hidden<&[u8; 32]>, i64) {
    let attempt = claim.attempt();
    let (nonce, slot) = (Hidden(attempt.nonce.as_bytes()), Hidden(attempt.slot.as_bytes()));
    (nonce, slot, signed(claim.grant().fence.number()))
}

fn arguments<'a>(
    slot: &'a Hidden<&[u8; 32]>,
    nonce: &'a Hidden<&[u8; 16]>,
    fence: &'a i64,
    addition: &'a Hidden<&Bytes>,
    before: &'a i32,
    mark: &'a Option<&str>,
) -> [(&'a (dyn ToSql + Sync), Type); 6] {
    [
        (slot, Type::BYTEA),
        (nonce, Type::BYTEA),
        (fence, Type::INT8),
        (addition, Type::BYTEA),
        (before, Type::INT4),
        (mark, Type::TEXT),
    ]
}

/// Repeats what fails while the server is away, at most for a lease.
async fn while_away<T, F>(save: &Save<'_>, attempt: impl Fn() -> F) -> Result<T, NotSaved>
where
    F: Future<Output = Result<T, NotSaved>>,
{
    bounded(save.claim.attempt().lease, async {
        let mut pause = PAUSES.0;
        loop {
            match attempt().await {
                Err(NotSaved::Failed(error)) if error.is_transient() => {}
                ended => return ended,
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(PAUSES.1);
        }
    })
    .await
}

async fn bounded<T>(
    within: Duration,
    work: impl Future<Output = Result<T, NotSaved>>,
) -> Result<T, NotSaved> {
    match tokio::time::timeout(within, work).await {
        Ok(ended) => ended,
        Err(_) => Err(NotSaved::Failed(timed_out())),
    }
}

fn of(failure: &Failure) -> NotSaved {
    NotSaved::Failed(failed(failure))
}

fn timed_out() -> Error {
    Error::new(ErrorKind::TimedOut, Operation::Commit, Effect::Unknown)
}
