//! Counts what the layer adds to a request, and fails where that is more than its budget.
//!
//! ```text
//! cargo run --release --manifest-path benches/overhead/Cargo.toml [workload..]
//! ```

mod budgets;

use std::convert::Infallible;
use std::process::ExitCode;

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body::Body;
use http_body_util::Full;
use overhead::Cost;
use overhead::workload::{ANSWER, Workload, router};
use tower::{Layer as _, service_fn};
use tower_idempotency::{IdempotencyLayer, MemoryStore, Tenant};

use crate::budgets::{Budget, Judgement};

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments[..] {
        ["run", subject, workload, requests] => {
            let workload = Workload::named(workload).expect("a workload");
            run(subject, workload, requests.parse().expect("a count"));
            ExitCode::SUCCESS
        }
        ref only => compare(only),
    }
}

/// Runs requests against the bare service, or the one with the layer.
fn run(subject: &str, workload: Workload, requests: u32) {
    let numbers = 0..requests;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
    runtime.expect("a runtime").block_on(async {
        let (ok, refused) = (StatusCode::OK, StatusCode::UNPROCESSABLE_ENTITY);
        let layer = IdempotencyLayer::new(MemoryStore::new(), Tenant::single());
        match (subject, workload) {
            // Where the layer does nothing, a router would hide how little that costs.
            ("bare", Workload::NotApplied) => {
                workload.drive(service_fn(answer), numbers, ok).await;
            }
            (_, Workload::NotApplied) => {
                workload.drive(layer.layer(service_fn(answer)), numbers, ok).await;
            }
            // `axum::serve` does the same: else each request builds the layered route anew.
            ("bare", _) => workload.drive(router().with_state(()), numbers, ok).await,
            _ => {
                let layered = router().layer(layer).with_state(());
                workload.drive(layered, numbers, refused).await;
            }
        }
    });
}

async fn answer<B: Body>(_: Request<B>) -> Result<Response<Full<Bytes>>, Infallible> {
    Ok(Response::new(Full::from(ANSWER)))
}

fn compare(only: &[&str]) -> ExitCode {
    println!("Instructions and allocations that the layer adds to a request, on the memory store");
    println!(
        "{:<13} {:>8} {:>10} {:>8} {:>8} {:>7}  {:>11} {:>6}  {:>13}",
        "", "bare", "with layer", "added", "budget", "", "allocations", "budget", "SHA-256 apart"
    );
    let names = Workload::ALL.map(Workload::name);
    assert!(only.iter().all(|name| names.contains(name)), "the workloads are {names:?}");
    let mut worst = Judgement::Kept;
    for budget in budgets::ALL.iter().filter(|budget| budget.is_one_of(only)) {
        let [bare, layered] = Cost::of(["bare", "layered"], budget.workload);
        let judgement = print(budget, bare, layered);
        worst = worst.max(judgement);
    }
    match worst {
        Judgement::Exceeded => {
            eprintln!(
                "The layer costs more than its budget: make it cheaper, or say in benches/overhead/src/budgets.rs why it must."
            );
            ExitCode::FAILURE
        }
        Judgement::Generous => {
            println!("Budgets can be lowered in benches/overhead/src/budgets.rs.");
            ExitCode::SUCCESS
        }
        Judgement::Kept => ExitCode::SUCCESS,
    }
}

/// Prints one line of the table.
fn print(budget: &Budget, bare: Cost, layered: Cost) -> Judgement {
    let added = layered - bare;
    let judgement = budget.judge(added);
    println!(
        "{:<13} {:>8.0} {:>10.0} {:>8.0} {:>8.0} {:>+6.1}%  {:>11.1} {:>6.0}  {:>13.0}  {}",
        budget.workload.name(),
        bare.instructions,
        layered.instructions,
        added.instructions,
        budget.instructions,
        100.0 * (added.instructions / budget.instructions - 1.0),
        added.allocations,
        budget.allocations,
        added.hash,
        judgement.remark(),
    );
    judgement
}
