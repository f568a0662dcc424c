//! Examples that serve, as processes that can be killed, stopped and ended.

use std::ffi::OsString;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::OnceLock;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use super::fake_clock::FakeClock;
use super::http::{Answer, Ask, Server, post};
use super::supervisor::Leash;

type Environment = Vec<(&'static str, OsString)>;

/// One reference server. It is killed when it is dropped, or when the test process is gone.
#[derive(Debug)]
pub struct Process {
    child: Child,
    leash: Leash,
    address: SocketAddr,
}

impl Process {
    /// Starts a server on a free port and waits until it listens.
    pub fn start(store: &str, flags: &[&str]) -> Self {
        Self::run(store, flags, None, vec![])
    }

    /// The same of another example, with these arguments.
    pub fn start_example(name: &str, arguments: &[&str]) -> Self {
        let mut command = Command::new(examples().join(name));
        command.args(arguments).args(["--listen", "127.0.0.1:0"]).stderr(Stdio::null());
        Self::spawn(command)
    }

    /// The same with everything that it logs in a file.
    pub fn start_with_logs(store: &str, flags: &[&str], logs: File) -> Self {
        Self::run(store, flags, Some(logs), vec![])
    }

    /// The same by this clock.
    pub fn start_by(clock: &FakeClock, store: &str, flags: &[&str]) -> Self {
        Self::run(store, flags, None, clock.environment())
    }

    fn run(store: &str, flags: &[&str], logs: Option<File>, environment: Environment) -> Self {
        let mut command = Command::new(examples().join("reference_server"));
        command.args(["--listen", "127.0.0.1:0", "--store", store]).args(flags);
        command.envs(environment);
        match logs {
            Some(logs) => command.env("RUST_LOG", "trace").stderr(logs),
            None => command.env_remove("RUST_LOG").stderr(Stdio::null()),
        };
        Self::spawn(command)
    }

    fn spawn(mut command: Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).spawn().expect("the server starts");
        let leash = Leash::of(&child);
        let stdout = child.stdout.take().expect("its output");
        let mut line = String::new();
        BufReader::new(stdout).read_line(&mut line).expect("its first line");
        let address = line.trim().strip_prefix("listening on http://").unwrap_or_default();
        let address = address.parse().unwrap_or_else(|_| panic!("it says {line:?}"));
        Self { child, leash, address }
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Where it listens.
    pub fn http(&self) -> Server {
        Server::at(self.address)
    }

    pub async fn send(&self, request: &Ask) -> Answer {
        self.http().send(request).await
    }

    /// How many handlers this process has started.
    pub async fn executions(&self) -> u64 {
        let answer = self.http().send(super::http::ask("GET", "/executions")).await;
        let body: Value = serde_json::from_slice(&answer.body).expect("JSON");
        body["total"].as_u64().expect("a number")
    }

    /// Ends it at once, as a crash does.
    pub fn kill(mut self) {
        self.kill_in_place();
    }

    /// The same where something is to take its place.
    pub fn kill_in_place(&mut self) {
        self.child.kill().expect("it runs");
        self.child.wait().expect("it ends");
    }

    /// Asks it to end.
    pub fn terminate(&self) {
        self.signal(Signal::TERM);
    }

    /// What becomes of it when the test process is gone.
    pub fn is_orphaned(&mut self) {
        self.leash.is_dropped_by_a_crash();
    }

    /// Whether it has ended.
    pub fn has_ended(&mut self) -> bool {
        self.child.try_wait().expect("it can be waited for").is_some()
    }

    /// Waits for its end.
    pub async fn ended(mut self) -> ExitStatus {
        for _ in 0..2000 {
            if let Some(status) = self.child.try_wait().expect("it can be waited for") {
                return status;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        panic!("the server does not end");
    }

    /// Freezes it.
    pub fn pause(&self) {
        self.signal(Signal::STOP);
    }

    /// Lets it go on.
    pub fn resume(&self) {
        self.signal(Signal::CONT);
    }

    fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.child.id()).expect("a process id");
        kill_process(Pid::from_raw(pid).expect("a process id"), signal).expect("it runs");
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What ran, written down by the servers themselves.
#[derive(Debug)]
pub struct Ledger(tempfile::NamedTempFile);

impl Ledger {
    pub fn new() -> Self {
        Self(tempfile::NamedTempFile::new().expect("a temporary file"))
    }

    pub fn path(&self) -> &str {
        self.0.path().to_str().expect("a path in UTF-8")
    }

    /// The attempt numbers of the handlers that started for a key, in order.
    pub fn starts(&self, key: &str) -> Vec<u64> {
        self.events(key, "start")
    }

    /// The same for those that ended.
    pub fn ends(&self, key: &str) -> Vec<u64> {
        self.events(key, "end")
    }

    /// The same for the abandoned claims of a key of which somebody asked what became of them.
    pub fn asked(&self, key: &str) -> Vec<u64> {
        self.events(key, "abandoned")
    }

    /// The fence tokens of the handlers that started for a key, in order.
    pub fn fences(&self, key: &str) -> Vec<u64> {
        self.numbers(key, "start", "fence")
    }

    fn events(&self, key: &str, event: &str) -> Vec<u64> {
        self.numbers(key, event, "attempt")
    }

    fn numbers(&self, key: &str, event: &str, name: &str) -> Vec<u64> {
        let text = std::fs::read_to_string(self.0.path()).expect("the ledger");
        text.lines()
            .map(|line| serde_json::from_str::<Value>(line).expect("a line of JSON"))
            .filter(|line| line["key"] == key && line["event"] == event)
            .map(|line| line[name].as_u64().expect("a number"))
            .collect()
    }
}

/// A POST that takes its time.
pub fn slow(millis: u64, key: &str) -> Ask {
    post(&format!("/slow/{millis}")).key(key)
}

/// The same request again and again, until the answer is not 409 `in-progress` or 503.
pub async fn until_settled(server: &Process, request: &Ask) -> Answer {
    for _ in 0..1000 {
        let answer = server.send(request).await;
        let passing = answer.status == 503
            || answer.status == 409 && answer.problem()["code"] == "in-progress";
        if !passing {
            return answer;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("the key is never settled");
}

/// The folder of the servers among the examples, built as the tests were.
fn examples() -> &'static Path {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(|| {
        // The tests lie in `<target>/<profile>/deps`.
        let test = std::env::current_exe().expect("a path");
        let profile = test.ancestors().nth(2).expect("a folder for the profile");
        let mut cargo = Command::new(env!("CARGO"));
        // Who has the tests say how long they take would have everything built anew.
        cargo.env_remove("RUSTC_BOOTSTRAP");
        cargo.args(["build", "--quiet", "--all-features"]);
        cargo.args(["--example", "reference_server", "--example", "recovery_points"]);
        cargo.arg("--target-dir").arg(profile.parent().expect("a target folder"));
        if profile.ends_with("release") {
            cargo.arg("--release");
        }
        let status = cargo.current_dir(env!("CARGO_MANIFEST_DIR")).status().expect("cargo runs");
        assert!(status.success(), "the examples cannot be built");
        profile.join("examples")
    })
}
