//! Those who break things: one for each server and its connections, one for the store.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rand::RngExt as _;
use rand::rngs::StdRng;
use rand::seq::SliceRandom as _;
use tokio::task::{JoinHandle, block_in_place};
use tokio::time::sleep;

use super::SERVERS;
use super::history::{Fault, Harmed, now};
use super::stores::Servers;
use super::workload::Scene;
use crate::support::fault_proxy::{Fault as Broken, FaultProxy};
use crate::support::process::Process;

/// What was broken, and how often with an effect.
#[derive(Debug, Default)]
pub struct Damage {
    pub faults: Mutex<Vec<Fault>>,
    pub effects: Mutex<BTreeMap<&'static str, usize>>,
}

impl Damage {
    pub fn note(&self, kind: &'static str, harmed: Harmed, from: u64) {
        self.faults.lock().unwrap().push(Fault { kind, harmed, from, to: now() });
    }

    fn count(&self, kind: &'static str, effects: usize) {
        *self.effects.lock().unwrap().entry(kind).or_default() += effects;
    }
}

/// All of them in a new order, again and again: so each comes up.
struct Deck<T> {
    all: Vec<T>,
    left: Vec<T>,
}

impl<T: Clone> Deck<T> {
    fn new(all: &[T]) -> Self {
        Self { all: all.to_vec(), left: vec![] }
    }

    /// One of several of which each begins with another part of the cards, so that all come up soon.
    fn part(all: &[T], random: &mut StdRng, number: usize) -> Self {
        let mut left = all.to_vec();
        left.shuffle(random);
        left.rotate_left(number * all.len() / SERVERS);
        Self { all: all.to_vec(), left }
    }

    fn draw(&mut self, random: &mut StdRng) -> T {
        if self.left.is_empty() {
            self.left.clone_from(&self.all);
            self.left.shuffle(random);
        }
        self.left.pop().expect("a deck has cards")
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Harm {
    Kill,
    Terminate,
    Stop,
    StopPastLease,
    /// A master is gone until another one has taken its place.
    FailOver,
    Network(&'static str),
}

/// What happens to servers and their connections.
pub const TO_SERVERS: [Harm; 14] = [
    Harm::Kill,
    Harm::Terminate,
    Harm::Stop,
    Harm::StopPastLease,
    Harm::Network("reply lost"),
    Harm::Network("reply lost in silence"),
    Harm::Network("held until reconnect"),
    Harm::Network("requests swallowed"),
    Harm::Network("requests swallowed past lease"),
    Harm::Network("replies swallowed"),
    Harm::Network("reset"),
    Harm::Network("half-closed for the server"),
    Harm::Network("half-closed for the store"),
    Harm::Network("slow"),
];

/// What happens to the store.
pub const TO_STORE: [Harm; 3] = [Harm::Kill, Harm::Stop, Harm::StopPastLease];

/// The same where there are replicas.
pub const TO_REPLICATED_STORE: [Harm; 4] =
    [Harm::Kill, Harm::Stop, Harm::StopPastLease, Harm::FailOver];

impl Harm {
    pub fn of_server(self) -> &'static str {
        match self {
            Self::Kill => "server killed",
            Self::Terminate => "server asked to end",
            Self::Stop => "server stopped",
            Self::StopPastLease => "server stopped past lease",
            Self::FailOver => panic!("a server has no replica"),
            Self::Network(kind) => kind,
        }
    }

    pub fn of_store(self) -> &'static str {
        match self {
            Self::Kill | Self::Terminate | Self::Network(_) => "store killed",
            Self::Stop => "store stopped",
            Self::StopPastLease => "store stopped past lease",
            Self::FailOver => "store failed over",
        }
    }
}

/// A place for a server: the one that is in it, and those that were asked to end.
pub struct Berth {
    pub place: usize,
    pub store: String,
    pub flags: Vec<String>,
    pub proxy: FaultProxy,
    pub process: Process,
    pub ending: Vec<JoinHandle<()>>,
}

impl Berth {
    pub fn start(store: &str, flags: &[String]) -> Process {
        let flags: Vec<_> = flags.iter().map(String::as_str).collect();
        block_in_place(|| Process::start(store, &flags))
    }

    fn pid(&self) -> u64 {
        self.process.id().into()
    }

    /// Puts a new server into the place, and gives the old one.
    fn replace(&mut self, scene: &Scene) -> Process {
        let new = Self::start(&self.store, &self.flags);
        *scene.servers[self.place].lock().unwrap() = new.http();
        std::mem::replace(&mut self.process, new)
    }

