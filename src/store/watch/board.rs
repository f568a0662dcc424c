use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

use crate::store::{Error, Seen};

/// The slots that somebody in this process watches, by their keys. What a server notifies goes here.
#[derive(Default)]
pub(in crate::store) struct Board(Mutex<HashMap<Vec<u8>, Arc<Watched>>>);

/// A slot that is watched, by however many.
#[derive(Default)]
pub(in crate::store) struct Watched {
    /// Goes on whenever the slot may have changed.
    pub(in crate::store) round: watch::Sender<u64>,
    /// What the last look has found. Held while somebody looks.
    pub(in crate::store) last: tokio::sync::Mutex<Option<Look>>,
}

/// What a look has found.
#[derive(Clone)]
pub(in crate::store) struct Look {
    /// The round when it began.
    pub(in crate::store) round: u64,
    pub(in crate::store) seen: Result<Seen, Arc<Error>>,
    /// Whether the server tells when that changes.
    pub(in crate::store) tracked: bool,
}

/// One who watches. The last one who goes takes the slot off the board.
pub(in crate::store) struct Watcher<'a> {
    board: &'a Board,
    pub(in crate::store) key: &'a [u8],
    pub(in crate::store) watched: Arc<Watched>,
}

impl Board {
    pub(in crate::store) fn watch<'a>(&'a self, key: &'a [u8]) -> Watcher<'a> {
        let watched = Arc::clone(self.lock().entry(key.to_vec()).or_default());
        Watcher { board: self, key, watched }
    }

    /// For when this slot may have changed.
    pub(in crate::store) fn wake(&self, key: &[u8]) {
        if let Some(watched) = self.lock().get(key) {
            watched.wake();
        }
    }

    /// For when it is not known what has changed.
    pub(in crate::store) fn wake_all(&self) {
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
    pub(in crate::store) fn suspect(&self, since: u64) {
        self.round.send_if_modified(|round| {
            let first = *round == since;
            *round += u64::from(first);
            first
        });
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
