//! Real PostgreSQL servers for tests. They end with the test process, however it ends.

use std::ffi::OsString;
use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::process::Command;
use std::sync::OnceLock;
use std::time::Duration;

use rand::RngExt;
use rustix::process::{Pid, Signal, kill_process};
use tower_idempotency::store::PostgresStore;
use tower_idempotency::store::postgres::tokio_postgres::{Client, NoTls, Row};

use super::launch::Launch;
pub use super::postgres_programs::Version;
use super::postgres_programs::{give_away, run, unprivileged};
use super::supervisor::Supervised;

/// A private server on a free port, with its own directory.
#[derive(Debug)]
pub struct PostgresServer {
    version: Version,
    options: Vec<String>,
    port: u16,
    shared: bool,
    /// Dropped before its directory is.
    running: Option<Supervised>,
    dir: tempfile::TempDir,
}

impl PostgresServer {
    /// Starts a server with settings such as `["wal_level=logical"]` and waits until it answers.
    pub fn start(version: Version, settings: &[&str]) -> Self {
        Self::launch(version, settings, false)
    }

    /// Starts a server that follows this one.
    pub fn replica(&self) -> Self {
        let dir = tempfile::tempdir().expect("a temporary directory");
        give_away(dir.path());
        let mut command = unprivileged();
        command.push(self.version.programs().join("pg_basebackup").into());
        command.extend(["-R", "--checkpoint=fast", "-h", "127.0.0.1"].map(OsString::from));
        command.extend(["-U", "postgres", "-p", &self.port.to_string()].map(OsString::from));
        command.extend(["-D".into(), dir.path().join("data").into()]);
        run(&command);
        Self::first_run(self.version, self.options.clone(), false, dir)
    }

    fn launch(version: Version, settings: &[&str], shared: bool) -> Self {
        let options = settings.iter().map(|&setting| setting.to_owned()).collect();
        let dir = tempfile::tempdir().expect("a temporary directory");
        give_away(dir.path());
        let paths = [&version.template().join("data"), dir.path()];
        let copied = Command::new("cp").arg("-a").args(paths).status().expect("cp starts");
        assert!(copied.success(), "the template cannot be copied");
        Self::first_run(version, options, shared, dir)
    }

    fn first_run(
        version: Version,
        options: Vec<String>,
        shared: bool,
        dir: tempfile::TempDir,
    ) -> Self {
        let mut server = Self { version, options, port: 0, shared, running: None, dir };
        for _ in 0..20 {
            server.port = Launch::default().free_port();
            if server.try_run() {
                return server;
            }
        }
        panic!("the server does not start");
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    pub fn address(&self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.port).into()
    }

    /// The address of a database that is there from the start.
    pub fn url(&self) -> String {
        self.url_at(self.port)
    }

    /// The same through something that listens on another port.
    pub fn url_at(&self, port: u16) -> String {
        format!("postgres://postgres@127.0.0.1:{port}/postgres")
    }

    /// A store on it with a table of its own, which is there.
    pub fn store(&self) -> PostgresStore {
        let table = format!("records_{:016x}", rand::rng().random::<u64>());
        self.store_at(&self.url(), &table)
    }

    /// The same through another address and with a table of this name.
    pub fn store_at(&self, url: &str, table: &str) -> PostgresStore {
        let store = PostgresStore::connect(url).expect("a valid address");
        let store = store.table(table).expect("a valid name");
        store.migrations().for_each(|text| _ = self.query(&text));
        store
    }

    /// A connection of the test's own.
    pub async fn client(&self) -> Client {
        let (client, connection) =
            tower_idempotency::store::postgres::tokio_postgres::connect(&self.url(), NoTls)
                .await
                .expect("the server answers");
        tokio::spawn(connection);
        client
    }

    /// Runs statements, on whatever thread.
    pub fn query(&self, text: &str) -> Vec<Row> {
        self.blocking(async |client| {
            if text.contains(';') {
                client.batch_execute(text).await.map(|()| vec![])
            } else {
                client.query(text, &[]).await
            }
            .unwrap_or_else(|error| panic!("{text}: {error:?}"))
        })
    }

