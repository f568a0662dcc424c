use std::cmp::Reverse;
use std::collections::hash_map::Entry::{Occupied, Vacant};
use std::collections::{BinaryHeap, HashMap};
use std::ops::Add;

use super::spread::Spread;
use crate::protocol::{Phase, Record, Slot, Timestamp};

/// What a record costs besides the content of its outcome: itself, its key, its place in the map
/// and in the expiry queue.
const RECORD_BYTES: usize = 384;

/// A part of the records, under one lock.
#[derive(Debug, Default)]
pub(super) struct Shard {
    records: HashMap<Slot, Entry, Spread>,
    /// When to look at a slot again. Entries whose time is not their record's are stale.
    expiries: BinaryHeap<Reverse<(Timestamp, [u8; 32])>>,
}

#[derive(Debug)]
struct Entry {
    /// Only empty while it is being changed. Boxed, since a map that grows moves its entries: with
    /// two threads a claim and its completion take a fifth less of the processor's time like this.
    record: Box<Option<Record>>,
    /// The time under which the slot is queued in `expiries`, never after the record's end.
    queued: Timestamp,
}

/// What a slot cost before and after a change.
#[derive(Default)]
pub(super) struct Changed {
    pub(super) before: Cost,
    pub(super) after: Cost,
}

/// What records count for.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Cost {
    pub(super) records: usize,
    pub(super) bytes: usize,
}

impl Shard {
    pub(super) fn get(&self, slot: &Slot) -> Option<&Record> {
        (*self.records.get(slot)?.record).as_ref()
    }

    /// Changes what is in a slot, and tells what it cost before and after.
    pub(super) fn change(
        &mut self,
        slot: &Slot,
        change: impl FnOnce(&mut Option<Record>),
    ) -> Changed {
        let mut changed = Changed::default();
        let expires = match self.records.entry(*slot) {
            Occupied(mut place) => {
                let Entry { record, queued } = place.get_mut();
                changed.before = (**record).as_ref().map_or(Cost::default(), Cost::of);
                change(record);
                let Some(record) = &**record else {
                    place.remove();
                    return changed;
                };
                changed.after = Cost::of(record);
                // It is looked at early enough, and queued anew if it has not ended by then.
                if *queued <= record.expires {
                    return changed;
                }
                *queued = record.expires;
                record.expires
            }
            Vacant(place) => {
                let mut new = Box::new(None);
                change(&mut new);
                let Some(record) = &*new else { return changed };
                changed.after = Cost::of(record);
                let queued = record.expires;
                place.insert(Entry { record: new, queued });
                queued
            }
        };
        self.expiries.push(Reverse((expires, *slot.as_bytes())));
        self.drop_stale_entries();
        changed
    }

    /// Removes what has expired, and tells what it cost.
    pub(super) fn remove_expired(&mut self, now: Timestamp, at_most: usize) -> Cost {
        let mut freed = Cost::default();
        for _ in 0..at_most {
            let Some(&Reverse((due, bytes))) = self.expiries.peek() else { break };
            if now < due {
                break;
            }
            self.expiries.pop();
            let slot = Slot::from_bytes(bytes);
            let Some(entry) = self.records.get_mut(&slot) else { continue };
            if entry.queued != due {
                continue;
            }
            let Some(record) = &*entry.record else { continue };
            if now < record.expires {
                entry.queued = record.expires;
                self.expiries.push(Reverse((entry.queued, bytes)));
            } else {
                freed = freed + Cost::of(record);
                self.records.remove(&slot);
            }
        }
        freed
    }

    /// A released record is queued a second time, for its earlier end. Once the entries that were
    /// left behind are the greater part, they go.
    fn drop_stale_entries(&mut self) {
        if self.expiries.len() > 2 * self.records.len() + 64 {
            let records = &self.records;
            self.expiries.retain(|Reverse((due, bytes))| {
                records.get(&Slot::from_bytes(*bytes)).is_some_and(|entry| entry.queued == *due)
            });
        }
    }
}

impl Cost {
    fn of(record: &Record) -> Self {
        let content = match &record.phase {
            Phase::Completed { outcome, .. } => outcome.size(),
            Phase::InProgress { .. } | Phase::Released => 0,
        };
        Self { records: 1, bytes: RECORD_BYTES + content }
    }
}

impl Add for Cost {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self { records: self.records + other.records, bytes: self.bytes + other.bytes }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::{FenceToken, Fingerprint, Nonce, Scheme};

    fn record(expires: u64) -> Record {
        Record {
            fingerprint: Fingerprint::new(Scheme::raw(), [0; 32]),
            nonce: Nonce::from_bytes([0; 16]),
            fence: FenceToken::from_number(0),
            attempt: 0,
            phase: Phase::Released,
            expires: Timestamp::from_micros(expires),
        }
    }

    #[test]
    fn records_that_end_earlier_than_they_were_queued_leave_no_trace() {
        let mut shard = Shard::default();
        for number in 0..10_000_u64 {
            let slot = Slot::from_bytes(std::array::from_fn(|at| number.to_be_bytes()[at % 8]));
            shard.change(&slot, |found| *found = Some(record(1_000_000_000)));
            shard.change(&slot, |found| *found = Some(record(number + 10)));
            shard.remove_expired(Timestamp::from_micros(number), 32);
        }
        assert!(shard.records.len() < 20, "{}", shard.records.len());
        assert!(shard.expiries.len() <= 2 * shard.records.len() + 65, "{}", shard.expiries.len());
    }
}
