use std::io;
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use redis::{Cmd, Pipeline, RedisError, RedisResult, Value};

use super::error::{Cure, Stage, cure, failed, is_answer};
use super::lane::Lane;
use super::link::Link;
use super::live::Live;
use super::scripts::{Answer, Verb, bytes, moment};
use super::server_time::ServerTime;
use crate::protocol::{InvalidRecord, Record, Timestamp};
use crate::store::{Effect, Error, ErrorKind, Operation, Seen};

/// After so long without a word from any node, a connection to a Cluster is of no use any more.
const DEAF: Duration = Duration::from_millis(250);

/// One call of a verb, with all its repetitions: what it may take, and what is known of it.
pub(super) struct Call<'a> {
    lane: &'a Lane,
    time: &'a ServerTime,
    operation: Operation,
    started: Duration,
    within: Duration,
    /// Whether a copy of the call was sent of which nothing is known.
    unanswered: AtomicBool,
    /// When the last copy was sent, in microseconds of this machine's clock.
    sent: AtomicU64,
}

type Failure = (Stage, RedisError);

impl<'a> Call<'a> {
    pub(super) fn new(
        lane: &'a Lane,
        time: &'a ServerTime,
        operation: Operation,
        within: Duration,
    ) -> Self {
        let (unanswered, sent) = (AtomicBool::new(false), AtomicU64::new(0));
        Self { lane, time, operation, started: ServerTime::here(), within, unanswered, sent }
    }

