//! Tables of what was measured over sockets: medians over the rounds, with quartiles.

use std::fmt::{self, Display, Formatter, Write as _};
use std::fs;

use crate::EndToEnd;
use crate::load::Keys;
use crate::machine::publish;
use crate::measure::Measure;
use crate::rounds::{Results, SMALL, Unmeasured};
use crate::subject::{Library, Rivalry};

/// A median and its quartiles.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Spread {
    low: f64,
    pub(crate) median: f64,
    high: f64,
}

impl Spread {
    pub(crate) fn of(values: impl IntoIterator<Item = f64>) -> Option<Self> {
        let mut values: Vec<f64> = values.into_iter().collect();
        values.sort_by(f64::total_cmp);
        let last = values.len().checked_sub(1)?;
        let at = |quarters: usize| {
            let place = last * quarters;
            let (below, part) = (values[place / 4], (place % 4) as f64 / 4.0);
            below + part * (values[(place / 4 + 1).min(last)] - below)
        };
        Some(Self { low: at(1), median: at(2), high: at(3) })
    }
}

impl Display for Spread {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Self { low, median, high } = self;
        write!(f, "{median:.2} ({low:.2}–{high:.2})")
    }
}

/// The measures of one load.
pub(crate) struct Group<'a>(Vec<&'a Measure>);

impl<'a> Group<'a> {
    pub(crate) fn of(
        measures: &'a [Measure],
        keys: Keys,
        connections: usize,
        bytes: usize,
    ) -> Self {
        let is = |measure: &&Measure| {
            (measure.keys, measure.connections, measure.bytes) == (keys, connections, bytes)
        };
        Self(measures.iter().filter(is).collect())
    }

    pub(crate) fn spread(&self, rivalry: Rivalry, of: fn(&Measure) -> f64) -> Option<Spread> {
        Spread::of(self.by(rivalry).map(of))
    }

    /// How one compares with another, in each round.
    fn ratio(&self, one: Rivalry, other: Rivalry, of: fn(&Measure) -> f64) -> Option<Spread> {
        let same = |measure: &Measure| {
            self.by(other)
                .find(|other| other.round == measure.round)
                .map(|other| of(measure) / of(other))
        };
        Spread::of(self.by(one).filter_map(same))
    }

    fn by(&self, rivalry: Rivalry) -> impl Iterator<Item = &Measure> {
        self.0.iter().copied().filter(move |measure| measure.rivalry == rivalry)
    }

    fn line(&self, rivalry: Rivalry) -> Option<String> {
        let server: fn(&Measure) -> f64 = |measure| measure.server_us;
        let store: fn(&Measure) -> f64 = |measure| measure.store_us;
        let ours = Rivalry { library: Library::TowerIdempotency, store: rivalry.store };
        let is_rival = ![Library::Bare, Library::TowerIdempotency].contains(&rivalry.library);
        let beside_ours = |of| if is_rival { self.ratio(rivalry, ours, of) } else { None };
        let has_store = self.spread(rivalry, store)?.median > 0.0;
        let stored = |spread: Option<Spread>| cell(spread.filter(|_| has_store));
        let median = |of| self.spread(rivalry, of).map_or(f64::NAN, |spread| spread.median);
        let busy = median(|measure| measure.busy);
        Some(format!(
            "| {rivalry} | {} | {} | {} | {} | {} | {:.0}{} | {:.2} | {:.2} | {busy:.2} |\n",
            cell(self.spread(rivalry, server)),
            cell(self.ratio(rivalry.bare(), rivalry, server)),
            cell(beside_ours(server)),
            stored(self.spread(rivalry, store)),
            stored(beside_ours(store)),
            median(|measure| measure.per_second),
            if busy < 0.9 { " *" } else { "" },
            median(|measure| measure.p50),
            median(|measure| measure.p99),
        ))
    }
}

fn cell(spread: Option<Spread>) -> String {
    spread.map_or(String::new(), |spread| spread.to_string())
}

const LEGEND: &str = "\
Medians (and quartiles) over the rounds; ratios are of one round. `server µs` and `store µs` are \
microseconds on a processor for each request, by the scheduler's statistics. `cap` is the bare \
server's over this one's, with postgres-row that of the bare one which writes the same row. `beside ours` is this one's over that of tower-idempotency on the same store. \
A server is on one processor, with one thread unless the title says otherwise; the load generator and the store on another. A throughput with * \
is not the server's limit: it used less than 0.9 of its processor. Latencies are milliseconds in a \
closed loop, which hides queueing. Before a server is measured, a request and its retry are checked: \
status, one run, the same answer, its marker.\n";

const HEAD: &str = "\
| | server µs | cap | beside ours | store µs | beside ours | requests/s | p50 ms | p99 ms | busy |
|---|---|---|---|---|---|---|---|---|---|
";

/// Writes a page with a table for each load, and everything that was measured beside it.
pub(crate) fn write(options: &EndToEnd, name: &str, title: &str, results: &Results) {
    let EndToEnd { rounds, seconds, .. } = options;
    let mut text =
        format!("{rounds} rounds of {seconds} s, order shuffled by seed {}.\n\n", results.seed);
    text.push_str(LEGEND);
    text.push_str("\nWhat others do less:\n\n");
    for library in [Library::Idempotent, Library::AxumIdempotent] {
        text.push_str(&format!("- `{}`: {}\n", library.name(), library.does_less()));
    }
    for (bytes, connections, keys) in loads(&results.measures) {
        let body = if bytes == SMALL { String::new() } else { format!(", {} KiB", bytes >> 10) };
        text.push_str(&format!("\n## {connections} connections, {}{body}\n\n{HEAD}", keys.name()));
        let group = Group::of(&results.measures, keys, connections, bytes);
        for rivalry in Rivalry::ALL {
            if let Some(line) = group.line(rivalry) {
                text.push_str(&line);
            }
            let is = |lack: &&Unmeasured| {
                (lack.rivalry, lack.bytes) == (rivalry, bytes)
                    && lack.keys.is_none_or(|which| which == keys)
            };
            for lack in results.unmeasured.iter().filter(is) {
                text.push_str(&format!("| {rivalry} | not measured: {} |\n", lack.why));
            }
        }
    }
    publish(&options.output.into, name, title, &text);
    let csv = options.output.into.join(name).with_extension("csv");
    fs::write(csv, values(&results.measures)).expect("the results can be written");
}

/// The different loads, in the order in which they were measured.
fn loads(measures: &[Measure]) -> Vec<(usize, usize, Keys)> {
    let mut loads = Vec::new();
    for measure in measures {
        let load = (measure.bytes, measure.connections, measure.keys);
        if !loads.contains(&load) {
            loads.push(load);
        }
    }
    loads
}

/// Everything that was measured, for other evaluations.
fn values(measures: &[Measure]) -> String {
    let mut text =
        "round,subject,keys,connections,bytes,requests,per_second,server_us,store_us,p50_ms,\
                    p99_ms,busy\n"
            .to_owned();
    for measure in measures {
        let Measure { round, rivalry, keys, connections, bytes, requests, .. } = measure;
        let Measure { per_second, server_us, store_us, p50, p99, busy, .. } = measure;
        let keys = keys.name();
        writeln!(
            text,
            "{round},{rivalry},{keys},{connections},{bytes},{requests},{per_second:.0},\
             {server_us:.3},{store_us:.3},{p50:.3},{p99:.3},{busy:.3}"
        )
        .expect("a string takes everything");
    }
    text
}
