use std::sync::Arc;
use std::time::Duration;

use super::PostgresStore;
use super::call::Call;
use super::listen::Listener;
use super::statements::Verb;
use crate::protocol::{FenceToken, Slot};
use crate::store::watch::board::Board;
use crate::store::watch::{Told, await_change};
use crate::store::{Error, Operation, Seen};

/// How a store learns that a claim has ended.
///
/// Of those that end in this process it knows itself. Of the others a notification tells: whoever
/// waits marks the record, and whatever ends a claim that is marked notifies. A notification takes a
/// lock of the whole database while its transaction commits, so nobody who is not waited for pays for
/// one.
pub(super) struct Watches {
    pub(super) board: Arc<Board>,
    /// Where there is one.
    pub(super) listener: Option<Listener>,
}

impl Watches {
    pub(super) fn new(listener: Option<Listener>) -> Self {
        Self { board: Arc::default(), listener }
    }

    /// A claim has ended here.
    pub(super) fn wake(&self, slot: &Slot) {
        self.board.wake(slot.as_bytes());
    }
}

impl PostgresStore {
    /// Looks until the claim with this fence does not keep others out any more, or the time is over.
    pub(super) async fn await_change(
        &self,
        slot: &Slot,
        fence: FenceToken,
        within: Duration,
    ) -> Result<Seen, Error> {
        let look = |within| self.look_and_mark(slot, within);
        await_change(&self.watches.board, slot.as_bytes(), fence, within, look).await
    }

    async fn look_and_mark(&self, slot: &Slot, within: Duration) -> Told {
        let call = self.call(&self.claims, Operation::Watch, within);
        let board = &self.watches.board;
        let work = async {
            match &self.watches.listener {
                Some(listener) if listener.listens(board) => self.mark(&call, slot).await,
                _ => Ok((self.see(&call, slot).await?, false)),
            }
        };
        match call.bounded(work).await {
            Ok((seen, tracked)) => Told { seen: Ok(seen), tracked },
            Err(error) => Told { seen: Err(error), tracked: false },
        }
    }

    /// What a slot holds, on the primary.
    pub(super) async fn see(&self, call: &Call<'_>, slot: &Slot) -> Result<Seen, Error> {
        let answer = call.ask(Verb::Look, slot, &[]).await?.ok_or_else(|| call.unsettled())?;
        if answer.flag {
            return Err(call.on_a_replica());
        }
        super::seen(answer).map_err(|invalid| call.unreadable(invalid))
    }

    /// The same, and whether its end will be notified: it is not if it came while this was looked at.
    async fn mark(&self, call: &Call<'_>, slot: &Slot) -> Result<(Seen, bool), Error> {
        let answer = call.ask(Verb::Mark, slot, &[]).await?.ok_or_else(|| call.unsettled())?;
        let marked = answer.flag || answer.waited;
        let seen = super::seen(answer).map_err(|invalid| call.unreadable(invalid))?;
        Ok((seen, marked))
    }
}
