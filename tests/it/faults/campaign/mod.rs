//! Campaigns: three servers on one store, many clients, and everything that can break breaks, again
//! and again. What ran is in the ledger, what clients heard is written down, and the checker compares.
//!
//! `CAMPAIGN_SEED` sets the seed, `CAMPAIGN_SECONDS` how long things break.

mod bad_histories;
mod chaos;
mod checker;
mod figures;
mod history;
mod stores;
mod workload;

use std::io::Write as _;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use tempfile::NamedTempFile;
use tokio::task::block_in_place;
use tokio::time::{sleep, timeout};
use tower_idempotency::Guarantee;

use self::chaos::{
    Berth, Damage, Harm, TO_REPLICATED_STORE, TO_SERVERS, TO_STORE, harm_store, watch_the_machine,
};
use self::checker::{Violation, check};
use self::figures::Figures;
use self::history::{History, Run, now};
use self::stores::Servers;
use self::workload::{Scene, longest};

const SERVERS: usize = 3;

const LEASE: Duration = Duration::from_millis(1500);

/// How long a server waits for the store.
const STORE_TIMEOUT: Duration = Duration::from_millis(500);

/// How much longer than a lease and a run a key may take to settle, on a machine that is busy.
const SLACK: Duration = Duration::from_secs(15);

#[derive(Clone, Copy)]
struct Campaign {
    name: &'static str,
    guarantee: Guarantee,
    store: fn() -> Servers,
    to_servers: &'static [Harm],
    to_store: &'static [Harm],
    /// What the servers are told besides.
    flags: &'static [&'static str],
    seconds: u64,
}

/// What came of it.
struct Outcome {
    figures: Figures,
    violations: Vec<Violation>,
}

impl Campaign {
    /// Breaks things for a while, lets everything settle, and judges.
    async fn run(&self) -> Outcome {
        let seed = number_of("CAMPAIGN_SEED").unwrap_or_else(rand::random);
        let seconds = number_of("CAMPAIGN_SECONDS").unwrap_or(self.seconds);
        say(&format!("campaign {}: CAMPAIGN_SEED={seed} CAMPAIGN_SECONDS={seconds}", self.name));
        let store = block_in_place(self.store);
        let ledger = NamedTempFile::new().expect("a temporary file");
        let mut berths = Vec::new();
        for place in 0..SERVERS {
            berths.push(self.berth(place, &store, &ledger).await);
        }
        let servers = berths.iter().map(|berth| berth.process.http()).collect();
        let (scene, damage) =
            (Arc::new(Scene::new(seed, LEASE, servers)), Arc::new(Damage::default()));

        let watch = tokio::spawn(watch_the_machine(Arc::clone(&scene), Arc::clone(&damage)));
        let clients = tokio::spawn(workload::work(Arc::clone(&scene)));
        let kinds = self.to_store.to_vec();
        let breaker = harm_store(store, kinds, Arc::clone(&scene), Arc::clone(&damage));
        let breaker = tokio::spawn(breaker);
        let breakers = berths.into_iter().map(|berth| {
            tokio::spawn(berth.harm(self.to_servers, Arc::clone(&scene), Arc::clone(&damage)))
        });
        let breakers: Vec<_> = breakers.collect();
        sleep(Duration::from_secs(seconds)).await;
        scene.end();
        let store = breaker.await.expect("the store is whole again");
        let berths = join_all(breakers).await;
        watch.await.expect("the machine is watched");

        let healed = now();
        let within = LEASE + Duration::from_millis(longest(LEASE)) + SLACK;
        let mut clients = clients;
        if timeout(within, &mut clients).await.is_err() {
            scene.give_up();
            clients.await.expect("the clients give up");
        }
        let settled = Duration::from_millis(now() - healed);
        let again = workload::ask_again(&scene);
        if timeout(within * 2, again).await.is_err() {
            scene.give_up();
        }
        drop((berths, store));

        let history = self.history(&scene, &damage, &ledger);
        let violations = check(&history);
        let figures = Figures::of(&history, &damage, &scene, settled);
        let Self { name, .. } = self;
        say(&format!("campaign {name} (CAMPAIGN_SEED={seed}), {seconds} s of faults:\n{figures}"));
        for Violation { rule, what } in violations.iter().take(20) {
            say(&format!("broken: {rule}: {what}"));
        }
        Outcome { figures, violations }
    }

    async fn berth(&self, place: usize, store: &Servers, ledger: &NamedTempFile) -> Berth {
        let (proxy, store) = store.behind_proxy().await;
        let (lease, timeout) =
            (LEASE.as_millis().to_string(), STORE_TIMEOUT.as_millis().to_string());
        let guarantee = match self.guarantee {
            Guarantee::AtLeastOnce => "at-least-once",
            Guarantee::AtMostOnce => "at-most-once",
            Guarantee::Transactional => "transactional",
        };
        let ledger = ledger.path().to_str().expect("a path in UTF-8");
        let flags = ["--lease-ms", &lease, "--store-timeout-ms", &timeout, "--ledger", ledger];
        let flags = [&flags[..], &["--guarantee", guarantee], self.flags].concat();
        let flags: Vec<_> = flags.into_iter().map(str::to_owned).collect();
        let process = Berth::start(&store, &flags);
        Berth { place, store, flags, proxy, process, ending: vec![] }
    }

