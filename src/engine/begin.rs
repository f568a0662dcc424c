use std::sync::Arc;

use super::abandoned::Lapsed;
use super::admission::{Admission, Admitted, Asking, Refused, unable};
use super::call::Call;
use super::recovery::Recovered;
use super::running::Proof;
use super::wait::Ticket;
use super::{Answer, Engine, Held, Rejection, answer};
use crate::protocol::{Attempt, FenceToken, Found, Grant, Guarantee, Reply, Timestamp};
use crate::store::{ErrorKind, Operation, Store};

impl Engine {
    /// Asks the store for the claim.
    pub(crate) async fn begin(self: &Arc<Self>, mut asking: Asking<'_>) -> Admission {
        let Some(room) = self.rooms.enter(&asking.tenant) else {
            let refused = self.refuse_without_room(&mut asking).await;
            return self.turn_away(asking.ticket, asking.attempt, refused);
        };
        let mut sent = self.clock.monotonic();
        let Call { mut result, mut lost } = self.first_call(&mut asking).await;
        if let (Ok(Reply::Found(found)), Some(recover)) = (&result, asking.recover)
            && let Some(lapsed) = Lapsed::of(found)
        {
            match self.recover(&asking, recover, lapsed).await {
                Recovered::Rerun(question) => {
                    asking.attempt.guarantee = Guarantee::AtLeastOnce;
                    // It is of that claim only that the application has been asked.
                    asking.attempt.max_attempts = lapsed.attempt.saturating_add(1);
                    sent = self.clock.monotonic();
                    let again = self.begin_call(&asking.attempt).await;
                    (result, lost) = (again.result, lost | again.lost);
                    // Where it did not get to the slot, the next may ask.
                    let landed = |reply: &Reply| !matches!(reply, Reply::Late | Reply::Cancelled);
                    let (engine, answered) = (Arc::clone(self), result.as_ref().is_ok_and(landed));
                    self.work.spawn(async move { engine.conclude(question, answered).await });
                }
                Recovered::Refused(refused) => {
                    if lost {
                        self.cancel_later(asking.attempt.clone());
                    }
                    return self.turn_away(asking.ticket, asking.attempt, refused);
                }
            }
        }
        let lost_until = lost.then(|| self.clock.monotonic().saturating_add(self.store_timeout));
        let Asking { attempt, terms, key, tenant, ticket, .. } = asking;
        let hold = |attempt: Attempt, grant, proof| {
            Held::new(attempt.claim(grant), terms, (key, tenant), proof, lost_until, &self.clock)
        };
        let refused = match result {
            Ok(Reply::Started(grant) | Reply::Mine(grant) | Reply::Reclaimed(grant)) => {
                tracing::debug!(slot = %attempt.slot, attempt = grant.number, "claimed");
                let held = hold(attempt.clone(), grant, Proof::Claimed { sent });
                match self.make_live(&held).await {
                    None => return Admission::Proceed(Admitted { held, room, ticket }),
                    Some(refused) => {
                        // The store may hold this claim, and nobody will run under it (rule C5).
                        self.cancel_later(attempt.clone());
                        return self.turn_away(ticket, attempt, refused);
                    }
                }
            }
            Ok(Reply::Found(found)) => Refused::Found(attempt.slot, found),
            failed => match unable(&attempt, &failed) {
                Rejection::StoreUnavailable { .. } if terms.run_unprotected => {
                    tracing::warn!(slot = %attempt.slot, "running unprotected");
                    let fence = FenceToken::at(Timestamp::from_micros(0).after(self.clock.unix()));
                    let full = failed.is_err_and(|error| error.kind() == ErrorKind::Full);
                    let proof = Proof::None { recorded: lost || !full };
                    let held = hold(attempt, Grant { number: 1, fence }, proof);
                    return Admission::Proceed(Admitted { held, room, ticket });
                }
                rejection => Refused::Because(rejection),
            },
        };
        if lost {
            // The store may come to hold a claim of this attempt (rule C5).
            self.cancel_later(attempt.clone());
        }
        self.turn_away(ticket, attempt, refused)
    }

