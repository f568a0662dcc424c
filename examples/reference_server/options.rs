//! The command line. Every bad value ends the process with exit code 2.

use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Parser, ValueEnum};
use http::Method;
use tower_idempotency::{FingerprintPolicy, Guarantee, InFlight, Scope};

/// An axum server with every knob of tower-idempotency on its command line.
#[derive(Debug, Parser)]
#[command(name = "reference_server")]
pub(crate) struct Options {
    /// Where to listen; port 0 asks for any free port.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8080")]
    pub(crate) listen: SocketAddr,

    /// Where records live: `memory`, `redis://host:port/db`,
    /// `redis+sentinel://host:port,host:port/master-name`, `redis+cluster://host:port,host:port`,
    /// `rediss` for the same by TLS, or `postgres://user@host:port/database`.
    #[arg(long, value_name = "STORE", default_value = "memory", value_parser = store)]
    pub(crate) store: StoreOption,

    /// The protected methods.
    #[arg(
        long,
        value_name = "LIST",
        default_value = "POST,PATCH",
        value_delimiter = ',',
        value_parser = method
    )]
    pub(crate) methods: Vec<Method>,

    /// Refuse requests without a key.
    #[arg(long)]
    pub(crate) require_key: bool,

    /// What a concurrent request gets: `reject`, or `wait:MS` for the first one's answer.
    #[arg(long, value_name = "WHAT", default_value = "reject", value_parser = in_flight)]
    pub(crate) in_flight: InFlight,

    /// How many requests may wait for one key, and in all.
    #[arg(long, value_name = "KEY,TOTAL", value_parser = waiters)]
    pub(crate) max_waiters: Option<(usize, usize)>,

    /// How many keyed requests may run at once.
    #[arg(long, value_name = "COUNT")]
    pub(crate) max_in_flight: Option<usize>,

    /// How many keyed requests of one tenant may run at once.
    #[arg(long, value_name = "COUNT")]
    pub(crate) max_in_flight_per_tenant: Option<usize>,

    /// What is found out about an abandoned claim; the ledger has a line for each time it is.
    #[arg(long, value_enum)]
    pub(crate) on_abandoned: Option<OnAbandoned>,

    /// How long an unrenewed claim keeps others out.
    #[arg(long, value_name = "MS", value_parser = millis)]
    pub(crate) lease_ms: Option<Duration>,

    /// How long a completed record answers. Where it is shorter than two leases and no lease is
    /// given, the lease is a quarter of it.
    #[arg(long, value_name = "MS", value_parser = millis)]
    pub(crate) retention_ms: Option<Duration>,

    /// How long the store may take to answer.
    #[arg(long, value_name = "MS", value_parser = millis)]
    pub(crate) store_timeout_ms: Option<Duration>,

    /// What happens to ambiguous outcomes and abandoned claims.
    #[arg(long, value_enum, default_value_t = GuaranteeOption::AtMostOnce)]
    guarantee: GuaranteeOption,

    /// How many attempts may end without an outcome, at least once.
    #[arg(long, value_name = "COUNT")]
    pub(crate) max_attempts: Option<u32>,

    /// Where a key names one operation.
    #[arg(long, value_enum, default_value_t = ScopeOption::Endpoint)]
    scope: ScopeOption,

    /// What must not change between retries: `raw` or, with the feature `json`, `json`.
    #[arg(long, value_name = "SCHEME", default_value = "raw", value_parser = fingerprint)]
    pub(crate) fingerprint: FingerprintPolicy,

    /// The largest request body.
    #[arg(long, value_name = "BYTES")]
    pub(crate) max_request_bytes: Option<usize>,

    /// The largest response body that is stored.
    #[arg(long, value_name = "BYTES")]
    pub(crate) max_response_bytes: Option<usize>,

    /// Run unprotected while the store is down.
    #[arg(long)]
    pub(crate) fail_open: bool,

    /// The namespace inside the store.
    #[arg(long, value_name = "NAME", default_value = "reference")]
    pub(crate) prefix: String,

    /// What must have a claim before its request runs: `local` or `replicas:N`, and with `+disk`
    /// also their append-only files.
    #[arg(long, value_name = "WHAT", default_value = "local", value_parser = durability)]
    pub(crate) durability: DurabilityOption,

    /// How many connections there are to the store for requests, and as many for their answers.
    #[arg(long, value_name = "COUNT")]
    pub(crate) connections: Option<NonZeroU32>,

    /// How many bytes of answers are replayed without asking the store; 0 is none.
    #[cfg(feature = "near-cache")]
    #[arg(long, value_name = "BYTES", default_value_t = 0)]
    pub(crate) near_cache_bytes: usize,

    /// For how long they are.
    #[cfg(feature = "near-cache")]
    #[arg(long, value_name = "MS", value_parser = millis)]
    pub(crate) near_cache_age_ms: Option<Duration>,

    /// A file for one JSON line per handler start and handler end.
    #[arg(long, value_name = "FILE")]
    pub(crate) ledger: Option<PathBuf>,
}

