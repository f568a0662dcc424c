//! Processes that are measured, and stores. They end with their value.

use std::ffi::OsString;
use std::io::{self, BufRead as _, BufReader};
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;
use std::{env, fs, thread};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::cpu::{self, Place};
use crate::postgres_programs::{Version, give_away, run, unprivileged};
use crate::subject::{Rivalry, StoreKind};

/// A process that is ended when this goes.
struct Process {
    child: Child,
    signal: Signal,
}

impl Process {
    fn start(command: &mut Command, place: Place) -> io::Result<Self> {
        let child = cpu::on(place, || command.spawn())?;
        Ok(Self { child, signal: Signal::KILL })
    }

    fn has_ended(&mut self) -> bool {
        self.child.try_wait().is_ok_and(|status| status.is_some())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // If it has ended by itself, the measurement has failed already.
        let _ = kill_process(Pid::from_child(&self.child), self.signal);
        let _ = self.child.wait();
    }
}

/// A server under measurement.
pub(crate) struct Server {
    process: Process,
    pub(crate) address: SocketAddr,
}

impl Server {
    /// Starts a server on this store, if it is on any, with these flags.
    pub(crate) fn start(rivalry: Rivalry, store: Option<&Store>, flags: &[String]) -> Self {
        let mut command = Command::new(env::current_exe().expect("a program has a path"));
        command.args(["serve", &rivalry.library.name(), "--store", &rivalry.store.name()]);
        if let Some(store) = store {
            command.args(["--address", &store.url()]);
        }
        command.args(flags).stdin(Stdio::null()).stdout(Stdio::piped());
        let mut process =
            Process::start(&mut command, Place::Measured).expect("this program starts");
        let stdout = process.child.stdout.take().expect("it is piped");
        let mut line = String::new();
        BufReader::new(stdout).read_line(&mut line).expect("the server says where it listens");
        let address = line.trim().parse().expect("the server says where it listens");
        Self { process, address }
    }

    pub(crate) fn id(&self) -> u32 {
        self.process.child.id()
    }

    /// How long it has been on a processor.
    pub(crate) fn cpu(&self) -> Duration {
        cpu::time(self.id())
    }
}

/// A Redis, Valkey or PostgreSQL server on a free port, which waits for no disk.
pub(crate) struct Store {
    process: Process,
    port: u16,
    /// What PostgreSQL writes.
    folder: Option<TempDir>,
}

impl Store {
    /// Starts a server, if this kind of store has one.
    pub(crate) fn start(kind: StoreKind) -> Option<Self> {
        if kind == StoreKind::Memory {
            return None;
        }
        // Another program may take the port before the server does.
        (0..20)
            .find_map(|_| Self::try_start(kind))
            .or_else(|| panic!("no server for {}; `scripts/setup` installs it", kind.name()))
    }

    fn try_start(kind: StoreKind) -> Option<Self> {
        let port = TcpListener::bind("127.0.0.1:0").ok()?.local_addr().ok()?.port();
        let (mut command, folder) = match kind {
            StoreKind::Postgres | StoreKind::PostgresRow => {
                let (command, folder) = postgres(port);
                (command, Some(folder))
            }
            StoreKind::Valkey => (keeping_nothing(valkey(), port), None),
            StoreKind::Redis | StoreKind::Memory => {
                (keeping_nothing("redis-server".into(), port), None)
            }
        };
        command.stdin(Stdio::null()).stdout(Stdio::null());
        let mut process = Process::start(&mut command, Place::Measuring).ok()?;
        if folder.is_some() {
            // Its children end with it, and what they share goes.
            process.signal = Signal::QUIT;
        }
        let mut store = Self { process, port, folder };
        for _ in 0..1000 {
            if store.process.has_ended() {
                return None;
            }
            if store.is_ready() {
                return Some(store);
            }
            thread::sleep(Duration::from_millis(10));
        }
        None
    }

    fn is_ready(&self) -> bool {
        let Some(folder) = &self.folder else { return self.ask::<String>("PING").is_ok() };
        let text = fs::read_to_string(folder.path().join("data/postmaster.pid"));
        text.is_ok_and(|text| text.lines().any(|line| line.trim() == "ready"))
    }

    pub(crate) fn url(&self) -> String {
        match self.folder {
            None => format!("redis://127.0.0.1:{}", self.port),
            Some(_) => format!("postgres://postgres@127.0.0.1:{}/postgres", self.port),
        }
    }

    pub(crate) fn id(&self) -> u32 {
        self.process.child.id()
    }

    /// How long it has been on a processor.
    pub(crate) fn cpu(&self) -> Duration {
        cpu::time_of_family(self.id())
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

fn keeping_nothing(program: PathBuf, port: u16) -> Command {
    let mut command = Command::new(program);
    command.args(["--save", "", "--appendonly", "no", "--bind", "127.0.0.1", "--port"]);
    command.arg(port.to_string());
    command
}

/// A PostgreSQL that waits for no disk, in a folder of its own.
fn postgres(port: u16) -> (Command, TempDir) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    give_away(folder.path());
    let (programs, data) = (Version::Packaged.programs(), folder.path().join("data"));
    let mut words = unprivileged();
    words.push(programs.join("initdb").into());
    words.extend(["-U", "postgres", "-A", "trust", "--no-sync", "-D"].map(OsString::from));
    words.push(data.clone().into());
    run(&words);
    let mut words = unprivileged();
    words.extend([programs.join("postgres").into(), "-D".into(), data.into()]);
    let port = format!("port={port}");
    let settings = ["listen_addresses=127.0.0.1", "unix_socket_directories=", &port];
    let settings = settings.into_iter().chain(["fsync=off", "max_connections=200"]);
    for setting in settings.chain(["dynamic_shared_memory_type=mmap"]) {
        words.extend(["-c".into(), setting.into()]);
    }
    let mut command = Command::new(&words[0]);
    command.args(&words[1..]).stderr(Stdio::null());
    (command, folder)
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
