//! What a seed decides before anything runs. All times are milliseconds of virtual time.

use std::time::Duration;

use tower_idempotency::Guarantee;

use super::defects::Defect;
use super::rng::Rng;

pub const LEASE: u64 = 200;
pub const STORE_TIMEOUT: u64 = 50;
pub const MAX_RUN: u64 = 1_500;
pub const RETENTION: u64 = 600_000;
/// Until when faults happen.
pub const FAULTS_END: u64 = 2_500;
/// From when on every key must have an answer for good as soon as it is asked for: whatever ran has
/// ended, and what it left has lapsed.
pub const HEALED: u64 = FAULTS_END + MAX_RUN + 2 * LEASE + 400;
/// When every answer must be there: one attempt later.
pub const ANSWERED: u64 = HEALED + LEASE + 300;
/// When the places for handlers are counted.
pub const ROOMS: u64 = ANSWERED + 50;
/// When the places of those who wait are counted.
pub const WAITERS: u64 = ROOMS + 100;
pub const END: u64 = WAITERS + 200;

pub const fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// Which guarantees a run leaves standing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Profile {
    /// Everything but what the store itself promises to keep.
    Ordinary,
    /// The store's clock jumps.
    StoreClock,
    /// The store fails over to a replica that has every claim, and not every later write.
    LostWrites,
    /// The store restarts empty.
    Emptied,
}

/// A policy under which keys are used.
#[derive(Clone, Copy, Debug)]
pub struct Route {
    pub path: &'static str,
    pub guarantee: Guarantee,
    pub wait: Option<u64>,
    pub hook: bool,
}

const fn route(path: &'static str, guarantee: Guarantee, wait: Option<u64>, hook: bool) -> Route {
    Route { path, guarantee, wait, hook }
}

use Guarantee::{AtLeastOnce, AtMostOnce};

pub const ROUTES: [Route; 7] = [
    route("/once", AtMostOnce, None, false),
    route("/once-wait", AtMostOnce, Some(600), false),
    route("/once-hook", AtMostOnce, None, true),
    route("/once-hook-wait", AtMostOnce, Some(400), true),
    route("/repeat", AtLeastOnce, None, false),
    route("/repeat-wait", AtLeastOnce, Some(600), false),
    route("/repeat-hook", AtLeastOnce, None, true),
];

/// One idempotency key of one tenant on one route.
#[derive(Clone, Debug)]
pub struct Key {
    pub tenant: &'static str,
    pub name: String,
    pub route: Route,
}

#[derive(Clone, Debug)]
pub struct Plan {
    pub seed: u64,
    pub profile: Profile,
    pub defect: Defect,
    pub servers: usize,
    pub keys: Vec<Key>,
    /// Clients, each with one key and one body.
    pub clients: Vec<(usize, u8)>,
    pub max_in_flight: Option<usize>,
    pub max_waiters: usize,
    /// Of a thousand messages: lost, sent twice, slow, very late.
    pub lost: u64,
    pub twice: u64,
    pub slow: u64,
    pub late: u64,
    /// Of a thousand handlers: those that take longer than a lease.
    pub long_runs: u64,
    /// How many faults begin.
    pub faults: usize,
    /// Whether `complete` has a deadline.
    pub complete_deadline: bool,
    /// Whether there is a cache in front of the store.
    pub near_cache: bool,
}

impl Plan {
    pub fn of(seed: u64, defect: Defect) -> Self {
        let mut rng = Rng::new(seed ^ 0x7077_6572_2d69_6465);
        let profile = match rng.below(10) {
            0 => Profile::StoreClock,
            1 => Profile::LostWrites,
            2 => Profile::Emptied,
            _ => Profile::Ordinary,
        };
        let keys = keys(&mut rng);
        let mut clients = Vec::new();
        for key in 0..keys.len() {
            for _ in 0..rng.between(2, 5) {
                // A few use the key for another request.
                clients.push((key, u8::from(rng.chance(120))));
            }
        }
        let harsh = rng.pick(&[0, 1, 1, 2]);
        Self {
            seed,
            profile,
            defect,
            servers: rng.index(3) + 1,
            keys,
            clients,
            max_in_flight: rng.chance(300).then(|| rng.index(4) + 2),
            max_waiters: if rng.chance(150) { 1 } else { 100 },
            lost: harsh * rng.between(0, 40),
            twice: harsh * rng.between(0, 60),
            slow: harsh * rng.between(0, 60),
            late: harsh * rng.between(0, 15),
            long_runs: rng.pick(&[20, 150, 400]),
            faults: rng.index(9) + usize::from(profile != Profile::Ordinary),
            complete_deadline: rng.chance(500),
            near_cache: rng.chance(200),
        }
    }
}

impl Plan {
    /// Whether nothing goes wrong.
    pub const fn is_calm(&self) -> bool {
        self.faults as u64 + self.lost + self.twice + self.slow + self.late == 0
    }
}

fn keys(rng: &mut Rng) -> Vec<Key> {
    let mut keys: Vec<Key> = Vec::new();
    for number in 0..rng.between(2, 4) {
        let route = rng.pick(&ROUTES);
        let name = format!("key-{number}");
        // Both tenants use the same name, on the same route.
        for tenant in ["north", "south"] {
            if keys.is_empty() || rng.chance(600) {
                keys.push(Key { tenant, name: name.clone(), route });
            }
        }
    }
    keys
}