#[derive(Clone, Debug)]
pub(crate) enum StoreOption {
    Memory,
    #[cfg(feature = "redis")]
    Redis(String),
    #[cfg(feature = "postgres")]
    Postgres(String),
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum OnAbandoned {
    /// Nothing happened: run again.
    Rerun,
    /// It happened: 200 `{"recovered":true}`.
    Respond,
    /// Nobody knows.
    StillUnknown,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct DurabilityOption {
    pub(crate) replicas: u32,
    pub(crate) on_disk: bool,
}

impl DurabilityOption {
    pub(crate) const fn is_more_than_local(self) -> bool {
        self.replicas > 0 || self.on_disk
    }
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum GuaranteeOption {
    AtMostOnce,
    AtLeastOnce,
    Transactional,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum ScopeOption {
    Endpoint,
    Tenant,
}

impl Options {
    pub(crate) const fn guarantee(&self) -> Guarantee {
        match self.guarantee {
            GuaranteeOption::AtMostOnce => Guarantee::AtMostOnce,
            GuaranteeOption::AtLeastOnce => Guarantee::AtLeastOnce,
            GuaranteeOption::Transactional => Guarantee::Transactional,
        }
    }

    pub(crate) const fn scope(&self) -> Scope {
        match self.scope {
            ScopeOption::Endpoint => Scope::Endpoint,
            ScopeOption::Tenant => Scope::Tenant,
        }
    }
}

fn store(value: &str) -> Result<StoreOption, String> {
    let scheme = value.split_once(':').map_or(value, |(scheme, _)| scheme);
    match scheme {
        "memory" if value == "memory" => Ok(StoreOption::Memory),
        "redis" | "rediss" | "redis+cluster" | "rediss+cluster" | "redis+sentinel"
        | "rediss+sentinel" => redis(value),
        "postgres" | "postgresql" => postgres(value),
        "dynamodb" | "file" => Err(format!("there is no store for `{scheme}:` yet")),
        _ => {
            Err("no such store; there are `memory`, `redis://` and `postgres://`, see --help"
                .into())
        }
    }
}

#[cfg(feature = "redis")]
fn redis(address: &str) -> Result<StoreOption, String> {
    Ok(StoreOption::Redis(address.to_owned()))
}

#[cfg(not(feature = "redis"))]
fn redis(_: &str) -> Result<StoreOption, String> {
    Err("this store needs the feature `redis`, which is not compiled in: add `--features redis`"
        .into())
}

#[cfg(feature = "postgres")]
fn postgres(address: &str) -> Result<StoreOption, String> {
    Ok(StoreOption::Postgres(address.to_owned()))
}

#[cfg(not(feature = "postgres"))]
fn postgres(_: &str) -> Result<StoreOption, String> {
    Err("this store needs the feature `postgres`, which is not compiled in: add `--features \
         postgres`"
        .into())
}

fn method(name: &str) -> Result<Method, String> {
    Method::from_bytes(name.to_ascii_uppercase().as_bytes()).map_err(|error| error.to_string())
}

fn in_flight(value: &str) -> Result<InFlight, String> {
    match value.split_once(':') {
        None if value == "reject" => Ok(InFlight::reject()),
        Some(("wait", time)) => millis(time).map(InFlight::wait),
        _ => Err("use `reject` or `wait:MS`".into()),
    }
}

fn durability(value: &str) -> Result<DurabilityOption, String> {
    let (memory, on_disk) = match value.strip_suffix("+disk") {
        Some(memory) => (memory, true),
        None => (value, false),
    };
    let replicas = match memory.split_once(':') {
        None if memory == "local" => 0,
        Some(("replicas", count)) => {
            count.parse().map_err(|error| format!("use a number of replicas: {error}"))?
        }
        _ => return Err("use `local`, `replicas:N`, `local+disk` or `replicas:N+disk`".into()),
    };
    Ok(DurabilityOption { replicas, on_disk })
}

fn waiters(value: &str) -> Result<(usize, usize), String> {
    let number = |text: &str| text.parse().map_err(|error| format!("{error}"));
    let (per_key, total) = value.split_once(',').ok_or("use two numbers, such as `1000,10000`")?;
    Ok((number(per_key)?, number(total)?))
}

fn fingerprint(value: &str) -> Result<FingerprintPolicy, String> {
    match value {
        "raw" => Ok(FingerprintPolicy::raw()),
        #[cfg(feature = "json")]
        "json" => Ok(FingerprintPolicy::json()),
        #[cfg(not(feature = "json"))]
        "json" => Err("this needs the feature `json`, which is not compiled in".into()),
        _ => Err("use `raw` or `json`".into()),
    }
}

fn millis(value: &str) -> Result<Duration, String> {
    let millis = value.parse().map(Duration::from_millis);
    millis.map_err(|error| format!("use a number of milliseconds: {error}"))
}
