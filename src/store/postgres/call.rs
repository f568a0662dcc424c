use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use deadpool_postgres::tokio_postgres::types::ToSql;

use super::connection::lane::Lane;
use super::error::Failure;
use super::row::{Answer, Hidden, signed};
use super::statements::Verb;
use crate::protocol::{InvalidRecord, Reply, Slot, Timestamp};
use crate::store::server_clock::{ServerClock, here};
use crate::store::{Effect, Error, ErrorKind, Operation};

/// How often a statement that lost a race is sent, or one whose connection was dead, in all.
pub(super) const TRIES: usize = 3;

/// One call of a verb, with all its repetitions: what it may take, and what is known of it.
pub(super) struct Call<'a> {
    lane: &'a Lane,
    clock: &'a ServerClock,
    operation: Operation,
    started: Duration,
    within: Duration,
    /// Whether a copy of the call was sent of which nothing is known.
    unanswered: AtomicBool,
    /// Whether one was lost with its connection and the call was sent again.
    repeated: AtomicBool,
}

impl<'a> Call<'a> {
    pub(super) fn new(
        lane: &'a Lane,
        clock: &'a ServerClock,
        operation: Operation,
        within: Duration,
    ) -> Self {
        let (unanswered, repeated) = (AtomicBool::default(), AtomicBool::default());
        Self { lane, clock, operation, started: here(), within, unanswered, repeated }
    }

    /// Lets the call take its time and no more.
    pub(super) async fn bounded<T>(
        &self,
        work: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, Error> {
        match tokio::time::timeout(self.within, work).await {
            Ok(ended) => ended,
            Err(_) => Err(Error::new(ErrorKind::TimedOut, self.operation, self.effect())),
        }
    }

    /// Sends a statement. `more` are its arguments after the deadline and the slot. The answer is
    /// `None` if the deadline had passed and nothing was done.
    pub(super) async fn ask(
        &self,
        verb: Verb,
        slot: &Slot,
        more: &[&(dyn ToSql + Sync)],
    ) -> Result<Option<Answer>, Error> {
        let mut late_before = false;
        loop {
            let Sent { at, deadline, answer } = self.exchange(verb, slot, more).await?;
            if !verb.is_late(&answer, deadline) {
                self.clock.learn(answer.now, at);
                return Ok(Some(answer));
            }
            // Its clock was set forward, or this is another server: its time is known now.
            self.clock.relearn(answer.now, at);
            if late_before && self.unanswered.load(Ordering::Relaxed) {
                // This copy did nothing, but an earlier one may have been in time.
                return Err(Error::new(ErrorKind::TimedOut, self.operation, Effect::Unknown));
            }
            if late_before {
                return Ok(None);
            }
            late_before = true;
        }
    }

    /// Sends, and again if the connection turned out to be dead or the statement lost a race: every
    /// verb is safe to repeat.
    async fn exchange(
        &self,
        verb: Verb,
        slot: &Slot,
        more: &[&(dyn ToSql + Sync)],
    ) -> Result<Sent, Error> {
        for tries_left in (0..TRIES).rev() {
            let connection = self.lane.connection().await;
            let connection = connection.map_err(|failure| self.not_connected(&failure))?;
            let earlier = self.unanswered.swap(true, Ordering::Relaxed);
            let (at, deadline) = (here(), self.deadline());
            let (until, slot) = (signed(deadline.as_micros()), Hidden(slot.as_bytes()));
            let mut arguments: Vec<&(dyn ToSql + Sync)> = vec![&until, &slot];
            arguments.extend(more);
            let failure = match connection.query(verb, &arguments).await {
                Ok(row) => {
                    self.unanswered.store(earlier, Ordering::Relaxed);
                    connection.give_back();
                    let answer = Answer::of(&row).map_err(|error| self.failed(&error.into()))?;
                    return Ok(Sent { at, deadline, answer });
                }
                Err(failure) => failure,
            };
            if failure.is_answer() {
                self.unanswered.store(earlier, Ordering::Relaxed);
            }
            if self.lane.mend(connection, &failure) && tries_left > 0 {
                let lost = self.unanswered.load(Ordering::Relaxed);
                self.repeated.fetch_or(lost, Ordering::Relaxed);
                continue;
            }
            return Err(self.failed(&failure));
        }
        Err(self.unsettled())
    }

    /// When the server must have begun with a copy that is sent now: when the caller's time is over.
    fn deadline(&self) -> Timestamp {
        let spent = here().saturating_sub(self.started);
        self.clock.at(here()).after(self.within.saturating_sub(spent))
    }

    /// What is known of the copies that were sent so far.
    fn effect(&self) -> Effect {
        match self.unanswered.load(Ordering::Relaxed) {
            true => Effect::Unknown,
            false => Effect::None,
        }
    }

    fn not_connected(&self, failure: &Failure) -> Error {
        Error::new(failure.kind(), self.operation, self.effect()).with_source(failure.cause())
    }

    fn failed(&self, failure: &Failure) -> Error {
        let effect = match self.effect() {
            Effect::None => failure.effect(),
            unknown @ Effect::Unknown => unknown,
        };
        Error::new(failure.kind(), self.operation, effect).with_source(failure.cause())
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

    /// What is in the slot cannot be read.
    pub(super) fn unreadable(&self, invalid: InvalidRecord) -> Error {
        Error::unreadable(invalid, self.operation)
    }

    /// Whatever was asked is not decided by a replica.
    pub(super) fn on_a_replica(&self) -> Error {
        self.lane.close_idle();
        Error::new(ErrorKind::ReadOnly, self.operation, Effect::None)
    }

    /// The slot changed whenever it was looked at; nothing was written.
    pub(super) fn unsettled(&self) -> Error {
        Error::new(ErrorKind::NotReady, self.operation, self.effect())
    }
}

/// A copy of a call that was answered.
struct Sent {
    at: Duration,
    deadline: Timestamp,
    answer: Answer,
}
