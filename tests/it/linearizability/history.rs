//! What was called, when, and what came back.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use tower_idempotency::clock::{Clock as _, SystemClock};
use tower_idempotency::protocol::{
    Attempt, Claim, FenceToken, Grant, Outcome, Ran, Reply, Slot, Verb,
};
use tower_idempotency::store::{Effect, Seen, Store};

/// How long a call may take, and so when a copy of it has no effect any more.
pub const WITHIN: Duration = Duration::from_millis(250);

/// One call of one verb.
#[derive(Clone, Debug)]
pub struct Call {
    pub client: usize,
    pub asked: Asked,
    pub got: Got,
    /// When, in microseconds of this machine's clock.
    pub called: u64,
    pub returned: u64,
}

#[derive(Clone, Debug)]
pub enum Asked {
    Begin(Attempt),
    Renew(Attempt, Grant),
    Complete(Attempt, Grant, Outcome),
    Release(Attempt, Ran, Duration),
    Resolve(Slot, FenceToken, Outcome, Duration),
    Look(Slot),
    /// Until that is no longer the claim with this fence.
    Watch(Slot, FenceToken),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Got {
    Reply(Reply),
    Seen(Seen),
    /// It may take effect until its deadline, or never.
    Unknown,
    /// It had no effect, says the store.
    Nothing,
}

impl Asked {
    pub const fn slot(&self) -> Slot {
        match self {
            Self::Begin(attempt)
            | Self::Renew(attempt, _)
            | Self::Complete(attempt, ..)
            | Self::Release(attempt, ..) => attempt.slot,
            Self::Resolve(slot, ..) | Self::Look(slot) | Self::Watch(slot, _) => *slot,
        }
    }

    pub const fn reads(&self) -> bool {
        matches!(self, Self::Look(_) | Self::Watch(..))
    }

    /// What is done with the verb of the contract, if it is one.
    pub fn as_verb<T>(&self, then: impl FnOnce(Verb<'_>) -> T) -> Option<T> {
        let claimed = |attempt: &Attempt, grant: &Grant| attempt.clone().claim(*grant);
        Some(match self {
            Self::Begin(attempt) => then(Verb::Begin(attempt)),
            Self::Renew(attempt, grant) => then(Verb::Renew(&claimed(attempt, grant))),
            Self::Complete(attempt, grant, outcome) => {
                then(Verb::Complete(&claimed(attempt, grant), outcome))
            }
            Self::Release(attempt, ran, tombstone) => {
                then(Verb::Release { attempt, ran: *ran, tombstone: *tombstone })
            }
            Self::Resolve(_, fence, outcome, retention) => {
                then(Verb::Resolve { fence: *fence, outcome, retention: *retention })
            }
            Self::Look(_) | Self::Watch(..) => return None,
        })
    }

    async fn of<S: Store>(&self, store: &S) -> Got {
        let claimed = |attempt: &Attempt, grant: &Grant| -> Claim { attempt.clone().claim(*grant) };
        let reply = match self {
            Self::Begin(attempt) => store.begin(attempt, WITHIN).await,
            Self::Renew(attempt, grant) => store.renew(&claimed(attempt, grant), WITHIN).await,
            Self::Complete(attempt, grant, outcome) => {
                store.complete(&claimed(attempt, grant), outcome, WITHIN).await
            }
            Self::Release(attempt, ran, tombstone) => {
                store.release(attempt, *ran, *tombstone, WITHIN).await
            }
            Self::Resolve(slot, fence, outcome, retention) => {
                store.resolve(*slot, *fence, outcome, *retention, WITHIN).await
            }
            Self::Look(slot) => {
                return store.look(*slot, WITHIN).await.map_or(Got::Nothing, Got::Seen);
            }
            Self::Watch(slot, fence) => {
                let seen = store.watch(*slot, *fence, WITHIN / 2).await;
                return seen.map_or(Got::Nothing, Got::Seen);
            }
        };
        match reply {
            Ok(Reply::Late) => Got::Nothing,
            Ok(reply) => Got::Reply(reply),
            Err(error) if error.effect() == Effect::None => Got::Nothing,
            Err(_) => Got::Unknown,
        }
    }
}

/// A client's way to its store, which writes down everything.
#[derive(Debug)]
pub struct Recorder<S> {
    pub client: usize,
    pub store: Arc<S>,
    pub calls: Arc<Mutex<Vec<Call>>>,
}

impl<S: Store> Recorder<S> {
    pub async fn ask(&self, asked: Asked) -> Got {
        self.patiently(asked, Duration::MAX).await
    }

    /// Asks, and drops the call if it takes longer than this.
    pub async fn patiently(&self, asked: Asked, patience: Duration) -> Got {
        let called = now();
        let got = tokio::time::timeout(patience, asked.of(&*self.store)).await;
        let got = got.unwrap_or(if asked.reads() { Got::Nothing } else { Got::Unknown });
        let returned = now();
        let call = Call { client: self.client, asked, got: got.clone(), called, returned };
        self.calls.lock().unwrap().push(call);
        got
    }
}

/// This machine's clock, in microseconds.
pub fn now() -> u64 {
    u64::try_from(SystemClock.monotonic().as_micros()).expect("a clock of this age")
}
