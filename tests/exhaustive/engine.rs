//! The engine's rules C1 to C8, as `src/engine` keeps them: `begin.rs`, `settle.rs`, `recovery.rs`.

use crate::defect::Defect;
use crate::state::{Asked, OPERATOR, OutcomeId, Stage, State, Try};
use crate::step::{Action, Step};
use crate::store::{Answer, Call, Called};
use crate::transaction;
use crate::variant::{Fault, Variant};
use crate::world::World;

/// How many crashes a variant with crashes has.
const CRASHES: u8 = 2;

/// What an attempt can do by itself.
pub fn steps(world: &World, state: &State, by: usize, out: &mut Vec<Step>) {
    let variant = &world.variant;
    let item = state.tries[by];
    let mut push = |action: Action, change: &dyn Fn(&mut Try)| {
        let mut after = *state;
        change(&mut after.tries[by]);
        out.push(Step::new(action, after));
    };
    match item.step {
        Stage::Idle | Stage::Done => return,
        Stage::Asking => {
            if !(item.late || item.lost && item.begins) {
                push(Action::Repeat(by), &|item| (item.lost, item.begins) = (true, true));
            }
            if item.late || variant.has(Defect::NoDeadlineNoCancel) {
                push(Action::GiveUp(by), &|item| give_up(variant, item));
            }
        }
        Stage::Granted => {
            let unsure = !item.live;
            if unsure && !variant.has(Defect::NoConfirmation) {
                push(Action::Confirm(by), &|item| {
                    (item.step, item.renews) = (Stage::Confirming, true);
                });
            }
            if !variant.timed || item.live || variant.has(Defect::NoConfirmation) {
                out.push(Step::new(Action::Start(by), started(variant, state, by)));
            }
        }
        Stage::Confirming => push(Action::GiveUp(by), &|item| item.step = Stage::Cancelling),
        Stage::Running if variant.transactional => transaction::steps(variant, state, by, out),
        Stage::Running | Stage::Effected => run(variant, state, by, out),
        Stage::Joining | Stage::Working | Stage::Committing => {
            transaction::steps(variant, state, by, out);
        }
        Stage::Keeping => {
            let step = Step::new(Action::Unstored(by), unstored(variant, state, by));
            // At most once nobody else will run, so this is the answer.
            let alone = variant.at_most_once()
                && !matches!(variant.fault, Fault::Hook | Fault::Expiry)
                && variant.keeps_records();
            let told = u8::try_from(by).expect("few attempts");
            out.push(if alone { tell(step, by, told) } else { step });
        }
        Stage::KeepingLate if !item.completes => {
            push(Action::Repeat(by), &|item| item.completes = true);
        }
        Stage::Freeing { .. } | Stage::Fencing { .. }
            if !item.releases
                && (item.late || !item.lost || variant.has(Defect::ReleaseTooSoon)) =>
        {
            push(Action::Release(by), &|item| item.releases = true);
        }
        Stage::Cancelling
            if !item.releases && (item.late || variant.has(Defect::CancelTooSoon)) =>
        {
            push(Action::Release(by), &|item| (item.releases, item.renews) = (true, false));
        }
        Stage::Hook(asked) => {
            push(Action::HookUnknown(by), &|item| unstarted(variant, item));
            push(Action::HookOutcome(by), &|item| item.step = Stage::Resolving(asked));
            push(Action::HookRerun(by), &|item| {
                (item.step, item.begins) = (Stage::Asking, true);
                (item.late, item.rerun, item.aged[0]) = (false, Some(asked), false);
            });
        }
        Stage::Resolving(_) => push(Action::GiveUp(by), &|item| unstarted(variant, item)),
        Stage::KeepingLate | Stage::Freeing { .. } | Stage::Fencing { .. } | Stage::Cancelling => {}
    }
    ended_from_outside(variant, state, by, out);
}

fn ended_from_outside(variant: &Variant, state: &State, by: usize, out: &mut Vec<Step>) {
    let mut after = *state;
    if variant.fault == Fault::Crash && state.crashes < CRASHES {
        after.crashes += 1;
        (after.tries[by].step, after.tries[by].crashed) = (Stage::Done, true);
        out.push(Step::new(Action::Crash(by), after));
    }
    if variant.fault == Fault::HangUp && !state.tries[by].gone {
        after.tries[by].gone = true;
        if variant.has(Defect::DropAbandons) {
            after.tries[by].step = Stage::Done;
        }
        out.push(Step::new(Action::HangUp(by), after));
    }
}

fn run(variant: &Variant, state: &State, by: usize, out: &mut Vec<Step>) {
    let item = state.tries[by];
    let number = u8::try_from(by).expect("few attempts");
    let mut after = *state;
    if !item.renews {
        after.tries[by].renews = true;
        out.push(Step::new(Action::Renew(by), after));
        after = *state;
    }
    if item.step == Stage::Running {
        let (token, last, owner) = state.ghost.fenced;
        let accepted = item.token > token || item.token == token && owner == number;
        if accepted {
            after.ghost.fenced = (item.token, item.order, number);
        }
        after.tries[by].step = Stage::Effected;
        let effect = Some((accepted, item.order >= last));
        out.push(Step { effect, ..Step::new(Action::Effect(by), after) });
        if variant.release {
            let mut after = *state;
            after.ghost.runs -= u8::from(item.counted);
            after.tries[by].counted = false;
            after.tries[by].step = Stage::Freeing { maybe: false };
            out.push(Step::new(Action::NotExecuted(by), after));
        }
        return;
    }
    (after.tries[by].step, after.tries[by].completes) = (Stage::Keeping, true);
    out.push(Step::new(Action::Finish(by), after));
    if variant.release && !variant.at_most_once() {
        let mut after = *state;
        after.tries[by].step = Stage::Freeing { maybe: true };
        out.push(Step::new(Action::Ambiguous(by), after));
    }
}