    /// Lets the call take its time and no more.
    pub(super) async fn bounded<T>(
        &self,
        work: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, Error> {
        if let Ok(ended) = tokio::time::timeout(self.within, work).await {
            return ended;
        }
        let unanswered = self.unanswered.load(Ordering::Relaxed);
        if unanswered {
            self.lane.replace_silent(self.sent());
        }
        let effect = if unanswered { Effect::Unknown } else { Effect::None };
        Err(Error::new(ErrorKind::TimedOut, self.operation, effect))
    }

    /// Runs a script. `arguments` are added to the command once there is a connection, since they
    /// may contain the time.
    pub(super) async fn script(
        &self,
        verb: &Verb,
        key: &[u8],
        arguments: &(impl Fn(&mut Cmd) + Sync),
    ) -> Result<(Timestamp, Answer), Error> {
        let mut repeated = false;
        loop {
            let reply = match self.run(verb, false, key, arguments).await {
                Err((_, error)) if cure(&error) == Cure::Load => {
                    self.run(verb, true, key, arguments).await
                }
                reply => reply,
            };
            let reply = reply.map_err(|failure| self.failed(failure))?;
            let (now, answer) = Answer::parse(reply).ok_or_else(|| self.unexpected())?;
            if answer != Answer::Late {
                self.time.learn(now, self.sent(), Some(key));
                return Ok((now, answer));
            }
            // Redis's clock was set forward, or this is another server: its time is known now.
            self.time.relearn(now, self.sent(), Some(key));
            if repeated && self.unanswered.load(Ordering::Relaxed) {
                // This copy did nothing, but an earlier one may have been in time.
                return Err(Error::new(ErrorKind::TimedOut, self.operation, Effect::Unknown));
            }
            if repeated {
                return Ok((now, answer));
            }
            repeated = true;
        }
    }

    async fn run(
        &self,
        verb: &Verb,
        with_text: bool,
        key: &[u8],
        arguments: &(impl Fn(&mut Cmd) + Sync),
    ) -> Result<Value, Failure> {
        self.exchange(|mut connection| {
            let mut command = verb.command(with_text, key, self.deadline(key));
            arguments(&mut command);
            async move { connection.command(&command).await }
        })
        .await
    }

    /// Runs plain commands in one round trip.
    pub(super) async fn commands(&self, commands: &Pipeline) -> Result<Vec<Value>, Error> {
        self.exchange(|mut connection| async move { connection.commands(commands).await })
            .await
            .map_err(|failure| self.failed(failure))
    }

    /// Reads a slot in one round trip.
    async fn read(&self, key: &[u8], commands: &Pipeline) -> Result<Vec<Value>, Error> {
        self.exchange(|mut connection| async move { connection.read(key, commands).await })
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

    /// What a slot holds and until when. The three commands need not be atomic: the value is read
    /// first, and a record that ends right then has ended.
    pub(super) async fn look(&self, key: &[u8]) -> Result<Seen, Error> {
        let mut commands = Pipeline::with_capacity(3);
        commands.cmd("GET").arg(key).cmd("PTTL").arg(key).cmd("TIME");
        let replies = self.read(key, &commands).await?;
        self.seen(key, replies.into_iter())
    }

    /// The same, and has Redis tell this connection when the slot changes after that. Asking for it
    /// twice is harmless, and the connections to the nodes of a Cluster come and go unseen.
    pub(super) async fn look_and_track(&self, key: &[u8]) -> Result<Seen, Error> {
        let mut commands = Pipeline::with_capacity(4);
        commands.cmd("CLIENT").arg("TRACKING").arg("ON");
        commands.cmd("GET").arg(key).cmd("PTTL").arg(key).cmd("TIME");
        let replies = self.read(key, &commands).await?;
        self.seen(key, replies.into_iter().skip(1))
    }

    fn seen(&self, key: &[u8], mut replies: impl Iterator<Item = Value>) -> Result<Seen, Error> {
        let value = replies.next().and_then(bytes).ok_or_else(|| self.unexpected())?;
        let (Some(Value::Int(left)), Some(now)) = (replies.next(), replies.next().and_then(moment))
        else {
            return Err(self.unexpected());
        };
        self.time.learn(now, self.sent(), Some(key));
        let expires = match left {
            -2 => now,
            left => u64::try_from(left)
                .map_or(Timestamp::NEVER, |left| now.after(Duration::from_millis(left))),
        };
        let record = value
            .filter(|_| now < expires)
            .map(|value| Record::decode(value, expires))
            .transpose()
            .map_err(|invalid| self.unreadable(invalid))?;
        Ok(Seen { record, now })
    }

    /// Sends, and once more if the connection turned out to be dead: every verb is safe to repeat,
    /// and a connection that broke while nobody used it is not worth an error.
    async fn exchange<T, F>(&self, send: impl Fn(Link) -> F) -> Result<T, Failure>
    where
        F: Future<Output = RedisResult<T>>,
    {
        let mut repeated = false;
        loop {
            let live = self.lane.connection().await.map_err(|error| (Stage::Connecting, error))?;
            let earlier = self.unanswered.swap(true, Ordering::Relaxed);
            let now = ServerTime::here_in_micros();
            self.sent.store(now, Ordering::Relaxed);
            live.ask(now);
            let stage = if live.link.is_cluster() { Stage::Routed } else { Stage::Sent };
            let earlier = earlier || stage == Stage::Routed;
            let error = match self.answered(&live, pin!(send(live.link.clone()))).await {
                Ok(reply) => {
                    live.hear();
                    self.unanswered.store(earlier, Ordering::Relaxed);
                    return Ok(reply);
                }
                Err(error) => error,
            };
            if is_answer(&error) {
                live.hear();
                self.unanswered.store(earlier, Ordering::Relaxed);
            }
            match cure(&error) {
                Cure::Reconnect => self.lane.replace(&live),
                Cure::FindMaster => self.lane.replace_settled(&live),
                Cure::Load | Cure::Nothing => {}
            }
            // On a Cluster the client library has repeated it already, unless it stands still.
            let spent = repeated || stage == Stage::Routed && live.silence() < DEAF;
            if cure(&error) != Cure::Reconnect || spent {
                return Err((stage, error));
            }
            repeated = true;
        }
    }

    /// Waits for an answer, on a Cluster only as long as anything at all comes from its nodes.
    ///
    /// While the client library asks which node has which slots, it runs none of the calls that it
    /// has begun with, and if one of them holds its lock it waits for ever. That was seen with 50
    /// calls at once while a slot moved.
    async fn answered<T>(
        &self,
        live: &Live,
        mut answer: Pin<&mut impl Future<Output = RedisResult<T>>>,
    ) -> RedisResult<T> {
        if !live.link.is_cluster() {
            return answer.await;
        }
        loop {
            match tokio::time::timeout(DEAF, answer.as_mut()).await {
                Ok(answered) => return answered,
                Err(_) if live.silence() < DEAF => {}
                Err(_) => return Err(io::Error::from(io::ErrorKind::TimedOut).into()),
            }
        }
    }

    /// When Redis must have begun with a copy that is sent now: when the caller's time is over.
    fn deadline(&self, key: &[u8]) -> Timestamp {
        let spent = ServerTime::here().saturating_sub(self.started);
        self.time.now_at(key).after(self.within.saturating_sub(spent))
    }

    fn sent(&self) -> Duration {
        Duration::from_micros(self.sent.load(Ordering::Relaxed))
    }

    fn failed(&self, (stage, error): Failure) -> Error {
        failed(error, self.operation, stage, self.unanswered.load(Ordering::Relaxed))
    }

    pub(super) fn unreadable(&self, invalid: InvalidRecord) -> Error {
        Error::unreadable(invalid, self.operation)
    }

    /// The slot changed whenever it was looked at; nothing was written.
    pub(super) fn unsettled(&self) -> Error {
        Error::new(ErrorKind::NotReady, self.operation, Effect::None)
    }

    /// A reply of a form that Redis never gives here.
    pub(super) fn unexpected(&self) -> Error {
        Error::new(ErrorKind::Refused, self.operation, Effect::Unknown)
            .with_source("an unexpected reply from Redis")
    }
}
