use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use redis::{Cmd, RedisError, RedisResult, Value};

use super::check::canary::Canary;
use super::connection::group::Proof;
use super::connection::lane::Lane;
use super::connection::live::Live;
use super::connection::server_time::ServerTime;
use super::durability::Durability;
use super::error::{Cure, Stage, cure, failed, is_answer, is_redirect};
use super::scripts::{Answer, Verb};
use crate::protocol::{InvalidRecord, Reply, Timestamp};
use crate::store::{Effect, Error, ErrorKind, Operation};

/// After so long without a word from any node, a connection to a Cluster is of no use any more.
const DEAF: Duration = Duration::from_millis(250);

/// How often a call follows a slot that moves after the client library has given up, and how much
/// longer it waits each time. Between the library's `ASKING` and its command others can slip in.
const REDIRECTS: u32 = 5;
const SETTLING: Duration = Duration::from_millis(10);

/// One call of a verb, with all its repetitions: what it may take, and what is known of it.
pub(super) struct Call<'a> {
    pub(super) lane: &'a Lane,
    /// For plain commands.
    pub(super) reads: &'a Lane,
    pub(super) time: &'a ServerTime,
    canary: &'a Arc<Canary>,
    operation: Operation,
    /// What its script must have reached before its claim counts.
    durability: Durability,
    started: Duration,
    pub(super) within: Duration,
    /// Whether a copy of the call was sent of which nothing is known.
    unanswered: AtomicBool,
    /// Whether one was lost with its connection and the call was sent again.
    repeated: AtomicBool,
    /// When the last copy was sent, in microseconds of this machine's clock.
    sent: AtomicU64,
}

pub(super) type Failure = (Stage, RedisError);

impl<'a> Call<'a> {
    pub(super) fn new(
        lane: &'a Lane,
        time: &'a ServerTime,
        canary: &'a Arc<Canary>,
        operation: Operation,
        within: Duration,
    ) -> Self {
        let (started, durability) = (ServerTime::here(), Durability::local());
        Self {
            lane,
            reads: lane,
            time,
            canary,
            operation,
            durability,
            started,
            within,
            unanswered: AtomicBool::default(),
            repeated: AtomicBool::default(),
            sent: AtomicU64::default(),
        }
    }

    /// The same call, whose claim is to be durable. Waiting for that blocks its connection, so
    /// whatever it reads it reads on another.
    pub(super) fn durable(self, durability: Durability, reads: &'a Lane) -> Self {
        Self { reads, durability, ..self }
    }

    /// The end of a call that has taken its time.
    pub(super) fn overdue<T>(&self) -> Result<T, Error> {
        let unanswered = self.unanswered.load(Ordering::Relaxed);
        if unanswered {
            self.lane.replace_silent(self.sent());
            self.reads.replace_silent(self.sent());
        }
        let effect = if unanswered { Effect::Unknown } else { Effect::None };
        Err(Error::new(ErrorKind::TimedOut, self.operation, effect))
    }

    /// Runs a script. `arguments` are added once there is a connection: they contain the deadline.
    pub(super) async fn script(
        &self,
        verb: &Verb,
        key: &[u8],
        arguments: &(impl Fn(&mut Cmd, Timestamp) + Sync),
    ) -> Result<(Option<Timestamp>, Answer), Error> {
        let mut repeated = false;
        loop {
            let reply = match self.run(verb, false, key, arguments).await {
                Err((_, error)) if cure(&error) == Cure::Load => {
                    self.run(verb, true, key, arguments).await
                }
                reply => reply,
            };
            let (reply, proof) = reply.map_err(|failure| self.failed(failure))?;
            let (now, answer) = Answer::parse(reply).ok_or_else(|| self.unexpected())?;
            let Some(now) = now else { return Ok((None, answer)) };
            if answer != Answer::Late {
                self.time.learn(now, self.sent(), Some(key));
                if let (Answer::Done(_) | Answer::Claimed(_), Some(proof)) = (&answer, proof) {
                    Box::pin(self.prove(proof)).await?;
                }
                return Ok((Some(now), answer));
            }
            // Redis's clock was set forward, or this is another server: its time is known now.
            self.time.relearn(now, self.sent(), Some(key));
            if repeated && self.unanswered.load(Ordering::Relaxed) {
                // This copy did nothing, but an earlier one may have been in time.
                return Err(Error::new(ErrorKind::TimedOut, self.operation, Effect::Unknown));
            }
            if repeated {
                return Ok((Some(now), answer));
            }
            repeated = true;
        }
    }

    async fn run(
        &self,
        verb: &Verb,
        with_text: bool,
        key: &[u8],
        arguments: &(impl Fn(&mut Cmd, Timestamp) + Sync),
    ) -> Result<(Value, Option<(Live, Proof)>), Failure> {
        let until = self.started.saturating_add(self.within);
        self.exchange(self.lane, |mut live| {
            let mut command = verb.command(with_text, key);
            arguments(&mut command, self.deadline(key));
            async move {
                if self.durability.is_local() {
                    return Ok((live.link.command(&command).await?, None));
                }
                // Boxed, so that the calls which need none of this are no larger for it.
                let durably = live.durably(self.durability, key, command, until);
                let durably = Box::pin(durably).await;
                durably.map(|(reply, proof)| (reply, Some((live, proof))))
            }
        })
        .await
    }

