//! What a slot may hold, and what may become of it: the contract, with times that are known only
//! within bounds.

use std::time::Duration;

use tower_idempotency::protocol::{
    FenceToken, Found, Operation, Phase, Record, Reply, Timestamp, apply,
};
use tower_idempotency::store::Seen;

use super::history::{Asked, Got};
use super::span::Span;

/// How exactly a store's times are known.
#[derive(Clone, Copy, Debug)]
pub struct Precision {
    /// How much the clocks of the store and of the test drift apart within a history.
    pub drift: u64,
    /// How much earlier or later than asked for a record may expire. If at all, the store reads
    /// another clock for it, at any moment of the call.
    pub expiry: u64,
    /// How much earlier than it was stored an outcome may say that it was stored.
    pub stored: u64,
    /// How much older than it is an outcome may be said to be.
    pub ages: u64,
    /// How much younger than it is an outcome may be said to be.
    pub younger: u64,
    /// Whether a look tells the time at which it looked, and when the record expires.
    pub looks: bool,
    /// A record that has expired stays until it is written over, and a call may take effect after
    /// others that judged it by a later time than this one did.
    pub stays: bool,
}

/// What a slot holds.
#[derive(Clone, Debug, Default)]
pub struct State(pub Option<Kept>);

/// A record without times, and the bounds of its times.
#[derive(Clone, Debug)]
pub struct Kept {
    pub record: Record,
    lease: Span,
    stored: Span,
    expires: Span,
}

/// What time has made of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Age {
    Expired,
    Lapsed,
    /// Neither. A record without a lease is this until it expires.
    Live,
}

impl State {
    /// What tells one state from another.
    pub fn name(&self) -> (Vec<u8>, [u64; 6]) {
        self.0.as_ref().map_or_else(Default::default, |kept| {
            let [a, b, c] = kept.times();
            (kept.record.encode().to_vec(), [a.from, a.to, b.from, b.to, c.from, c.to])
        })
    }

    /// What the slot may hold after a call that took effect within this window and was answered so.
    /// With [`Got::Unknown`] any answer will do, as long as something was written.
    pub fn after(&self, asked: &Asked, got: &Got, window: Span, precision: Precision) -> Vec<Self> {
        let call = if precision.expiry > 0 { Some(window) } else { None };
        let Some(window) = self.judged_within(got, window, precision) else { return vec![] };
        let ages: &[Age] = match self.0 {
            None => &[Age::Expired],
            Some(_) => &[Age::Expired, Age::Lapsed, Age::Live],
        };
        let next = |&age: &Age| {
            let state = self.aged(age, window, call)?.step(asked, got, precision)?;
            let stays = precision.stays && age == Age::Expired && state.0.is_none();
            Some(if stays { self.clone() } else { state })
        };
        ages.iter().filter_map(next).collect()
    }

    /// The part of the window in which the store's clock must have stood, by the answer.
    fn judged_within(&self, got: &Got, window: Span, precision: Precision) -> Option<Span> {
        let aged = |fence: &FenceToken, age: &Duration| match age.is_zero() {
            true => window.until(fence.number()),
            false => window.and(Span::at(fence.number()).later(*age)),
        };
        match got {
            Got::Reply(Reply::Started(grant) | Reply::Reclaimed(grant)) => {
                let fence = grant.fence.number();
                let previous = self.0.as_ref().map(|kept| kept.record.fence.number() + 1);
                // The fence is the time, unless that was not greater than the fence before.
                if previous == Some(fence) {
                    window.until(fence)
                } else {
                    window.and(Span::at(fence))
                }
            }
            Got::Reply(Reply::Found(found) | Reply::Fenced(found)) => match found {
                Found::Busy { fence, age, .. } | Found::Unknown { fence, age, .. } => {
                    aged(fence, age)
                }
                _ => Some(window),
            },
            Got::Seen(seen) if precision.looks => window.and(Span::at(seen.now.as_micros())),
            Got::Seen(seen) => window.until(seen.now.as_micros()),
            Got::Reply(_) | Got::Unknown | Got::Nothing => Some(window),
        }
    }

    /// The same slot, if its record is of this age at a moment of this window. Whether it has expired
    /// may be judged at any moment of the call.
    fn aged(&self, age: Age, window: Span, call: Option<Span>) -> Option<Moment> {
        let moment = |window: Span, kept| {
            let written = call.map_or(window, |call| Span { from: call.from, ..window });
            Some(Moment { window, written, age, kept, at: window.first() })
        };
        let Some(kept) = &self.0 else { return moment(window, None) };
        let unexpired = match call {
            None => window.before(kept.expires.to),
            Some(call) => call.before(kept.expires.to).map(|_| window),
        };
        let running = matches!(kept.record.phase, Phase::InProgress { .. });
        let window = match age {
            Age::Expired if call.is_some() => {
                call.and_then(|call| call.since(kept.expires.from)).map(|_| window)
            }
            Age::Expired => window.since(kept.expires.from),
            Age::Lapsed if !running => None,
            Age::Lapsed => unexpired?.since(kept.lease.from),
            Age::Live if !running => unexpired,
            Age::Live => unexpired?.before(kept.lease.to),
        }?;
        moment(window, (age != Age::Expired).then(|| kept.clone()))
    }
}

