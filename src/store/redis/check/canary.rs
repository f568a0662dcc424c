use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use redis::Value;

use super::concern::Concern;
use crate::store::redis::RedisStore;
use crate::store::redis::connection::live::Live;

/// How often Redis is asked while there is traffic, beside once per connection.
const EVERY: Duration = Duration::from_secs(3);

/// How long a question may take. Nobody waits for it but the next question to a Cluster.
const WITHIN: Duration = Duration::from_secs(1);

/// What a store does when it finds that Redis was emptied: by `FLUSHALL`, by a restart without its
/// data, by an empty replica that became the master, or since another server or database answers
/// now. Every retry of a completed request would run again.
///
/// The store keeps a key without expiry, the prefix and `:canary`, with a random value (in a Cluster
/// several, so that every master very probably has one). It looks for it in the background, at each
/// new connection and every three seconds while there are requests. So it notices a few seconds
/// late; and a process that starts afterwards cannot know. A Redis that has only lost its last
/// moments is not an emptied one: see [`Durability`](crate::store::redis::Durability).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Emptied {
    /// Goes on, after one line in the log at the level of errors. The default.
    #[default]
    Report,
    /// Refuses `begin` from then on, which a client sees as 503, until
    /// [`RedisStore::acknowledge_emptied`](crate::store::redis::RedisStore::acknowledge_emptied) is called.
    Refuse,
}

/// Notices that Redis was emptied.
#[derive(Debug)]
pub(in crate::store::redis) struct Canary {
    /// What its keys begin with, and a colon.
    prefix: Vec<u8>,
    /// When to look again, in microseconds of this machine's clock.
    due: AtomicU64,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// What was last found under each key.
    known: HashMap<Vec<u8>, Vec<u8>>,
    emptied: bool,
}

impl Canary {
    pub(in crate::store::redis) fn new(prefix: Vec<u8>) -> Self {
        Self { prefix, due: AtomicU64::new(0), state: Mutex::default() }
    }

    /// Looks after it in the background, if it is time to, on a connection that has just answered.
    pub(in crate::store::redis) fn visit(self: &Arc<Self>, live: &Live, now: u64) {
        let due = self.due.load(Ordering::Relaxed);
        if now < due && live.was_visited() {
            return;
        }
        let next = now + EVERY.as_secs() * 1_000_000;
        let mine = self.due.compare_exchange(due, next, Ordering::Relaxed, Ordering::Relaxed);
        if live.visit() || mine.is_ok() {
            let (canary, mut live) = (Arc::clone(self), live.clone());
            tokio::spawn(async move { canary.look(&mut live).await });
        }
    }

    /// A node of a Cluster that refuses or is silent does not hide the others.
    async fn look(&self, live: &mut Live) {
        for name in live.link.canaries() {
            let key = [self.prefix.as_slice(), name.as_bytes()].concat();
            let fresh: [u8; 16] = rand::random();
            let mut set = redis::cmd("SET");
            set.arg(&key).arg(&fresh).arg("NX").arg("GET");
            match tokio::time::timeout(WITHIN, live.link.command(&set)).await {
                Ok(Ok(Value::BulkString(found))) => self.note(key, found),
                Ok(Ok(_)) => self.note(key, fresh.into()),
                // Whatever keeps it from answering is noticed by those who need an answer.
                Ok(Err(_)) | Err(_) => {}
            }
        }
    }

    fn note(&self, key: Vec<u8>, found: Vec<u8>) {
        let mut state = self.state();
        let same = state.known.get(&key).is_none_or(|known| *known == found);
        state.known.insert(key, found);
        if !same && !std::mem::replace(&mut state.emptied, true) {
            tracing::error!("{}", Concern::Emptied);
        }
    }

    pub(in crate::store::redis) fn is_emptied(&self) -> bool {
        self.state().emptied
    }

    pub(in crate::store::redis) fn acknowledge(&self) {
        self.state().emptied = false;
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl RedisStore {
    /// What to do when Redis was emptied; the default is to go on and say so in the log.
    ///
    /// ```
    /// use tower_idempotency::store::redis::{Emptied, RedisStore};
    ///
    /// let store = RedisStore::connect("redis://localhost")?.when_emptied(Emptied::Refuse);
    /// # Ok::<(), tower_idempotency::store::redis::redis::RedisError>(())
    /// ```
    #[must_use]
    pub const fn when_emptied(mut self, choice: Emptied) -> Self {
        self.when_emptied = choice;
        self
    }

    /// Takes an emptied Redis for what it is, once somebody has looked into it: requests are let in
    /// again, and the next emptying is noticed anew. Where the layer has the store, keep an
    /// [`Arc`] of it.
    pub fn acknowledge_emptied(&self) {
        self.canary.acknowledge();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_value_is_noticed_once_and_can_be_acknowledged() {
        let canary = Canary::new(Vec::new());
        let note = |value: &[u8]| canary.note(b"key".into(), value.into());
        note(b"a");
        note(b"a");
        assert!(!canary.is_emptied());
        note(b"b");
        assert!(canary.is_emptied());
        canary.acknowledge();
        note(b"b");
        assert!(!canary.is_emptied());
        canary.note(b"another key".into(), b"c".into());
        assert!(!canary.is_emptied());
    }
}
