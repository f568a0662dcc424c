//! What can happen next: to the store, to the messages, and to each attempt by the engine's rules.

use crate::defect::Defect;
use crate::engine;
use crate::state::{Kept, Phase, Rows, Stage, State, Try};
use crate::step::{Action, Step};
use crate::store::{Answer, Call, Store};
use crate::transaction;
use crate::variant::{Durable, Fault, Variant};

pub struct World {
    pub variant: Variant,
    pub store: Store,
}

impl World {
    pub fn new(variant: Variant) -> Self {
        Self { variant, store: Store::new(variant) }
    }

    /// All that can happen in a state.
    pub fn steps(&self, state: &State, out: &mut Vec<Step>) {
        for by in 0..self.variant.attempts {
            if state.tries[by].step == Stage::Idle {
                // Attempts that have not arrived are all alike: they arrive in order.
                self.arrive(state, by, out);
                break;
            }
            engine::steps(self, state, by, out);
            self.messages(state, by, out);
        }
        self.time(state, out);
        self.faults(state, out);
        for step in out {
            if matches!(self.variant.fault, Fault::Expiry | Fault::Hook) {
                age(state, &mut step.after);
            }
            step.after = step.after.normal();
        }
    }

    fn arrive(&self, state: &State, by: usize, out: &mut Vec<Step>) {
        let mut after = *state;
        let item = &mut after.tries[by];
        item.step = Stage::Asking;
        item.begins = true;
        item.live = self.variant.timed;
        out.push(Step::new(Action::Arrive(by), after));
        if self.variant.fault == Fault::OtherBody && !state.tries.iter().any(|item| item.odd) {
            after.tries[by].odd = true;
            out.push(Step::new(Action::ArriveOdd(by), after));
        }
    }

    /// Copies of the calls of an attempt arrive, are late or are lost.
    fn messages(&self, state: &State, by: usize, out: &mut Vec<Step>) {
        let item = &state.tries[by];
        let mut lose = |name, forget: fn(&mut Try)| {
            let mut after = *state;
            forget(&mut after.tries[by]);
            out.push(Step::new(Action::Lose(by, name), after));
        };
        if item.begins && self.variant.has(Defect::NoDeadlineNoCancel) {
            lose("begin", |item| item.begins = false);
        }
        if item.renews {
            lose("renew", |item| item.renews = false);
        }
        if item.completes {
            lose("complete", |item| item.completes = false);
        }
        if item.releases {
            lose("release", |item| item.releases = false);
        }
        if item.begins {
            self.deliver(state, by, Call::Begin, out);
        }
        if item.renews {
            self.deliver(state, by, Call::Renew, out);
        }
        if item.completes {
            self.deliver(state, by, Call::Complete, out);
        }
        if item.releases {
            self.deliver(state, by, Call::Release, out);
        }
        if let Stage::Resolving(asked) = item.step {
            self.deliver(state, by, Call::Resolve(asked), out);
        }
        transaction::messages(self, state, by, out);
        let awaited = matches!(item.step, Stage::Asking | Stage::Cancelling);
        let waits = matches!(item.step, Stage::Freeing { .. } | Stage::Fencing { .. }) && item.lost;
        let owns = state.slot.is_some_and(|kept| usize::from(kept.owner) == by);
        if !item.late
            && (item.begins || awaited || waits || owns)
            && !self.variant.has(Defect::NoDeadlineNoCancel)
        {
            out.push(self.deadline(state, by));
        }
    }

    /// The deadline of `begin` passes; what still arrives of it does nothing.
    fn deadline(&self, state: &State, by: usize) -> Step {
        let mut after = *state;
        after.tries[by].late = true;
        let mut called = None;
        if after.tries[by].begins {
            let late = self.store.call(&after, by, Call::Begin);
            assert_eq!(late.answer, Answer::Late, "apply keeps the deadline");
            after.tries[by].begins = false;
            called = Some(late);
        }
        Step { called, ..Step::new(Action::Deadline(by), after) }
    }

    fn deliver(&self, state: &State, by: usize, call: Call, out: &mut Vec<Step>) {
        let mut called = self.store.call(state, by, call);
        if self.variant.has(Defect::UnfencedTakeOver) {
            transaction::spoil_take_over(&mut called);
        }
        let mut base = *state;
        base.slot = called.left;
        if let Answer::New { token, .. } = called.answer {
            base.ghost.orders += 1;
            base.ghost.top = base.ghost.top.max(token);
        }
        out.push(Step { called: Some(called), ..Step::new(Action::Reach(by), base) });
        let acknowledged = self.is_durable(call);
        if !acknowledged || self.variant.has(Defect::ShortfallIgnored) {
            engine::answered(self, &base, &called, out);
        }
        if acknowledged {
            let mut base = base;
            (base.replica, base.replica_rows) = (base.slot, base.rows);
            engine::answered(self, &base, &called, out);
        }
    }

