use deadpool_postgres::tokio_postgres::GenericClient;
use deadpool_postgres::tokio_postgres::types::ToSql;

use super::arguments::{BeginArguments, CompleteArguments};
use super::error::Failure;
use super::row::{Answer, Hidden};
use super::statements::Verb as Statement;
use super::{LOOKS, PostgresStore, reply};
use crate::protocol::{Attempt, Claim, Outcome, Reply, Slot, Verb};
use crate::store::{Effect, Error, ErrorKind, Operation};

impl PostgresStore {
    /// [`begin`](crate::store::Store::begin) in a transaction of yours: for the consumer of a queue, or
    /// a handler without a layer. If it goes on with [`complete_in`](Self::complete_in) in the same
    /// transaction, what it writes there happens exactly once, whoever else has the same message.
    ///
    /// Another consumer of the message waits in `begin_in` until this transaction ends. If that was
    /// committed, it is answered with the outcome; if it was rolled back, or its consumer died, it
    /// starts. So its `lock_timeout` is how long a consumer waits for another.
    ///
    /// ```
    /// use std::time::Duration;
    /// use tower_idempotency::PostgresStore;
    /// use tower_idempotency::protocol::{
    ///     Attempt, Fields, Fingerprint, Found, IdempotencyKey, KeySyntax, Nonce, Outcome, Reply, Scheme,
    ///     Slot, TakeOver,
    /// };
    /// use tower_idempotency::store::postgres::tokio_postgres::Client;
    ///
    /// /// Whether the message is done with and can be taken off the queue.
    /// async fn consume(
    ///     (database, store): (&mut Client, &PostgresStore),
    ///     (id, body): (&str, &str),
    /// ) -> Result<bool, Box<dyn std::error::Error>> {
    ///     let key = IdempotencyKey::parse(id.as_bytes(), &KeySyntax::either())?;
    ///     let attempt = Attempt {
    ///         slot: Slot::derive(None, "the queue of payments", "consume", None, &key),
    ///         fingerprint: Fingerprint::new(Scheme::custom(1), [0; 32]), // Its id says it all.
    ///         nonce: Nonce::from_bytes(rand::random()),
    ///         lease: Duration::from_secs(30),
    ///         retention: Duration::from_secs(24 * 3600),
    ///         take_over: TakeOver::Never,
    ///         transactional: false,
    ///     };
    ///     let tx = database.transaction().await?;
    ///     let grant = match store.begin_in(&tx, &attempt).await? {
    ///         Reply::Started(grant) | Reply::Reclaimed(grant) => grant,
    ///         Reply::Found(Found::Completed { .. }) => return Ok(true),
    ///         _ => return Ok(false), // Somebody has claimed it outside of a transaction.
    ///     };
    ///     tx.execute("INSERT INTO payments (message) VALUES ($1)", &[&body]).await?;
    ///     let (headers, trailers) = (Fields::none(), Fields::none());
    ///     let outcome = Outcome::Response { status: 200, headers, body: "paid".into(), trailers };
    ///     let reply = store.complete_in(&tx, &attempt.claim(grant), &outcome).await?;
    ///     let mine = reply == Reply::Applied;
    ///     if mine {
    ///         tx.commit().await?;
    ///     }
    ///     Ok(mine)
    /// }
    /// # let _ = consume;
    /// ```
    ///
    /// A transaction of the re-exported pool, `deadpool_postgres::Transaction`, is passed as `&*tx`.
    ///
    /// A lease counts only for a claim that is committed before it is completed; others see no other
    /// claim. If the answer to the commit is lost, the next delivery finds out what became of it.
    ///
    /// # Errors
    /// If the database refuses, after which the transaction can only be rolled back, or what is in the
    /// slot cannot be read. [`ErrorKind::NotReady`] is worth another try from the start: above
    /// `READ COMMITTED`, who has waited for another consumer gets a serialization failure (40001)
    /// instead of its outcome; a lock timeout is one too.
    pub async fn begin_in(
        &self,
        transaction: &impl GenericClient,
        attempt: &Attempt,
    ) -> Result<Reply, Error> {
        let (slot, verb) = (&attempt.slot, Verb::Begin(attempt));
        let arguments = BeginArguments::of(attempt);
        let call = (Operation::Begin, Statement::Begin, &arguments.in_order()[..]);
        self.run_in(transaction, call, slot, verb).await
    }

    /// [`complete`](crate::store::Store::complete) in a transaction of yours, so that the outcome is
    /// stored if and only if that is committed; see [`begin_in`](Self::begin_in) for an example.
    ///
    /// Unless it is answered with [`Reply::Applied`], the claim is not yours any more: roll back.
    ///
    /// # Errors
    /// If the database refuses, after which the transaction can only be rolled back, or what is in the
    /// slot cannot be read.
    pub async fn complete_in(
        &self,
        transaction: &impl GenericClient,
        claim: &Claim,
        outcome: &Outcome,
    ) -> Result<Reply, Error> {
        let (slot, verb) = (&claim.attempt().slot, Verb::Complete(claim, outcome));
        let arguments = CompleteArguments::of(claim, outcome);
        let call = (Operation::Complete, Statement::Complete, &arguments.in_order()[..]);
        self.run_in(transaction, call, slot, verb).await
    }

    async fn run_in(
        &self,
        transaction: &impl GenericClient,
        (operation, statement, more): (Operation, Statement, &[&(dyn ToSql + Sync)]),
        slot: &Slot,
        verb: Verb<'_>,
    ) -> Result<Reply, Error> {
        let failed = |failure: Failure| {
            let error = Error::new(failure.kind(), operation, failure.effect());
            error.with_source(failure.cause())
        };
        // A copy that arrives late is a part of a transaction that nobody commits.
        let (deadline, slot) = (i64::MAX, Hidden(slot.as_bytes()));
        let mut arguments: Vec<&(dyn ToSql + Sync)> = vec![&deadline, &slot];
        arguments.extend(more);
        let typed: Vec<_> = arguments.into_iter().zip(statement.types().iter().cloned()).collect();
        let text = self.source.statements.of(statement);
        for _ in 0..LOOKS {
            let row = transaction.query_typed_one(text, &typed).await;
            let row = row.map_err(|error| failed(error.into()))?;
            let answer = Answer::of(&row).map_err(|error| failed(error.into()))?;
            let reply = reply(answer, &verb);
            if let Some(reply) = reply.map_err(|invalid| Error::unreadable(invalid, operation))? {
                return Ok(reply);
            }
        }
        Err(Error::new(ErrorKind::NotReady, operation, Effect::None))
    }
}