    /// Breaks this server and its connections until the campaign ends.
    pub async fn harm(mut self, kinds: &[Harm], scene: Arc<Scene>, damage: Arc<Damage>) -> Self {
        let mut random = scene.random(10 + self.place as u64);
        let mut deck = Deck::part(kinds, &mut scene.random(2), self.place);
        while !kinds.is_empty() && !scene.is_ending() {
            sleep(Duration::from_millis(random.random_range(100..600))).await;
            let harm = deck.draw(&mut random);
            let (from, pid) = (now(), self.pid());
            let effects = match harm {
                Harm::Kill => {
                    self.kill(&scene, &mut random).await;
                    1
                }
                Harm::Terminate => {
                    self.terminate(&scene, &damage);
                    1
                }
                Harm::Stop | Harm::StopPastLease => {
                    self.process.pause();
                    sleep(span(harm, &scene, &mut random)).await;
                    self.process.resume();
                    1
                }
                Harm::FailOver => panic!("a server has no replica"),
                Harm::Network(kind) => self.cut(kind, &scene, &mut random).await,
            };
            damage.count(harm.of_server(), effects);
            damage.note(harm.of_server(), Harmed::Process(pid), from);
            if self.pid() != pid {
                damage.note(harm.of_server(), Harmed::Process(self.pid()), from);
            }
        }
        for ending in std::mem::take(&mut self.ending) {
            ending.await.expect("an old server ends");
        }
        self
    }

    async fn kill(&mut self, scene: &Scene, random: &mut StdRng) {
        self.process.kill_in_place();
        sleep(Duration::from_millis(random.random_range(0..800))).await;
        drop(self.replace(scene));
    }

    /// The new server is there at once, as in a deployment; the old one finishes what it has.
    fn terminate(&mut self, scene: &Scene, damage: &Arc<Damage>) {
        self.process.terminate();
        let mut old = self.replace(scene);
        let (damage, from, pid) = (Arc::clone(damage), now(), u64::from(old.id()));
        self.ending.push(tokio::spawn(async move {
            for _ in 0..800 {
                if old.has_ended() {
                    damage.note("server asked to end", Harmed::Process(pid), from);
                    return;
                }
                sleep(Duration::from_millis(50)).await;
            }
            panic!("a server that is asked to end does not");
        }));
    }

    /// One fault of the network, and whether it had an effect.
    async fn cut(&self, kind: &'static str, scene: &Scene, random: &mut StdRng) -> usize {
        let proxy = &self.proxy;
        let past_lease = scene.lease + Duration::from_millis(random.random_range(300..900));
        let short = Duration::from_millis(random.random_range(300..1200));
        let (broken, time) = match kind {
            "reply lost" => (Broken::LoseReply(random.random_range(0..5)), short),
            "reply lost in silence" => {
                (Broken::LoseReplyInSilence(random.random_range(0..5)), short)
            }
            "held until reconnect" => (Broken::HoldUntilReconnect, short * 2),
            "requests swallowed" => (Broken::BlackholeRequests, short),
            "requests swallowed past lease" => (Broken::BlackholeRequests, past_lease),
            "replies swallowed" => (Broken::BlackholeReplies, short),
            "reset" => (Broken::Reset, short / 4),
            "half-closed for the server" => (Broken::EndReplies, short / 4),
            "half-closed for the store" => (Broken::EndRequests, short),
            "slow" => (Broken::Slow(Duration::from_millis(random.random_range(5..120))), short * 2),
            _ => panic!("no such fault: {kind}"),
        };
        proxy.set(broken);
        sleep(time).await;
        // Until somebody has noticed, where that takes longer.
        for _ in 0..40 {
            if proxy.hits() > 0 {
                break;
            }
            sleep(Duration::from_millis(50)).await;
        }
        let hits = proxy.hits();
        proxy.heal();
        usize::from(hits > 0)
    }
}

/// For how long somebody is stopped.
pub fn span(harm: Harm, scene: &Scene, random: &mut StdRng) -> Duration {
    let more = Duration::from_millis(random.random_range(200..900));
    if harm == Harm::StopPastLease { scene.lease + more } else { more }
}

/// Breaks the store until the campaign ends.
pub async fn harm_store(
    mut store: Servers,
    kinds: Vec<Harm>,
    scene: Arc<Scene>,
    damage: Arc<Damage>,
) -> Servers {
    let mut random = scene.random(1);
    let mut deck = Deck::new(&kinds);
    while !scene.is_ending() {
        sleep(Duration::from_millis(random.random_range(1500..4000))).await;
        let harm = deck.draw(&mut random);
        let from = now();
        store.harm(harm, &scene, &mut random).await;
        damage.count(harm.of_store(), 1);
        damage.note(harm.of_store(), Harmed::All, from);
    }
    store
}

pub const STANDSTILL: &str = "the machine stood still";

/// Notes when the machine itself stood still, which is nobody's fault.
pub async fn watch_the_machine(scene: Arc<Scene>, damage: Arc<Damage>) {
    while !scene.is_ending() {
        let from = now();
        sleep(Duration::from_millis(50)).await;
        if now() - from > 500 {
            damage.note(STANDSTILL, Harmed::All, from);
        }
    }
}
