//! Records in Redis 7.0 or later, or Valkey: for several servers that share their keys.
//!
//! Every verb is one script, sent by its hash: one round trip, atomic, judged by Redis's clock. The
//! clocks of the servers decide nothing; the age of a replay is told by what its server knows of
//! Redis's clock. A script writes or it reports what it found, and
//! [`apply`](crate::protocol::apply) tells what that means, for this store as for all others.
//!
//! One string per record, under the prefix, a colon and the 32 bytes of the
//! [`Slot`]: what [`Record::encode`] returns, with the retention as its
//! expiry. The lease is a field of the record, so an abandoned claim is remembered.
//!
//! # What to run
//! - `maxmemory-policy noeviction`: any other policy throws away running claims when memory is
//!   full, and their requests run twice. With it, a full Redis refuses new keys, still answers the
//!   old ones, and what is running can finish.
//! - `appendonly yes`: without it a restart forgets keys. With `appendfsync everysec`, its default,
//!   a power cut may cost the last second, with `always` nothing.
//! - Replication is asynchronous: a failover may forget the claims and the answers of the last
//!   moments, and of a master that was cut off all that it has taken since. [`Durability`] has
//!   claims wait for replicas. Have the handler's own database compare the [`FenceToken`] where
//!   even that is not enough.
//!
//! [`RedisStore::verify`] reports what it can see of this, [`RedisStore::require_safe`] refuses it.
//! A Redis that was emptied is noticed: see [`Emptied`].
//!
//! Rights needed: `evalsha`, `eval`, `time`, `strlen`, `getrange`, `get`, `set`, `setrange`, `append`,
//! `pexpire` and `pttl` on the prefix, `client|tracking` to be told of changes, `select` for
//! another database than 0, `wait` or `waitaof` for a durability, `info` for the check, which tells more with `config|get` and
//! `cluster|info`. On a Cluster also `multi`, `exec`, `asking`, `ping` and `cluster|slots`; with a
//! `SentinelClient`, `role`.
//!
//! # Sentinel
//! While there are calls, the Sentinels are asked in the background about once a second who the
//! master is: one that is cut off goes on answering and does not know that it has a successor. It is
//! left within two seconds of the fail-over. Without calls nothing is asked. While no Sentinel
//! answers, the master that they have named last is used on.
//!
//! # Cluster
//! One record is one key, so any number of nodes works. The client library follows slots that move
//! and nodes that are replaced. To do so it sends calls again without saying so, which the nonce
//! makes harmless; but then nothing is known of a call that failed, so every error has
//! [`Effect::Unknown`](crate::store::Effect). Keep the clocks of the nodes together: a deadline is
//! early by as much as the clock of its node is ahead of the one that is most behind, and a node
//! that is ahead by more than the store timeout costs one more round trip for each of its hash
//! slots. When a node falls silent, a new connection to all of them is made beside the old one, and
//! calls move to it.
//!
//! # Waiting
//! [`watch`](Store::watch) is told of changes by `CLIENT TRACKING`: Redis remembers that a
//! connection has read a key, and tells it once when the key changes. That covers every way in which
//! a record can change (a verb, an operator's `DEL`, expiry, a flush), needs no configuration, goes
//! to one connection of one node and not to all of a Cluster, and costs nothing while nobody waits:
//! publishing a message would be one more command for each request. All who watch a slot in a
//! process share one look before the change and one after it, on a connection of their own that is
//! made when it is first needed; a renewal of the claim is one more. A look about once a second is
//! the floor, should a notification be lost. Where Redis, a proxy or the user's rights do not allow
//! it, and on a Cluster whose client does not use RESP3, slots are looked at as
//! [`poll`](crate::store::poll()) does.
//!
//! # Large answers
//! Lua hashes every byte that it gets, so a record of more than 4 KiB is not handed through a script:
//! `begin` answers that it is large, and a plain `GET` follows. Measured as the server's processor time
//! for a replay, pipelined by 16, median of seven runs in random order: a script that hands on
//! everything takes Redis 7.0.15 1.5 times as long as both commands at 4 KiB, 2.7 times at 8 KiB and
//! 3.5 times at 64 KiB, and Valkey 9.1.2 1.1, 1.3 and 3.1 times. Smaller records are spared the second
//! trip all the same.
//!
//! # Completing with one plain command
//! Where the server has `SET … IFEQ` (Valkey 9, Redis 8.4), `complete` first writes over the very
//! bytes that `begin` has written. Only where they are not there any more, since the claim was
//! renewed or lost for example, a script follows. A server without it says so once per connection.
//! Measured on Valkey 9.1.2 in the same way (by 4 at 1 MiB), the script takes 2.5 times as long for 200
//! bytes, 2.4 times for 64 KiB, and for 1 MiB between 2.5 and 9 times.