    fn blocking<T: Send>(&self, work: impl AsyncFnOnce(Client) -> T + Send) -> T {
        std::thread::scope(|scope| {
            let thread = scope.spawn(|| {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
                runtime.expect("a runtime").block_on(async { work(self.client().await).await })
            });
            thread.join().expect("the query succeeds")
        })
    }

    /// Ends it at once, as a crash does.
    pub fn kill(&mut self) {
        if let Some(running) = self.running.take() {
            let children = children(running.pid());
            running.signal(Signal::KILL);
            drop(running);
            // They notice, and the next one does not start before they have.
            while children.iter().any(|&child| is_there(child)) {
                std::thread::sleep(Duration::from_millis(2));
            }
        }
    }

    /// What becomes of it when the test process is gone.
    pub fn is_orphaned(&mut self) {
        drop(self.running.take());
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

    /// Freezes all of it.
    pub fn pause(&self) {
        self.signal_all(Signal::STOP);
    }

    /// Lets it go on.
    pub fn resume(&self) {
        self.signal_all(Signal::CONT);
    }

    fn signal_all(&self, signal: Signal) {
        let running = self.running.as_ref().expect("the server runs");
        running.signal(signal);
        for child in children(running.pid()) {
            // It may have ended meanwhile.
            let _ = kill_process(child, signal);
        }
    }

    fn try_run(&mut self) -> bool {
        let pid = self.spawn();
        for _ in 0..2000 {
            if self.is_ready(pid) {
                return true;
            }
            if !is_there(pid) {
                break;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        self.running = None;
        false
    }

    fn spawn(&mut self) -> Pid {
        let dir = self.dir.path();
        let mut command = unprivileged();
        command.push(self.version.programs().join("postgres").into());
        command.extend(["-D".into(), dir.join("data").into()]);
        let port = format!("port={}", self.port);
        let settings = ["listen_addresses=127.0.0.1", "unix_socket_directories=", &port];
        // What the system has not written to the disk survives a crash of the server, if not of the
        // machine. What it shares it leaves nowhere when it is killed.
        let memory = ["fsync=off", "shared_buffers=16MB", "dynamic_shared_memory_type=mmap"];
        let settings = settings.into_iter().chain(memory).chain(["max_connections=400"]);
        for setting in settings.chain(self.options.iter().map(String::as_str)) {
            command.extend(["-c".into(), setting.into()]);
        }
        let remove = self.shared.then_some(dir);
        let running = Supervised::start_to_be_stopped_by("QUIT", command, remove);
        self.running.insert(running).pid()
    }

    /// Whether this very process takes connections: it writes so into its folder.
    fn is_ready(&self, pid: Pid) -> bool {
        let file = self.dir.path().join("data/postmaster.pid");
        let text = fs::read_to_string(file).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        lines.first() == Some(&pid.as_raw_nonzero().to_string().as_str())
            && lines.get(7).is_some_and(|status| status.trim() == "ready")
    }
}

impl Drop for PostgresServer {
    fn drop(&mut self) {
        if self.running.is_some() {
            self.resume();
        }
    }
}

/// The processes that this one has started.
fn children(pid: Pid) -> Vec<Pid> {
    let pid = pid.as_raw_nonzero().to_string();
    let output = Command::new("pgrep").args(["-P", &pid]).output().expect("pgrep starts");
    let text = String::from_utf8(output.stdout).expect("numbers");
    text.lines().filter_map(|line| Pid::from_raw(line.parse().ok()?)).collect()
}

fn is_there(pid: Pid) -> bool {
    rustix::process::test_kill_process(pid).is_ok()
}

/// The server that all tests of this process share that do not disturb it.
pub fn shared() -> &'static PostgresServer {
    static SHARED: OnceLock<PostgresServer> = OnceLock::new();
    SHARED.get_or_init(|| PostgresServer::launch(shared_version(), &[], true))
}

/// The packaged one, unless `POSTGRES=newer` asks for all tests on the other.
fn shared_version() -> Version {
    match std::env::var("POSTGRES").as_deref() {
        Ok("newer") => Version::Newer,
        _ => Version::Packaged,
    }
}

/// The same of the newer version.
pub fn shared_newer() -> &'static PostgresServer {
    static SHARED: OnceLock<PostgresServer> = OnceLock::new();
    SHARED.get_or_init(|| PostgresServer::launch(Version::Newer, &[], true))
}
