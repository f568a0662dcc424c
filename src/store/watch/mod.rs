//! What stores that are told of changes have in common: who watches a slot waits for a word, and looks
//! now and then in case one was lost.

pub(super) mod board;

use std::sync::Arc;
use std::time::Duration;

use self::board::{Board, Look, Watcher};
use super::poll::{FIRST, LONGEST, LOOK, jittered};
use super::server_clock::here;
use super::{Error, ErrorKind, Operation, Seen};
use crate::protocol::FenceToken;

/// What a look has found.
pub(super) struct Told {
    pub(super) seen: Result<Seen, Error>,
    /// Whether the server tells when that changes.
    pub(super) tracked: bool,
}

/// Looks until the claim with this fence does not keep others out any more, or the time is over. All
/// who watch one key share what one of them has found. `look` may take as long as it is given.
pub(super) async fn await_change<F>(
    board: &Board,
    key: &[u8],
    fence: FenceToken,
    within: Duration,
    look: impl Fn(Duration) -> F + Sync,
) -> Result<Seen, Error>
where
    F: Future<Output = Told> + Send,
{
    let watcher = board.watch(key);
    let mut rounds = watcher.watched.round.subscribe();
    let until = here().saturating_add(within);
    let mut mine = Some(fence);
    let mut pause = FIRST;
    loop {
        let round = *rounds.borrow_and_update();
        let look = watcher.shared_look(round, mine.take(), || look(LOOK.min(within))).await;
        let left = until.saturating_sub(here());
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

impl Watcher<'_> {
    /// What was found in this round or later: by somebody else, if somebody has looked. With a
    /// `fence`, only that its claim is running: what ended before this watcher came says nothing.
    async fn shared_look<F>(
        &self,
        round: u64,
        fence: Option<FenceToken>,
        look: impl Fn() -> F,
    ) -> Look
    where
        F: Future<Output = Told>,
    {
        let fresh = async || {
            let round = *self.watched.round.borrow();
            let Told { seen, tracked } = look().await;
            Look { round, seen: seen.map_err(Arc::new), tracked }
        };
        // Whoever holds it may look twice, and may have stopped running, with its runtime.
        let Ok(mut last) = tokio::time::timeout(LOOK * 3, self.watched.last.lock()).await else {
            return fresh().await;
        };
        let told = last.as_ref().filter(|look| {
            let running =
                |fence| look.seen.as_ref().is_ok_and(|seen| seen.running(fence).is_some());
            look.round >= round && fence.is_none_or(running)
        });
        match told {
            Some(look) => look.clone(),
            None => last.insert(fresh().await).clone(),
        }
    }
}

/// Whether the slot was read, and is not what it should be.
pub(super) const fn is_of_record(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::Corrupt | ErrorKind::Unsupported)
}
