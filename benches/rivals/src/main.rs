//! Measures tower-idempotency beside a server without it and beside other crates for the same purpose.
//! What is measured, and how, is in `benches/README.md`.

mod bodies;
mod check;
mod client;
mod commands;
mod cpu;
mod end_to_end;
mod fixed_rate;
mod herd;
mod in_process;
mod live_keys;
mod load;
mod machine;
mod measure;
mod pace;
mod parts;
mod plots;
#[allow(dead_code, reason = "the tests need all of it")]
#[path = "../../../tests/it/support/postgres_programs.rs"]
mod postgres_programs;
mod profile;
mod report;
mod rounds;
mod rows;
mod runs;
mod scaling;
mod serve;
mod servers;
mod subject;

use std::path::PathBuf;

use clap::{Args, Parser};

use crate::subject::{Library, Rivalry};

#[derive(Parser)]
enum Command {
    /// Sends a process requests without sockets: instructions, allocations and time.
    InProcess(Output),
    /// Servers over loopback sockets: time of server and store, throughput, latency.
    EndToEnd(EndToEnd),
    /// The same with larger bodies.
    Bodies(EndToEnd),
    /// Latencies at a rate that all can keep.
    FixedRate(EndToEnd),
    /// Where the time of servers and stores goes, by a sampling profiler.
    Profile(EndToEnd),
    /// Many requests for one key at once.
    Herd(Output),
    /// The memory store with one thread and with two.
    Scaling(Output),
    /// Many live records in Redis.
    LiveKeys(LiveKeys),
    /// All of these but profiles and live keys.
    All(EndToEnd),
    /// A server to be measured.
    #[command(hide = true)]
    Serve(serve::Serve),
    /// Requests to be counted.
    #[command(hide = true)]
    Run { library: Library, workload: String, requests: u32 },
}

/// Where results go.
#[derive(Args, Clone)]
struct Output {
    #[arg(long, default_value = concat!(env!("CARGO_MANIFEST_DIR"), "/../results"))]
    into: PathBuf,
}

#[derive(Args, Clone)]
struct EndToEnd {
    /// How often every server is started and measured.
    #[arg(long, default_value_t = 5)]
    rounds: u32,
    /// How long each measurement takes.
    #[arg(long, default_value_t = 1.2)]
    seconds: f64,
    #[arg(long, value_delimiter = ',', default_value = "1,32,128,512")]
    connections: Vec<usize>,
    /// Only these, as in the first column of the table.
    #[arg(long, value_delimiter = ',')]
    only: Vec<Rivalry>,
    /// Threads of a server that share its work, in a runtime of several; without this it has one.
    #[arg(long)]
    workers: Option<usize>,
    #[command(flatten)]
    output: Output,
}

#[derive(Args, Clone)]
struct LiveKeys {
    /// How many.
    #[arg(long, default_value_t = 5_000_000)]
    keys: u64,
    #[command(flatten)]
    output: Output,
}

fn main() {
    match Command::parse() {
        Command::InProcess(output) => in_process::compare(&output.into),
        Command::EndToEnd(options) => end_to_end::measure(&options),
        Command::Bodies(options) => bodies::measure(&options),
        Command::FixedRate(options) => fixed_rate::measure(&options),
        Command::Profile(options) => profile::measure(&options),
        Command::Herd(output) => herd::measure(&output.into),
        Command::Scaling(output) => scaling::measure(&output.into),
        Command::LiveKeys(options) => live_keys::measure(options.keys, &options.output.into),
        Command::All(options) => {
            let into = &options.output.into;
            in_process::compare(into);
            scaling::measure(into);
            herd::measure(into);
            bodies::measure(&options);
            end_to_end::measure(&options);
            fixed_rate::measure(&options);
        }
        Command::Serve(serve) => serve.run(),
        Command::Run { library, workload, requests } => {
            in_process::run(library, &workload, requests)
        }
    }
}
