use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::sync::futures::Notified;

use super::joint::Joint;
use crate::clock::Clock;
use crate::protocol::{Claim, Guarantee, IdempotencyKey, Slot};
use crate::store::Writes;

/// What a policy says about running one operation.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Terms {
    pub(crate) guarantee: Guarantee,
    pub(crate) max_run: Duration,
    pub(crate) completion_tries: u32,
    pub(crate) run_unprotected: bool,
    /// How long a request waits for the outcome of another one, if it does.
    pub(crate) wait: Option<Duration>,
    /// Whether a hook decides about abandoned claims.
    pub(crate) recovers: bool,
    /// What becomes of the writes of a handler whose answer is an error for good.
    pub(crate) refused_writes: Writes,
}

/// By what right a handler runs.
#[derive(Clone, Copy, Debug)]
pub(super) enum Proof {
    /// A store has granted the claim to a call that was sent at this time.
    Claimed { sent: Duration },
    /// None: the store could not be asked, by a call that was sent at this time. The outcome is
    /// recorded all the same, in case the claim was made, unless the store has no room for it.
    None { sent: Duration, recorded: bool },
}

/// A claim that is being run, shared by the run, its renewals and its handler.
pub(crate) struct Held {
    pub(super) claim: Claim,
    pub(super) terms: Terms,
    /// A copy of `begin` may land until then; before, the claim must not be released.
    pub(super) lost_until: Option<Duration>,
    /// By what right it runs.
    pub(super) proof: Proof,
    /// Since when it has been asked for, on the local clock.
    since: Duration,
    /// Until when the claim is known to be live, in microseconds of the local clock (rule C3).
    live_until: AtomicU64,
    lost: AtomicBool,
    stopped: AtomicBool,
    changed: Notify,
    clock: Arc<dyn Clock>,
    pub(super) key: IdempotencyKey,
    pub(super) tenant: Arc<str>,
    /// When the renewals look at it next; changed only under their lock.
    pub(super) due: AtomicU64,
    /// Where the store can share a transaction with the handler.
    pub(super) joint: Option<Box<Joint>>,
}

impl Held {
    pub(super) fn new(
        claim: Claim,
        terms: Terms,
        (key, tenant): (IdempotencyKey, Arc<str>),
        proof: Proof,
        lost_until: Option<Duration>,
        joint: Option<Box<Joint>>,
        clock: &Arc<dyn Clock>,
    ) -> Arc<Self> {
        let (since, live_until) = match proof {
            Proof::Claimed { sent } => (sent, known_until(sent, claim.attempt().lease)),
            Proof::None { sent, .. } => (sent, 0),
        };
        Arc::new(Self {
            claim,
            terms,
            lost_until,
            proof,
            since,
            live_until: AtomicU64::new(live_until),
            lost: AtomicBool::new(false),
            stopped: AtomicBool::new(false),
            changed: Notify::new(),
            clock: Arc::clone(clock),
            key,
            tenant,
            due: AtomicU64::new(0),
            joint,
        })
    }

    pub(crate) const fn slot(&self) -> Slot {
        self.claim.attempt().slot
    }

    pub(crate) const fn attempt(&self) -> u32 {
        self.claim.grant().number
    }

    /// What becomes of it without a definitive outcome: what a handler did in a transaction that was
    /// never committed did not happen, so it runs again, whatever the policy says.
    pub(crate) fn guarantee(&self) -> Guarantee {
        if self.is_joined() { Guarantee::Transactional } else { self.terms.guarantee }
    }

    /// Whether its handler has had a transaction.
    pub(crate) fn is_joined(&self) -> bool {
        self.joint.as_ref().is_some_and(|joint| joint.is_joined())
    }

    /// How long it has been running.
    pub(super) fn age(&self) -> Duration {
        self.clock.monotonic().saturating_sub(self.since)
    }

    pub(super) const fn since(&self) -> Duration {
        self.since
    }

    #[cfg(feature = "postgres")]
    pub(crate) const fn claim(&self) -> &Claim {
        &self.claim
    }

    /// The transaction that the handler may share with its record.
    #[cfg(feature = "postgres")]
    pub(crate) fn joint(&self) -> Option<&Joint> {
        self.joint.as_deref()
    }

    /// How often its handler may run again whose transaction lost against others.
    pub(crate) fn allow_tries(&self, tries: u32) {
        if let Some(joint) = &self.joint {
            joint.allow_tries(tries);
        }
    }

    /// Takes one of these tries, if its handler has had a transaction and one is left.
    pub(crate) fn may_try_again(&self) -> bool {
        self.joint
            .as_ref()
            .is_some_and(|joint| joint.is_given_back() && self.is_live() && joint.may_try_again())
    }

    /// How long a copy of its `begin` may still land, if one may.
    pub(super) fn begin_may_land_for(&self, now: Duration) -> Option<Duration> {
        self.lost_until.and_then(|at| at.checked_sub(now)).filter(|left| !left.is_zero())
    }

    /// When the call was sent that last claimed or renewed it, on the local clock; the lease runs
    /// from then at the earliest.
    pub(super) fn claimed(&self) -> Duration {
        match Duration::from_micros(self.live_until.load(Ordering::Acquire)) {
            Duration::ZERO => self.since,
            until => until.saturating_sub(known_for(self.claim.attempt().lease)),
        }
    }

    /// Whether there is a claim at all. It may have been lost since.
    pub(crate) const fn is_protected(&self) -> bool {
        matches!(self.proof, Proof::Claimed { .. })
    }

    /// Whether it was granted so late that it has to be renewed before anything runs.
    pub(super) fn is_late(&self) -> bool {
        self.is_protected() && !self.is_live()
    }

    pub(super) fn is_live(&self) -> bool {
        let until = Duration::from_micros(self.live_until.load(Ordering::Acquire));
        !self.lost.load(Ordering::Acquire) && self.clock.monotonic() < until
    }

    /// The lease was claimed or renewed by a call that was sent at this time.
    pub(super) fn extended(&self, sent: Duration) {
        let until = known_until(sent, self.claim.attempt().lease);
        self.live_until.fetch_max(until, Ordering::AcqRel);
    }

    /// Another attempt owns the slot.
    pub(super) fn lose(&self) {
        self.lost.store(true, Ordering::Release);
        self.changed.notify_waiters();
    }

    pub(super) async fn lost(&self) {
        loop {
            let changed = self.changed();
            if self.is_lost() {
                return;
            }
            changed.await;
        }
    }

    pub(crate) fn is_lost(&self) -> bool {
        self.lost.load(Ordering::Acquire)
    }

    /// The run has reached its limit.
    pub(super) fn stop(&self) {
        self.stopped.store(true, Ordering::Release);
        self.changed.notify_waiters();
    }

    pub(super) fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::Acquire)
    }

    /// Ends once the claim is lost or the run stopped from now on, also before it is polled.
    pub(super) fn changed(&self) -> Notified<'_> {
        self.changed.notified()
    }
}

/// Until when a claim is known to be live whose call was sent then, in microseconds of the local
/// clock.
fn known_until(sent: Duration, lease: Duration) -> u64 {
    let until = sent.saturating_add(known_for(lease));
    u64::try_from(until.as_micros()).unwrap_or(u64::MAX)
}

/// The lease without a twentieth, as a margin for clocks that run at different speeds.
fn known_for(lease: Duration) -> Duration {
    lease - lease / 20
}
