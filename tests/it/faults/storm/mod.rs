//! Storms: clients repeat charges at two servers that are killed and frozen at random points, while backends of
//! PostgreSQL are terminated and replies are lost, those to commits above all. In the end the business
//! table, the records and what clients heard are compared.
//!
//! `STORM_SEED` sets the seed, `STORM_KILLS` how often a server is killed.

mod bad_histories;
mod chaos;
mod checker;
mod clients;
mod figures;
mod history;
mod line;

use std::io::Write as _;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::future::join_all;
use tokio::task::block_in_place;
use tokio::time::timeout;
use tower_idempotency::clock::{Clock as _, SystemClock};

use self::chaos::Berth;
use self::checker::{Violation, check};
use self::clients::{Scene, random};
use self::figures::{Damage, Figures};
use self::history::{History, Mode, fill_in};
use self::line::Line;
use crate::support::postgres::{PostgresServer, Version};

/// What the servers are told. The second one lets requests wait for the first one's answer.
const FLAGS: [&[&str]; 2] = [&[], &["--in-flight", "wait:1500"]];

const COMMON: [&str; 6] = ["--prefix", "storm", "--lease-ms", "1000", "--store-timeout-ms", "500"];

/// No constraint keeps a key from being charged twice.
const TABLE: &str = "CREATE TABLE charges_storm (id bigserial PRIMARY KEY, \
                     key text NOT NULL, process bigint NOT NULL, execution bigint NOT NULL);";

/// How much longer than a lease a key may take to settle, on a machine that is busy.
const SLACK: Duration = Duration::from_secs(20);

/// How often servers are killed in the tests that everybody runs.
const KILLS: usize = 30;

/// Breaks things until enough servers were killed, lets everything settle, and judges.
async fn storm(mode: Mode) -> Figures {
    let seed = number_of("STORM_SEED").unwrap_or_else(rand::random);
    let enough = number_of("STORM_KILLS").map_or(KILLS, |kills| kills.try_into().expect("fits"));
    say(&format!("storm {mode:?}: STORM_SEED={seed} STORM_KILLS={enough}"));
    let postgres = block_in_place(|| PostgresServer::start(Version::Packaged, &[]));
    postgres.query(TABLE);
    let mut berths = Vec::new();
    for place in 0..FLAGS.len() {
        let line = Line::to(postgres.port(), random(seed, 30 + place as u64)).await;
        berths.push(berth(mode, place, line, &postgres));
    }
    let lines: Vec<_> = berths.iter().map(|berth| Arc::clone(&berth.line)).collect();
    let servers = berths.iter().map(|berth| berth.process.http()).collect();
    let scene = Arc::new(Scene::new(mode, seed, servers));

    let since = SystemClock.monotonic();
    let clients = tokio::spawn(clients::work(Arc::clone(&scene)));
    let backends = tokio::spawn(chaos::terminate(postgres.client().await, Arc::clone(&scene)));
    let cuts = lines
        .iter()
        .enumerate()
        .map(|(place, line)| tokio::spawn(chaos::cut(Arc::clone(line), place, Arc::clone(&scene))));
    let cuts: Vec<_> = cuts.collect();
    let left = Arc::new(Mutex::new(enough));
    let killers = berths
        .into_iter()
        .map(|berth| tokio::spawn(berth.kill(Arc::clone(&scene), Arc::clone(&left))));
    let killers = join_all(killers).await.into_iter();
    let (berths, frozen): (Vec<_>, Vec<_>) = killers.map(|it| it.expect("servers start")).unzip();
    scene.end();
    let time = SystemClock.monotonic() - since;
    let terminated = backends.await.expect("backends are terminated");
    let cuts = join_all(cuts).await.into_iter().map(|cuts| cuts.expect("lines are cut")).sum();

    let mut clients = clients;
    if timeout(SLACK, &mut clients).await.is_err() {
        scene.give_up();
        clients.await.expect("the clients give up");
    }
    clients::ask_again(&scene).await;
    drop(berths);

    let sum = |of: fn(&Line) -> &AtomicUsize| lines.iter().map(|line| of(line).load(SeqCst)).sum();
    let damage = Damage {
        kills: enough,
        frozen: frozen.into_iter().sum(),
        terminated,
        lost_commits: sum(|line| &line.lost_commits),
        lost_acknowledgements: sum(|line| &line.lost_acknowledgements),
        lost_others: sum(|line| &line.lost_others),
        late_calls: sum(|line| &line.late_calls),
        cuts,
    };
    let mut history = History {
        mode,
        heard: scene.heard.lock().unwrap().clone(),
        entries: scene.entries.lock().unwrap().clone(),
        strange_records: 0,
    };
    history.heard.sort_by_key(|heard| heard.heard);
    fill_in(&mut history, &postgres, &clients::route(mode));
    let figures = Figures::of(&history, damage, time);
    say(&format!("storm {mode:?} (STORM_SEED={seed}):\n{figures}"));
    let violations = check(&history);
    for Violation { rule, what } in violations.iter().take(20) {
        say(&format!("broken: {rule}: {what}"));
    }
    assert!(violations.is_empty(), "{} violations, see above", violations.len());
    assert!(figures.damage.terminated > 0 && figures.damage.lost_others > 0);
    figures
}

fn berth(mode: Mode, place: usize, line: Arc<Line>, postgres: &PostgresServer) -> Berth {
    let guarantee = ["--guarantee", mode.guarantee()];
    let flags = [&COMMON[..], &guarantee, FLAGS[place]].concat();
    let store = postgres.url_at(line.port);
    let process = Berth::start(&store, &flags);
    Berth { place, store, flags, line, process }
}

/// Writes it where the harness of the tests does not hide it.
fn say(text: &str) {
    std::io::stderr().write_all(format!("{text}\n").as_bytes()).expect("standard error");
}

fn number_of(variable: &str) -> Option<u64> {
    let value = std::env::var(variable).ok()?;
    Some(value.parse().unwrap_or_else(|_| panic!("{variable} is a number, not {value}")))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn w25_a_storm_in_transactions_leaves_one_row_one_outcome_and_one_answer_a_key() {
    let figures = storm(Mode::Transactional).await;
    assert!(figures.damage.lost_acknowledgements > 0, "no commit lost its acknowledgement");
    assert_eq!(figures.rows, figures.keys - figures.refused);
    assert_eq!(figures.unknown, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn w25_a_storm_in_transactions_at_most_once_leaves_no_row_of_what_is_unknown() {
    let figures = storm(Mode::TransactionalAtMostOnce).await;
    assert!(figures.damage.lost_acknowledgements > 0, "no commit lost its acknowledgement");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_storm_at_most_once_leaves_one_row_a_key_at_most() {
    let figures = storm(Mode::AtMostOnce).await;
    assert!(figures.rows <= figures.keys);
    assert!(figures.unknown > 0, "servers that are killed leave nothing unknown");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_storm_at_least_once_leaves_one_row_a_key_at_least() {
    let figures = storm(Mode::AtLeastOnce).await;
    assert!(figures.second_rows > 0, "nothing ran twice");
}
