//! Requests in process, without sockets, on memory stores: instructions, allocations and time.

use std::fmt::Write as _;
use std::path::Path;

use http::header::COOKIE;
use http::{HeaderValue, Request};
use overhead::Cost;
use overhead::workload::{Workload, router};
use rand::SeedableRng as _;
use rand::rngs::StdRng;
use rand::seq::SliceRandom as _;
use tokio::runtime::{Builder, Runtime};
use tower::ServiceBuilder;
use tower_idempotency::clock::{Clock as _, SystemClock};

use crate::cpu::{self, Place};
use crate::machine::publish;
use crate::report::Spread;
use crate::subject::Library;

const LIBRARIES: [Library; 4] =
    [Library::Bare, Library::TowerIdempotency, Library::Idempotent, Library::AxumIdempotent];
const ROUNDS: usize = 21;

/// Runs requests through one library, for callgrind or against the clock.
pub(crate) fn run(library: Library, workload: &str, requests: u32) {
    let workload = Workload::named(workload).expect("a workload");
    drive(&runtime(), library, workload, requests);
}

fn runtime() -> Runtime {
    Builder::new_current_thread().enable_all().build().expect("a runtime")
}

/// The microseconds that one of so many requests takes, with a new store.
fn drive(runtime: &Runtime, library: Library, workload: Workload, requests: u32) -> f64 {
    runtime.block_on(async {
        // `axum::serve` does the same: else each request builds the layered route anew.
        let protected = library.protect(router(), None).await.with_state(());
        let service = ServiceBuilder::new().map_request(in_session).service(protected);
        let since = SystemClock.monotonic();
        workload.drive(service, 0..requests, library.mismatch()).await;
        (SystemClock.monotonic() - since).as_secs_f64() * 1e6 / f64::from(requests)
    })
}

/// One of the libraries works only for those who have a session, and is slower the more keys a session has;
/// so each key has one of its own. Everybody gets the same requests.
fn in_session<B>(mut request: Request<B>) -> Request<B> {
    let key =
        request.headers().get("idempotency-key").map_or(&b"00000000000"[..], HeaderValue::as_bytes);
    let digits = &key[key.len() - 11..];
    let session = [b"session=AAAAAAAAAA", digits, b"A"].concat();
    let cookie = HeaderValue::from_bytes(&session).expect("digits and letters");
    request.headers_mut().insert(COOKIE, cookie);
    request
}

pub(crate) fn compare(into: &Path) {
    let mut text = "Added to a request over the router without any library; one thread, memory stores, \
                    the same requests for everybody. Instructions are without those of SHA-256: valgrind \
                    counts them as if the processor had none for it.\n"
        .to_owned();
    let seed = rand::random();
    let mut random = StdRng::seed_from_u64(seed);
    for workload in Workload::ALL {
        let names = LIBRARIES.map(Library::name);
        let costs = Cost::of(names.each_ref().map(String::as_str), workload);
        let times = cpu::on(Place::Measured, || times(workload, &mut random));
        text.push_str(&table(workload, &costs, &times));
    }
    let rounds = format!(
        "\nTimes are of {ROUNDS} rounds, in each of which everybody is measured, in an \
                          order shuffled by seed {seed}: medians and quartiles.\n"
    );
    publish(into, "in_process", "In process", &(text + &rounds));
}

/// Microseconds of a request: of each library, in each round.
fn times(workload: Workload, random: &mut StdRng) -> Vec<[f64; 4]> {
    let runtime = runtime();
    let requests = match workload {
        Workload::Large(bytes) => 200.min((32 << 20) / bytes) as u32,
        _ => 5000,
    };
    let mut order = [0, 1, 2, 3];
    let rounds = (0..ROUNDS).map(|_| {
        order.shuffle(random);
        let mut times = [0.0; 4];
        for which in order {
            times[which] = drive(&runtime, LIBRARIES[which], workload, requests);
        }
        times
    });
    rounds.collect()
}

fn table(workload: Workload, costs: &[Cost; 4], times: &[[f64; 4]]) -> String {
    let mut text = format!("\n## {}\n\n", workload.name());
    text.push_str("| | instructions | of SHA-256 | allocations | µs | beside ours |\n|---|---|---|---|---|---|\n");
    for which in 1..LIBRARIES.len() {
        let added = costs[which] - costs[0];
        let spent = Spread::of(times.iter().map(|times| times[which] - times[0]));
        let beside = times.iter().map(|times| (times[which] - times[0]) / (times[1] - times[0]));
        let beside = Spread::of(beside).filter(|_| which > 1);
        writeln!(
            text,
            "| {} | {:.0} | {:.0} | {:.1} | {} | {} |",
            LIBRARIES[which].name(),
            added.instructions,
            added.hash,
            added.allocations,
            spent.map_or(String::new(), |spread| spread.to_string()),
            beside.map_or(String::new(), |spread| spread.to_string()),
        )
        .expect("a string takes everything");
    }
    let bare = Spread::of(times.iter().map(|times| times[0])).expect("there were rounds");
    let instructions = costs[0].instructions;
    text + &format!("\nThe router alone: {instructions:.0} instructions, {bare} µs.\n")
}
