//! Clients that repeat a charge until it is answered for good.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::future::join_all;
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use tokio::time::{sleep, timeout};
use tower_idempotency::clock::{Clock as _, SystemClock};

use super::history::{Entry, Heard, Meaning, Mode};
use crate::support::http::{Ask, Server, post};

/// How many keys are asked for at once.
const KEYS_AT_ONCE: usize = 24;

/// How long a client waits for an answer at most, in milliseconds. Then it asks again, mostly another
/// server, while the first may be frozen and go on later.
const PATIENCE: u64 = 1800;

/// The longest that a handler takes, in milliseconds: longer than a lease. PostgreSQL itself ends a
/// transaction that stands still in a frozen server for almost a lease, but none that works.
const LONGEST: u64 = 1400;

/// What clients and those who break things share.
pub struct Scene {
    pub mode: Mode,
    pub seed: u64,
    /// Where the servers listen.
    pub servers: Vec<Mutex<Server>>,
    /// No new keys and no new faults from then on.
    ending: AtomicBool,
    /// The clients give up from then on.
    over: AtomicBool,
    pub heard: Mutex<Vec<Heard>>,
    pub entries: Mutex<BTreeMap<String, Entry>>,
}

impl Scene {
    pub fn new(mode: Mode, seed: u64, servers: Vec<Server>) -> Self {
        Self {
            mode,
            seed,
            servers: servers.into_iter().map(Mutex::new).collect(),
            ending: AtomicBool::new(false),
            over: AtomicBool::new(false),
            heard: Mutex::default(),
            entries: Mutex::default(),
        }
    }

    pub fn end(&self) {
        self.ending.store(true, SeqCst);
    }

    pub fn is_ending(&self) -> bool {
        self.ending.load(SeqCst)
    }

    pub fn give_up(&self) {
        self.over.store(true, SeqCst);
    }

    /// A source of random numbers for one purpose, always the same for a seed.
    pub fn random(&self, purpose: u64) -> StdRng {
        random(self.seed, purpose)
    }
}

pub fn random(seed: u64, purpose: u64) -> StdRng {
    StdRng::seed_from_u64(seed ^ purpose.wrapping_mul(0x9e37_79b9_7f4a_7c15))
}

/// The route on which all charges of a storm are: the time is part of what is asked, not of the path.
pub fn route(mode: Mode) -> String {
    format!("{}/{{ms}}", mode.path())
}

/// Charges with key after key until the storm ends, and then until all are answered for good.
pub async fn work(scene: Arc<Scene>) {
    let next = Arc::new(AtomicUsize::new(0));
    let lanes = (0..KEYS_AT_ONCE).map(|_| {
        let (scene, next) = (Arc::clone(&scene), Arc::clone(&next));
        tokio::spawn(async move {
            while !scene.is_ending() {
                one_key(&scene, next.fetch_add(1, SeqCst)).await;
            }
        })
    });
    join_all(lanes).await.into_iter().for_each(|lane| lane.expect("clients do not panic"));
}

/// Up to four clients with the same request, some of which ask again later.
async fn one_key(scene: &Arc<Scene>, number: usize) {
    let mut random = scene.random(1000 + number as u64);
    let errand = Errand::of(number, scene.mode, &mut random);
    let entry = Entry { refused: errand.refused, ..Entry::default() };
    scene.entries.lock().unwrap().insert(errand.key.clone(), entry);
    let clients = (0..random.random_range(1..=4)).map(|client| {
        let errand = errand.clone();
        let mut random = scene.random(1_000_000_000 + (number * 4 + client) as u64);
        async move {
            sleep(Duration::from_millis(random.random_range(0..100))).await;
            until_answered(scene, &errand, &mut random).await;
            if random.random_bool(0.3) {
                sleep(Duration::from_millis(random.random_range(0..500))).await;
                until_answered(scene, &errand, &mut random).await;
            }
        }
    });
    join_all(clients).await;
}

/// What clients ask for.
#[derive(Clone, Debug)]
struct Errand {
    key: String,
    target: String,
    refused: bool,
}

impl Errand {
    fn of(number: usize, mode: Mode, random: &mut StdRng) -> Self {
        let millis = match random.random_range(0..10) {
            0..5 => random.random_range(0..60),
            5..7 => random.random_range(60..400),
            _ => random.random_range(400..LONGEST),
        };
        let target = format!("{}/{millis}", mode.path());
        Self { key: format!("key-{number}"), target, refused: number % 10 == 9 }
    }

    /// One in twenty makes its handler panic after it has written, as long as there is a storm.
    fn ask(&self, after: bool, random: &mut StdRng) -> Ask {
        let ask = post(&self.target).key(&self.key);
        match (!after && random.random_ratio(1, 20), self.refused) {
            (true, _) => ask.header("x-then", "panic"),
            (false, true) => ask.header("x-then", "refuse"),
            (false, false) => ask,
        }
    }
}

/// Asks once more for everything, at any server, when nothing is wrong any more.
pub async fn ask_again(scene: &Scene) {
    let keys: Vec<_> = scene.entries.lock().unwrap().keys().cloned().collect();
    for keys in keys.chunks(KEYS_AT_ONCE) {
        join_all(keys.iter().map(|key| async move {
            let number = key.trim_start_matches("key-").parse().expect("a number");
            // The same as before, since it comes from the same numbers.
            let errand = Errand::of(number, scene.mode, &mut scene.random(1000 + number as u64));
            let mut random = scene.random(2_000_000_000 + number as u64);
            let place = random.random_range(0..scene.servers.len());
            let heard = ask(scene, &errand, place, true, &mut random).await;
            scene.heard.lock().unwrap().push(heard);
        }))
        .await;
    }
}

/// A client stays with a server that answers: one that is frozen would have them all before long.
async fn until_answered(scene: &Scene, errand: &Errand, random: &mut StdRng) {
    let mut place = random.random_range(0..scene.servers.len());
    while !scene.over.load(SeqCst) {
        let heard = ask(scene, errand, place, false, random).await;
        let (meaning, answered) = (heard.meaning(scene.mode), heard.answer.is_some());
        scene.heard.lock().unwrap().push(heard);
        if meaning != Meaning::Passing {
            return;
        }
        if !answered {
            place = (place + 1) % scene.servers.len();
        }
        sleep(Duration::from_millis(random.random_range(20..150))).await;
    }
}

async fn ask(
    scene: &Scene,
    errand: &Errand,
    place: usize,
    after: bool,
    random: &mut StdRng,
) -> Heard {
    let server = *scene.servers[place].lock().unwrap();
    let patience = match (after, random.random_bool(0.05)) {
        (true, _) => 4 * PATIENCE,
        (false, true) => random.random_range(1..100),
        (false, false) => random.random_range(PATIENCE / 3..PATIENCE),
    };
    let patience = Duration::from_millis(patience);
    let sent = SystemClock.monotonic();
    let answer = timeout(patience, server.try_send(errand.ask(after, random))).await;
    let heard = SystemClock.monotonic();
    let key = errand.key.clone();
    Heard { key, sent, heard, after, answer: answer.ok().flatten() }
}
