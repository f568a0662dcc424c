//! What a slot held before and after a call: what it told must lie between.

use std::time::Duration;

use crate::protocol::{Found, Phase, Record, Timestamp};
use crate::store::Seen;

/// Redis tells by the millisecond when a record ends, and what time it is only a moment later.
const BLUR: Duration = Duration::from_millis(20);

/// A cache counts from the moment at which it asked, so what it gives may seem a little older; a store that
/// has not asked its server for the time tells it by what it knows of that clock, a little younger.
const ASKING: Duration = Duration::from_secs(1);

/// The same slot before and after a call.
pub(super) struct Moments {
    pub(super) before: Seen,
    pub(super) after: Seen,
}

impl Moments {
    /// Whether the ages and leases in an answer are those of the record that was found.
    pub(super) fn fit(&self, found: &Found) -> bool {
        let Some(record) = &self.before.record else { return true };
        let made = record.fence.moment();
        match (found, &record.phase) {
            (Found::Busy { fence, remaining, age }, Phase::InProgress { lease_until }) => {
                let left = [self.after.now, self.before.now].map(|now| lease_until.since(now));
                *fence == record.fence
                    && self.since(made, *age, Duration::ZERO)
                    && (left[0]..=left[1]).contains(remaining)
            }
            (Found::Unknown { fence, attempt, age }, Phase::InProgress { .. }) => {
                *fence == record.fence
                    && *attempt == record.attempt
                    && self.since(made, *age, Duration::ZERO)
            }
            (Found::Completed { age, .. }, Phase::Completed { at, .. }) => {
                self.since(*at, *age, ASKING)
            }
            (Found::Busy { .. } | Found::Unknown { .. } | Found::Completed { .. }, _) => false,
            _ => true,
        }
    }

    fn since(&self, moment: Timestamp, age: Duration, blur: Duration) -> bool {
        let (least, most) = (self.before.now.since(moment), self.after.now.since(moment));
        (least.saturating_sub(blur)..=most + blur).contains(&age)
    }

    /// What changes nothing leaves the record as it was.
    pub(super) fn assert_same(&self, step: &str) {
        let mut before = self.before.record.clone();
        if let (Some(before), Some(after)) = (&mut before, &self.after.record) {
            let earlier = before.expires.since(after.expires);
            let apart = earlier + after.expires.since(before.expires);
            assert!(apart <= BLUR, "{step}: the record ends when it did");
            before.expires = after.expires;
        }
        let (before, after) = (before.as_ref(), self.after.record.as_ref());
        assert_eq!(before, after, "{step}: the record is as it was");
    }
}

/// Whether a record ends this long from now, as exactly as stores know it.
pub(super) fn ends(record: &Record, now: Timestamp, after: Duration) -> bool {
    let left = record.expires.since(now);
    left > after / 2 && left <= after + Duration::from_millis(2)
}
