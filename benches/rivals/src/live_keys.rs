//! Many live records in Redis: what each of them takes, and whether requests get slower.

use std::path::Path;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use futures_util::future::join_all;
use hdrhistogram::Histogram;
use http::Request;
use overhead::workload::{QUESTION, router};
use tower::ServiceExt as _;
use tower_idempotency::clock::{Clock as _, SystemClock};

use crate::machine::publish;
use crate::servers::Store;
use crate::subject::{Library, StoreKind};

/// So many are there when the latency is measured for the first time.
const FEW: u64 = 10_000;
const AT_ONCE: u64 = 256;
const SAMPLES: u64 = 20_000;

pub(crate) fn measure(keys: u64, into: &Path) {
    let server = Store::start(StoreKind::Redis).expect("Redis is a server");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let text = runtime.expect("a runtime").block_on(async {
        let router = Library::TowerIdempotency.protect(router(), Some(&server.url())).await;
        let empty = server.number("memory", "used_memory");
        store(&router, 0, FEW).await;
        let few = latencies(&router, FEW, keys).await;
        store(&router, FEW, keys).await;
        let records = server.ask::<u64>("DBSIZE").expect("the store answers");
        let each = (server.number("memory", "used_memory") - empty) as f64 / records as f64;
        let many = latencies(&router, keys, keys + SAMPLES).await;
        format!(
            "Records of {} bytes of answer; one request after the other, in process.\n\n\
             - {each:.0} bytes of Redis for each of {records} records\n\
             - with {FEW} records: {few}\n\
             - with {keys} records: {many}\n",
            overhead::workload::ANSWER.len(),
        )
    });
    publish(into, "live_keys", "Many live records", &text);
}

/// Stores the records of these numbers.
async fn store(router: &Router, first: u64, end: u64) {
    let lane = |lane: u64| async move {
        let mut number = first + lane;
        while number < end {
            ask(router, number).await;
            number += AT_ONCE;
        }
    };
    join_all((0..AT_ONCE).map(lane)).await;
}

/// How long requests take, of which half are fresh, from this number on, and half replay old ones.
async fn latencies(router: &Router, stored: u64, fresh: u64) -> String {
    let [mut first, mut again] = [(), ()].map(|()| Histogram::new(3).expect("three digits"));
    for sample in 0..SAMPLES {
        // Spread over all that are stored.
        let old = sample.wrapping_mul(0x9E37_79B9_7F4A_7C15) % stored;
        for (number, times) in [(fresh + sample, &mut first), (old, &mut again)] {
            let nanos = u64::try_from(ask(router, number).await.as_nanos()).unwrap_or(u64::MAX);
            times.record(nanos).expect("it grows as needed");
        }
    }
    let at = |times: &Histogram<u64>, quantile| times.value_at_quantile(quantile) as f64 / 1e3;
    format!(
        "fresh {:.0} µs (p99 {:.0}), replay {:.0} µs (p99 {:.0})",
        at(&first, 0.5),
        at(&first, 0.99),
        at(&again, 0.5),
        at(&again, 0.99),
    )
}

async fn ask(router: &Router, number: u64) -> Duration {
    let key = format!("0b7e4d5a-9c1f-4e9d-8a54-{number:012}");
    let request = Request::post("/payments").header("idempotency-key", key);
    let request = request.body(Body::from(QUESTION)).expect("a request of constants");
    let since = SystemClock.monotonic();
    let Ok(response) = router.clone().oneshot(request).await;
    let elapsed = SystemClock.monotonic() - since;
    assert_eq!(response.status(), 200);
    elapsed
}
