pub(in crate::store::redis) mod board;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use self::board::{Board, Look, Watcher};
use super::RedisStore;
use crate::protocol::{FenceToken, Slot};
use crate::store::poll::{FIRST, LONGEST, LOOK, jittered};
use crate::store::redis::connection::lane::Lane;
use crate::store::redis::connection::server_time::ServerTime;
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
pub(in crate::store::redis) struct Watches {
    /// A connection of its own: it must speak RESP3, and is made when somebody first watches.
    lane: Lane,
    board: Arc<Board>,
    /// Until when nothing is asked for on it, in microseconds of this machine's clock.
    pause: AtomicU64,
}

impl Watches {
    /// `lane` makes the connection whose notifications go to the board.
    pub(in crate::store::redis) fn new(lane: impl FnOnce(Arc<Board>) -> Lane) -> Self {
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

impl RedisStore {
    /// Looks until the claim with this fence does not keep others out any more, or the time is over.
    pub(in crate::store::redis) async fn await_change(
        &self,
        slot: &Slot,
        fence: FenceToken,
        within: Duration,
    ) -> Result<Seen, Error> {
        let key = self.key(slot);
        let watcher = self.watches.board.watch(&key);
        let mut rounds = watcher.watched.round.subscribe();
        let until = ServerTime::here().saturating_add(within);
        let mut mine = Some(fence);
        let mut pause = FIRST;
        loop {
            let round = *rounds.borrow_and_update();
            let look = self.shared_look(&watcher, slot, round, mine.take(), LOOK.min(within)).await;
            let left = until.saturating_sub(ServerTime::here());
            let lease = match &look.seen {
                Ok(seen) => seen.running(fence),
                // It cannot be told now; it may be later.
                Err(error) => (!is_of_record(error)).then_some(Duration::MAX),
            };
            let Some(lease) = lease.filter(|_| !left.is_zero()) else {
                return look.seen.map_err(|error| {
                    Error::new(error.kind(), Operation::Watch, error.effect()).with_source(error)
                });
            };
            let nap = if look.tracked { LONGEST } else { pause };
            pause = if look.tracked { FIRST } else { (pause * 2).min(LONGEST) };
            let nap = jittered(nap).min(lease).min(left);
            if tokio::time::timeout(nap, rounds.changed()).await.is_err() {
                watcher.watched.suspect(round);
            }
        }
    }

    /// What was found in this round or later: by somebody else, if somebody has looked. With a
    /// `fence`, only that its claim is running: what ended before this watcher came says nothing.
    async fn shared_look(
        &self,
        watcher: &Watcher<'_>,
        slot: &Slot,
        round: u64,
        fence: Option<FenceToken>,
        within: Duration,
    ) -> Look {
        // Whoever holds it may look twice, and may have stopped running, with its runtime.
        let Ok(mut last) = tokio::time::timeout(LOOK * 3, watcher.watched.last.lock()).await else {
            return self.fresh_look(watcher, slot, within).await;
        };
        let told = last.as_ref().filter(|look| {
            let running =
                |fence| look.seen.as_ref().is_ok_and(|seen| seen.running(fence).is_some());
            look.round >= round && fence.is_none_or(running)
        });
        match told {
            Some(look) => look.clone(),
            None => last.insert(self.fresh_look(watcher, slot, within).await).clone(),
        }
    }

    async fn fresh_look(&self, watcher: &Watcher<'_>, slot: &Slot, within: Duration) -> Look {
        let round = *watcher.watched.round.borrow();
        if !self.watches.is_paused() {
            let call = self.call(&self.watches.lane, Operation::Watch, within);
            match call.bounded(call.look_and_track(watcher.key)).await {
                Err(error) if !is_of_record(&error) => self.watches.pause_after(&error),
                seen => return Look { round, seen: seen.map_err(Arc::new), tracked: true },
            }
        }
        let call = self.call(self.claims.of(slot), Operation::Watch, within);
        let seen = call.bounded(call.look(watcher.key)).await;
        Look { round, seen: seen.map_err(Arc::new), tracked: false }
    }
}

/// Whether the slot was read, and is not what it should be.
fn is_of_record(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::Corrupt | ErrorKind::Unsupported)
}
