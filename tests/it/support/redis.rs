//! Real Redis servers for tests. They end with the test process, however it ends.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::time::Duration;

use rand::RngExt;
use rustix::process::{Pid, Signal, kill_process};
use tower_idempotency::store::RedisStore;

/// Starts a server, says its process id, and kills it when standard input ends: when the test says
/// so, or when the test process is gone.
const SUPERVISOR: &str = r#"
redis-server "$@" </dev/null >/dev/null 2>&1 &
echo $!
cat >/dev/null
kill -9 $!
wait $! 2>/dev/null
if [ -n "$REMOVE" ]; then rm -rf "$REMOVE"; fi
"#;

/// A private server on a free port, with its own directory.
#[derive(Debug)]
pub struct RedisServer {
    port: u16,
    dir: tempfile::TempDir,
    options: Vec<String>,
    running: Option<(Child, Pid)>,
    /// Nobody drops what is shared, so its supervisor removes the directory.
    shared: bool,
}

impl RedisServer {
    /// Starts a server with options such as `["--appendonly", "yes"]` and waits until it answers.
    pub fn start(options: &[&str]) -> Self {
        Self::run(options, false)
    }

    fn run(options: &[&str], shared: bool) -> Self {
        let found = Command::new("redis-server").arg("--version").output().is_ok();
        assert!(found, "redis-server is missing: run scripts/test, or install redis-server");
        let dir = tempfile::tempdir().expect("a temporary directory");
        let options = options.iter().map(|&option| option.to_owned()).collect();
        let mut server = Self { port: 0, dir, options, running: None, shared };
        for _ in 0..20 {
            server.port = free_port();
            if server.try_run() {
                return server;
            }
        }
        panic!("redis-server does not start");
    }

    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    pub fn store(&self) -> RedisStore {
        RedisStore::connect(self.url()).expect("a valid address")
    }

    /// Ends it at once, as a crash does.
    pub fn kill(&mut self) {
        if let Some((mut supervisor, _)) = self.running.take() {
            drop(supervisor.stdin.take());
            supervisor.wait().expect("the supervisor ends");
        }
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
        panic!("redis-server does not start again");
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
        let (_, pid) = self.running.as_ref().expect("the server runs");
        while !self.answers(*pid) {
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

    fn signal(&self, signal: Signal) {
        let (_, pid) = self.running.as_ref().expect("the server runs");
        kill_process(*pid, signal).expect("the signal is sent");
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
        let mut supervisor = Command::new("sh")
            .args(["-c", SUPERVISOR, "sh", "--port", &self.port.to_string()])
            .args(["--bind", "127.0.0.1", "--save", "", "--dir"])
            .arg(self.dir.path())
            .args(&self.options)
            .args(more)
            .env("REMOVE", if self.shared { self.dir.path() } else { Path::new("") })
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("sh starts");
        let mut line = String::new();
        let stdout = supervisor.stdout.take().expect("its output is a pipe");
        BufReader::new(stdout).read_line(&mut line).expect("the supervisor says the process id");
        let pid = line.trim().parse().ok().and_then(Pid::from_raw).expect("a process id");
        self.running = Some((supervisor, pid));
        pid
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
        let mut socket = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)).ok()?;
        socket.set_read_timeout(Some(Duration::from_secs(1))).ok()?;
        socket.write_all(format!("{question}\r\nQUIT\r\n").as_bytes()).ok()?;
        let mut reply = String::new();
        socket.read_to_string(&mut reply).ok()?;
        Some(reply)
    }
}

fn process(pid: Pid) -> String {
    format!("process_id:{}\r\n", pid.as_raw_nonzero())
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        self.kill();
    }
}

/// The server that all tests of this process share that do not disturb it.
pub fn shared() -> &'static RedisServer {
    static SHARED: OnceLock<RedisServer> = OnceLock::new();
    SHARED.get_or_init(|| RedisServer::run(&[], true))
}

/// A store on the shared server, with keys of its own.
pub fn redis() -> RedisStore {
    let prefix: u64 = rand::rng().random();
    shared().store().prefix(format!("test-{prefix:016x}"))
}

/// A port that is free now and that no outgoing connection is given meanwhile.
fn free_port() -> u16 {
    loop {
        let port = rand::rng().random_range(18_000..32_000);
        if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            return port;
        }
    }
}
