//! Everything that is not a process: time, randomness, messages, the store, the clients, the ledger.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tower_idempotency::protocol::{Attempt, IdempotencyKey, KeySyntax, Slot};

use super::client::Client;
use super::counters::Counters;
use super::event::{Event, Queue};
use super::faults::{self, Path};
use super::history::{History, Request};
use super::network::{Fate, Network};
use super::plan::{END, FAULTS_END, HEALED, Key, Plan, ROOMS, ROUTES, Route, WAITERS};
use super::rng::Rng;
use super::store_server::{Store, StoreClock};
use super::trace::Trace;

/// One thread uses it; the lock is there because services have to be `Send`.
pub type Shared = Arc<Mutex<World>>;

pub fn lock(world: &Shared) -> MutexGuard<'_, World> {
    world.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Who sent a `begin`.
#[derive(Clone, Copy, Debug)]
pub struct Sender {
    /// In the order of appearance, since nonces differ from run to run.
    pub name: usize,
    pub server: usize,
    pub incarnation: u32,
    pub key: Option<usize>,
}

pub struct World {
    pub now: u64,
    pub plan: Plan,
    pub rng: Rng,
    queue: Queue,
    pub network: Network,
    pub store: Store,
    pub clients: Vec<Client>,
    pub history: History,
    pub counters: Counters,
    pub trace: Trace,
    /// By nonce.
    pub attempts: HashMap<[u8; 16], Sender>,
    /// The claims under which a handler started: slot and fence.
    pub started: BTreeSet<([u8; 32], u64)>,
    /// The keys of slots, as far as they are known.
    pub slots: BTreeMap<[u8; 32], usize>,
    /// The current incarnation of each server, and whether it is up.
    pub servers: Vec<(u32, bool)>,
}

impl World {
    pub fn new(plan: Plan) -> Self {
        let mut rng = Rng::new(plan.seed);
        let clock = StoreClock::new(rng.between(980, 1_020));
        let mut queue = Queue::default();
        for (at, fault) in faults::schedule(&plan, &mut rng) {
            queue.push(at, rng.next(), Event::Fault(fault));
        }
        // Most clients of a key come at about the same time.
        let rush: Vec<u64> = plan.keys.iter().map(|_| rng.between(1, FAULTS_END - 600)).collect();
        for (client, (key, _)) in plan.clients.iter().enumerate() {
            let early = rng.chance(600).then(|| rush[*key] + rng.below(120));
            let at = early.unwrap_or_else(|| rng.between(1, FAULTS_END - 300));
            queue.push(at, rng.next(), Event::Send { client });
        }
        for key in 0..plan.keys.len() {
            queue.push(HEALED + rng.below(20), rng.next(), Event::Probe { key });
        }
        for server in 0..plan.servers {
            queue.push(ROOMS, rng.next(), Event::Crowd { server });
            queue.push(WAITERS, rng.next(), Event::Waiters { server });
        }
        queue.push(END, 0, Event::End);
        let clients = plan.clients.iter().map(|&(key, variant)| Client::new(key, variant));
        let mut world = Self {
            now: 0,
            queue,
            network: Network::new(plan.servers),
            store: Store::new(clock),
            clients: clients.collect(),
            history: History::default(),
            counters: Counters::default(),
            trace: Trace::default(),
            attempts: HashMap::new(),
            started: BTreeSet::new(),
            slots: BTreeMap::new(),
            servers: vec![(0, false); plan.servers],
            rng,
            plan,
        };
        for key in 0..world.plan.keys.len() {
            let slot = world.slot(key);
            world.slots.insert(*slot.as_bytes(), key);
        }
        world
    }

    pub fn push(&mut self, at: u64, event: Event) {
        let tie = self.rng.next();
        self.queue.push(at, tie, event);
    }

    pub fn next_at(&self) -> Option<u64> {
        self.queue.next_at()
    }

