use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use redis::aio::{AsyncPushSender, SendError};
use redis::{PushInfo, PushKind, Value};
use tokio::sync::watch;

use crate::store::{Error, Seen};

/// The slots that somebody in this process watches, by their keys. What Redis notifies goes here.
#[derive(Default)]
pub(in crate::store::redis) struct Board(Mutex<HashMap<Vec<u8>, Arc<Watched>>>);

/// A slot that is watched, by however many.
#[derive(Default)]
pub(in crate::store::redis) struct Watched {
    /// Goes on whenever the slot may have changed.
    pub(in crate::store::redis) round: watch::Sender<u64>,
    /// What the last look has found. Held while somebody looks.
    pub(in crate::store::redis) last: tokio::sync::Mutex<Option<Look>>,
}

/// What a look has found.
#[derive(Clone)]
pub(in crate::store::redis) struct Look {
    /// The round when it began.
    pub(in crate::store::redis) round: u64,
    pub(in crate::store::redis) seen: Result<Seen, Arc<Error>>,
    /// Whether Redis tells when that changes.
    pub(in crate::store::redis) tracked: bool,
}

/// One who watches. The last one who goes takes the slot off the board.
pub(in crate::store::redis) struct Watcher<'a> {
    board: &'a Board,
    pub(in crate::store::redis) key: &'a [u8],
    pub(in crate::store::redis) watched: Arc<Watched>,
}

impl Board {
    pub(in crate::store::redis) fn watch<'a>(&'a self, key: &'a [u8]) -> Watcher<'a> {
        let watched = Arc::clone(self.lock().entry(key.to_vec()).or_default());
        Watcher { board: self, key, watched }
    }

    /// For when it is not known what has changed.
    pub(in crate::store::redis) fn wake_all(&self) {
        self.lock().values().for_each(|watched| watched.wake());
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Vec<u8>, Arc<Watched>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Watched {
    fn wake(&self) {
        self.round.send_modify(|round| *round += 1);
    }

    /// Goes on if nobody else has: one of all who suspect something is enough.
    pub(in crate::store::redis) fn suspect(&self, since: u64) {
        self.round.send_if_modified(|round| {
            let first = *round == since;
            *round += u64::from(first);
            first
        });
    }
}

impl AsyncPushSender for Board {
    fn send(&self, push: PushInfo) -> Result<(), SendError> {
        match (push.kind, push.data.first()) {
            (PushKind::Invalidate, Some(Value::Array(keys))) => {
                let board = self.lock();
                for key in keys {
                    if let Value::BulkString(key) = key
                        && let Some(watched) = board.get(key)
                    {
                        watched.wake();
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

impl Drop for Watcher<'_> {
    fn drop(&mut self) {
        let mut board = self.board.lock();
        // The board has one reference and this watcher the other.
        if Arc::strong_count(&self.watched) == 2 {
            board.remove(self.key);
        }
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

    #[test]
    fn the_last_watcher_takes_the_key_off_the_board() {
        let board = Board::default();
        let (first, second) = (board.watch(b"key"), board.watch(b"key"));
        drop(first);
        assert_eq!(board.lock().len(), 1);
        drop(second);
        assert!(board.lock().is_empty());
    }

    #[test]
    fn one_suspicion_is_enough() {
        let watched = Watched::default();
        watched.suspect(0);
        watched.suspect(0);
        assert_eq!(*watched.round.borrow(), 1);
    }
}
