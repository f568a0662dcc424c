//! The memory store under one thread and under two, in process.

use std::path::Path;
use std::thread;

use axum::Router;
use http::StatusCode;
use overhead::workload::{Workload, router};
use tokio::runtime::Builder;
use tower_idempotency::clock::{Clock as _, SystemClock};

use crate::machine::publish;
use crate::report::Spread;
use crate::subject::Library;

const ROUNDS: usize = 15;
const REQUESTS: u32 = 100_000;

pub(crate) fn measure(into: &Path) {
    let mut text = format!(
        "Requests a second of two threads over those of one, all on one memory store, {ROUNDS} rounds: \
         medians and quartiles. The router alone shows what the machine gives.\n\n\
         | | fresh | replay |\n|---|---|---|\n"
    );
    for library in [Library::Bare, Library::TowerIdempotency] {
        let [fresh, replay] = [Workload::Fresh, Workload::Replay].map(|workload| {
            let gains =
                (0..ROUNDS).map(|_| rate(library, workload, 2) / rate(library, workload, 1));
            Spread::of(gains).expect("there were rounds")
        });
        text.push_str(&format!("| {} | {fresh} | {replay} |\n", library.name()));
    }
    publish(into, "scaling", "Threads on one memory store", &text);
}

/// Requests a second, with a new store.
fn rate(library: Library, workload: Workload, threads: u32) -> f64 {
    let runtime = Builder::new_current_thread().enable_all().build().expect("a runtime");
    let router = runtime.block_on(library.protect(router(), None));
    // So that no thread meets the first request of a replay while it runs.
    runtime.block_on(workload.drive(router.clone(), 0..1, StatusCode::OK));
    let since = SystemClock.monotonic();
    thread::scope(|scope| {
        for number in 0..threads {
            let router = router.clone();
            scope.spawn(move || drive(router, workload, number * REQUESTS));
        }
    });
    f64::from(threads * REQUESTS) / (SystemClock.monotonic() - since).as_secs_f64()
}

fn drive(router: Router, workload: Workload, first: u32) {
    let runtime = Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(workload.drive(router, first..first + REQUESTS, StatusCode::OK));
}
