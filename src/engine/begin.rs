use std::pin::Pin;
use std::sync::Arc;

use super::abandoned::Lapsed;
use super::admission::{Admission, Admitted, Asking, Refused, unable};
use super::call::Call;
use super::joint::Joint;
use super::recovery::{Question, Recovered};
use super::room::Room;
use super::running::Proof;
use super::{Answer, Engine, Held, Rejection, answer};
use crate::protocol::{Attempt, FenceToken, Found, Grant, Guarantee, Reply, TakeOver, Timestamp};
use crate::store::{ErrorKind, Operation, Store};

/// The claim of an attempt, or why it does not run.
type Claimed = Result<Arc<Held>, Refused>;

impl Engine {
    /// Asks the store for the claim. What is rare is boxed, so that the common way is short of
    /// memory.
    pub(crate) async fn begin(self: &Arc<Self>, asking: &mut Asking<'_>) -> Admission {
        let Some(room) = self.rooms.enter(asking.tenant) else {
            let refused = Box::pin(self.refuse_without_room(asking)).await;
            return self.turn_away(asking, refused);
        };
        let claimed: Pin<Box<dyn Future<Output = Claimed> + Send + '_>> = {
            let call = self.begin_call(asking.attempt).await;
            match call.result {
                Ok(Reply::Found(Found::OtherScheme(_) | Found::Unknown { .. })) => {
                    Box::pin(self.claim_again(asking, call))
                }
                _ => match self.granted(asking, call) {
                    Ok(held) if held.is_late() => Box::pin(self.make_live(asking, held)),
                    claimed => return self.admit(asking, room, claimed),
                },
            }
        };
        let claimed = claimed.await;
        self.admit(asking, room, claimed)
    }

    fn admit(self: &Arc<Self>, asking: &mut Asking<'_>, room: Room, claimed: Claimed) -> Admission {
        match claimed {
            Ok(held) => Admission::Proceed(Admitted { held, room, ticket: asking.ticket.take() }),
            Err(refused) => self.turn_away(asking, refused),
        }
    }

    /// What the store's answer allows: to run under a claim or, where the policy says so, without.
    #[expect(clippy::result_large_err, reason = "to be refused is as common as to be granted")]
    fn granted(self: &Arc<Self>, asking: &Asking<'_>, call: Call) -> Claimed {
        let Call { sent, result, lost } = call;
        let (attempt, terms) = (&*asking.attempt, asking.terms);
        let refused = match result {
            Ok(Reply::Started(grant) | Reply::Mine(grant) | Reply::Reclaimed(grant)) => {
                tracing::debug!(slot = %attempt.slot, attempt = grant.number, "claimed");
                return Ok(self.hold(asking, grant, Proof::Claimed { sent }, lost));
            }
            Ok(Reply::Found(found)) => Refused::Found(attempt.slot, found),
            failed => match unable(attempt, &failed) {
                Rejection::StoreUnavailable { .. } if terms.run_unprotected => {
                    tracing::warn!(slot = %attempt.slot, "running unprotected");
                    let fence = FenceToken::at(Timestamp::from_micros(0).after(self.clock.unix()));
                    let full = failed.is_err_and(|error| error.kind() == ErrorKind::Full);
                    let proof = Proof::None { sent, recorded: lost || !full };
                    return Ok(self.hold(asking, Grant { number: 1, fence }, proof, lost));
                }
                rejection => Refused::Because(rejection),
            },
        };
        if lost {
            // The store may come to hold a claim of this attempt (rule C5).
            self.cancel_later(attempt.clone());
        }
        Err(refused)
    }

    fn hold(&self, asking: &Asking<'_>, grant: Grant, proof: Proof, lost: bool) -> Arc<Held> {
        let lost_until = lost.then(|| self.clock.monotonic().saturating_add(self.store_timeout));
        let named = (asking.key.clone(), Arc::clone(asking.tenant));
        let claim = asking.attempt.clone().claim(grant);
        let joint = match (&self.transactions, proof) {
            (Some(of), Proof::Claimed { .. }) => {
                Some(Box::new(Joint::new(of.clone(), self.store_timeout)))
            }
            _ => None,
        };
        Held::new(claim, asking.terms, named, proof, lost_until, joint, &self.clock)
    }

    /// Asks again where what was found was hashed in another way, has been abandoned and the
    /// application says that it may be taken over, or was granted too late to be live.
    async fn claim_again(self: &Arc<Self>, asking: &mut Asking<'_>, mut call: Call) -> Claimed {
        if let Ok(Reply::Found(Found::OtherScheme(scheme))) = &call.result
            && let Some(fingerprint) = (asking.compare)(scheme)
        {
            asking.attempt.fingerprint = fingerprint;
            let lost = call.lost;
            call = self.begin_call(asking.attempt).await;
            call.lost |= lost;
        }
        if let (Ok(Reply::Found(found)), Some(recover)) = (&call.result, asking.recover)
            && let Some(lapsed) = Lapsed::of(found)
        {
            match self.recover(asking, recover, lapsed).await {
                Recovered::Rerun(question) => {
                    let first = call;
                    call = self.begin_rerun(asking, question, lapsed).await;
                    call.lost |= first.lost;
                    if let Ok(Reply::Mine(_)) = call.result {
                        // A copy of the first call may have claimed the slot, and lapsed since.
                        call.sent = first.sent;
                    }
                }
                Recovered::Refused(refused) => {
                    if call.lost {
                        self.cancel_later(asking.attempt.clone());
                    }
                    return Err(refused);
                }
            }
        }
        let held = self.granted(asking, call)?;
        if held.is_late() { self.make_live(asking, held).await } else { Ok(held) }
    }

    /// Asks for the abandoned claim of which the application says that it may be taken over.
    async fn begin_rerun(
        self: &Arc<Self>,
        asking: &mut Asking<'_>,
        question: Question,
        lapsed: Lapsed,
    ) -> Call {
        // It is of that claim only that the application has been asked.
        asking.attempt.take_over = TakeOver::Only(lapsed.fence);
        let call = self.begin_call(asking.attempt).await;
        // Where it did not get to the slot, the next may ask.
        let landed = |reply: &Reply| !matches!(reply, Reply::Late | Reply::Cancelled);
        let answered = call.result.as_ref().is_ok_and(landed);
        let engine = Arc::clone(self);
        self.work.spawn(async move { engine.conclude(question, answered).await });
        call
    }

    /// The answer to a request that cannot run now: what the slot holds can still be told.
    async fn refuse_without_room(&self, asking: &mut Asking<'_>) -> Refused {
        let no_room = || Refused::Because(Rejection::too_many_in_flight());
        let slot = asking.attempt.slot;
        let Some(seen) = self.look(slot).await else { return no_room() };
        let Some(record) = seen.record else { return no_room() };
        let mut found = record.seen_by(asking.attempt, seen.now);
        if let Found::OtherScheme(scheme) = &found
            && let Some(fingerprint) = (asking.compare)(scheme)
        {
            asking.attempt.fingerprint = fingerprint;
            found = record.seen_by(asking.attempt, seen.now);
        }
        let may_run = asking.terms.guarantee == Guarantee::AtLeastOnce || asking.recover.is_some();
        match found {
            Found::Nothing => no_room(),
            Found::Unknown { .. } if may_run => no_room(),
            found => Refused::Found(slot, found),
        }
    }

    /// Answers a request that does not run and all who wait with it, or lets them wait on.
    fn turn_away(self: &Arc<Self>, asking: &mut Asking<'_>, refused: Refused) -> Admission {
        let (ticket, attempt) = (asking.ticket.take(), &*asking.attempt);
        match refused {
            Refused::Found(slot, Found::Busy { fence, age, .. }) if !ticket.is_none() => {
                ticket.note_age(age);
                self.watch_for(ticket, attempt.clone(), (slot, fence));
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
    async fn make_live(self: &Arc<Self>, asking: &Asking<'_>, held: Arc<Held>) -> Claimed {
        let renew = |within| self.store.renew(&held.claim, within);
        let call = self.repeat(Operation::Renew, self.store_timeout, renew).await;
        let refused = match call.result {
            Ok(Reply::Fenced(found)) => Refused::Found(held.slot(), found),
            renewed => {
                if let Ok(Reply::Applied) = renewed {
                    held.extended(call.sent);
                }
                // Where running unprotected is better than being refused, it runs with what it has.
                if held.is_live() || held.terms.run_unprotected {
                    return Ok(held);
                }
                Refused::Because(Rejection::unavailable())
            }
        };
        // The store may hold this claim, and nobody will run under it (rule C5).
        self.cancel_later(asking.attempt.clone());
        Err(refused)
    }

    /// No longer than a lease: a copy that landed later could claim what this attempt has had, lost
    /// and been answered for, and nobody would run under it.
    pub(super) fn begin_call<'a>(
        &'a self,
        attempt: &'a Attempt,
    ) -> impl Future<Output = Call> + Send + 'a {
        let time = self.store_timeout.min(attempt.lease);
        self.repeat(Operation::Begin, time, |within| self.store.begin(attempt, within))
    }
}