    fn history(&self, scene: &Scene, damage: &Damage, ledger: &NamedTempFile) -> History {
        History {
            guarantee: self.guarantee,
            lease: u64::try_from(LEASE.as_millis()).expect("a short time"),
            bodies: scene.bodies(),
            requests: scene.requests.lock().unwrap().clone(),
            runs: Run::all_in(ledger.path()),
            faults: damage.faults.lock().unwrap().clone(),
            loses_answers: self.to_store.contains(&Harm::FailOver),
        }
    }

    /// That nothing is wrong, that everything was broken at least once, and that not too much was left
    /// unknown: a layer that refuses everything is safe, but of no use.
    fn assert_passed(&self, outcome: &Outcome, unknown_at_most: f64) {
        let Outcome { figures, violations } = outcome;
        assert!(violations.is_empty(), "{} violations, see above", violations.len());
        let expected = self.to_servers.iter().map(|harm| harm.of_server());
        let expected = expected.chain(self.to_store.iter().map(|harm| harm.of_store()));
        let met = |kind: &&str| figures.faults.get(kind).is_some_and(|&count| count > 0);
        let missed: Vec<_> = expected.filter(|kind| !met(kind)).collect();
        // In a short time one may have met nobody whenever its turn came.
        let spare = usize::from(self.seconds < 30);
        assert!(missed.len() <= spare, "never: {missed:?}");
        assert!(figures.hung_up > 0, "no client ever hung up");
        let unknown = figures.unknown_share();
        assert!(unknown <= unknown_at_most, "too much is unknown: {unknown}");
    }
}

/// Writes it where the harness of the tests does not hide it.
fn say(text: &str) {
    std::io::stderr().write_all(format!("{text}\n").as_bytes()).expect("standard error");
}

fn number_of(variable: &str) -> Option<u64> {
    let value = std::env::var(variable).ok()?;
    Some(value.parse().unwrap_or_else(|_| panic!("{variable} is a number, not {value}")))
}

const AT_MOST_ONCE: Campaign = Campaign {
    name: "at most once on Redis",
    guarantee: Guarantee::AtMostOnce,
    store: Servers::redis,
    to_servers: &TO_SERVERS,
    to_store: &TO_STORE,
    flags: &[],
    seconds: 35,
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_campaign_at_most_once_on_redis_breaks_no_promise() {
    let outcome = AT_MOST_ONCE.run().await;
    AT_MOST_ONCE.assert_passed(&outcome, 0.3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_campaign_at_least_once_on_valkey_breaks_no_promise() {
    let campaign = Campaign {
        name: "at least once on Valkey",
        guarantee: Guarantee::AtLeastOnce,
        store: Servers::valkey,
        flags: &["--in-flight", "wait:3000"],
        ..AT_MOST_ONCE
    };
    let outcome = campaign.run().await;
    campaign.assert_passed(&outcome, 0.05);
    assert!(outcome.figures.second_runs > 0, "nothing was ever taken over");
}

const ON_POSTGRES: Campaign = Campaign {
    name: "at most once on PostgreSQL",
    store: Servers::postgres,
    seconds: 20,
    ..AT_MOST_ONCE
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_campaign_at_most_once_on_postgres_breaks_no_promise() {
    let outcome = ON_POSTGRES.run().await;
    ON_POSTGRES.assert_passed(&outcome, 0.3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes a minute"]
async fn a_campaign_at_least_once_on_postgres_breaks_no_promise() {
    let campaign = Campaign {
        name: "at least once on PostgreSQL",
        guarantee: Guarantee::AtLeastOnce,
        flags: &["--in-flight", "wait:3000"],
        seconds: 60,
        ..ON_POSTGRES
    };
    let outcome = campaign.run().await;
    campaign.assert_passed(&outcome, 0.05);
}

/// Where a master can be lost, claims wait for its replica: then nothing runs twice, though an answer
/// may be forgotten.
const ON_SENTINEL: Campaign = Campaign {
    name: "at most once on Sentinel",
    store: Servers::sentinel,
    to_store: &TO_REPLICATED_STORE,
    flags: &["--durability", "replicas:1"],
    seconds: 60,
    ..AT_MOST_ONCE
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes a minute"]
async fn a_campaign_at_most_once_on_sentinel_breaks_no_promise() {
    let outcome = ON_SENTINEL.run().await;
    ON_SENTINEL.assert_passed(&outcome, 0.4);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes a minute"]
async fn a_campaign_at_most_once_on_a_cluster_breaks_no_promise() {
    let campaign =
        Campaign { name: "at most once on a Cluster", store: Servers::cluster, ..ON_SENTINEL };
    let outcome = campaign.run().await;
    campaign.assert_passed(&outcome, 0.4);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_campaign_on_a_redis_that_forgets_is_found_out() {
    let campaign = Campaign {
        name: "at most once on a Redis without a file",
        store: Servers::forgetful_redis,
        to_servers: &[],
        to_store: &[Harm::Kill],
        seconds: 8,
        ..AT_MOST_ONCE
    };
    let outcome = campaign.run().await;
    let rules: Vec<_> = outcome.violations.iter().map(|violation| violation.rule).collect();
    for rule in ["all answers of a key are equal", "at most once, a key runs at most once"] {
        assert!(rules.contains(&rule), "not found: {rule}");
    }
}
