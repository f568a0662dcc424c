//! A handler that commits what it does together with its outcome, as `src/engine/transaction.rs`,
//! `src/layer/loan.rs` and the PostgreSQL store do.

use crate::defect::Defect;
use crate::engine;
use crate::state::{Asked, Kept, OutcomeId, Phase, Rows, Stage, State, Try};
use crate::step::{Action, Step};
use crate::store::{Answer, Call, Called};
use crate::variant::{Durable, Fault, Variant};
use crate::world::World;

/// The outcome of an attempt that refuses is its own and this.
const REFUSED: OutcomeId = 4;

/// What happens to a transaction, or to the mark before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Deed {
    Join,
    Mark {
        heard: bool,
    },
    LoseMark,
    Without,
    Commit,
    Refuse,
    Fail,
    Keep,
    Again,
    Break,
    /// Of a defect: the row alone is committed.
    RowAlone,
    End {
        done: bool,
        heard: bool,
    },
    GiveUp,
}

impl Deed {
    pub const fn text(self) -> &'static str {
        match self {
            Self::Join => "asks for a transaction and has its record marked",
            Self::Mark { heard: true } => "has its mark answered",
            Self::Mark { heard: false } => "has its mark arrive, and its answer lost",
            Self::LoseMark => "loses its mark",
            Self::Without => "has no transaction, and executes nothing",
            Self::Commit => "has written its row and sends its commit",
            Self::Refuse => "refuses and sends its commit, without the row",
            Self::Fail => "fails, and rolls back",
            Self::Keep => "has its transaction kept by somebody, or broken, and cannot commit it",
            Self::Again => "loses against other transactions, and runs again",
            Self::Break => "has the connection of its transaction break",
            Self::RowAlone => "has its row committed, and sends complete",
            Self::End { done: true, heard: true } => "has its commit answered",
            Self::End { done: true, heard: false } => "has its commit arrive, and its answer lost",
            Self::End { done: false, heard: true } => "has its commit refused",
            Self::End { done: false, heard: false } => {
                "has its commit refused, and the answer lost"
            }
            Self::GiveUp => "gives up waiting for its commit",
        }
    }

    /// Whether this still happens when nothing goes wrong any more.
    pub fn is_calm(self, item: &Try) -> bool {
        match self {
            Self::LoseMark | Self::Again | Self::RowAlone => false,
            Self::Without => !item.marks,
            Self::GiveUp => !item.commits,
            Self::Mark { heard } => heard || item.step != Stage::Joining,
            Self::End { heard, .. } => heard || item.step != Stage::Committing,
            Self::Break => !matches!(item.step, Stage::Working | Stage::Committing),
            Self::Join | Self::Commit | Self::Refuse | Self::Fail | Self::Keep => true,
        }
    }
}

/// What a worker with a handler of this kind can do by itself.
pub fn steps(variant: &Variant, state: &State, by: usize, out: &mut Vec<Step>) {
    let item = state.tries[by];
    let mut push = |deed: Deed, change: &dyn Fn(&mut Try)| {
        let mut after = *state;
        change(&mut after.tries[by]);
        out.push(Step::new(Action::Joint(by, deed), after));
    };
    match item.step {
        Stage::Running => {
            push(Deed::Join, &|item| (item.step, item.marks) = (Stage::Joining, true));
        }
        Stage::Joining => {
            push(Deed::Without, &|item| item.step = Stage::Freeing { maybe: false });
        }
        Stage::Working => {
            if item.open {
                let commit = |item: &mut Try| (item.step, item.commits) = (Stage::Committing, true);
                push(Deed::Commit, &commit);
                push(Deed::Refuse, &|item| {
                    commit(item);
                    item.refuses = true;
                });
            }
            push(Deed::Fail, &|item| {
                (item.step, item.open) = (Stage::Freeing { maybe: true }, false);
            });
            push(Deed::Keep, &|item| {
                (item.step, item.open) = (Stage::Fencing { unknown: false }, false);
            });
            if item.live || !variant.timed {
                push(Deed::Again, &again);
            }
        }
        Stage::Committing => out.push(given_up(variant, state, by)),
        _ => {}
    }
    if item.step.is_running() && !item.renews {
        let mut after = *state;
        after.tries[by].renews = true;
        out.push(Step::new(Action::Renew(by), after));
    }
}

fn again(item: &mut Try) {
    item.step = Stage::Running;
    (item.open, item.commits, item.refuses) = (false, false, false);
}

/// Nobody knows what became of the commit, which may be under way for as long as it likes.
fn given_up(variant: &Variant, state: &State, by: usize) -> Step {
    let mut step = Step::new(Action::Joint(by, Deed::GiveUp), *state);
    step.after.tries[by].step = Stage::Fencing { unknown: true };
    if variant.has(Defect::AnswerBeforeFence) { settled(step, by) } else { step }
}

/// The mark and the commit arrive or do not; the server ends a transaction whose connection breaks.
pub fn messages(world: &World, state: &State, by: usize, out: &mut Vec<Step>) {
    let item = state.tries[by];
    let mut change = |deed, change: &dyn Fn(&mut State)| {
        let mut after = *state;
        change(&mut after);
        out.push(Step::new(Action::Joint(by, deed), after));
    };
    if item.marks {
        change(Deed::LoseMark, &|after| after.tries[by].marks = false);
        change(Deed::Mark { heard: false }, &|after| _ = mark(after, by));
        if item.step == Stage::Joining {
            change(Deed::Mark { heard: true }, &|after| {
                let marked = mark(after, by);
                let item = &mut after.tries[by];
                item.open = marked;
                item.step = if marked { Stage::Working } else { Stage::Freeing { maybe: false } };
                acknowledge(world, after);
            });
        }
    }
    if item.open {
        change(Deed::Break, &|after| {
            (after.tries[by].open, after.tries[by].commits) = (false, false);
        });
    }
    if item.commits {
        end(world, state, by, out);
    }
}

