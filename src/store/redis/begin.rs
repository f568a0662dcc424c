use std::sync::atomic::Ordering;

use bytes::Bytes;
use redis::Cmd;

use super::call::Call;
use super::{Emptied, RedisStore, scripts};
use crate::protocol::{
    Attempt, FenceToken, Found, Phase, Record, Reply, TakeOver, Timestamp, Verb,
};
use crate::store::records::{classify, micros, millis};
use crate::store::{Effect, Error, ErrorKind, Operation, Seen};

impl RedisStore {
    /// Claims a slot, or tells what is in it.
    pub(super) async fn claim_or_tell(
        &self,
        call: &Call<'_>,
        attempt: &Attempt,
    ) -> Result<Reply, Error> {
        if self.when_emptied == Emptied::Refuse && self.canary.is_emptied() {
            let error = Error::new(ErrorKind::Refused, Operation::Begin, Effect::None);
            return Err(
                error.with_source("Redis was emptied: find out why, then acknowledge_emptied")
            );
        }
        // While claims wait in vain for replicas, what is in a slot can still be told at once.
        if self.fell_short.load(Ordering::Relaxed)
            && let Some(reply @ (Reply::Found(_) | Reply::Cancelled)) =
                self.tell(call, attempt).await?
        {
            return Ok(reply);
        }
        let reply = self.claim(call, attempt).await;
        match &reply {
            Ok(Reply::Started(_) | Reply::Reclaimed(_) | Reply::Mine(_)) => {
                self.fell_short.store(false, Ordering::Relaxed);
            }
            Err(error) if error.kind() == ErrorKind::NotDurable => {
                self.fell_short.store(true, Ordering::Relaxed);
            }
            Err(error) if error.kind() == ErrorKind::Full => {
                return match self.tell(call, attempt).await? {
                    // Whether it is durable cannot be told without writing.
                    Some(Reply::Mine(_)) if !self.durability.is_local() => {
                        Err(Error::new(ErrorKind::Full, Operation::Begin, Effect::Unknown))
                    }
                    found => found.map_or(reply, Ok),
                };
            }
            _ => {}
        }
        reply
    }

    async fn claim(&self, call: &Call<'_>, attempt: &Attempt) -> Result<Reply, Error> {
        let retention = millis(attempt.retention);
        let arguments = |command: &mut Cmd, deadline: Timestamp| {
            command.arg(&asking(attempt, deadline)[..]).arg(retention);
            match attempt.take_over {
                TakeOver::Never => {}
                TakeOver::Below(attempts) => _ = command.arg(attempts),
                TakeOver::Only(fence) => _ = command.arg(0).arg(fence.number()),
            }
        };
        let verb = Verb::Begin(attempt);
        match self.run(call, &scripts::BEGIN, &attempt.slot, verb, arguments).await? {
            // An outcome stays: no earlier copy claims this slot.
            reply @ Reply::Found(Found::Completed { .. }) => Ok(reply),
            refused @ Reply::Found(_) => call.refused(refused),
            reply => Ok(reply),
        }
    }

    /// What an attempt is answered that cannot be let in, as far as it would not be let in anyway.
    async fn tell(&self, call: &Call<'_>, attempt: &Attempt) -> Result<Option<Reply>, Error> {
        let Seen { record: Some(mut record), now } = call.look(&self.key(&attempt.slot)).await?
        else {
            return Ok(None);
        };
        record.expires = Timestamp::NEVER;
        Ok(classify(Some(&record), Verb::Begin(attempt), now))
    }
}

/// The record of a claim before Redis has put its numbers in. In their places is what it makes them of:
/// the deadline of the call and the length of the lease.
fn asking(attempt: &Attempt, deadline: Timestamp) -> Bytes {
    let phase = Phase::InProgress { lease_until: Timestamp::from_micros(micros(attempt.lease)) };
    Record {
        fingerprint: attempt.fingerprint.clone(),
        nonce: attempt.nonce,
        fence: FenceToken::at(deadline),
        attempt: 0,
        phase,
        expires: Timestamp::NEVER,
    }
    .encode()
}
