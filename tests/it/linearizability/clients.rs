//! Clients that do everything that a server may do, and at every moment.

use std::time::Duration;

use bytes::Bytes;
use rand::rngs::StdRng;
use rand::{Rng as _, RngExt as _};
use tower_idempotency::protocol::{
    Attempt, FenceToken, Fields, Fingerprint, Found, Grant, Nonce, Outcome, Ran, Reply, Scheme,
    Slot, TakeOver,
};
use tower_idempotency::store::Store;

use super::history::{Asked, Got, Recorder, WITHIN};

/// How a history is made.
#[derive(Clone, Copy, Debug)]
pub struct Style {
    /// How long clients pause between calls, in microseconds at most.
    pub pause: u64,
    /// Leases, in milliseconds.
    pub leases: (u64, u64),
    /// For how long records live, in milliseconds; one for all attempts at a slot.
    pub retention: u64,
}

/// A client, with what it knows of the slots.
pub struct Client<S> {
    pub store: Recorder<S>,
    pub slots: Vec<Slot>,
    pub style: Style,
    /// Whether calls are dropped before they are answered.
    pub impatient: bool,
    pub random: StdRng,
    pub mine: Vec<(Attempt, Grant)>,
    pub seen: Vec<(Slot, FenceToken)>,
}

impl<S: Store> Client<S> {
    pub async fn run(mut self, calls: usize) {
        for _ in 0..calls {
            self.pause().await;
            let asked = self.choose();
            self.ask(asked).await;
        }
    }

    fn choose(&mut self) -> Asked {
        let slot = self.slots[self.random.random_range(0..self.slots.len())];
        let claim = match self.mine.len() {
            0 => None,
            len => Some(self.mine[self.random.random_range(len.saturating_sub(3)..len)].clone()),
        };
        let seen = self.seen.last().copied();
        match (self.random.random_range(0..20), claim, seen) {
            (0..3, Some((attempt, grant)), _) => Asked::Renew(attempt, grant),
            (3..5, Some((attempt, grant)), _) => Asked::Complete(attempt, grant, self.outcome()),
            (5..8, Some((attempt, _)), _) => {
                let ran = if self.random.random() { Ran::No } else { Ran::Maybe };
                Asked::Release(attempt, ran, self.tombstone())
            }
            (8..10, Some((attempt, _)), _) => Asked::Begin(attempt),
            (10..12, _, _) => Asked::Look(slot),
            (12, _, Some((slot, fence))) => Asked::Watch(slot, fence),
            (13, _, Some((slot, fence))) => {
                Asked::Resolve(slot, fence, self.outcome(), self.retention())
            }
            _ => Asked::Begin(self.attempt(slot)),
        }
    }

    async fn ask(&mut self, asked: Asked) {
        let patience = match self.impatient && self.random.random_range(0..12) == 0 {
            true => Duration::from_micros(self.random.random_range(50..2000)),
            false => Duration::MAX,
        };
        let got = self.store.patiently(asked.clone(), patience).await;
        match (asked, got) {
            (
                Asked::Begin(attempt),
                Got::Reply(Reply::Started(grant) | Reply::Reclaimed(grant) | Reply::Mine(grant)),
            ) => self.mine.push((attempt, grant)),
            (Asked::Begin(attempt), Got::Unknown) => self.resolve_lost(attempt).await,
            (Asked::Release(attempt, ..), Got::Reply(_)) if self.random.random_range(0..3) == 0 => {
                // A late copy of its begin.
                self.store.ask(Asked::Begin(attempt)).await;
            }
            (
                asked,
                Got::Reply(Reply::Found(Found::Busy { fence, .. } | Found::Unknown { fence, .. })),
            ) => self.seen.push((asked.slot(), fence)),
            _ => {}
        }
    }

    /// What may be done about a lost begin: the same again, or a cancellation.
    async fn resolve_lost(&mut self, attempt: Attempt) {
        let again = match self.random.random_range(0..3) {
            0 => Asked::Begin(attempt.clone()),
            1 => Asked::Release(attempt.clone(), Ran::No, self.tombstone()),
            _ => return,
        };
        let got = self.store.ask(again).await;
        if let Got::Reply(Reply::Started(grant) | Reply::Mine(grant) | Reply::Reclaimed(grant)) =
            got
        {
            self.mine.push((attempt, grant));
        }
    }

    async fn pause(&mut self) {
        let pause = self.random.random_range(0..=self.style.pause);
        if pause > self.style.pause / 3 {
            tokio::time::sleep(Duration::from_micros(pause)).await;
        }
    }

    fn attempt(&mut self, slot: Slot) -> Attempt {
        let other = self.random.random_range(0..10) == 0;
        let (from, to) = self.style.leases;
        Attempt {
            slot,
            fingerprint: Fingerprint::new(Scheme::raw(), [u8::from(other); 32]),
            nonce: Nonce::from_bytes(self.random.random()),
            lease: Duration::from_millis(self.random.random_range(from..=to)),
            retention: self.retention(),
            take_over: match self.random.random_range(0..3) {
                0 => TakeOver::Never,
                _ => TakeOver::Below(self.random.random_range(2..6)),
            },
            transactional: false,
        }
    }

    const fn retention(&self) -> Duration {
        Duration::from_millis(self.style.retention)
    }

    /// Longer than any deadline of the attempt's calls, as the contract asks.
    fn tombstone(&mut self) -> Duration {
        WITHIN + Duration::from_millis(self.random.random_range(1..100))
    }

    fn outcome(&mut self) -> Outcome {
        // One in eight is fetched by a call of its own from Redis.
        let len = if self.random.random_range(0..8) == 0 { 5000 } else { 16 };
        let mut body = vec![0; len];
        self.random.fill_bytes(&mut body[..16]);
        Outcome::Response {
            status: 200,
            headers: Fields::none(),
            body: Bytes::from(body),
            trailers: Fields::none(),
        }
    }
}