mod begin;
mod bounded;
mod call;
mod check;
mod complete;
mod connect;
mod connection;
mod durability;
mod error;
mod reads;
mod scripts;
mod watch;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

/// The client, so that its types can be named in the version that this crate uses.
pub use redis;
use redis::Cmd;

use self::call::Call;
use self::check::canary::Canary;
pub use self::check::canary::Emptied;
pub use self::check::concern::Concern;
pub use self::check::report::{AppendOnlyFile, ClusterView, Report, Role, Server, Software};
use self::connection::lane::{Lane, Lanes};
use self::connection::server_time::ServerTime;
use self::connection::source::Source;
pub use self::durability::Durability;
use self::scripts::Answer;
use self::watch::Watches;
use super::records::{classify, content, micros, millis};
use super::{Error, Operation, Seen, Store};
use crate::protocol::{
    Attempt, Claim, FenceToken, Grant, Outcome, Ran, Record, Reply, Slot, Timestamp, Verb,
};

/// How often a call looks again when what it found has changed before it could read it.
const LOOKS: usize = 3;

/// Records in Redis, shared by any number of servers. See the [module](self) for what to run.
///
/// It connects when it is first used and again whenever the connection is lost, so a server can
/// start and stay up while Redis is down. It holds two connections: a storm of new requests on the
/// one cannot keep running work from storing its outcome on the other. Once somebody waits for a
/// running request there is a third, on which Redis tells of changes; with a [`Durability`] there is one
/// more, on which claims wait. While Redis is down, calls make it try to connect less and less often, but
/// at least every half second.
///
/// ```
/// use tower_idempotency::store::RedisStore;
///
/// let store = RedisStore::connect("redis://localhost")?.prefix("payments");
/// # Ok::<(), tower_idempotency::store::redis::redis::RedisError>(())
/// ```
pub struct RedisStore {
    source: Source,
    connect_timeout: Duration,
    connections: usize,
    /// The prefix and its colon.
    prefix: Vec<u8>,
    /// For `begin` and `look`.
    claims: Lanes,
    /// For `begin` instead, where it waits for more than the master.
    durable: Lanes,
    durability: Durability,
    /// Whether the last claim was not as durable as was asked for.
    fell_short: AtomicBool,
    /// For `renew`, `complete`, `release` and `resolve`.
    finishes: Lanes,
    watches: Watches,
    time: Arc<ServerTime>,
    canary: Arc<Canary>,
    when_emptied: Emptied,
}

impl RedisStore {
    fn key(&self, slot: &Slot) -> Vec<u8> {
        [self.prefix.as_slice(), slot.as_bytes()].concat()
    }

    fn call<'a>(&'a self, lane: &'a Lane, operation: Operation, within: Duration) -> Call<'a> {
        Call::new(lane, &self.time, &self.canary, operation, within)
    }