    /// Waits until a claim is as durable as it was asked to be. One that is not counts as not
    /// claimed (rule C8): the server may be cut off from its replicas, so it is left.
    async fn prove(&self, (live, proof): (Live, Proof)) -> Result<(), Error> {
        // The claim is there, whatever becomes of this call.
        let earlier = self.unanswered.swap(true, Ordering::Relaxed);
        match proof.verdict().await {
            Ok(true) => {
                self.unanswered.store(earlier, Ordering::Relaxed);
                Ok(())
            }
            Ok(false) => {
                self.lane.replace_settled(&live);
                let error = Error::new(ErrorKind::NotDurable, self.operation, Effect::Unknown);
                Err(error.with_source("too few servers have acknowledged the claim in time"))
            }
            Err(error) => {
                Self::give_up(self.lane, &live, &error);
                Err(self.failed((Stage::Sent, error)))
            }
        }
    }

    /// Sends, and once more if the connection turned out to be dead: every verb is safe to repeat,
    /// and a connection that broke while nobody used it is not worth an error.
    pub(super) async fn exchange<T, F>(
        &self,
        lane: &Lane,
        send: impl Fn(Live) -> F,
    ) -> Result<T, Failure>
    where
        F: Future<Output = RedisResult<T>>,
    {
        let (mut repeated, mut redirects) = (false, 0);
        loop {
            let live = match lane.ready() {
                Some(live) => live,
                None => {
                    Box::pin(lane.connection()).await.map_err(|error| (Stage::Connecting, error))?
                }
            };
            let earlier = self.unanswered.swap(true, Ordering::Relaxed);
            let now = ServerTime::here_in_micros();
            self.sent.store(now, Ordering::Relaxed);
            live.ask(now);
            let stage = if live.link.is_cluster() { Stage::Routed } else { Stage::Sent };
            let earlier = earlier || stage == Stage::Routed;
            let error = match self.answered(&live, pin!(send(live.clone()))).await {
                Ok(reply) => {
                    live.hear();
                    self.unanswered.store(earlier, Ordering::Relaxed);
                    self.canary.visit(&live, now);
                    return Ok(reply);
                }
                Err(error) => error,
            };
            if is_answer(&error) {
                live.hear();
                self.unanswered.store(earlier, Ordering::Relaxed);
            }
            Self::give_up(lane, &live, &error);
            if stage == Stage::Routed && is_redirect(&error) && redirects < REDIRECTS {
                redirects += 1;
                tokio::time::sleep(SETTLING * redirects).await;
                continue;
            }
            // On a Cluster the client library has repeated it already, unless it stands still.
            let spent = repeated || stage == Stage::Routed && live.silence() < DEAF;
            if cure(&error) != Cure::Reconnect || spent {
                return Err((stage, error));
            }
            repeated = true;
            self.repeated.fetch_or(self.unanswered.load(Ordering::Relaxed), Ordering::Relaxed);
        }
    }

    /// Leaves a connection on which this error came, if it is of no use any more.
    fn give_up(lane: &Lane, live: &Live, error: &RedisError) {
        match cure(error) {
            Cure::Reconnect => lane.replace(live),
            Cure::FindMaster => lane.replace_settled(live),
            Cure::Load | Cure::Nothing => {}
        }
    }

    /// Waits for an answer, on a Cluster only as long as anything at all comes from its nodes,
    /// except where replicas are waited for, which takes its time.
    ///
    /// While the client library asks which node has which slots, it runs none of the calls that it
    /// has begun with, and if one of them holds its lock it waits for ever. That was seen with 50
    /// calls at once while a slot moved.
    async fn answered<T>(
        &self,
        live: &Live,
        mut answer: Pin<&mut impl Future<Output = RedisResult<T>>>,
    ) -> RedisResult<T> {
        if !live.link.is_cluster() || !self.durability.is_local() {
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

    /// When Redis must have begun with the copy that was sent last: when the caller's time is over.
    fn deadline(&self, key: &[u8]) -> Timestamp {
        let sent = self.sent();
        let spent = sent.saturating_sub(self.started);
        self.time.at_key(key, sent).after(self.within.saturating_sub(spent))
    }

    pub(super) fn sent(&self) -> Duration {
        Duration::from_micros(self.sent.load(Ordering::Relaxed))
    }

    pub(super) fn failed(&self, (stage, error): Failure) -> Error {
        failed(error, self.operation, stage, self.unanswered.load(Ordering::Relaxed))
    }

    /// The answer that a claim is refused. A copy that was lost may still claim the slot when that is
    /// free again: then nothing is known, and the caller has to see to it (rule C5).
    pub(super) fn refused(&self, reply: Reply) -> Result<Reply, Error> {
        if !self.repeated.load(Ordering::Relaxed) {
            return Ok(reply);
        }
        let error = Error::new(ErrorKind::Unreachable, self.operation, Effect::Unknown);
        Err(error.with_source("the connection broke before the claim was answered"))
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
