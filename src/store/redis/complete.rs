use redis::{Cmd, ErrorKind as Kind, RedisError, ServerErrorKind, Value};

use super::call::Call;
use super::{RedisStore, scripts};
use crate::protocol::{Claim, Outcome, Record, Reply, Timestamp, Verb};
use crate::store::Error;
use crate::store::records::millis;

impl RedisStore {
    /// Stores an outcome: with one plain command where the claim is as `begin` wrote it, else with
    /// the script.
    pub(super) async fn keep(
        &self,
        call: &Call<'_>,
        claim: &Claim,
        outcome: &Outcome,
    ) -> Result<Reply, Error> {
        let attempt = claim.attempt();
        // The moment in the record is only for the age of a replay, so the estimate is good enough
        // and the record can be stored as it is.
        let record = || Record::completed(claim, outcome.clone(), self.time.now()).encode();
        let retention = millis(attempt.retention);
        let replacement = |command: &mut Cmd| {
            // What begin.lua has written, if the clock was not behind the fence and nobody has
            // renewed.
            let pending = Record::in_progress(claim, claim.grant().fence.moment()).encode();
            command.arg(&record()[..]).arg("IFEQ").arg(&pending[..]).arg("PX").arg(retention);
        };
        if !call.lane.lacks_ifeq() && call.swap(&self.key(&attempt.slot), &replacement).await? {
            return Ok(Reply::Applied);
        }
        let arguments = |command: &mut Cmd, deadline: Timestamp| {
            command.arg(deadline.as_micros()).arg(&record()[..]).arg(retention);
        };
        let verb = Verb::Complete(claim, outcome);
        self.run(call, &scripts::COMPLETE, &attempt.slot, verb, arguments).await
    }
}

impl Call<'_> {
    /// Writes over a value with one plain command, if the key holds exactly the value that is
    /// expected. `false` says that nothing was done: it holds another one, or the server cannot
    /// compare, or it is full. A script can tell, and may write into a full server.
    ///
    /// `command` adds to `SET key` what is to be written, `IFEQ` and the rest.
    ///
    /// A plain command has no deadline, so a copy of it can land after the call was given up on. It
    /// needs none: what it compares with is a claim whole, with its nonce and its lease, as `begin`
    /// wrote it. While that is still there, nobody has taken over, released, renewed or completed
    /// the claim since, and the outcome of its run may be stored however late. Otherwise it does
    /// nothing.
    async fn swap(&self, key: &[u8], command: &(impl Fn(&mut Cmd) + Sync)) -> Result<bool, Error> {
        let swapped = self.exchange(self.lane, |mut live| {
            let mut set = Cmd::with_capacity(7, scripts::ROOM);
            set.arg("SET").arg(key);
            command(&mut set);
            async move {
                let reply = live.link.command(&set).await;
                if reply.as_ref().is_err_and(is_unknown) {
                    live.note_lack_of_ifeq();
                }
                reply
            }
        });
        match swapped.await {
            Ok(reply) => Ok(reply == Value::Okay),
            Err((_, error)) if is_unknown(&error) || error.code() == Some("OOM") => Ok(false),
            Err(failure) => Err(self.failed(failure)),
        }
    }
}

/// Whether the server did not understand the command. Should the error mean anything else, the
/// script meets it as well.
fn is_unknown(error: &RedisError) -> bool {
    error.kind() == Kind::Server(ServerErrorKind::ResponseError)
}