/// A slot while a call takes effect.
struct Moment {
    window: Span,
    /// From when on the time of what is written counts until it expires.
    written: Span,
    age: Age,
    kept: Option<Kept>,
    /// When an outcome was stored.
    at: Timestamp,
}

impl Moment {
    fn step(mut self, asked: &Asked, got: &Got, precision: Precision) -> Option<State> {
        if let Got::Seen(seen) = got {
            return self.holds(seen, precision).then_some(State(self.kept));
        }
        let now = self.narrowed(got, precision)?;
        let found = self.concrete(now);
        let (next, reply) = asked
            .as_verb(|verb| apply(found, &Operation { verb, deadline: Timestamp::NEVER }, now))?;
        let wrote = next.as_ref().is_some_and(|record| record.expires != Timestamp::NEVER);
        match got {
            Got::Reply(got) if *got == reply => {}
            Got::Unknown if wrote => {}
            _ => return None,
        }
        Some(State(match next {
            Some(record) if wrote => Some(Kept::written(record, now, &self, precision)),
            Some(_) => self.kept,
            None => None,
        }))
    }

    /// A moment of the window, after what the answer tells of the record's times was taken in.
    fn narrowed(&mut self, got: &Got, precision: Precision) -> Option<Timestamp> {
        let (Some(kept), Got::Reply(Reply::Found(found) | Reply::Fenced(found))) =
            (&mut self.kept, got)
        else {
            return Some(self.window.first());
        };
        Some(match found {
            Found::Busy { remaining, .. } => {
                kept.lease = kept.lease.and(self.window.later(*remaining))?;
                kept.lease.earlier(*remaining).first()
            }
            Found::Completed { age, .. } if age.is_zero() => {
                let stored = kept.stored.wider(0, precision.younger);
                self.at = stored.since(self.window.from)?.first();
                self.window.first()
            }
            Found::Completed { age, .. } => {
                // Rounded twice, an age can also be too low.
                let younger = precision.younger.max(precision.ages.min(2));
                let stored = kept.stored.wider(precision.ages, younger);
                self.at = stored.and(self.window.earlier(*age))?.first();
                self.at.after(*age)
            }
            _ => self.window.first(),
        })
    }

    /// The record as it is at this moment.
    fn concrete(&self, now: Timestamp) -> Option<Record> {
        let kept = self.kept.as_ref()?;
        let mut record = kept.record.clone();
        match &mut record.phase {
            Phase::InProgress { lease_until } => {
                *lease_until = match self.age {
                    Age::Lapsed => Timestamp::from_micros(kept.lease.to.min(now.as_micros())),
                    _ => Timestamp::from_micros(kept.lease.from.max(now.as_micros() + 1)),
                };
            }
            Phase::Completed { at, .. } => *at = self.at,
            Phase::Released => {}
        }
        Some(record)
    }

    /// Whether this is what was seen; what it tells of the record's times is taken in.
    fn holds(&mut self, seen: &Seen, precision: Precision) -> bool {
        let (Some(kept), Some(record)) = (&mut self.kept, &seen.record) else {
            return self.kept.is_none() && seen.record.is_none();
        };
        let (timeless, [lease, stored]) = without_times(record.clone());
        if kept.record != timeless {
            return false;
        }
        let narrow = |span: &mut Span, at: Option<u64>| match at {
            None => true,
            Some(at) => span.and(Span::at(at)).map(|exact| *span = exact).is_some(),
        };
        let expires = precision.looks.then_some(record.expires.as_micros());
        narrow(&mut kept.lease, lease)
            && narrow(&mut kept.stored, stored)
            && narrow(&mut kept.expires, expires)
    }
}

impl Kept {
    /// When the lease ends, the outcome was stored and the record expires.
    pub const fn times(&self) -> [Span; 3] {
        [self.lease, self.stored, self.expires]
    }

    /// A record that was written at `now`, which stands for any moment of the window.
    fn written(record: Record, now: Timestamp, moment: &Moment, precision: Precision) -> Self {
        let window = moment.window;
        let moved = |at: Timestamp| window.later(at.since(now));
        let expires = moment.written.later(record.expires.since(now));
        let expires = expires.wider(precision.expiry, precision.expiry);
        let (record, [lease, _]) = without_times(record);
        let lease = lease.map_or(Span::at(0), |until| moved(Timestamp::from_micros(until)));
        Self { record, lease, stored: window.wider(precision.stored, 0), expires }
    }
}

/// A record with all times taken out: when the lease ends and when the outcome was stored.
pub fn without_times(mut record: Record) -> (Record, [Option<u64>; 2]) {
    let mut times = [None; 2];
    match &mut record.phase {
        Phase::InProgress { lease_until } => times[0] = Some(take(lease_until)),
        Phase::Completed { at, .. } => times[1] = Some(take(at)),
        Phase::Released => {}
    }
    record.expires = Timestamp::NEVER;
    (record, times)
}

fn take(time: &mut Timestamp) -> u64 {
    std::mem::replace(time, Timestamp::from_micros(0)).as_micros()
}