/// The record says from now on that what is not committed did not happen, if it is this claim's.
fn mark(after: &mut State, by: usize) -> bool {
    after.tries[by].marks = false;
    let token = after.tries[by].token;
    let own = |kept: &&mut Kept| usize::from(kept.owner) == by && kept.token == token;
    let running = after.slot.as_mut().filter(own).filter(|kept| is_running(kept));
    running.map(|kept| kept.marked = true).is_some()
}

fn is_running(kept: &Kept) -> bool {
    matches!(kept.phase, Phase::Live | Phase::Lapsed)
}

/// The server carries a commit out, or rolls back.
fn end(world: &World, state: &State, by: usize, out: &mut Vec<Step>) {
    let item = state.tries[by];
    let waits = item.step == Stage::Committing;
    let mut base = *state;
    (base.tries[by].open, base.tries[by].commits) = (false, false);
    if world.variant.has(Defect::RowFirst) {
        base.rows = with_row(base.rows, by);
        (base.tries[by].step, base.tries[by].completes) = (Stage::KeepingLate, true);
        out.push(Step::new(Action::Joint(by, Deed::RowAlone), base));
        return;
    }
    let called = commit(world, state, by);
    if let Some(called) = &called {
        base.slot = called.left;
        if !item.refuses {
            base.rows = with_row(base.rows, by);
        }
    }
    let done = called.is_some();
    let step =
        |heard| Step { called, ..Step::new(Action::Joint(by, Deed::End { done, heard }), base) };
    out.push(step(false));
    if !waits {
        return;
    }
    if item.live || !world.variant.timed {
        let mut after = *state;
        again(&mut after.tries[by]);
        out.push(Step::new(Action::Joint(by, Deed::Again), after));
    }
    let mut step = step(true);
    acknowledge(world, &mut step.after);
    step.after.tries[by].step = Stage::Fencing { unknown: false };
    out.push(if done { settled(step, by) } else { step });
}

fn with_row(rows: Rows, by: usize) -> Rows {
    let last = u8::try_from(by).expect("few attempts");
    Rows { count: (rows.count + 1).min(2), last }
}

/// Stores the outcome if the record is this claim's, and runs.
fn commit(world: &World, state: &State, by: usize) -> Option<Called> {
    let item = &state.tries[by];
    let owner = u8::try_from(by).expect("few attempts");
    let runs = |kept: &Kept| !kept.expired && is_running(kept) && kept.token == item.token;
    let found = state.slot.filter(|kept| match world.variant.defect {
        Some(Defect::BlindCommit) => true,
        Some(Defect::UnfencedTakeOver) => runs(kept),
        _ => runs(kept) && kept.owner == owner,
    })?;
    let mut called = world.store.call(state, by, Call::Complete);
    let (phase, marked) = (Phase::Completed(outcome(item, by)), false);
    let Try { token, number, order, .. } = *item;
    let left = Some(Kept { owner, token, number, phase, marked, order, ..found });
    let compared = world.variant.defect.is_none();
    assert!(!compared || called.answer == Answer::Applied, "apply says who may complete");
    (called.left, called.answer, called.again) = (left, Answer::Applied, (left, Answer::Applied));
    Some(called)
}

fn outcome(item: &Try, by: usize) -> OutcomeId {
    let own = u8::try_from(by).expect("few attempts");
    if item.refuses { own + REFUSED } else { own }
}

/// The client is told the attempt's own outcome.
fn settled(mut step: Step, by: usize) -> Step {
    let item = &mut step.after.tries[by];
    item.step = Stage::Done;
    let own = outcome(item, by);
    step.after.ghost.stored = Some(own);
    engine::tell(step, by, own)
}

/// The release that fences is answered: nothing of the claim is committed from now on.
pub fn fenced(mut step: Step, called: &Called, unknown: bool) -> Step {
    let item = &mut step.after.tries[called.by];
    item.step = Stage::Done;
    let token = item.token;
    let own = |kept: Kept| kept.token == token && matches!(kept.phase, Phase::Completed(_));
    if unknown && called.left.is_some_and(own) {
        return settled(step, called.by);
    }
    engine::told(step, called.by, called.answer)
}

/// Somebody is told of it only once the replica has it, where that was asked for.
fn acknowledge(world: &World, after: &mut State) {
    if world.variant.fault == Fault::FailOver(Durable::All) {
        (after.replica, after.replica_rows) = (after.slot, after.rows);
    }
}

/// The master is gone, with what was not committed, and with what the replica did not have.
pub fn failed_over(after: &mut State) {
    after.rows = after.replica_rows;
    for item in &mut after.tries {
        (item.open, item.commits) = (false, false);
    }
}

/// A marked claim is not for operators to decide: who comes next runs.
pub fn resolvable(variant: &Variant, state: &State, asked: Asked) -> Asked {
    let marked = state.slot.is_some_and(|kept| kept.marked);
    let refused = marked && !variant.has(Defect::MarkedResolved);
    // No claim has this token.
    Asked { token: if refused { 0 } else { asked.token }, ..asked }
}

/// The claim that was taken over passes for the new one, and the other way round.
pub fn spoil_take_over(called: &mut Called) {
    let (Some(found), Some(left)) = (called.found, &mut called.left) else { return };
    if let Answer::New { token, .. } = &mut called.answer
        && found.marked
    {
        (*token, left.token) = (found.token, found.token);
    }
}
