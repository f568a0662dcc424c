use std::time::Duration;

use bytes::Bytes;
use redis::{Cmd, Pipeline, Value};

use super::call::Call;
use super::connection::link::Told;
use super::scripts::{bytes, moment};
use crate::protocol::{Record, Timestamp};
use crate::store::{Error, Seen};

/// What a slot holds and until when, or nothing if that is too much to be handed through a script. Sent
/// as it is: who waits is the exception.
const LOOK: &str = "\
if redis.call('GETRANGE', KEYS[1], 4096, 4096) ~= '' then return {} end
return {redis.call('GET', KEYS[1]), redis.call('PTTL', KEYS[1]), redis.call('TIME')}";

/// What is asked without changing anything.
impl Call<'_> {
    /// Asks the server, or every master of a Cluster.
    pub(super) async fn ask(&self, words: &[&str]) -> Result<Vec<Told>, Error> {
        let mut command = Cmd::new();
        command.arg(words);
        self.exchange(self.reads, |mut live| {
            let command = &command;
            let address = live.address().map(ToString::to_string).unwrap_or_default();
            async move { live.link.ask(&address, command).await }
        })
        .await
        .map_err(|failure| self.failed(failure))
    }

    /// Reads a slot in one round trip.
    async fn read(&self, key: &[u8], commands: &Pipeline) -> Result<Vec<Value>, Error> {
        self.exchange(self.reads, |mut live| async move { live.link.read(key, commands).await })
            .await
            .map_err(|failure| self.failed(failure))
    }

    /// The whole value of a slot.
    pub(super) async fn get(&self, key: &[u8]) -> Result<Option<Bytes>, Error> {
        let mut commands = Pipeline::with_capacity(1);
        commands.cmd("GET").arg(key);
        let value = self.read(key, &commands).await?.pop();
        value.and_then(bytes).ok_or_else(|| self.unexpected())
    }

    /// The moment where a script has not asked for it, for the age of an outcome: the estimate, once the
    /// clock is known at all.
    pub(super) async fn about_now(&self, key: &[u8]) -> Result<Timestamp, Error> {
        let now = self.time.now();
        if now > Timestamp::from_micros(0) {
            return Ok(now);
        }
        Ok(Box::pin(self.look(key)).await?.now)
    }

    /// What a slot holds and until when. The three commands need not be atomic: the value is read
    /// first, and a record that ends right then has ended.
    pub(super) async fn look(&self, key: &[u8]) -> Result<Seen, Error> {
        let mut commands = Pipeline::with_capacity(3);
        commands.cmd("GET").arg(key).cmd("PTTL").arg(key).cmd("TIME");
        let replies = self.read(key, &commands).await?;
        self.seen(key, replies.into_iter())
    }

    /// The same, and has Redis tell this connection when the slot changes after that: what a script
    /// reads is tracked for who sent it. One command, since a crowd that waits is to cost few.
    pub(super) async fn look_and_track(&self, key: &[u8]) -> Result<Seen, Error> {
        let replies = self.exchange(self.reads, |mut live| async move {
            let mut commands = Pipeline::with_capacity(2);
            if !live.tracks() {
                commands.cmd("CLIENT").arg("TRACKING").arg("ON");
            }
            commands.cmd("EVAL").arg(LOOK).arg(1).arg(key);
            let replies = live.link.read(key, &commands).await?;
            live.note_tracking();
            Ok(replies)
        });
        match replies.await.map_err(|failure| self.failed(failure))?.pop() {
            Some(Value::Array(replies)) if replies.is_empty() => self.look(key).await,
            Some(Value::Array(replies)) => self.seen(key, replies.into_iter()),
            _ => Err(self.unexpected()),
        }
    }

    fn seen(&self, key: &[u8], mut replies: impl Iterator<Item = Value>) -> Result<Seen, Error> {
        let value = replies.next().and_then(bytes).ok_or_else(|| self.unexpected())?;
        let (Some(Value::Int(left)), Some(now)) = (replies.next(), replies.next().and_then(moment))
        else {
            return Err(self.unexpected());
        };
        self.time.learn(now, self.sent(), Some(key));
        // With 0 left it is there until the millisecond is over; begin would still find it.
        let expires = match left {
            -2 => now,
            left => u64::try_from(left)
                .map_or(Timestamp::NEVER, |left| now.after(Duration::from_millis(left + 1))),
        };
        let record = value
            .filter(|_| now < expires)
            .map(|value| Record::decode(value, expires))
            .transpose()
            .map_err(|invalid| self.unreadable(invalid))?;
        Ok(Seen { record, now })
    }
}
