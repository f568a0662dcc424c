//! A PostgreSQL of this program's own: a folder for it alone, a free port, gone when it is dropped.

use std::error::Error;
use std::fs;
use std::io::{BufRead as _, BufReader};
use std::net::TcpListener;
use std::os::unix::fs::chown;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use rustix::process::{Pid, Signal, geteuid, kill_process};

/// Root may not run PostgreSQL, so it does so as nobody.
const NOBODY: u32 = 65534;

const MISSING: &str = "there is no PostgreSQL to start: install it (apt install postgresql, dnf install \
    postgresql-server, brew install postgresql), or give the address of a database of yours (--help)";

pub(crate) struct PrivatePostgres {
    server: Child,
    port: u16,
    _dir: tempfile::TempDir,
}

impl PrivatePostgres {
    /// Starts it, and waits until it takes connections.
    pub(crate) fn start() -> Result<Self, Box<dyn Error>> {
        let programs = programs().ok_or(MISSING)?;
        let dir = tempfile::tempdir()?;
        if geteuid().is_root() {
            chown(dir.path(), Some(NOBODY), Some(NOBODY))?;
        }
        let data = dir.path().join("data");
        let made = unprivileged(&programs.join("initdb"))
            .args(["-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C", "-D"])
            .arg(&data)
            .output()?;
        if !made.status.success() {
            return Err(String::from_utf8_lossy(&made.stderr).into());
        }
        // Free now, and most likely still so in a moment.
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let mut server = unprivileged(&programs.join("postgres"));
        server.args(["-h", "127.0.0.1", "-k", "", "-D"]).arg(&data);
        let mut server = server.arg("-p").arg(port.to_string()).stderr(Stdio::piped()).spawn()?;
        let log = server.stderr.take().ok_or("a pipe")?;
        let postgres = Self { server, port, _dir: dir };
        wait_until_ready(log)?;
        Ok(postgres)
    }

    pub(crate) fn url(&self) -> String {
        format!("postgres://postgres@127.0.0.1:{}/postgres", self.port)
    }
}

/// It says so in its log, which is read to its end, since a full pipe would stop it.
fn wait_until_ready(log: impl std::io::Read + Send + 'static) -> Result<(), String> {
    let mut lines = BufReader::new(log).lines().map_while(Result::ok);
    let mut said = vec!["PostgreSQL does not start:".to_owned()];
    for line in lines.by_ref() {
        if line.contains("ready to accept connections") {
            std::thread::spawn(move || lines.for_each(drop));
            return Ok(());
        }
        said.push(line);
    }
    Err(said.join("\n"))
}

impl Drop for PrivatePostgres {
    fn drop(&mut self) {
        // A fast shutdown: it ends its connections first.
        if let Some(pid) = i32::try_from(self.server.id()).ok().and_then(Pid::from_raw) {
            let _ = kill_process(pid, Signal::INT);
        }
        let _ = self.server.wait();
    }
}

/// The newest of Debian's, or what is in the path.
fn programs() -> Option<PathBuf> {
    let debian = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let mut folders: Vec<PathBuf> = debian.map(|version| version.path().join("bin")).collect();
    folders.sort_by(|one, other| other.cmp(one));
    folders.extend(std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default()));
    folders.into_iter().find(|folder| folder.join("initdb").is_file())
}

fn unprivileged(program: &Path) -> Command {
    if !geteuid().is_root() {
        return Command::new(program);
    }
    let id = NOBODY.to_string();
    let mut command = Command::new("setpriv");
    command.args(["--reuid", &id, "--regid", &id, "--clear-groups"]).arg(program);
    command
}