    /// The next event, if there is one by then; its time is now.
    pub fn pop_until(&mut self, until: u64) -> Option<Event> {
        let due = self.next_at().filter(|at| *at <= until);
        // A server that was ahead can have sent something that is due by now.
        self.now = self.now.max(due.unwrap_or(until));
        due.and_then(|_| self.queue.pop()).map(|(_, event)| event)
    }

    pub fn count(&mut self, name: &'static str) {
        self.counters.add(name);
    }

    pub fn note(&mut self, key: Option<usize>, text: String) {
        self.trace.add(self.now, key, text);
    }

    /// The same, on a server that can be ahead.
    pub fn note_at(&mut self, at: u64, key: Option<usize>, text: String) {
        self.trace.add(at, key, text);
    }

    /// The slot of a key.
    pub fn slot(&self, key: usize) -> Slot {
        let key = &self.plan.keys[key];
        let name = IdempotencyKey::parse(key.name.as_bytes(), &KeySyntax::either());
        let name = name.expect("a key");
        Slot::derive(None, key.tenant, "POST", Some(key.route.path), &name)
    }

    pub fn key_of(&self, slot: Slot) -> Option<usize> {
        self.slots.get(slot.as_bytes()).copied()
    }

    /// Whether faults still happen.
    pub const fn is_calm(&self) -> bool {
        self.now >= FAULTS_END
    }

    /// The fate of a message that is sent now.
    pub fn fate(&mut self, way: (usize, Path)) -> Option<Fate> {
        self.fate_at(self.now, way)
    }

    pub fn fate_at(&mut self, now: u64, (server, path): (usize, Path)) -> Option<Fate> {
        let fate = self.network.fate(&self.plan, &mut self.rng, now, (server, path))?;
        if fate.late {
            self.count("late deliveries");
        }
        if fate.again.is_some() {
            self.count("messages sent twice");
        }
        Some(fate)
    }

    /// Remembers who made an attempt.
    pub fn made(&mut self, attempt: &Attempt, server: usize, incarnation: u32) {
        let name = self.attempts.len();
        let key = self.key_of(attempt.slot);
        let sender = Sender { name, server, incarnation, key };
        self.attempts.entry(*attempt.nonce.as_bytes()).or_insert(sender);
    }

    /// A new request of a client, not yet sent.
    pub fn request(&mut self, client: usize, server: usize) -> usize {
        let Client { key, variant, .. } = self.clients[client];
        self.history.requests.push(Request {
            client,
            key,
            variant,
            server,
            sent: self.now,
            arrived: None,
            answer: None,
            gave_up: None,
        });
        self.history.requests.len() - 1
    }

    /// As many new requests as a server has places for: each must find one.
    pub fn crowd(&mut self, server: usize) {
        let route = self.plan.keys[0].route;
        for place in 0..self.plan.max_in_flight.unwrap_or_default() {
            let key = self.new_key(route, format!("crowd-{server}-{place}"));
            self.probe_at(server, key);
        }
    }

    /// As many copies of a new request as may wait for it: each must be allowed to.
    pub fn copies(&mut self, server: usize) {
        let route = ROUTES[1];
        let key = self.new_key(route, format!("copies-{server}"));
        for _ in 0..=self.plan.max_waiters.min(3) {
            self.probe_at(server, key);
        }
    }

    fn new_key(&mut self, route: Route, name: String) -> usize {
        self.plan.keys.push(Key { tenant: "north", name, route });
        self.plan.keys.len() - 1
    }

    fn probe_at(&mut self, server: usize, key: usize) {
        self.clients.push(Client::probe(key));
        let request = self.request(self.clients.len() - 1, server);
        self.push(self.now + 1, Event::Request { request });
    }

    /// Whether a claim of this key was taken back in that time, under which nothing had run.
    pub fn was_taken_back(&self, key: usize, from: u64, until: u64) -> bool {
        let within = |at: &u64| (from..=until).contains(at);
        self.history.taken_back.iter().any(|(of, at)| *of == key && within(at))
    }
}
