//! One server, measured once under some load.

use std::time::Duration;

use crate::check::Refusal;
use crate::load::{Keys, Load};
use crate::servers::{Server, Store};
use crate::subject::Rivalry;

/// What was measured in one round.
#[derive(Clone, Debug)]
pub(crate) struct Measure {
    pub(crate) round: u32,
    pub(crate) rivalry: Rivalry,
    pub(crate) keys: Keys,
    pub(crate) connections: usize,
    /// Of a body, there and back.
    pub(crate) bytes: usize,
    pub(crate) requests: u64,
    pub(crate) per_second: f64,
    /// Microseconds on a processor for a request.
    pub(crate) server_us: f64,
    pub(crate) store_us: f64,
    /// Milliseconds.
    pub(crate) p50: f64,
    pub(crate) p99: f64,
    /// How much of a processor the server used.
    pub(crate) busy: f64,
}

/// What is measured.
#[derive(Clone, Copy)]
pub(crate) struct Plan {
    pub(crate) round: u32,
    pub(crate) rivalry: Rivalry,
    pub(crate) bytes: usize,
    pub(crate) seconds: f64,
    /// Threads of the server in a runtime of several.
    pub(crate) workers: Option<usize>,
}

impl Plan {
    /// Warms the server up, then measures it.
    pub(crate) async fn measure(
        self,
        (server, store): (&Server, Option<&Store>),
        load: &Load,
        keys: Keys,
        connections: usize,
    ) -> Result<Measure, Refusal> {
        load.run(keys, connections, Duration::from_secs_f64(self.seconds / 5.0)).await?;
        let cpu = || [server.cpu(), store.map_or(Duration::ZERO, Store::cpu)];
        let before = cpu();
        let outcome = load.run(keys, connections, Duration::from_secs_f64(self.seconds)).await?;
        let after = cpu();
        let seconds = outcome.elapsed.as_secs_f64();
        let spent = [0, 1].map(|which| after[which].saturating_sub(before[which]).as_secs_f64());
        let [server_us, store_us] = spent.map(|spent| 1e6 * spent / outcome.requests as f64);
        let at = |quantile| outcome.latencies.value_at_quantile(quantile) as f64 / 1e6;
        Ok(Measure {
            round: self.round,
            rivalry: self.rivalry,
            keys,
            connections,
            bytes: self.bytes,
            requests: outcome.requests,
            per_second: outcome.requests as f64 / seconds,
            server_us,
            store_us,
            p50: at(0.5),
            p99: at(0.99),
            busy: spent[0] / seconds,
        })
    }
}