    /// Asks, and again where what is found was hashed in another way.
    async fn first_call(&self, asking: &mut Asking<'_>) -> Call {
        let guarantee = asking.attempt.guarantee;
        if asking.recover.is_some() {
            // An abandoned claim is not taken over before somebody has looked what became of it.
            asking.attempt.guarantee = Guarantee::AtMostOnce;
        }
        let mut call = self.begin_call(&asking.attempt).await;
        if let Ok(Reply::Found(Found::OtherScheme(scheme))) = &call.result
            && let Some(fingerprint) = (asking.compare)(scheme)
        {
            asking.attempt.fingerprint = fingerprint;
            let lost = call.lost;
            call = self.begin_call(&asking.attempt).await;
            call.lost |= lost;
        }
        asking.attempt.guarantee = guarantee;
        call
    }

    /// The answer to a request that cannot run now: what the slot holds can still be told.
    async fn refuse_without_room(&self, asking: &mut Asking<'_>) -> Refused {
        let no_room = || Refused::Because(Rejection::too_many_in_flight());
        let slot = asking.attempt.slot;
        let Some(seen) = self.look(slot).await else { return no_room() };
        let Some(record) = seen.record else { return no_room() };
        let mut found = record.seen_by(&asking.attempt, seen.now);
        if let Found::OtherScheme(scheme) = &found
            && let Some(fingerprint) = (asking.compare)(scheme)
        {
            asking.attempt.fingerprint = fingerprint;
            found = record.seen_by(&asking.attempt, seen.now);
        }
        let may_run =
            asking.attempt.guarantee == Guarantee::AtLeastOnce || asking.recover.is_some();
        match found {
            Found::Nothing => no_room(),
            Found::Unknown { .. } if may_run => no_room(),
            found => Refused::Found(slot, found),
        }
    }

    /// Answers a request that does not run and all who wait with it, or lets them wait on.
    fn turn_away(
        self: &Arc<Self>,
        ticket: Ticket,
        attempt: Attempt,
        refused: Refused,
    ) -> Admission {
        match refused {
            Refused::Found(slot, Found::Busy { fence, age, .. }) if !ticket.is_none() => {
                ticket.note_age(age);
                self.watch_for(ticket, attempt, (slot, fence));
                Admission::Wait
            }
            // Freed since it was looked at: whose turn it is asks again.
            Refused::Found(_, Found::Nothing) if !ticket.is_none() => Admission::Wait,
            refused => {
                let answer = match refused {
                    Refused::Found(_, found) => answer(found),
                    Refused::Because(rejection) => Answer::Reject(rejection),
                };
                ticket.announce(&answer, &attempt.fingerprint);
                Admission::Answer(answer)
            }
        }
    }

    /// The reply of a slow store can arrive when the lease that it grants has lapsed already, and
    /// another may have taken over: then the claim has to be renewed before anything runs.
    async fn make_live(&self, held: &Held) -> Option<Refused> {
        if held.is_live() {
            return None;
        }
        let sent = self.clock.monotonic();
        let renew = |within| self.store.renew(&held.claim, within);
        match self.repeat(Operation::Renew, renew).await.result {
            Ok(Reply::Applied) => held.extended(sent),
            Ok(Reply::Fenced(found)) => return Some(Refused::Found(held.slot(), found)),
            _ => {}
        }
        // Where running unprotected is better than being refused, it runs with what it has.
        let run = held.is_live() || held.terms.run_unprotected;
        (!run).then(|| Refused::Because(Rejection::unavailable()))
    }

    pub(super) async fn begin_call(&self, attempt: &Attempt) -> Call {
        self.repeat(Operation::Begin, |within| self.store.begin(attempt, within)).await
    }
}
