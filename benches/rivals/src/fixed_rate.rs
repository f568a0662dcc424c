//! Latencies at a fixed rate: requests are due at their times, whether the server has answered others or
//! not, and their latency counts from then on. A closed loop asks less of who is slow.

use std::fmt::Write as _;
use std::time::Duration;

use hdrhistogram::Histogram;
use rand::SeedableRng as _;
use rand::rngs::StdRng;
use rand::seq::SliceRandom as _;

use crate::EndToEnd;
use crate::check::{Refusal, check};
use crate::cpu::{self, Place};
use crate::load::{Keys, Load};
use crate::machine::publish;
use crate::report::Spread;
use crate::rounds::{SMALL, question};
use crate::servers::{Server, Store};
use crate::subject::{Library, Rivalry};

/// So many requests can be under way at once.
const CONNECTIONS: usize = 128;

/// What somebody was measured with in one round.
struct Sample {
    rivalry: Rivalry,
    keys: Keys,
    /// Requests a second, of a closed loop or at the fixed rate.
    rate: f64,
    latencies: Histogram<u64>,
}

pub(crate) fn measure(options: &EndToEnd) {
    let seed = rand::random();
    let mut random = StdRng::seed_from_u64(seed);
    let mut order: Vec<Rivalry> = Rivalry::ALL.into();
    order.retain(|rivalry| options.only.is_empty() || options.only.contains(rivalry));
    let seconds = Duration::from_secs_f64(options.seconds);
    let closed: Vec<Sample> = order.iter().flat_map(|&who| samples(who, seconds, None)).collect();
    let mut fixed = Vec::new();
    for round in 1..=options.rounds {
        order.shuffle(&mut random);
        for &rivalry in &order {
            fixed.extend(samples(rivalry, seconds, Some(&closed)));
        }
        eprintln!("round {round} of {}", options.rounds);
    }
    let mut text = format!(
        "{} rounds of {} s, order shuffled by seed {seed}; {CONNECTIONS} connections. Requests are due at a \
         fixed rate, and latencies count from when they are due: medians (and quartiles) over the rounds, \
         in milliseconds. The rate is half of what the slowest on the same store did in a closed loop. Before \
         that, everybody is checked as in the other measurements.\n",
        options.rounds, options.seconds,
    );
    for keys in Keys::BOTH {
        write!(text, "\n## {}\n\n{HEAD}", keys.name()).expect("a string takes everything");
        for rivalry in Rivalry::ALL {
            text.push_str(&line(rivalry, keys, &fixed).unwrap_or_default());
        }
    }
    publish(&options.output.into, "fixed_rate", "Latencies at a fixed rate", &text);
}

const HEAD: &str = "| | requests/s | p50 ms | p99 ms | p99.9 ms |\n|---|---|---|---|---|\n";

fn line(rivalry: Rivalry, keys: Keys, samples: &[Sample]) -> Option<String> {
    let mine = || samples.iter().filter(|it| (it.rivalry, it.keys) == (rivalry, keys));
    let at = |quantile| {
        Spread::of(mine().map(|it| it.latencies.value_at_quantile(quantile) as f64 / 1e6))
    };
    let rate = Spread::of(mine().map(|it| it.rate))?.median;
    let [p50, p99, p999] = [at(0.5)?, at(0.99)?, at(0.999)?];
    Some(format!("| {rivalry} | {rate:.0} | {p50} | {p99} | {p999} |\n"))
}

/// Half of what the slowest on this store did.
fn rate(rivalry: Rivalry, keys: Keys, closed: &[Sample]) -> f64 {
    let group = closed.iter().filter(|it| (it.rivalry.store, it.keys) == (rivalry.store, keys));
    group.map(|it| it.rate).fold(f64::INFINITY, f64::min) / 2.0
}

/// Measures one server: in a closed loop, or at the rate that follows from what everybody did in it.
fn samples(rivalry: Rivalry, seconds: Duration, closed: Option<&[Sample]>) -> Vec<Sample> {
    let store = Store::start(rivalry.store);
    let server = Server::start(rivalry, store.as_ref(), &[]);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let work = async {
        let question = question(SMALL);
        check(rivalry.library, server.address, &question, 1).await?;
        let marks = rivalry.library != Library::Bare;
        let load = Load::prepare(server.address, question, 2, 1000, marks).await?;
        let mut samples = Vec::new();
        for keys in Keys::BOTH {
            load.run(keys, CONNECTIONS, seconds / 5).await?;
            let outcome = match closed {
                None => load.run(keys, CONNECTIONS, seconds).await?,
                Some(closed) => {
                    let rate = rate(rivalry, keys, closed);
                    load.run_at(rate, keys, CONNECTIONS, seconds).await?
                }
            };
            let rate = outcome.requests as f64 / outcome.elapsed.as_secs_f64();
            samples.push(Sample { rivalry, keys, rate, latencies: outcome.latencies });
        }
        Ok::<_, Refusal>(samples)
    };
    let done = cpu::on(Place::Measuring, || runtime.expect("a runtime").block_on(work));
    done.unwrap_or_else(|why| panic!("{rivalry}: {why}"))
}
