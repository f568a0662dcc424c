//! Looks for an order of the calls on one slot in which the contract gives the answers that came.
//!
//! The search of Wing and Gong: of the calls that are not yet placed, any can be next that was called
//! before the first of them had returned. With Lowe's memory: what was placed together with what the
//! slot then holds is looked at once.

use std::collections::HashSet;
use std::fmt::Write as _;

use tower_idempotency::protocol::{Found, Reply};

use super::history::{Asked, Got};
use super::span::Span;
use super::spec::{Kept, Precision, State};

/// A call, with its times on the store's clock.
#[derive(Clone, Debug)]
pub struct Event {
    pub client: usize,
    pub asked: Asked,
    pub got: Got,
    /// For the order: when it was called, and when it had returned.
    pub called: u64,
    pub returned: u64,
    /// When it can have taken effect, by the store's clock.
    pub window: Span,
}

/// Why a history was not accepted.
#[derive(Debug)]
pub enum Violation {
    /// There is no order; for a reader.
    NoOrder(String),
    /// So much was unknown that the search was given up.
    Endless,
}

/// How many calls one slot may have.
const MOST: usize = 128;

/// How many placings are looked at before a search is given up.
const PATIENCE: usize = 200_000;

/// Finds an order for the calls on one slot, or says how far it got.
pub fn check(mut events: Vec<Event>, precision: Precision) -> Result<(), Violation> {
    events.retain(|event| event.got != Got::Nothing);
    events.sort_by_key(|event| event.called);
    assert!(events.len() <= MOST, "{} calls on one slot", events.len());
    Search::new(&events, precision).run()
}

struct Search<'a> {
    events: &'a [Event],
    precision: Precision,
    /// The calls that have to be placed; the others may have done nothing.
    answered: u128,
    /// Fences that somebody saw and nobody was told that it was granted.
    unexplained: Vec<u64>,
}

/// Calls that were placed, and what the slot holds then.
type Node = (u128, State);

impl<'a> Search<'a> {
    fn new(events: &'a [Event], precision: Precision) -> Self {
        let answered = (0..events.len())
            .filter(|&index| events[index].got != Got::Unknown)
            .fold(0, |mask, index| mask | 1 << index);
        let mut unexplained: Vec<_> = events.iter().filter_map(|event| seen(&event.got)).collect();
        unexplained.retain(|fence| !events.iter().any(|event| granted(&event.got) == Some(*fence)));
        unexplained.sort_unstable();
        unexplained.dedup();
        Self { events, precision, answered, unexplained }
    }

    fn run(&self) -> Result<(), Violation> {
        let mut visited = HashSet::new();
        let mut stack: Vec<Node> = vec![(0, State::default())];
        let mut furthest = (0, State::default());
        while let Some((placed, state)) = stack.pop() {
            if placed & self.answered == self.answered {
                return Ok(());
            }
            if !visited.insert((placed, state.name())) {
                continue;
            }
            if visited.len() > PATIENCE {
                return Err(Violation::Endless);
            }
            if (placed & self.answered).count_ones() > (furthest.0 & self.answered).count_ones() {
                furthest = (placed, state.clone());
            }
            self.extend(placed, &state, &mut stack);
        }
        Err(self.violation(&furthest))
    }

    /// Everything that can be next. What was answered is looked at first, in the order of the calls.
    fn extend(&self, placed: u128, state: &State, stack: &mut Vec<Node>) {
        let is_placed = |index: usize| placed >> index & 1 == 1;
        let is_answered = |index: usize| self.answered >> index & 1 == 1;
        let all = || self.events.iter().enumerate();
        let waits = all().filter(|&(index, _)| is_answered(index) && !is_placed(index));
        let waits = waits.map(|(_, event)| event).min_by_key(|event| event.returned);
        let Some(next_return) = waits else { return };
        let last_call = all().filter(|&(index, _)| is_placed(index)).map(|(_, event)| event);
        let last_call = last_call.max_by_key(|event| event.called);
        // What was not answered took effect between these, if it is next.
        let between = Span {
            from: last_call.map_or(0, |event| event.window.from),
            to: next_return.window.to,
        };
        let possible = all().filter(|(_, event)| event.called <= next_return.returned);
        let possible = possible.map(|(index, _)| index).filter(|&index| !is_placed(index));
        let (first, rest): (Vec<_>, Vec<_>) = possible.partition(|&index| is_answered(index));
        for index in rest.into_iter().chain(first.into_iter().rev()) {
            for state in self.outcomes(state, &self.events[index], between) {
                stack.push((placed | 1 << index, state));
            }
        }
    }

    fn outcomes(&self, state: &State, event: &Event, between: Span) -> Vec<State> {
        let Event { asked, got, window, .. } = event;
        let after = |window| state.after(asked, got, window, self.precision);
        if *got != Got::Unknown {
            return after(*window);
        }
        let mut states = vec![];
        if let Some(window) = window.and(between) {
            states.extend(after(window));
            if matches!(asked, Asked::Begin(_)) {
                // Somebody may have seen the fence that it was given.
                let seen = self.unexplained.iter().filter_map(|&fence| window.and(Span::at(fence)));
                states.extend(seen.flat_map(after));
            }
        }
        if let (Asked::Complete(attempt, ..), Some(kept)) = (asked, &state.0)
            && kept.record.nonce == attempt.nonce
            && let Some(window) = between.since(window.to)
        {
            // On its own claim it may land however late.
            states.extend(after(window));
        }
        states
    }

    fn violation(&self, (placed, state): &Node) -> Violation {
        let start = self.events.first().map_or(0, |event| event.called);
        let mut text = "no order agrees with the contract; the longest has these:\n".to_owned();
        for (index, event) in self.events.iter().enumerate() {
            let mark = if placed >> index & 1 == 1 { ' ' } else { '?' };
            let (called, returned) = (event.called - start, event.returned.saturating_sub(start));
            let Event { client, asked, got, window, .. } = event;
            let _ = writeln!(
                text,
                "{mark} client {client} {called:6}..{returned:6} us, {}..{}: {asked} -> {got}",
                window.from, window.to
            );
        }
        let _ = writeln!(text, "and leaves {}", state.0.as_ref().map_or("nothing".into(), brief));
        Violation::NoOrder(text)
    }
}

fn brief(kept: &Kept) -> String {
    format!("{} with {:?}", Got::record(&kept.record), kept.times())
}

/// The fence of a claim that somebody was told of.
fn seen(got: &Got) -> Option<u64> {
    let fence = match got {
        Got::Reply(Reply::Found(found) | Reply::Fenced(found)) => match found {
            Found::Busy { fence, .. } | Found::Unknown { fence, .. } => *fence,
            _ => return None,
        },
        Got::Reply(Reply::Mine(grant)) => grant.fence,
        Got::Seen(seen) => seen.record.as_ref()?.fence,
        _ => return None,
    };
    Some(fence.number())
}

fn granted(got: &Got) -> Option<u64> {
    match got {
        Got::Reply(Reply::Started(grant) | Reply::Reclaimed(grant)) => Some(grant.fence.number()),
        _ => None,
    }
}
