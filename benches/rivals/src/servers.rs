//! Processes that are measured, and stores. They end with their value.

use std::io::{BufRead as _, BufReader};
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;
use std::{env, fs, thread};

use crate::cpu::{self, Place};
use crate::subject::{Rivalry, StoreKind};

/// A process that is killed when this goes.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        // If it has ended by itself, the measurement has failed already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A server under measurement, with a store of its own.
pub(crate) struct Server {
    process: Process,
    pub(crate) address: SocketAddr,
    pub(crate) store: Option<Store>,
}

impl Server {
    pub(crate) fn start(rivalry: Rivalry) -> Self {
        let store = Store::start(rivalry.store);
        Self::start_on(rivalry, store)
    }

    fn start_on(rivalry: Rivalry, store: Option<Store>) -> Self {
        let mut command = Command::new(env::current_exe().expect("a program has a path"));
        command.args(["serve", &rivalry.library.name()]);
        if let Some(store) = &store {
            command.args(["--redis", &store.url()]);
        }
        command.stdin(Stdio::null()).stdout(Stdio::piped());
        let mut child = cpu::on(Place::Measured, || command.spawn()).expect("this program starts");
        let stdout = child.stdout.take().expect("it is piped");
        let process = Process(child);
        let mut line = String::new();
        BufReader::new(stdout).read_line(&mut line).expect("the server says where it listens");
        let address = line.trim().parse().expect("the server says where it listens");
        Self { process, address, store }
    }

    /// How long it has been on a processor, and its store.
    pub(crate) fn cpu(&self) -> [Duration; 2] {
        let store = self.store.as_ref().map_or(Duration::ZERO, Store::cpu);
        [cpu::time(self.process.0.id()), store]
    }
}

/// A Redis or Valkey server on a free port, which writes nothing to a disk.
pub(crate) struct Store {
    process: Process,
    port: u16,
}

impl Store {
    /// Starts a server, if this kind of store has one.
    pub(crate) fn start(kind: StoreKind) -> Option<Self> {
        let program = match kind {
            StoreKind::Memory => return None,
            StoreKind::Redis => PathBuf::from("redis-server"),
            StoreKind::Valkey => valkey(),
        };
        // Another program may take the port before the server does.
        (0..20)
            .find_map(|_| Self::try_start(&program))
            .or_else(|| panic!("{} does not start; `scripts/setup` installs it", program.display()))
    }

    fn try_start(program: &PathBuf) -> Option<Self> {
        let port = TcpListener::bind("127.0.0.1:0").ok()?.local_addr().ok()?.port();
        let mut command = Command::new(program);
        command.args(["--save", "", "--appendonly", "no", "--bind", "127.0.0.1", "--port"]);
        command.arg(port.to_string()).stdin(Stdio::null()).stdout(Stdio::null());
        let child = cpu::on(Place::Measuring, || command.spawn()).ok()?;
        let mut store = Self { process: Process(child), port };
        for _ in 0..500 {
            if store.process.0.try_wait().ok()?.is_some() {
                return None;
            }
            if store.ask::<String>("PING").is_ok() {
                return Some(store);
            }
            thread::sleep(Duration::from_millis(10));
        }
        None
    }

    pub(crate) fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    pub(crate) fn cpu(&self) -> Duration {
        cpu::time(self.process.0.id())
    }

    /// The answer to a command of plain words.
    pub(crate) fn ask<T: redis::FromRedisValue>(&self, words: &str) -> redis::RedisResult<T> {
        let mut connection = redis::Client::open(self.url())?.get_connection()?;
        let mut command = redis::Cmd::new();
        words.split(' ').for_each(|word| _ = command.arg(word));
        command.query(&mut connection)
    }

    /// A number of its information.
    pub(crate) fn number(&self, section: &str, name: &str) -> u64 {
        let info: String = self.ask(&format!("INFO {section}")).expect("the store answers");
        let line = info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        line.and_then(|number| number.trim().parse().ok()).expect("the store says so")
    }
}

/// Where `scripts/setup` puts it, or else the program in the path.
fn valkey() -> PathBuf {
    let target = env::var_os("CARGO_TARGET_DIR").map_or_else(
        || PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../target")),
        PathBuf::from,
    );
    let own = target.join("servers/valkey-server");
    if fs::exists(&own).unwrap_or(false) { own } else { PathBuf::from("valkey-server") }
}
