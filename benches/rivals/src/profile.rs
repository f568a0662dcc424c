//! Where the processor time of a request goes, in a server and in its store, by the functions in which a
//! sampling profiler finds them.

use std::fmt::Write as _;
use std::process::{Child, Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::NamedTempFile;

use crate::EndToEnd;
use crate::check::Refusal;
use crate::cpu::{self, Place};
use crate::load::Keys;
use crate::machine::publish;
use crate::measure::{Measure, Plan};
use crate::parts::{Part, Shares};
use crate::rounds::{SMALL, prepared};
use crate::servers::{Server, Store};
use crate::subject::{Library, Rivalry, StoreKind};

/// Lengths of bodies, and over how many connections they are sent.
const LOADS: [(usize, usize); 2] = [(SMALL, 128), (64 << 10, 32)];

/// One server and its store under one load, in one round.
struct Profile {
    measure: Measure,
    server: Shares,
    store: Shares,
}

pub(crate) fn measure(options: &EndToEnd) {
    let mut who: Vec<Rivalry> = Rivalry::ALL.into();
    who.retain(|rivalry| match options.only.as_slice() {
        [] => [StoreKind::Memory, StoreKind::Redis].contains(&rivalry.store),
        only => only.contains(rivalry),
    });
    let mut profiles = Vec::new();
    for round in 1..=options.rounds {
        for (bytes, connections) in LOADS {
            for &rivalry in &who {
                // Who answers replays without reading what is asked can leave the client of a large one waiting.
                let hangs = rivalry.library == Library::AxumIdempotent;
                if bytes != SMALL && (hangs || !rivalry.mirrors()) {
                    continue;
                }
                let plan = Plan { round, rivalry, bytes, seconds: options.seconds, workers: None };
                if let Err(why) = sample(plan, connections, &mut profiles) {
                    eprintln!("not measured: {rivalry} with {bytes} bytes: {why}");
                }
            }
        }
        eprintln!("round {round} of {}", options.rounds);
    }
    let mut text = format!("{} rounds of {} s.\n\n{LEGEND}", options.rounds, options.seconds);
    for (bytes, connections) in LOADS {
        for keys in Keys::BOTH {
            let is = |it: &&Profile| (it.measure.bytes, it.measure.keys) == (bytes, keys);
            let group: Vec<&Profile> = profiles.iter().filter(is).collect();
            let body =
                if bytes == SMALL { String::new() } else { format!(", {} KiB", bytes >> 10) };
            write!(text, "\n## {connections} connections, {}{body}\n", keys.name())
                .expect("a string");
            text.push_str(&table("server", &who, &group, |it| (&it.server, it.measure.server_us)));
            text.push_str(&table("store", &who, &group, |it| (&it.store, it.measure.store_us)));
        }
    }
    publish(&options.output.into, "profile", "Where the time goes", &text);
}

const LEGEND: &str = "\
Microseconds on a processor for each request, by the scheduler's statistics, as `perf` divides them: \
samples belong to the part whose function they are in, not to who called it. So `library` is the code \
of a library alone, without what it allocates, moves, hashes and sends; what it adds to a part is the \
difference to the bare server. Means over the rounds. In `kernel` is what sockets cost.\n";

/// Starts a server and samples it under both kinds of load.
fn sample(plan: Plan, connections: usize, profiles: &mut Vec<Profile>) -> Result<(), Refusal> {
    let Plan { rivalry, bytes, .. } = plan;
    let store = Store::start(rivalry.store);
    let server = Server::start(rivalry, store.as_ref(), &[]);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let work = async {
        let load = prepared(rivalry, &server, bytes).await?;
        for keys in Keys::BOTH {
            let sampled = Sampling::start(server.id());
            let store_sampled = store.as_ref().map(|store| Sampling::start(store.id()));
            let measured = plan.measure((&server, store.as_ref()), &load, keys, connections).await;
            let (server, store) = (sampled.end(), store_sampled.map(Sampling::end));
            let measure = measured?;
            profiles.push(Profile { measure, server, store: store.unwrap_or_default() });
        }
        Ok(())
    };
    cpu::on(Place::Measuring, || runtime.expect("a runtime").block_on(work))
}

/// A profiler that samples a process.
struct Sampling {
    perf: Child,
    samples: NamedTempFile,
}

impl Sampling {
    fn start(process: u32) -> Self {
        let samples = NamedTempFile::new().expect("a temporary file");
        let mut perf = Command::new("perf");
        perf.args(["record", "--quiet", "--freq=4999", "--event=cpu-clock"]);
        perf.arg(format!("--pid={process}")).arg("--output").arg(samples.path());
        let perf = perf.stdin(Stdio::null()).spawn();
        Self { perf: perf.expect("perf, of the package linux-perf, is installed"), samples }
    }

    fn end(mut self) -> Shares {
        // It ends by itself if its process does.
        let _ = kill_process(Pid::from_child(&self.perf), Signal::INT);
        let _ = self.perf.wait();
        let mut script = Command::new("perf");
        script.args(["script", "--fields=ip,sym,dso", "--input"]).arg(self.samples.path());
        let output = script.stderr(Stdio::null()).output().expect("perf runs");
        let mut shares = Shares::default();
        shares.count(&String::from_utf8_lossy(&output.stdout));
        shares
    }
}

/// A column for each of these servers, a row for each part, if anything was sampled.
fn table(
    what: &str,
    who: &[Rivalry],
    group: &[&Profile],
    of: fn(&Profile) -> (&Shares, f64),
) -> String {
    let mut parts: Vec<Part> = group.iter().flat_map(|it| of(it).0.parts()).collect();
    parts.sort_unstable();
    parts.dedup();
    let there = |rivalry: &Rivalry| {
        group.iter().any(|it| it.measure.rivalry == *rivalry && of(it).0.parts().next().is_some())
    };
    let who: Vec<Rivalry> = who.iter().copied().filter(there).collect();
    let mean = |rivalry: Rivalry, value: &dyn Fn(&Profile) -> f64| {
        let mine = || group.iter().filter(|it| it.measure.rivalry == rivalry);
        mine().map(|it| value(it)).sum::<f64>() / mine().count() as f64
    };
    let row = |name: &str, value: &dyn Fn(&Profile) -> f64| {
        let cells = who.iter().map(|&rivalry| format!(" {:.2} |", mean(rivalry, value)));
        format!("| {name} |{}\n", cells.collect::<String>())
    };
    if who.is_empty() {
        return String::new();
    }
    let names: String = who.iter().map(|rivalry| format!(" {rivalry} |")).collect();
    let mut text = format!("\n| {what} |{names}\n|---|{}\n", "---|".repeat(who.len()));
    for part in parts {
        text.push_str(&row(part.name(), &|it| of(it).0.of(part) * of(it).1));
    }
    text.push_str(&row("**all**", &|it| of(it).1));
    text
}
