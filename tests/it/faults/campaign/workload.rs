//! Clients that ask until they are answered for good.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::future::join_all;
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use tokio::time::{sleep, timeout};

use super::history::{Meaning, Name, Request, now};
use crate::support::http::{Ask, Server, post};

const TENANTS: [&str; 3] = ["red", "green", "blue"];

/// How many keys are asked for at once.
const KEYS_AT_ONCE: usize = 24;

/// How long a patient client waits for an answer.
const PATIENCE: Duration = Duration::from_secs(4);

/// What clients and those who break things share.
pub struct Scene {
    pub seed: u64,
    pub lease: Duration,
    /// Where the servers listen.
    pub servers: Vec<Mutex<Server>>,
    /// No new keys and no new faults from then on.
    ending: AtomicBool,
    /// The clients give up from then on.
    over: AtomicBool,
    clients: AtomicUsize,
    pub hung_up: AtomicUsize,
    pub requests: Mutex<Vec<Request>>,
    errands: Mutex<Vec<Errand>>,
}

impl Scene {
    pub fn new(seed: u64, lease: Duration, servers: Vec<Server>) -> Self {
        Self {
            seed,
            lease,
            servers: servers.into_iter().map(Mutex::new).collect(),
            ending: AtomicBool::new(false),
            over: AtomicBool::new(false),
            clients: AtomicUsize::new(0),
            hung_up: AtomicUsize::new(0),
            requests: Mutex::default(),
            errands: Mutex::default(),
        }
    }

    pub fn end(&self) {
        self.ending.store(true, Ordering::SeqCst);
    }

    pub fn is_ending(&self) -> bool {
        self.ending.load(Ordering::SeqCst)
    }

    pub fn give_up(&self) {
        self.over.store(true, Ordering::SeqCst);
    }

    /// The requests that are made for each key.
    pub fn bodies(&self) -> BTreeMap<Name, Vec<String>> {
        let mut bodies = BTreeMap::<_, Vec<_>>::new();
        for errand in self.errands.lock().unwrap().iter() {
            bodies.entry(errand.name.clone()).or_default().push(errand.body.clone());
        }
        bodies
    }

    /// A new client, with random numbers of its own.
    fn client(&self) -> (usize, StdRng) {
        let client = self.clients.fetch_add(1, Ordering::SeqCst);
        (client, self.random(1_000_000_000 + client as u64))
    }

    /// A source of random numbers for one purpose, always the same for a seed.
    pub fn random(&self, purpose: u64) -> StdRng {
        StdRng::seed_from_u64(self.seed ^ purpose.wrapping_mul(0x9e37_79b9_7f4a_7c15))
    }
}

/// The longest that a handler takes, in milliseconds.
pub fn longest(lease: Duration) -> u64 {
    u64::try_from(lease.as_millis()).expect("a short lease") * 7 / 5
}

/// What a client asks for.
#[derive(Clone, Debug)]
struct Errand {
    name: Name,
    body: String,
    /// How long the handler takes.
    millis: u64,
}

impl Errand {
    fn ask(&self) -> Ask {
        let ask = post(&format!("/work/{}", self.millis)).key(&self.name.key);
        ask.header("x-tenant", &self.name.tenant).body(&self.body)
    }
}

/// Asks for key after key until the campaign ends, and then until all are answered for good.
pub async fn work(scene: Arc<Scene>) {
    let next = Arc::new(AtomicUsize::new(0));
    let lanes = (0..KEYS_AT_ONCE).map(|_| {
        let (scene, next) = (Arc::clone(&scene), Arc::clone(&next));
        tokio::spawn(async move {
            while !scene.is_ending() {
                let number = next.fetch_add(1, Ordering::SeqCst);
                one_key(&scene, number).await;
            }
        })
    });
    join_all(lanes).await.into_iter().for_each(|lane| lane.expect("clients do not panic"));
}

/// Up to three clients with the same request, and now and then others with another one for its key.
/// The tenants use the same keys, and send the same bytes.
async fn one_key(scene: &Arc<Scene>, number: usize) {
    let mut random = scene.random(1000 + number as u64);
    let key = format!("key-{}", number / TENANTS.len());
    let name = Name { tenant: TENANTS[number % TENANTS.len()].to_owned(), key };
    let millis = match random.random_range(0..10) {
        0..6 => random.random_range(1..150),
        6..9 => random.random_range(150..700),
        _ => random.random_range(700..longest(scene.lease)),
    };
    let order = format!("order {}", number / TENANTS.len());
    let mut bodies = vec![order.clone()];
    if random.random_bool(0.15) {
        bodies.push(format!("another {order}"));
    }
    let mut clients = Vec::new();
    for body in bodies {
        let errand = Errand { name: name.clone(), body, millis };
        scene.errands.lock().unwrap().push(errand.clone());
        for _ in 0..random.random_range(1..=3) {
            clients.push(one_client(scene, errand.clone()));
        }
    }
    join_all(clients).await;
}

async fn one_client(scene: &Scene, errand: Errand) {
    let (client, mut random) = scene.client();
    sleep(Duration::from_millis(random.random_range(0..300))).await;
    until_answered(scene, client, &errand, &mut random).await;
    if random.random_bool(0.4) {
        sleep(Duration::from_millis(random.random_range(0..2000))).await;
        until_answered(scene, client, &errand, &mut random).await;
    }
}

/// Asks once more for everything, when nothing is wrong any more.
pub async fn ask_again(scene: &Scene) {
    let errands = scene.errands.lock().unwrap().clone();
    for errands in errands.chunks(KEYS_AT_ONCE) {
        join_all(errands.iter().map(|errand| async move {
            let (client, mut random) = scene.client();
            until_answered(scene, client, errand, &mut random).await;
        }))
        .await;
    }
}

async fn until_answered(scene: &Scene, client: usize, errand: &Errand, random: &mut StdRng) {
    while !scene.over.load(Ordering::SeqCst) {
        let server = &scene.servers[random.random_range(0..scene.servers.len())];
        let server = *server.lock().unwrap();
        let hangs_up = random.random_bool(0.08) && !scene.is_ending();
        let patience =
            if hangs_up { Duration::from_millis(random.random_range(1..300)) } else { PATIENCE };
        let sent = now();
        let answer = timeout(patience, server.try_send(errand.ask())).await;
        scene.hung_up.fetch_add(usize::from(hangs_up && answer.is_err()), Ordering::SeqCst);
        let request = Request {
            name: errand.name.clone(),
            body: errand.body.clone(),
            client,
            sent,
            heard: now(),
            answer: answer.ok().flatten(),
        };
        let meaning = request.meaning();
        scene.requests.lock().unwrap().push(request);
        if meaning != Meaning::Passing {
            return;
        }
        sleep(Duration::from_millis(random.random_range(30..250))).await;
    }
}
