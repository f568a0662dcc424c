//! The invariants that one slot can decide, each with its sentence. The README lists the others.

use tower_idempotency::protocol::Guarantee;

use crate::state::{Kept, MOST, Phase, Rows, Stage, State};
use crate::step::{Action, Step};
use crate::store::{Answer, Call, Called};
use crate::variant::{Fault, Variant};

/// A step and where it starts from.
pub struct Taken<'a> {
    pub variant: &'a Variant,
    pub before: &'a State,
    pub step: &'a Step,
}

pub struct Invariant {
    pub name: &'static str,
    pub sentence: &'static str,
    pub holds: fn(&Taken<'_>) -> bool,
}

macro_rules! invariants {
    ($($name:ident $sentence:literal $holds:ident),* $(,)?) => {
        pub const INVARIANTS: &[Invariant] = &[$(Invariant {
            name: stringify!($name),
            sentence: $sentence,
            holds: $holds,
        }),*];
    };
}

invariants! {
    I1 "every claim of a slot has a larger token than all before it" tokens_increase,
    I2 "a call changes a record only of its own attempt, and resolve only the claim that is meant" writes_are_fenced,
    I3 "a stored outcome stays as it is until it expires" outcomes_stay,
    I4 "at most once: at most one run may have had effects" at_most_one_run,
    I5 "nobody takes over a live claim or one attempt too many, and no two workers count theirs as live" no_live_takeover,
    I6 "what a fenced resource accepts follows the order of the claims" effects_in_order,
    I7 "in transactions: there is one row of the outcome that the record has, and none where it has none" row_with_outcome,
    I8 "another body changes nothing, runs nothing and gets nobody's answer" mismatch_is_harmless,
    I9 "all who are told an outcome are told the same one" one_answer,
    I10 "an outcome that was answered as stored answers every later begin" stored_is_stored,
    I11 "no handler starts without a claim" no_start_without_claim,
    I12 "a call that arrives twice is answered alike and changes nothing more" repeats_are_harmless,
    I14 "what was begun is settled though its client has gone" dropped_work_goes_on,
    I15 "purging removes only what has expired" purge_only_expired,
    I16 "nothing is told from an expired record" nothing_after_expiry,
    I18 "no clock but the store's ends a lease: none lapses while its worker counts it as live" store_clock_decides,
    I19 "when nothing is under way, no claim is left that nobody runs" no_orphan,
    I20 "an attempt whose handler has started never cancels" no_cancel_after_start,
}

pub fn index(name: &str) -> usize {
    let found = INVARIANTS.iter().position(|invariant| invariant.name == name);
    found.unwrap_or_else(|| panic!("there is no invariant {name}"))
}

fn unexpired(slot: Option<Kept>) -> Option<Kept> {
    slot.filter(|kept| !kept.expired)
}

fn claimed(called: &Called) -> Option<Kept> {
    called.left.filter(|_| matches!(called.answer, Answer::New { .. }))
}

fn tokens_increase(taken: &Taken<'_>) -> bool {
    let new = taken.step.called.as_ref().and_then(claimed);
    new.is_none_or(|new| new.token > taken.before.ghost.top)
}

fn writes_are_fenced(taken: &Taken<'_>) -> bool {
    let Some(called) = &taken.step.called else { return true };
    let Some(found) = unexpired(called.found) else { return true };
    if called.left == Some(found) {
        return true;
    }
    match called.call {
        Call::Begin => true,
        Call::Resolve(asked) => found.phase == Phase::Lapsed && found.token == asked.token,
        _ => usize::from(found.owner) == called.by,
    }
}

fn outcomes_stay(taken: &Taken<'_>) -> bool {
    let Some(called) = &taken.step.called else { return true };
    let Some(found) = unexpired(called.found) else { return true };
    !matches!(found.phase, Phase::Completed(_)) || called.left == Some(found)
}

fn at_most_one_run(taken: &Taken<'_>) -> bool {
    if taken.variant.guarantee != Guarantee::AtMostOnce {
        return true;
    }
    if taken.variant.fault != Fault::Hook {
        return taken.step.after.ghost.runs <= 1;
    }
    // With a hook, it is for the hook to say; but only of the claim that it was asked about.
    let Some(called) = &taken.step.called else { return true };
    let Some(found) = unexpired(called.found) else { return true };
    let lapsed = found.phase == Phase::Lapsed && !found.marked;
    let taken_over = claimed(called).is_some() && lapsed;
    let asked = taken.before.tries[called.by].rerun;
    !taken_over || asked.is_some_and(|asked| asked.order == found.order)
}

fn no_live_takeover(taken: &Taken<'_>) -> bool {
    let after = &taken.step.after;
    let live = |kept: &Kept| kept.phase == Phase::Live;
    if let Some(called) = &taken.step.called
        && let Some(new) = claimed(called)
        && let Some(found) = unexpired(called.found)
        && (live(&found)
            || found.phase == Phase::Lapsed
                && !found.marked
                && u32::from(new.number) > taken.variant.max_attempts)
    {
        return false;
    }
    let started = |item: usize| {
        after.tries[item].step == Stage::Running && !taken.before.tries[item].step.is_running()
    };
    let live = after.tries.iter().filter(|item| item.step.is_running() && item.live).count();
    let surely = |item: usize| !started(item) || after.tries[item].live;
    !taken.variant.timed
        || !taken.variant.keeps_records()
        || live <= 1 && (0..after.tries.len()).all(surely)
}

fn effects_in_order(taken: &Taken<'_>) -> bool {
    taken.step.effect.is_none_or(|(accepted, in_order)| accepted == in_order)
}

fn row_with_outcome(taken: &Taken<'_>) -> bool {
    if !taken.variant.transactional {
        return true;
    }
    let State { slot, rows, .. } = taken.step.after;
    match unexpired(slot).map(|kept| kept.phase) {
        Some(Phase::Completed(outcome)) if usize::from(outcome) < MOST => {
            rows == Rows { count: 1, last: outcome }
        }
        _ => rows.count == 0,
    }
}

fn mismatch_is_harmless(taken: &Taken<'_>) -> bool {
    if let Some((by, outcome)) = taken.step.told
        && let Some(owner) = taken.before.tries.get(usize::from(outcome))
        && owner.odd != taken.before.tries[by].odd
    {
        return false;
    }
    let Some(called) = &taken.step.called else { return true };
    let differs = |found: &Kept| {
        usize::from(found.owner) != called.by
            && found.odd != taken.before.tries[called.by].odd
            && found.phase != Phase::Released
    };
    match unexpired(called.found).filter(differs) {
        Some(found) => called.left == Some(found) && called.answer.grant().is_none(),
        None => true,
    }
}

fn one_answer(taken: &Taken<'_>) -> bool {
    let Some((_, outcome)) = taken.step.told else { return true };
    taken.before.ghost.told.is_none_or(|told| told == outcome)
}

fn stored_is_stored(taken: &Taken<'_>) -> bool {
    let Some(stored) = taken.before.ghost.stored else { return true };
    let Some(called) = &taken.step.called else { return true };
    called.call != Call::Begin
        || matches!(called.answer, Answer::Late | Answer::Mismatch)
        || called.answer == Answer::Completed(stored)
}

fn no_start_without_claim(taken: &Taken<'_>) -> bool {
    let pairs = taken.before.tries.iter().zip(&taken.step.after.tries);
    let started = |before: Stage, after: Stage| after == Stage::Running && before != after;
    pairs
        .filter(|(before, after)| started(before.step, after.step))
        .all(|(_, after)| after.order > 0)
}

fn repeats_are_harmless(taken: &Taken<'_>) -> bool {
    let Some(called) = &taken.step.called else { return true };
    let own = |found: Kept| usize::from(found.owner) == called.by;
    let conflict = called.call == Call::Begin
        && matches!(called.answer, Answer::Busy | Answer::Unknown { .. })
        && called.found.is_some_and(own);
    let (left, answer) = called.again;
    let alike = match (called.answer, answer) {
        (Answer::New { token, number }, again) => again == Answer::Mine { token, number },
        (first, again) => first == again,
    };
    // Resolve is repeated by a look.
    let alike = alike || matches!(called.call, Call::Resolve(_));
    !conflict && alike && left == called.left
}

fn dropped_work_goes_on(taken: &Taken<'_>) -> bool {
    let Action::HangUp(by) = taken.step.action else { return true };
    taken.step.after.tries[by].step == taken.before.tries[by].step
}

fn purge_only_expired(taken: &Taken<'_>) -> bool {
    taken.step.action != Action::Purge || taken.before.slot.is_some_and(|kept| kept.expired)
}

fn nothing_after_expiry(taken: &Taken<'_>) -> bool {
    let Some(called) = &taken.step.called else { return true };
    let expired = called.found.is_some_and(|found| found.expired);
    !(expired && matches!(called.answer, Answer::Completed(_) | Answer::Unknown { .. }))
}

fn store_clock_decides(taken: &Taken<'_>) -> bool {
    let Some(kept) = taken.before.slot.filter(|_| taken.step.action == Action::Lapse) else {
        return true;
    };
    let owner = &taken.before.tries[usize::from(kept.owner)];
    !(owner.live && owner.step.is_running())
}

fn no_orphan(taken: &Taken<'_>) -> bool {
    let after = &taken.step.after;
    if !taken.variant.keeps_records() || !is_quiet(after) {
        return true;
    }
    unexpired(after.slot).is_none_or(|kept| {
        !matches!(kept.phase, Phase::Live | Phase::Lapsed)
            || after.tries[usize::from(kept.owner)].crashed
    })
}

/// Whether nothing is under way, and nobody does anything.
pub fn is_quiet(state: &State) -> bool {
    state.tries.iter().all(|item| !item.step.is_active() && !item.is_sending())
}

fn no_cancel_after_start(taken: &Taken<'_>) -> bool {
    let Action::Release(by) = taken.step.action else { return true };
    let item = &taken.before.tries[by];
    item.step != Stage::Cancelling || !item.started
}
