use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use redis::aio::{AsyncPushSender, SendError};
use redis::{PushInfo, PushKind, Value};

use super::RedisStore;
use super::connection::lane::Lane;
use super::connection::server_time::ServerTime;
use crate::protocol::{FenceToken, Slot};
use crate::store::watch::board::Board;
use crate::store::watch::{Told, await_change, is_of_record};
use crate::store::{Error, ErrorKind, Operation, Seen};

/// For how long the server is not asked again once it has refused to notify: it lacks the command,
/// or the user the right.
const REFUSED: Duration = Duration::from_secs(60);

/// The same if it could not be asked.
const FAILED: Duration = Duration::from_secs(1);

/// How a store is told of changes.
///
/// By `CLIENT TRACKING`: Redis remembers which keys a connection has read and tells it, once, when
/// one of them changes. Compared with a message that whoever changes the record publishes, this
/// covers every way in which a record can change, costs nothing while nobody waits, and leaves no
/// gap between looking and waiting. A look now and then is the floor, should a notification be lost.
pub(super) struct Watches {
    /// A connection of its own: it must speak RESP3, and is made when somebody first watches.
    lane: Lane,
    board: Arc<Board>,
    /// Until when nothing is asked for on it, in microseconds of this machine's clock.
    pause: AtomicU64,
}

impl Watches {
    /// `lane` makes the connection whose notifications go to the board.
    pub(super) fn new(lane: impl FnOnce(Arc<Board>) -> Lane) -> Self {
        let board = Arc::<Board>::default();
        Self { lane: lane(Arc::clone(&board)), board, pause: AtomicU64::new(0) }
    }

    fn is_paused(&self) -> bool {
        ServerTime::here_in_micros() < self.pause.load(Ordering::Relaxed)
    }

    fn pause_after(&self, error: &Error) {
        let pause = if error.kind() == ErrorKind::Refused { REFUSED } else { FAILED };
        let until = ServerTime::here() + pause;
        self.pause.store(u64::try_from(until.as_micros()).unwrap_or(u64::MAX), Ordering::Relaxed);
        tracing::debug!(%error, "Redis notifies of no changes: it is asked now and then instead");
    }
}

impl AsyncPushSender for Board {
    fn send(&self, push: PushInfo) -> Result<(), SendError> {
        match (push.kind, push.data.first()) {
            (PushKind::Invalidate, Some(Value::Array(keys))) => {
                for key in keys {
                    if let Value::BulkString(key) = key {
                        self.wake(key);
                    }
                }
            }
            // No keys means all keys; and without the connection nothing is notified any more.
            (PushKind::Invalidate | PushKind::Disconnection, _) => self.wake_all(),
            _ => {}
        }
        Ok(())
    }
}

impl RedisStore {
    /// Looks until the claim with this fence does not keep others out any more, or the time is over.
    pub(super) async fn await_change(
        &self,
        slot: &Slot,
        fence: FenceToken,
        within: Duration,
    ) -> Result<Seen, Error> {
        let key = self.key(slot);
        let look = |within| self.look_and_track(slot, &key, within);
        await_change(&self.watches.board, &key, fence, within, look).await
    }

    async fn look_and_track(&self, slot: &Slot, key: &[u8], within: Duration) -> Told {
        if !self.watches.is_paused() {
            let call = self.call(&self.watches.lane, Operation::Watch, within);
            match call.bounded(call.look_and_track(key)).await {
                Err(error) if !is_of_record(&error) => self.watches.pause_after(&error),
                seen => return Told { seen, tracked: true },
            }
        }
        let call = self.call(self.claims.of(slot), Operation::Watch, within);
        Told { seen: call.bounded(call.look(key)).await, tracked: false }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn push(kind: PushKind, data: Vec<Value>) -> PushInfo {
        PushInfo { kind, data }
    }

    fn invalid(keys: &[&[u8]]) -> PushInfo {
        let keys = keys.iter().map(|key| Value::BulkString(key.to_vec())).collect();
        push(PushKind::Invalidate, vec![Value::Array(keys)])
    }

    #[test]
    fn who_watches_a_key_is_woken_by_what_concerns_it() {
        let board = Board::default();
        let (one, two) = (board.watch(b"one"), board.watch(b"two"));
        let rounds = || (*one.watched.round.borrow(), *two.watched.round.borrow());
        let tell = |info| board.send(info).expect("it is taken");
        tell(invalid(&[b"one", b"three"]));
        assert_eq!(rounds(), (1, 0));
        tell(push(PushKind::Invalidate, vec![Value::Nil]));
        assert_eq!(rounds(), (2, 1));
        tell(push(PushKind::Disconnection, vec![]));
        assert_eq!(rounds(), (3, 2));
        tell(push(PushKind::Message, vec![]));
        assert_eq!(rounds(), (3, 2));
    }
}