fn started(variant: &Variant, state: &State, by: usize) -> State {
    let mut after = *state;
    let item = &mut after.tries[by];
    item.step = Stage::Running;
    item.started = true;
    // Without its transaction a run has no effect.
    item.counted = !item.old && !variant.transactional;
    after.ghost.runs += u8::from(item.counted);
    after
}

fn unstored(variant: &Variant, state: &State, by: usize) -> State {
    let mut after = *state;
    after.tries[by].step =
        if variant.has(Defect::CancelAfterStart) { Stage::Cancelling } else { Stage::KeepingLate };
    after
}

/// An attempt that does not start ends, or sees to it that no copy of its `begin` stays (rule C5).
fn unstarted(variant: &Variant, item: &mut Try) {
    let cancels = item.lost && !variant.has(Defect::NoDeadlineNoCancel);
    item.step = if cancels { Stage::Cancelling } else { Stage::Done };
}

fn give_up(variant: &Variant, item: &mut Try) {
    item.lost = true;
    unstarted(variant, item);
    if variant.has(Defect::RunOnUnknown) {
        item.step = Stage::Running;
    }
}

pub fn tell(step: Step, by: usize, outcome: OutcomeId) -> Step {
    if step.after.tries[by].gone {
        return step;
    }
    let mut step = Step { told: Some((by, outcome)), ..step };
    step.after.ghost.told.get_or_insert(outcome);
    step
}

/// The attempt gets the answer to its call.
pub fn answered(world: &World, base: &State, called: &Called, out: &mut Vec<Step>) {
    let by = called.by;
    let step = Step { called: Some(*called), ..Step::new(Action::Answered(by), *base) };
    match (base.tries[by].step, called.call) {
        (_, _) if called.answer == Answer::Late => {}
        (Stage::Asking, Call::Begin) => begun(world, step, called, out),
        (Stage::Confirming, Call::Renew) => {
            let mut step = step;
            if called.answer == Answer::Applied {
                step.after.tries[by].old = false;
                step.after = started(&world.variant, &step.after, by);
                step.after.tries[by].live = world.variant.timed;
            } else {
                step.after.tries[by].step = Stage::Cancelling;
            }
            out.push(told(step, by, called.answer));
        }
        (Stage::Fencing { unknown }, Call::Release) => {
            out.push(transaction::fenced(step, called, unknown));
        }
        (stage, Call::Renew) if world.variant.timed && stage.is_running() => {
            let mut step = step;
            step.after.tries[by].live = called.answer == Answer::Applied;
            out.push(step);
        }
        (Stage::Keeping, Call::Complete) => kept(world, step, called, out),
        (Stage::KeepingLate, Call::Complete) | (Stage::Cancelling, Call::Release) => {
            let mut step = step;
            step.after.tries[by].step = Stage::Done;
            out.push(step);
        }
        (Stage::Freeing { .. }, Call::Release) => {
            let mut step = step;
            step.after.tries[by].step = Stage::Done;
            out.push(told(step, by, called.answer));
        }
        (Stage::Resolving(_), Call::Resolve(_)) => {
            let mut step = step;
            unstarted(&world.variant, &mut step.after.tries[by]);
            out.push(match called.answer {
                Answer::Applied => tell(step, by, OPERATOR),
                answer => told(step, by, answer),
            });
        }
        _ => {}
    }
}

/// A refusal that is a replay.
pub fn told(step: Step, by: usize, answer: Answer) -> Step {
    match answer {
        Answer::Completed(outcome) => tell(step, by, outcome),
        _ => step,
    }
}

fn begun(world: &World, step: Step, called: &Called, out: &mut Vec<Step>) {
    let (variant, by) = (&world.variant, called.by);
    let mut step = step;
    let item = &mut step.after.tries[by];
    if !item.lost {
        // The only copy has been answered.
        item.begins = false;
    }
    let asked = match called.answer {
        Answer::Unknown { token, number } if variant.fault == Fault::Hook => {
            let order = called.found.map_or(0, |found| found.order);
            Some(Asked { token, number, order }).filter(|_| item.rerun.is_none())
        }
        _ => None,
    };
    if let Some((token, number)) = called.answer.grant() {
        item.step = Stage::Granted;
        if item.rerun.is_some() && matches!(called.answer, Answer::New { .. }) {
            item.live = variant.timed;
        }
        (item.token, item.number) = (token, number);
        item.order = called.left.map_or(0, |left| left.order);
    } else if let Some(asked) = asked {
        item.step = Stage::Hook(asked);
    } else {
        unstarted(variant, item);
    }
    if variant.fault == Fault::HiddenCopies && !item.lost {
        let mut hidden = step;
        hidden.after.tries[by].begins = true;
        out.push(told(hidden, by, called.answer));
    }
    out.push(told(step, by, called.answer));
}

/// The outcome is stored, or somebody else's counts (rule C6).
fn kept(world: &World, step: Step, called: &Called, out: &mut Vec<Step>) {
    let by = called.by;
    let own = u8::try_from(by).expect("few attempts");
    let mut step = step;
    step.after.tries[by].step = Stage::Done;
    if called.answer != Answer::Applied {
        let careless = world.variant.has(Defect::OwnAnswerWhenFenced);
        out.push(if careless { tell(step, by, own) } else { told(step, by, called.answer) });
        return;
    }
    step.after.ghost.stored = Some(own);
    out.push(tell(step, by, own));
}
