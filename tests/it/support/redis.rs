//! Real Redis servers for tests. They end with the test process, however it ends.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::OnceLock;
use std::time::Duration;

use rand::RngExt;
use rustix::process::{Pid, Signal};
use tower_idempotency::store::RedisStore;

use super::launch::{Kind, Launch};
use super::supervisor::Supervised;

/// A private server on a free port, with its own directory.
#[derive(Debug)]
pub struct RedisServer {
    launch: Launch,
    port: u16,
    /// Dropped before its directory is.
    running: Option<Supervised>,
    dir: tempfile::TempDir,
}

impl RedisServer {
    /// Starts a server with options such as `["--appendonly", "yes"]` and waits until it answers.
    pub fn start(options: &[&str]) -> Self {
        Self::launch(&Launch::new(options))
    }

    /// The same for Valkey.
    pub fn start_valkey(options: &[&str]) -> Self {
        Self::launch(&Launch { kind: Kind::Valkey, ..Launch::new(options) })
    }

    pub fn launch(launch: &Launch) -> Self {
        for _ in 0..20 {
            // A shared directory has gone with a server that did not start.
            let dir = tempfile::tempdir().expect("a temporary directory");
            std::fs::write(launch.file_in(dir.path()), &launch.file).expect("its file is written");
            let port = launch.free_port();
            let mut server = Self { launch: launch.clone(), port, running: None, dir };
            if server.try_run() {
                return server;
            }
        }
        panic!("the server does not start");
    }

    pub fn url(&self) -> String {
        format!("redis://{}", self.address())
    }

    pub fn address(&self) -> SocketAddr {
        (self.launch.place.host, self.port).into()
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    pub fn store(&self) -> RedisStore {
        RedisStore::connect(self.url()).expect("a valid address")
    }

    /// Ends it at once, as a crash does.
    pub fn kill(&mut self) {
        self.running = None;
    }

    /// Starts it again, on the same port and directory.
    pub fn restart(&mut self) {
        self.kill();
        for _ in 0..100 {
            if self.try_run() {
                return;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        panic!("the server does not start again");
    }

    /// Starts it again so that it takes this long to load a key, and does not wait for it.
    pub fn restart_slowly(&mut self, per_key: Duration) {
        self.kill();
        let options = ["--loading-process-events-interval-bytes", "1024", "--key-load-delay"];
        let delay = per_key.as_micros().to_string();
        self.spawn(&[&options[..], &[delay.as_str()]].concat());
    }

    /// Waits until it has loaded its data.
    pub fn wait(&self) {
        let pid = self.running().pid();
        while !self.answers(pid) {
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Freezes the process.
    pub fn pause(&self) {
        self.signal(Signal::STOP);
    }

    /// Lets it go on.
    pub fn resume(&self) {
        self.signal(Signal::CONT);
    }

    /// Runs a command and gives the raw reply, without any store in between.
    pub fn command(&self, words: &[&[u8]]) -> redis::RedisResult<redis::Value> {
        let client = redis::Client::open(self.url())?;
        let mut connection = client.get_connection()?;
        let mut command = redis::Cmd::new();
        words.iter().for_each(|word| _ = command.arg(*word));
        command.query(&mut connection)
    }

    /// Runs a command of plain words, if the server is there.
    pub fn query<T: redis::FromRedisValue>(&self, words: &str) -> redis::RedisResult<T> {
        let client = redis::Client::open(self.url())?;
        let mut connection = client.get_connection_with_timeout(Duration::from_secs(1))?;
        connection.set_read_timeout(Some(Duration::from_secs(5)))?;
        let mut command = redis::Cmd::new();
        words.split(' ').for_each(|word| _ = command.arg(word));
        command.query(&mut connection)
    }

    fn signal(&self, signal: Signal) {
        self.running().signal(signal);
    }

    fn running(&self) -> &Supervised {
        self.running.as_ref().expect("the server runs")
    }

    fn try_run(&mut self) -> bool {
        let pid = self.spawn(&[]);
        for _ in 0..1000 {
            if self.answers(pid) {
                return true;
            }
            if self.port_is_of_another(pid) {
                break;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        self.kill();
        false
    }

    fn spawn(&mut self, more: &[&str]) -> Pid {
        let dir = self.dir.path();
        let mut command = self.launch.command(self.port, dir);
        command.extend(more.iter().map(Into::into));
        let running = Supervised::start(command, self.launch.shared.then_some(dir));
        self.running.insert(running).pid()
    }

    /// Whether this very process answers, and is done with loading.
    fn answers(&self, pid: Pid) -> bool {
        self.ask("PING").is_some_and(|reply| reply.starts_with("+PONG"))
            && self.ask("INFO server").is_some_and(|info| info.contains(&process(pid)))
    }

    fn port_is_of_another(&self, pid: Pid) -> bool {
        self.ask("INFO server").is_some_and(|info| !info.contains(&process(pid)))
    }

    fn ask(&self, question: &str) -> Option<String> {
        let mut socket = TcpStream::connect(self.address()).ok()?;
        socket.set_read_timeout(Some(Duration::from_secs(1))).ok()?;
        socket.write_all(format!("{question}\r\n").as_bytes()).ok()?;
        socket.shutdown(Shutdown::Write).ok()?;
        let mut reply = String::new();
        socket.read_to_string(&mut reply).ok()?;
        Some(reply)
    }
}

fn process(pid: Pid) -> String {
    format!("process_id:{}\r\n", pid.as_raw_nonzero())
}

/// The server that all tests of this process share that do not disturb it.
pub fn shared() -> &'static RedisServer {
    static SHARED: OnceLock<RedisServer> = OnceLock::new();
    SHARED.get_or_init(|| RedisServer::launch(&Launch { shared: true, ..Launch::default() }))
}

/// The same for Valkey.
pub fn shared_valkey() -> &'static RedisServer {
    static SHARED: OnceLock<RedisServer> = OnceLock::new();
    let launch = || Launch { kind: Kind::Valkey, shared: true, ..Launch::default() };
    SHARED.get_or_init(|| RedisServer::launch(&launch()))
}

/// A store on the shared server, with keys of its own.
pub fn redis() -> RedisStore {
    let prefix: u64 = rand::rng().random();
    shared().store().prefix(format!("test-{prefix:016x}"))
}
