//! Records in PostgreSQL 14 or later: for several servers that share their keys and have a PostgreSQL.
//!
//! Every verb is one statement, prepared once on each connection, sent in one round trip and
//! committed by itself under `READ COMMITTED`, whatever the default is. PostgreSQL's clock judges; the
//! clocks of the servers decide nothing. A statement applies the contract to what it finds at one
//! reading of that clock, and writes only if what it found is still there; otherwise it is sent again.
//! So a replay and every other request that is not let in takes no lock and writes nothing.
//!
//! One narrow row per record in one table, with no index beside its primary key, the 32 bytes of the
//! [`Slot`]. The lease is a column of the record, so an abandoned claim is remembered.
//!
//! # What to run
//! - `fsync` and `full_page_writes` on, as they are by default. `synchronous_commit` may be off for
//!   others: the store turns it on for itself, since a claim that a crash undoes runs twice.
//! - With replicas that may take over, `synchronous_standby_names`: a fail-over to a replica that had
//!   not received a claim forgets it. Have the handler's own database compare the [`FenceToken`]
//!   where even that is not enough.
//! - An address that leads to the primary, `target_session_attrs=read-write` among several. Nothing is
//!   ever decided by a replica.
//!
//! # The table
//! [`PostgresStore::migrate`] makes it, for whoever may create tables. A role that only serves needs
//!
//! ```sql
//! GRANT SELECT, INSERT, UPDATE, DELETE ON idempotency_records TO app;
//! ```
//!
//! and the use of its schema; `DELETE` only for [`purge`](PostgresStore::purge). The store looks for
//! the version of the schema, in the comment on the table, whenever it connects. A dump without
//! comments loses it; `migrate` puts it back.
//!
//! Do not partition the table by time: a unique key of PostgreSQL holds within one partition, so the
//! same key could be claimed in two. By `HASH (slot)` you may.
//!
//! # Room
//! A record that has expired counts as absent and takes up room until it is purged, by
//! [`purge`](PostgresStore::purge) now and then or by [`purging`](PostgresStore::purging) in the
//! background. Both go through the table in small steps and wait for nobody. What is deleted becomes
//! room for new records when PostgreSQL's own vacuum has been there.
//!
//! # Connections
//! The store has connections of its own, beside those of your pool: some for claims, others for
//! renewals, answers and releases, so that a storm of new requests cannot keep running work from
//! storing its outcome. A lost connection is replaced when it is needed; a call that met a dead one
//! is sent once more, which the nonce makes harmless.
//!
//! On those of your pool, handlers' transactions run, and up to two statements stay prepared in its cache.
//! If you discard what is prepared when a connection comes back (`DISCARD ALL`), nothing is prepared there
//! any more after the first request that fails of it. One that comes back in the middle of a transaction
//! of yours is closed.
//!
//! # Waiting
//! [`watch`](Store::watch) marks the record, and what ends a marked claim sends a `NOTIFY`. That locks
//! the whole database while its transaction commits, so who is not waited for sends none. One
//! connection per process listens; a look about once a second is the floor, should one be lost.

mod arguments;
mod call;
mod connect;
mod connection;
mod error;
mod in_transaction;
mod listen;
mod migrate;
mod points;
mod purge;
mod row;
mod settings;
mod statements;
mod table;
mod transaction;
mod watch;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// The pool and the client, so that their types can be named in the versions that this crate uses.
pub use deadpool_postgres;
pub use deadpool_postgres::tokio_postgres;
use deadpool_postgres::tokio_postgres::types::ToSql;
/// The same, for those who use that.
#[cfg(feature = "sqlx")]
pub use sqlx;
use tokio_util::task::AbortOnDropHandle;

use self::arguments::{BeginArguments, CompleteArguments};
use self::call::Call;
use self::connection::Source;
use self::connection::lane::Lane;
pub(crate) use self::error::lost_a_race;
pub(crate) use self::points::{NotSaved, Save};
use self::row::{Answer, Hidden, count, form, signed, span};
use self::statements::Verb as Statement;
pub use self::table::InvalidTable;
#[cfg(feature = "sqlx")]
pub(crate) use self::transaction::SharedSqlx;
pub(crate) use self::transaction::{Lender, NotBegun, Shared};
use self::watch::Watches;
use super::records::{classify, content, unnumbered};
use super::{Error, Operation, Seen, Store, Transactions};
use crate::protocol::{
    Attempt, Claim, FenceToken, Found, InvalidRecord, Outcome, Ran, Reply, Slot, Verb,
};

/// How often a verb looks again when what it found has changed before it could write.
const LOOKS: usize = 8;

/// Records in PostgreSQL, shared by any number of servers. See the [module](self) for what to run.
///
/// It connects when it is first used and again whenever a connection is lost, so a server can start and
/// stay up while PostgreSQL is down.
pub struct PostgresStore {
    source: Arc<Source>,
    /// For `begin` and `look`.
    claims: Lane,
    /// For `renew`, `complete`, `release` and `resolve`.
    finishes: Lane,
    /// For `purge`.
    upkeep: Lane,
    watches: Watches,
    purging: Option<AbortOnDropHandle<()>>,
}

impl PostgresStore {
    fn call<'a>(&'a self, lane: &'a Lane, operation: Operation, within: Duration) -> Call<'a> {
        Call::new(lane, &self.source.clock, operation, within)
    }