    /// Whether a call is answered only once the replica has what it did.
    fn is_durable(&self, call: Call) -> bool {
        match self.variant.fault {
            Fault::FailOver(Durable::All) => true,
            Fault::FailOver(Durable::Begins) => call == Call::Begin,
            _ => false,
        }
    }

    fn time(&self, state: &State, out: &mut Vec<Step>) {
        for by in 0..self.variant.attempts {
            if state.tries[by].live {
                let mut after = *state;
                after.tries[by].live = false;
                out.push(Step::new(Action::LocalEnd(by), after));
            }
        }
        let Some(kept) = state.slot else { return };
        let mut after = *state;
        let owner = state.tries.get(usize::from(kept.owner));
        let known = owner.is_some_and(|owner| owner.live);
        let timely = owner.is_some_and(|owner| owner.late) || self.variant.short_lease;
        if kept.phase == Phase::Live
            && timely
            && (!known || self.variant.has(Defect::LeaseByClientClock))
        {
            let lapsed = Kept { phase: Phase::Lapsed, ..kept };
            after.slot = Some(lapsed).filter(|_| !self.variant.has(Defect::LeaseIsExpiry));
            for item in after.tries.iter_mut().filter(|item| item.aged[0]) {
                // It was sent before the claim was made, and a lease is longer than that.
                (item.late, item.begins) = (true, false);
            }
            out.push(Step::new(Action::Lapse, after));
        }
        if self.variant.fault == Fault::Expiry {
            self.expiry(state, out);
        }
    }

    fn expiry(&self, state: &State, out: &mut Vec<Step>) {
        let Some(kept) = state.slot else { return };
        if kept.expired || self.variant.has(Defect::PurgeUnexpired) {
            let after = State { slot: None, ..*state };
            out.push(Step::new(Action::Purge, after));
        }
        let late = state.tries.get(usize::from(kept.owner)).is_none_or(|owner| owner.late);
        let short = self.variant.has(Defect::ShortTombstone);
        // Records and tombstones outlive the deadlines of their attempt's calls.
        let allowed = kept.phase != Phase::Live && (late || short);
        if kept.expired || !allowed {
            return;
        }
        let mut after = *state;
        after.slot = Some(Kept { expired: true, ..kept });
        if !short {
            after.tries.iter_mut().for_each(Try::outlive);
        }
        if kept.phase != Phase::Released {
            // The key is free again by right.
            after.ghost.runs = 0;
            after.rows = Rows::default();
            after.ghost.told = None;
            after.ghost.stored = None;
            for item in after.tries.iter_mut().filter(|item| item.order > 0) {
                (item.counted, item.old) = (false, true);
            }
        }
        out.push(Step::new(Action::Expire, after));
    }

    fn faults(&self, state: &State, out: &mut Vec<Step>) {
        let mut lose = |action, slot| {
            let after = State { slot, losses: state.losses + 1, ..*state };
            out.push(Step::new(action, after));
        };
        match self.variant.fault {
            Fault::Eviction if state.losses == 0 && state.slot.is_some() => {
                lose(Action::Evict, None);
            }
            Fault::Restart if state.losses == 0 && state.slot.is_some() => {
                lose(Action::Restart, None);
                let broken = out.last_mut().expect("it was just pushed");
                for item in &mut broken.after.tries {
                    item.lost |= item.step == Stage::Asking;
                    (item.begins, item.renews) = (false, false);
                    (item.completes, item.releases) = (false, false);
                }
            }
            Fault::FailOver(_) if state.replica != state.slot => {
                if state.losses == 0 {
                    lose(Action::FailOver, state.replica);
                    transaction::failed_over(&mut out.last_mut().expect("as above").after);
                }
                let (replica, replica_rows) = (state.slot, state.rows);
                let after = State { replica, replica_rows, ..*state };
                out.push(Step::new(Action::Replicate, after));
            }
            Fault::ClockBack if !state.clock_back => {
                let after = State { clock_back: true, ..*state };
                out.push(Step::new(Action::ClockBack, after));
            }
            _ => {}
        }
    }
}

/// What the slot comes to hold outlives the deadlines of all calls that are under way by then: a
/// lease those of `begin`, a tombstone and the retention those of all.
fn age(before: &State, after: &mut State) {
    let new = after.slot.filter(|kept| after.slot != before.slot && !kept.expired);
    let claimed = new.is_some();
    let settled = new.is_some_and(|kept| kept.phase != Phase::Live);
    for (old, new) in before.tries.iter().zip(&mut after.tries) {
        let sending = old.sending().into_iter().zip(new.sending());
        let outlived = [claimed, settled, settled, settled].into_iter().zip(&mut new.aged);
        for ((outlived, aged), (before, now)) in outlived.zip(sending) {
            *aged = now && (outlived || before && *aged);
        }
    }
}
