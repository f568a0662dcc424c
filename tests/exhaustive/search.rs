//! Breadth-first search to the end of a variant: every state that can be reached, each once, so that
//! the first violation found is one with the fewest steps.
//!
//! States are remembered as 128-bit hashes: with 10^8 states the odds that two share one are below
//! 10^-22.

use std::collections::HashSet;
use std::fmt::Write as _;
use std::hash::{BuildHasherDefault, Hash as _, Hasher};
use std::time::{Duration, Instant};

use crate::invariants::{INVARIANTS, Taken};
use crate::state::State;
use crate::step::Step;
use crate::world::World;

/// No variant may have more: one that does has failed, not passed.
pub const LIMIT: usize = 40_000_000;

pub struct Report {
    pub states: usize,
    pub transitions: usize,
    pub depth: usize,
    pub time: Duration,
    /// The shortest way to break each invariant, where there is one.
    pub broken: Vec<Option<Trace>>,
}

/// Which step was taken in each state, from the first on.
pub struct Trace(Vec<u16>);

impl Trace {
    pub const fn len(&self) -> usize {
        self.0.len()
    }
}

/// How a state was reached first.
struct Reached {
    from: u32,
    choice: u16,
}

/// Searches until the end, or until this invariant is broken.
pub fn search(world: &World, until: Option<usize>) -> Report {
    #[expect(clippy::disallowed_methods, reason = "it is the search that is timed")]
    let begun = Instant::now();
    let first = State::default();
    let mut seen = Seen::default();
    seen.insert(hash(&first));
    let mut reached = vec![Reached { from: 0, choice: 0 }];
    let mut frontier = vec![(0_u32, first)];
    let (mut transitions, mut depth) = (0, 0);
    let mut broken: Vec<Option<Trace>> = INVARIANTS.iter().map(|_| None).collect();
    let mut steps = Vec::new();
    let stopped = |broken: &[Option<Trace>]| until.is_some_and(|index| broken[index].is_some());
    'levels: while !frontier.is_empty() {
        let mut next = Vec::new();
        for (index, before) in &frontier {
            steps.clear();
            world.steps(before, &mut steps);
            for (choice, step) in (0_u16..).zip(&steps) {
                transitions += 1;
                let taken = Taken { variant: &world.variant, before, step };
                for (invariant, broken) in INVARIANTS.iter().zip(&mut broken) {
                    if broken.is_none() && !(invariant.holds)(&taken) {
                        *broken = Some(trace(&reached, *index, choice));
                    }
                }
                if seen.insert(hash(&step.after)) {
                    let number = u32::try_from(reached.len()).expect("below the limit");
                    reached.push(Reached { from: *index, choice });
                    next.push((number, step.after));
                }
            }
            if stopped(&broken) {
                break 'levels;
            }
            assert!(reached.len() < LIMIT, "{}: too large to be searched", world.variant.name);
        }
        depth += usize::from(!next.is_empty());
        frontier = next;
    }
    Report { states: reached.len(), transitions, depth, time: begun.elapsed(), broken }
}

fn trace(reached: &[Reached], mut at: u32, last: u16) -> Trace {
    let mut choices = vec![last];
    while at != 0 {
        let Reached { from, choice } = reached[usize::try_from(at).expect("32 bits fit")];
        choices.push(choice);
        at = from;
    }
    choices.reverse();
    Trace(choices)
}

/// A trace as text, one step a line.
pub fn explain(world: &World, trace: &Trace) -> String {
    let mut state = State::default();
    let mut text = String::new();
    for (number, choice) in (1..).zip(&trace.0) {
        let mut steps: Vec<Step> = Vec::new();
        world.steps(&state, &mut steps);
        let step = steps[usize::from(*choice)];
        writeln!(text, "  {number:2}  {step}").expect("writing to a string succeeds");
        state = step.after;
    }
    text
}

type Seen = HashSet<u128, BuildHasherDefault<Low>>;

/// The hash of a hash is its lower half.
#[derive(Default)]
struct Low(u64);

impl Hasher for Low {
    fn finish(&self) -> u64 {
        self.0
    }
    fn write(&mut self, _: &[u8]) {
        unreachable!("only hashes are hashed");
    }
    fn write_u128(&mut self, hash: u128) {
        let [.., a, b, c, d, e, f, g, h] = hash.to_be_bytes();
        self.0 = u64::from_be_bytes([a, b, c, d, e, f, g, h]);
    }
}

/// The 128-bit hash of a state.
pub fn hash(state: &State) -> u128 {
    let mut wide = Wide { low: 0x9e37_79b9_7f4a_7c15, ..Wide::default() };
    state.hash(&mut wide);
    wide.mix(wide.word);
    u128::from(wide.high) << 64 | u128::from(wide.low)
}

/// Two lanes of multiply and fold over words of eight bytes.
#[derive(Default)]
struct Wide {
    high: u64,
    low: u64,
    word: u64,
    bytes: u32,
}

impl Wide {
    const fn mix(&mut self, word: u64) {
        self.high = fold(self.high ^ word ^ 0xa076_1d64_78bd_642f, 0xe703_7ed1_a0b4_28db);
        self.low = fold(self.low ^ word.rotate_left(32), 0x8ebc_6af0_9c88_c6e3) ^ self.high;
    }
}

impl Hasher for Wide {
    fn finish(&self) -> u64 {
        self.low
    }
    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|byte| self.write_u8(*byte));
    }
    fn write_u8(&mut self, byte: u8) {
        self.word |= u64::from(byte) << (8 * self.bytes);
        self.bytes += 1;
        if self.bytes == 8 {
            self.mix(self.word);
            (self.word, self.bytes) = (0, 0);
        }
    }
    // Discriminants: small numbers all.
    fn write_isize(&mut self, number: isize) {
        self.write_u8(number.to_le_bytes()[0]);
    }
    fn write_usize(&mut self, _: usize) {}
}

#[expect(clippy::cast_possible_truncation, reason = "the two halves of a product")]
const fn fold(a: u64, b: u64) -> u64 {
    let product = a as u128 * b as u128;
    (product >> 64) as u64 ^ product as u64
}