    /// Runs a verb. Where its statement wrote nothing, what it found is classified by the contract.
    async fn run(
        &self,
        call: &Call<'_>,
        statement: Statement,
        slot: &Slot,
        verb: Verb<'_>,
        arguments: &[&(dyn ToSql + Sync)],
    ) -> Result<Reply, Error> {
        let work = async {
            for _ in 0..LOOKS {
                let Some(answer) = call.ask(statement, slot, arguments).await? else {
                    return Ok(Reply::Late);
                };
                let reply = reply(answer, &verb).map_err(|invalid| call.unreadable(invalid))?;
                if let Some(reply) = reply {
                    return Ok(reply);
                }
            }
            Err(call.unsettled())
        };
        call.bounded(work).await
    }

    /// The same for a verb that ends a claim.
    async fn end(
        &self,
        call: &Call<'_>,
        statement: Statement,
        slot: &Slot,
        verb: Verb<'_>,
        arguments: &[&(dyn ToSql + Sync)],
    ) -> Result<Reply, Error> {
        let reply = self.run(call, statement, slot, verb, arguments).await?;
        if reply == Reply::Applied {
            self.watches.wake(slot);
        }
        Ok(reply)
    }
}

/// What an answer says to a verb; `None` if what was found has changed meanwhile, and the verb must
/// look again.
fn reply(answer: Answer, verb: &Verb<'_>) -> Result<Option<Reply>, InvalidRecord> {
    if let Some(done) = answer.done {
        return Ok(Some(match verb {
            Verb::Begin(_) if done.reclaimed => Reply::Reclaimed(done.grant),
            Verb::Begin(_) => Reply::Started(done.grant),
            _ => Reply::Applied,
        }));
    }
    let Seen { record, now } = seen(answer)?;
    Ok(classify(record.as_ref(), verb.clone(), now))
}

/// What a statement found, as of just before it looked.
fn seen(answer: Answer) -> Result<Seen, InvalidRecord> {
    let now = answer.seen;
    Ok(Seen { record: answer.found?.filter(|record| now < record.expires), now })
}

impl Store for PostgresStore {
    async fn begin(&self, attempt: &Attempt, within: Duration) -> Result<Reply, Error> {
        let call = self.call(&self.claims, Operation::Begin, within);
        let (slot, verb) = (&attempt.slot, Verb::Begin(attempt));
        let arguments = BeginArguments::of(attempt);
        let reply = self.run(&call, Statement::Begin, slot, verb, &arguments.in_order()).await?;
        match reply {
            // An outcome stays: no earlier copy claims this slot.
            reply @ Reply::Found(Found::Completed { .. }) => Ok(reply),
            refused @ Reply::Found(_) => call.refused(refused),
            reply => Ok(reply),
        }
    }

    async fn renew(&self, claim: &Claim, within: Duration) -> Result<Reply, Error> {
        let call = self.call(&self.finishes, Operation::Renew, within);
        let (attempt, grant) = (claim.attempt(), claim.grant());
        let form = form(&unnumbered(attempt));
        self.run(
            &call,
            Statement::Renew,
            &attempt.slot,
            Verb::Renew(claim),
            &[
                &span(attempt.lease),
                &span(attempt.retention),
                &Hidden(attempt.nonce.as_bytes()),
                &Hidden(attempt.fingerprint.digest()),
                &Hidden(&form),
                &signed(grant.fence.number()),
                &count(grant.number),
                &attempt.transactional,
            ],
        )
        .await
    }

    async fn complete(
        &self,
        claim: &Claim,
        outcome: &Outcome,
        within: Duration,
    ) -> Result<Reply, Error> {
        let call = self.call(&self.finishes, Operation::Complete, within);
        let (slot, verb) = (&claim.attempt().slot, Verb::Complete(claim, outcome));
        let arguments = CompleteArguments::of(claim, outcome);
        self.end(&call, Statement::Complete, slot, verb, &arguments.in_order()).await
    }

    async fn release(
        &self,
        attempt: &Attempt,
        ran: Ran,
        tombstone: Duration,
        within: Duration,
    ) -> Result<Reply, Error> {
        let call = self.call(&self.finishes, Operation::Release, within);
        let uncounted = i32::from(ran == Ran::No);
        let verb = Verb::Release { attempt, ran, tombstone };
        let nonce = Hidden(attempt.nonce.as_bytes());
        let (short, long) = (span(tombstone), span(tombstone.max(attempt.retention)));
        let arguments: [&(dyn ToSql + Sync); 4] = [&nonce, &uncounted, &short, &long];
        self.end(&call, Statement::Release, &attempt.slot, verb, &arguments).await
    }

    async fn look(&self, slot: Slot, within: Duration) -> Result<Seen, Error> {
        let call = self.call(&self.claims, Operation::Look, within);
        call.bounded(self.see(&call, &slot)).await
    }

    async fn watch(&self, slot: Slot, fence: FenceToken, within: Duration) -> Result<Seen, Error> {
        self.await_change(&slot, fence, within).await
    }

    async fn resolve(
        &self,
        slot: Slot,
        fence: FenceToken,
        outcome: &Outcome,
        retention: Duration,
        within: Duration,
    ) -> Result<Reply, Error> {
        let call = self.call(&self.finishes, Operation::Resolve, within);
        let verb = Verb::Resolve { fence, outcome, retention };
        let (number, content, retention) =
            (signed(fence.number()), content(outcome), span(retention));
        let arguments: [&(dyn ToSql + Sync); 3] = [&number, &Hidden(&content), &retention];
        self.end(&call, Statement::Resolve, &slot, verb, &arguments).await
    }

    fn transactions(&self) -> Option<Transactions> {
        Some(self.lender())
    }
}

impl fmt::Debug for PostgresStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PostgresStore")
            .field("table", &self.source.settings.table.name())
            .field("purges", &self.purging.is_some())
            .finish_non_exhaustive()
    }
}
