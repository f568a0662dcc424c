//! Messages: how long they take, which are lost, and which come twice.

use super::faults::Path;
use super::plan::{FAULTS_END, Plan};
use super::rng::Rng;

/// The paths that are cut, and how often.
#[derive(Debug)]
pub struct Network {
    cuts: Vec<[u32; 4]>,
}

/// What becomes of a message.
#[derive(Clone, Copy, Debug)]
pub struct Fate {
    pub delay: u64,
    /// A second copy of it.
    pub again: Option<u64>,
    pub late: bool,
}

impl Network {
    pub fn new(servers: usize) -> Self {
        Self { cuts: vec![[0; 4]; servers] }
    }

    pub fn cut(&mut self, server: usize, path: Path) {
        self.cuts[server][path as usize] += 1;
    }

    pub fn mend(&mut self, server: usize, path: Path) {
        self.cuts[server][path as usize] -= 1;
    }

    pub fn is_cut(&self, server: usize, path: Path) -> bool {
        self.cuts[server][path as usize] > 0
    }

    /// The fate of a message that is sent now; `None` if it is lost.
    pub fn fate(
        &self,
        plan: &Plan,
        rng: &mut Rng,
        now: u64,
        (server, path): (usize, Path),
    ) -> Option<Fate> {
        if self.is_cut(server, path) {
            return None;
        }
        let mut fate = Fate { delay: rng.between(1, 6), again: None, late: false };
        if now >= FAULTS_END {
            return Some(fate);
        }
        if rng.chance(plan.lost) {
            return None;
        }
        if rng.chance(plan.slow) {
            fate.delay = rng.between(10, 90);
        }
        if rng.chance(plan.late) {
            fate.late = true;
            fate.delay = rng.between(60, 1_200);
        }
        if rng.chance(plan.twice) {
            let slow = if rng.chance(300) { 900 } else { 40 };
            fate.again = Some(fate.delay + rng.between(0, slow));
        }
        Some(fate)
    }
}