    /// Runs a verb. Where its script wrote nothing, what it found is classified by the contract.
    async fn run(
        &self,
        call: &Call<'_>,
        script: &scripts::Verb,
        slot: &Slot,
        verb: Verb<'_>,
        arguments: impl Fn(&mut Cmd, Timestamp) + Sync,
    ) -> Result<Reply, Error> {
        let key = self.key(slot);
        for _ in 0..LOOKS {
            let (now, answer) = call.script(script, &key, &arguments).await?;
            let found = match answer {
                Answer::Late => return Ok(Reply::Late),
                Answer::Done(now) if matches!(verb, Verb::Begin(_)) => {
                    return Ok(Reply::Started(Grant { number: 1, fence: FenceToken::at(now) }));
                }
                Answer::Done(_) | Answer::Kept => return Ok(Reply::Applied),
                Answer::Claimed(reply) => return Ok(reply),
                Answer::Found(found) => found,
                Answer::Large => call.get(&key).await?,
            };
            let now = match now {
                Some(now) => now,
                None => call.about_now(&key).await?,
            };
            let found = found
                .map(|bytes| Record::decode(bytes, Timestamp::NEVER))
                .transpose()
                .map_err(|invalid| call.unreadable(invalid))?;
            if let Some(reply) = classify(found.as_ref(), verb.clone(), now) {
                return Ok(reply);
            }
        }
        Err(call.unsettled())
    }
}

impl Store for RedisStore {
    async fn begin(&self, attempt: &Attempt, within: Duration) -> Result<Reply, Error> {
        let (reads, slot) = (self.claims.of(&attempt.slot), &attempt.slot);
        let lane = if self.durability.is_local() { reads } else { self.durable.of(slot) };
        let call = self.call(lane, Operation::Begin, within).durable(self.durability, reads);
        call.bounded(self.claim_or_tell(&call, attempt)).await
    }

    async fn renew(&self, claim: &Claim, within: Duration) -> Result<Reply, Error> {
        let attempt = claim.attempt();
        let call = self.call(self.finishes.of(&attempt.slot), Operation::Renew, within);
        let record = Record::in_progress(claim, Timestamp::from_micros(0)).encode();
        let arguments = |command: &mut Cmd, deadline: Timestamp| {
            command.arg(deadline.as_micros()).arg(&record[..]);
            command.arg(micros(attempt.lease)).arg(millis(attempt.retention));
        };
        let verb = Verb::Renew(claim);
        call.bounded(self.run(&call, &scripts::RENEW, &attempt.slot, verb, arguments)).await
    }

    async fn complete(
        &self,
        claim: &Claim,
        outcome: &Outcome,
        within: Duration,
    ) -> Result<Reply, Error> {
        let lane = self.finishes.of(&claim.attempt().slot);
        let call = self.call(lane, Operation::Complete, within);
        call.bounded(self.keep(&call, claim, outcome)).await
    }

    async fn release(
        &self,
        attempt: &Attempt,
        ran: Ran,
        tombstone: Duration,
        within: Duration,
    ) -> Result<Reply, Error> {
        let call = self.call(self.finishes.of(&attempt.slot), Operation::Release, within);
        let arguments = |command: &mut Cmd, deadline: Timestamp| {
            command.arg(deadline.as_micros());
            command.arg(attempt.nonce.as_bytes()).arg(u8::from(ran == Ran::No));
            command.arg(millis(tombstone)).arg(millis(tombstone.max(attempt.retention)));
        };
        let verb = Verb::Release { attempt, ran, tombstone };
        call.bounded(self.run(&call, &scripts::RELEASE, &attempt.slot, verb, arguments)).await
    }

    async fn look(&self, slot: Slot, within: Duration) -> Result<Seen, Error> {
        let call = self.call(self.claims.of(&slot), Operation::Look, within);
        call.bounded(call.look(&self.key(&slot))).await
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
        let call = self.call(self.finishes.of(&slot), Operation::Resolve, within);
        let content = content(outcome);
        let arguments = |command: &mut Cmd, deadline: Timestamp| {
            command.arg(deadline.as_micros());
            command.arg(fence.number()).arg(&content[..]).arg(millis(retention));
        };
        let verb = Verb::Resolve { fence, outcome, retention };
        call.bounded(self.run(&call, &scripts::RESOLVE, &slot, verb, arguments)).await
    }
}

impl fmt::Debug for RedisStore {
    /// The address without user and password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisStore")
            .field("address", &self.source.to_string())
            .field("prefix", &self.prefix.escape_ascii().to_string())
            .finish_non_exhaustive()
    }
}
