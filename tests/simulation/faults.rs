//! The faults of a run: which, when and for how long.

use super::plan::{FAULTS_END, LEASE, Plan, Profile};
use super::rng::Rng;
use super::world::World;

/// A one-way path between two parties.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Path {
    ToStore,
    FromStore,
    ToServer,
    FromServer,
}

#[derive(Clone, Copy, Debug)]
pub enum Fault {
    /// The process dies where it stands.
    Crash {
        server: usize,
    },
    Restart {
        server: usize,
    },
    /// The process stands still.
    Stall {
        server: usize,
    },
    Resume {
        server: usize,
        stalled: u64,
    },
    Cut {
        server: usize,
        path: Path,
    },
    Mend {
        server: usize,
        path: Path,
    },
    /// The wall clock of a server jumps, by so many milliseconds.
    Jump {
        server: usize,
        by: i64,
    },
    /// The store answers nothing, and gets to it later.
    Freeze,
    Thaw,
    /// The store refuses everything.
    Unready,
    Ready,
    /// The store has no room for another record.
    Full,
    Room,
    StoreJump {
        by: i64,
    },
    /// A replica takes over that lacks the writes of so many milliseconds, but for the claims.
    FailOver {
        lost: u64,
    },
    Emptied,
}

/// The faults of a plan, in pairs of beginning and end.
pub fn schedule(plan: &Plan, rng: &mut Rng) -> Vec<(u64, Fault)> {
    let mut faults = Vec::new();
    let mut own = plan.profile != Profile::Ordinary;
    for _ in 0..plan.faults {
        let start = rng.between(20, FAULTS_END - 50);
        let length = if rng.chance(400) { rng.between(5, LEASE) } else { rng.between(LEASE, 900) };
        let end = (start + length).min(FAULTS_END);
        let server = rng.index(plan.servers);
        if std::mem::take(&mut own) || (plan.profile != Profile::Ordinary && rng.chance(250)) {
            faults.push((start, profile_fault(plan.profile, rng)));
            continue;
        }
        let pair = match rng.below(10) {
            0..3 => (Fault::Crash { server }, Fault::Restart { server }),
            3 | 4 => (Fault::Stall { server }, Fault::Resume { server, stalled: end - start }),
            5 | 6 => {
                let path =
                    rng.pick(&[Path::ToStore, Path::FromStore, Path::ToServer, Path::FromServer]);
                (Fault::Cut { server, path }, Fault::Mend { server, path })
            }
            7 => (Fault::Freeze, Fault::Thaw),
            8 if rng.chance(500) => (Fault::Unready, Fault::Ready),
            8 => {
                let by = jump(rng);
                (Fault::Jump { server, by }, Fault::Jump { server, by: jump(rng) })
            }
            _ => (Fault::Full, Fault::Room),
        };
        faults.push((start, pair.0));
        faults.push((end, pair.1));
    }
    faults
}

fn profile_fault(profile: Profile, rng: &mut Rng) -> Fault {
    match profile {
        Profile::LostWrites => Fault::FailOver { lost: rng.between(5, 400) },
        Profile::Emptied => Fault::Emptied,
        Profile::StoreClock | Profile::Ordinary => Fault::StoreJump { by: jump(rng) },
    }
}

fn jump(rng: &mut Rng) -> i64 {
    let by = i64::try_from(rng.between(1, 2_000)).expect("it is small");
    if rng.chance(500) { by } else { -by }
}

impl World {
    /// The part of a fault that does not concern processes.
    pub fn fault(&mut self, fault: Fault) {
        match fault {
            Fault::Cut { server, path } => {
                self.count(match path {
                    Path::ToStore => "partitions to the store",
                    Path::FromStore => "partitions from the store",
                    Path::ToServer | Path::FromServer => "client partitions",
                });
                self.network.cut(server, path);
            }
            Fault::Mend { server, path } => self.network.mend(server, path),
            Fault::Jump { .. } => self.count("clock jumps of servers"),
            Fault::Freeze => {
                self.count("store frozen");
                self.store.frozen += 1;
            }
            Fault::Thaw => {
                self.store.frozen -= 1;
                if self.store.frozen == 0 {
                    for call in std::mem::take(&mut self.store.held) {
                        self.arrived_at_store(call);
                    }
                }
            }
            Fault::Unready => {
                self.count("store not ready");
                self.store.unready += 1;
            }
            Fault::Ready => self.store.unready -= 1,
            Fault::Full => self.store.full += 1,
            Fault::Room => self.store.full -= 1,
            Fault::StoreJump { by } => {
                self.count("clock jumps of the store");
                self.store.clock.jump(by);
            }
            Fault::FailOver { lost } => {
                self.count("fail-overs");
                self.store.fail_over(self.now.saturating_sub(lost));
            }
            Fault::Emptied => {
                self.count("restarts empty");
                self.store.records.clear();
            }
            Fault::Crash { .. }
            | Fault::Restart { .. }
            | Fault::Stall { .. }
            | Fault::Resume { .. } => {}
        }
    }
}
